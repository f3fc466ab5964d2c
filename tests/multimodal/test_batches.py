from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from evcap_multimodal import captioner as module
from evcap_multimodal import emotions
from evcap_multimodal.captioner import MultimodalCaptioner

from evcap_cli.errors import CaptionerError, OutOfMemory
from evcap_cli.systems.clip_captioner import ClipCaption
from tests.multimodal.conftest import OPTIONS, clip

Captioners = Callable[..., MultimodalCaptioner]


@pytest.fixture
def captioner(captioner_of: Captioners, monkeypatch: pytest.MonkeyPatch) -> MultimodalCaptioner:
    found = captioner_of("qwen3_vl", replace(OPTIONS, emotion=False))
    monkeypatch.setattr(found, "batch_size", 8)
    return found


def generating(monkeypatch: pytest.MonkeyPatch, problem: Callable[[dict[str, Any]], Exception | None]) -> list[int]:
    """Let generation raise what ``problem`` says of its inputs; gives the sizes of the batches tried."""
    sizes: list[int] = []
    generate = module.generate

    def tried(model: Any, inputs: dict[str, Any], **options: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        found = problem(inputs)
        if found is not None:
            raise found
        return generate(model, inputs, **options)

    monkeypatch.setattr(module, "generate", tried)
    return sizes


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_for_good(
    captioner: MultimodalCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [clip(seed) for seed in range(5)]
    expected = captioner.caption(clips)
    full = torch.OutOfMemoryError("out of memory")
    sizes = generating(monkeypatch, lambda inputs: full if len(inputs["input_ids"]) > 2 else None)
    found = captioner.caption(clips)
    assert sizes == [5, 3, 2, 2, 1]
    assert [one.raw for one in found] == [one.raw for one in expected]  # type: ignore[union-attr]
    sizes.clear()
    captioner.caption(clips[:2])
    assert sizes == [2]


@pytest.mark.slow
def test_one_clip_that_does_not_fit_fails_alone(
    captioner: MultimodalCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    generating(monkeypatch, lambda _: torch.OutOfMemoryError("out of memory"))
    found = captioner.caption([clip(1)])[0]
    assert isinstance(found, OutOfMemory)
    assert found.code == "memory"


@pytest.mark.slow
def test_a_clip_that_the_model_refuses_takes_no_other_with_it(
    captioner: MultimodalCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [clip(seed) for seed in range(3)]
    expected = captioner.caption(clips)
    bad = captioner.prepared(clips[1]).inputs["pixel_values_videos"][0]
    generating(
        monkeypatch,
        lambda inputs: ValueError("no") if (inputs["pixel_values_videos"] == bad).all(1).any() else None,
    )
    found = captioner.caption(clips)
    assert [type(one) for one in found] == [ClipCaption, CaptionerError, ClipCaption]
    assert [one.raw for one in found[::2]] == [one.raw for one in expected[::2]]  # type: ignore[union-attr]
    assert "ValueError: no" in str(found[1])


@pytest.mark.slow
def test_a_clip_that_the_processor_refuses_fails_alone(captioner: MultimodalCaptioner) -> None:
    found = captioner.caption([clip(1), replace(clip(2), frames=torch.zeros(0, 3, 4, 4).byte(), times=()), clip(1)])
    assert isinstance(found[1], CaptionerError)
    assert "without frames" in str(found[1])
    assert found[0] == found[2]


@pytest.mark.slow
def test_no_emotion_leaves_it_out(captioner: MultimodalCaptioner) -> None:
    found = captioner.caption([clip(1)])[0]
    assert isinstance(found, ClipCaption)
    assert found.emotion is None


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3_5", "llava_onevision"])
def test_emotion_does_not_depend_on_how_many_rows_fit_into_memory(
    family: str, captioner_of: Captioners, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner, clips = captioner_of(family), [clip(1), clip(2)]
    expected = captioner.caption(clips)
    monkeypatch.setattr(emotions, "REPEATED_BYTES", 1)
    for one, other in zip(captioner.caption(clips), expected, strict=True):
        assert one.emotion == pytest.approx(other.emotion, abs=1e-5)  # type: ignore[union-attr]


@pytest.mark.slow
def test_captions_go_on_where_an_unknown_family_cannot_say_its_emotion(
    captioner_of: Captioners, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captioner = captioner_of("llava_onevision")
    expected = captioner.caption([clip(1)])[0]

    def fails(*_: object) -> None:
        raise TypeError("no cache")

    monkeypatch.setattr(captioner, "predicts_emotion", True)
    monkeypatch.setattr(emotions, "probabilities", fails)
    for _ in range(2):
        found = captioner.caption([clip(1)])[0]
        assert found == replace(expected, emotion=None)  # type: ignore[type-var]
    assert capsys.readouterr().err.count("predicts no emotions") == 1
