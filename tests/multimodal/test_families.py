from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evcap_multimodal.captioner import MultimodalCaptioner
from evcap_multimodal.families import Family, Gemma4, Git, QwenVl, metadata
from transformers.video_utils import VideoMetadata

from evcap_cli.systems.clip_captioner import ClipCaption
from tests.multimodal import direct
from tests.multimodal.conftest import OPTIONS, TOKENS, clip
from tests.multimodal.tiny import BUILDERS

Captioners = Callable[..., MultimodalCaptioner]
FRAMES = {"git": 3}
"""Of families that take no other number."""
FAMILIES = list(BUILDERS)
INSTRUCTED = [family for family in FAMILIES if family != "git"]


def captions(captioner: MultimodalCaptioner, *clips: object) -> list[ClipCaption]:
    found = captioner.caption(clips)  # type: ignore[arg-type]
    problems = [result for result in found if not isinstance(result, ClipCaption)]
    assert not problems, problems
    return found  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_raw_answer_is_that_of_the_model_called_directly(
    family: str, captioner_of: Captioners, folder_of: Callable[[str], Path]
) -> None:
    captioner = captioner_of(family)
    processor, model = direct.loaded(family, folder_of(family))
    for audio in (True, False):
        given = clip(1, FRAMES.get(family, 4), audio=audio)
        expected = direct.answer(
            processor, model, direct.inputs(family, processor, given, captioner.instruction), TOKENS
        )
        assert expected
        assert captions(captioner, given)[0].raw == expected


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_and_batch_size_change_nothing(family: str, captioner_of: Captioners) -> None:
    captioner = captioner_of(family)
    clips = [clip(0), clip(1), clip(2, audio=False), clip(3, frames=3, size=(64, 48), duration=75.0)]
    alone = [captions(captioner, one)[0] for one in clips]
    assert len({caption.score for caption in alone}) == len(clips), "the model does not depend on what it reads"
    together = captions(captioner, *clips)
    assert [caption.raw for caption in together] == [caption.raw for caption in alone]
    assert [caption.score for caption in together] == pytest.approx([caption.score for caption in alone], abs=1e-4)
    for one, other in zip(alone, together, strict=True):
        assert other.emotion == (None if one.emotion is None else pytest.approx(one.emotion, abs=1e-4))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_odd_clips_have_captions(family: str, captioner_of: Captioners) -> None:
    captioner = captioner_of(family)
    odd = [
        clip(1, frames=1, audio=False),
        clip(2, frames=2, size=(2, 600)),
        clip(3, frames=1, size=(600, 2)),
        replace(clip(4, frames=1), duration=0.0),
        replace(clip(5, frames=1), waveform=torch.zeros(400)),
    ]
    for caption in captions(captioner, *odd):
        assert 0 < len(caption.text.split()) <= OPTIONS.max_words
        assert caption.score is not None
        assert caption.score < 0


@pytest.mark.slow
def test_processors_read_the_exact_times_and_the_rate_of_what_was_sampled() -> None:
    given = clip(1, frames=5, duration=7.5)
    read = VideoMetadata(**metadata(given))
    assert read.timestamps == pytest.approx(given.times, abs=5e-4)
    assert read.sampled_fps == pytest.approx(5 / 7.5)
    assert read.duration == 7.5


@pytest.mark.slow
@pytest.mark.parametrize("family", [Family, QwenVl, Gemma4, Git])
def test_frames_are_made_to_fit_the_family(family: type[Family]) -> None:
    made = family({"num_image_with_embedding": 6})
    count = made.reads().frames.count  # type: ignore[union-attr]
    many = made.adjust(clip(1, frames=100, size=(2, 90)))
    assert many.frames is not None
    assert many.frames.shape == (count, 3, 5, 90)  # black bars: 90 is at most 20 times the height
    assert bool((many.frames[:, :, [0, 3, 4]] == 0).all())
    assert len(many.times) == count
    assert list(many.times) == sorted(set(many.times))
    few = made.adjust(clip(1, frames=1))
    assert len(few.times) == (6 if family is Git else made.least_frames)
    assert set(few.times) == set(clip(1, frames=1).times)
    plain = clip(1, frames=count)
    assert made.adjust(plain).frames is not None
    assert torch.equal(made.adjust(plain).frames, plain.frames)  # type: ignore[arg-type]
    assert made.adjust(plain).times == plain.times


