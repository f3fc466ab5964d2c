"""Adapters of tiny models: the loss is that of the answers, by the library alone; peft reads what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from evcap_multimodal import tuning
from evcap_multimodal.captioner import MultimodalCaptioner
from evcap_multimodal.tunable import TunableMultimodalCaptioner

from evcap_cli.errors import CheckpointError, UsageError
from evcap_cli.systems.tunable_captioner import AdapterOptions
from tests.multimodal import direct
from tests.multimodal.conftest import OPTIONS, TOKENS, clip

KNOWN = ["smolvlm", "qwen3_vl", "qwen3_5", "gemma4", "gemma3", "qwen_omni", "git"]
TEXTS = ["a man is happily walking in the park", "the dog laughs"]
SMALL = AdapterOptions(rank=4, alpha=8.0)


def loaded(folder: Path, adapter: AdapterOptions = SMALL) -> tuple[TunableMultimodalCaptioner, dict[str, Any]]:
    made = TunableMultimodalCaptioner(str(folder), OPTIONS)
    made.load(torch.device("cpu"), torch.float32)
    return made, made.add_adapter(adapter)


def drawn(parameters: dict[str, Any], size: float = 0.2) -> dict[str, torch.Tensor]:
    """Values that an adapter may have after training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in parameters.values():
            weight.copy_(torch.randn(weight.shape, generator=generator) * size)
    return {name: weight.detach().clone() for name, weight in parameters.items()}


@pytest.mark.slow
@pytest.mark.parametrize("family", KNOWN)
def test_the_loss_is_that_of_the_answers_alone(family: str, folder_of: Callable[[str], Path]) -> None:
    made, parameters = loaded(folder_of(family))
    drawn(parameters)
    clips = [made.prepare_clip(clip(number)) for number in range(2)]
    answers = [made.answer(text) for text in TEXTS]
    assert len({len(answer) for answer in answers}) == 2, "one of them must be filled"
    assert made.alike(clips[0]) == made.alike(clips[1])

    def loss_of() -> torch.Tensor:
        if made.rows_at_once is None:
            return made.answer_loss(clips, answers)
        return made.answer_loss(clips[:1], answers[:1]) + made.answer_loss(clips[1:], answers[1:])

    made.set_training(True)
    loss = loss_of()
    loss.backward()
    used = [weight for weight in parameters.values() if weight.grad is not None]
    assert used
    assert any(float(weight.grad.abs().sum()) > 0 for weight in used)
    assert all(weight.grad is None for name, weight in made.model.named_parameters() if ".lora_" not in name)

    # the call of the model in the documentation, one clip after another, without filling
    made.set_training(False)
    expected = 0.0
    processor = made.processor
    for number, text in enumerate(TEXTS):
        given = direct.inputs(family, processor, made.family.adjust(clip(number)), made.instruction)
        tokens = [*processor.tokenizer(made.family.answer_start + text, add_special_tokens=False)["input_ids"], 1]
        if family == "git":
            # its logits are of the frames first, then of the text, which begins with the token 2
            with torch.inference_mode():
                logits = made.model(**given, input_ids=torch.tensor([[2, *tokens]])).logits[0, -len(tokens) - 1 : -1]
            expected -= float(logits.log_softmax(-1).gather(-1, torch.tensor(tokens)[:, None]).sum())
            continue
        expected -= float(direct.log_probabilities(made.model, given, tokens).sum())
    with torch.inference_mode():
        assert float(loss_of()) == pytest.approx(expected, rel=1e-4)
    if family != "git":  # which has dropout
        assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["smolvlm", "qwen3_vl", "gemma4", "git"])
def test_merged_and_unmerged_adapters_and_peft_itself_give_the_same_text(
    family: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = folder_of(family)
    made, parameters = loaded(folder)
    files = made.adapter_files(drawn(parameters))
    clips = [clip(number) for number in range(3)]
    texts: dict[str, list[str]] = {}
    for kind in ("base", "merged", "unmerged"):
        other = MultimodalCaptioner(str(folder), OPTIONS)
        other.load(torch.device("cpu"), torch.float32)
        tuning.let_end(other.model, tuning.end_token(other.model, other.processor))
        if kind != "base":
            tuning.apply_adapter(other.model, files, "x", merge=kind == "merged")
        texts[kind] = [getattr(result, "raw", repr(result)) for result in other.caption(clips)]
    assert texts["merged"] == texts["unmerged"]
    assert texts["merged"] != texts["base"]

    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    processor, model = direct.loaded(family, folder)
    tuned = peft.PeftModel.from_pretrained(model, str(tmp_path)).merge_and_unload().eval()
    tuning.let_end(tuned, 1)
    assert [
        direct.answer(
            processor, tuned, direct.inputs(family, processor, made.family.adjust(one), made.instruction), TOKENS
        )
        for one in clips
    ] == texts["merged"]


def test_an_unknown_family_lists_its_linear_layers(folder_of: Callable[[str], Path]) -> None:
    made = TunableMultimodalCaptioner(str(folder_of("llava_onevision")), OPTIONS)
    with pytest.raises(UsageError) as problem:
        made.check_adapter(AdapterOptions())
    said = str(problem.value)
    assert "which layers of llava_onevision get an adapter is not known here" in said
    assert "model.language_model.layers.*.self_attn.q_proj" in said
    assert "--lora-targets" in said
    made.check_adapter(AdapterOptions(targets=("q_proj", "self_attn.v_proj")))
    with pytest.raises(UsageError, match="it has no linear layer 'proj'; its linear layers are"):
        made.check_adapter(AdapterOptions(targets=("q_proj", "proj")))


@pytest.mark.parametrize("family", KNOWN)
def test_layers_of_the_language_model_are_adapted(family: str, folder_of: Callable[[str], Path]) -> None:
    made = TunableMultimodalCaptioner(str(folder_of(family)), OPTIONS)
    made.check_adapter(SMALL)
    _, parameters = loaded(folder_of(family))
    layers = {name.rpartition(".lora_")[0] for name in parameters}
    assert {layer.rpartition(".")[2] for layer in layers} >= ({"query"} if family == "git" else {"q_proj", "down_proj"})
    assert not any("vision" in layer or "visual" in layer or "image" in layer or "audio" in layer for layer in layers)


def test_chosen_layers_are_adapted_wherever_they_are(folder_of: Callable[[str], Path]) -> None:
    _, parameters = loaded(folder_of("smolvlm"), AdapterOptions(rank=2, targets=("fc1",)))
    assert parameters
    assert all("vision_model" in name and ".fc1." in name for name in parameters)


def test_an_adapter_of_another_model_is_refused(folder_of: Callable[[str], Path]) -> None:
    made, parameters = loaded(folder_of("smolvlm"))
    files = made.adapter_files({name: weight.detach() for name, weight in parameters.items()})
    other = MultimodalCaptioner(str(folder_of("git")), OPTIONS)
    other.load(torch.device("cpu"), torch.float32)
    with pytest.raises(CheckpointError, match="its adapter does not fit the base"):
        tuning.apply_adapter(other.model, files, "runs/x", merge=False)
    files[tuning.WEIGHTS_FILE] = files[tuning.WEIGHTS_FILE][:100]
    with pytest.raises(CheckpointError, match="its adapter cannot be read"):
        tuning.apply_adapter(made.model, files, "runs/x", merge=False)