@pytest.mark.slow
@pytest.mark.parametrize("family", INSTRUCTED)
def test_emotion_is_that_of_a_pass_for_each_category(
    family: str, captioner_of: Captioners, folder_of: Callable[[str], Path]
) -> None:
    captioner = captioner_of(family)
    given = [clip(1), clip(2)]
    processor, model = direct.loaded(family, folder_of(family))
    for one, caption in zip(given, captions(captioner, *given), strict=True):
        question = direct.inputs(family, processor, one, captioner.question)
        start = " " if family == "smolvlm" else ""
        words = [
            processor.tokenizer(start + word, add_special_tokens=False)["input_ids"]
            for word in captioner.lexicon.categories
        ]
        assert {len(tokens) > 1 for tokens in words} == {True, False}
        logs = torch.stack([direct.log_probabilities(model, question, tokens).sum() for tokens in words])
        expected = dict(zip(captioner.lexicon.categories, logs.softmax(0).tolist(), strict=True))
        assert caption.emotion == pytest.approx(expected, abs=1e-5)
        assert sum(caption.emotion.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["smolvlm", "qwen3_vl", "gemma4", "gemma3", "qwen_omni"])
def test_frames_are_encoded_once_for_caption_and_emotion(family: str, captioner_of: Captioners) -> None:
    captioner = captioner_of(family)
    calls: list[None] = []
    tower = next(
        module
        for name, module in captioner.model.named_modules()
        if name.endswith(("visual", "vision_tower", "vision_model"))
    )
    hook = tower.register_forward_hook(lambda *_: calls.append(None))
    try:
        assert captions(captioner, clip(1))[0].emotion is not None
    finally:
        hook.remove()
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.parametrize("family", ["smolvlm", "qwen3_vl", "gemma4"])
def test_beam_search_is_the_models_own(family: str, captioner_of: Captioners, folder_of: Callable[[str], Path]) -> None:
    captioner = captioner_of(family, replace(OPTIONS, beam_size=3))
    given = [clip(1), clip(2)]
    greedy = captions(captioner_of(family), *given)
    processor, model = direct.loaded(family, folder_of(family))
    for one, plain, caption in zip(given, greedy, captions(captioner, *given), strict=True):
        inputs = direct.inputs(family, processor, one, captioner.instruction)
        assert caption.raw == direct.answer(processor, model, inputs, TOKENS, beams=3)
        assert caption.score is not None
        assert plain.score is not None
        assert caption.emotion == pytest.approx(plain.emotion, abs=1e-5)


@pytest.mark.slow
def test_score_is_the_mean_log_probability_of_the_answers_tokens(
    captioner_of: Captioners, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = captioner_of("qwen3_vl")
    processor, model = direct.loaded("qwen3_vl", folder_of("qwen3_vl"))
    given = direct.inputs("qwen3_vl", processor, clip(1), captioner.instruction)
    tokens = model.generate(**given, do_sample=False, max_new_tokens=TOKENS)[0, given["input_ids"].shape[1] :].tolist()
    logs = direct.log_probabilities(model, given, tokens)
    assert captions(captioner, clip(1))[0].score == pytest.approx(float(logs.mean()), abs=1e-4)

    # a token that ends answers ends this one, and does not count
    end = next(number for number, token in enumerate(tokens) if number > 2 and token not in tokens[:number])
    monkeypatch.setattr(captioner.model.generation_config, "eos_token_id", [1, tokens[end]])
    found = captions(captioner, clip(1), clip(2))[0]
    assert found.score == pytest.approx(float(logs[:end].mean()), abs=1e-4)
