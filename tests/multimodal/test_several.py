"""Several captions of a clip: the best first, samples by seed, each with its own score, whatever its neighbours are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evcap_multimodal import emotions, sampling
from evcap_multimodal.captioner import MultimodalCaptioner

from evcap_cli.systems.clip_captioner import ClipCaption, Several
from tests.multimodal import direct
from tests.multimodal.conftest import OPTIONS, clip
from tests.multimodal.tiny import BUILDERS

Captioners = Callable[..., MultimodalCaptioner]
FAMILIES = list(BUILDERS)
SHARING = ["smolvlm", "qwen3_vl", "gemma4", "gemma3"]
"""Families whose cache can be cut down to the prompt."""
FOUR = Several(4, seed=5)


def several(captioner: MultimodalCaptioner, *clips: object, request: Several = FOUR) -> list[list[ClipCaption]]:
    found = captioner.caption_several(clips, request)  # type: ignore[arg-type]
    problems = [result for result in found if not isinstance(result, list)]
    assert not problems, problems
    return found  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_is_the_captioners_own_and_the_others_differ(family: str, captioner_of: Captioners) -> None:
    captioner = captioner_of(family)
    clips = [clip(0), clip(1)]
    found = several(captioner, *clips)
    assert [captions[0] for captions in found] == captioner.caption(clips)
    for captions in found:
        assert len({caption.text for caption in captions}) == len(captions) <= 4
        # a beam's best may differ after the last word that is kept
        assert len(captions) > 1 or family not in SHARING
        assert all(caption.emotion == captions[0].emotion for caption in captions)


@pytest.mark.slow
@pytest.mark.parametrize("family", SHARING)
def test_samples_depend_on_clip_and_seed_alone(
    family: str, captioner_of: Captioners, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = captioner_of(family, replace(OPTIONS, emotion=False))
    clips = [clip(0), clip(1), clip(2, audio=False)]
    together = several(captioner, *clips)
    alone = [several(captioner, one)[0] for one in clips]
    assert [[one.text for one in captions] for captions in together] == [
        [one.text for one in captions] for captions in alone
    ]
    other = several(captioner, *clips, request=replace(FOUR, seed=6))
    assert [captions[0].text for captions in other] == [captions[0].text for captions in together]
    assert [[one.text for one in captions] for captions in other] != [
        [one.text for one in captions] for captions in together
    ]
    monkeypatch.setattr(emotions, "REPEATED_BYTES", 1)  # one row a pass
    assert [[one.text for one in captions] for captions in several(captioner, *clips)] == [
        [one.text for one in captions] for captions in together
    ]


@pytest.mark.slow
@pytest.mark.parametrize("family", SHARING)
def test_the_score_of_a_sample_is_that_of_one_pass_over_prompt_and_answer(
    family: str, captioner_of: Captioners, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = captioner_of(family)
    processor, model = direct.loaded(family, folder_of(family))
    given = clip(3)
    drawn: list[list[tuple[torch.Tensor, float]]] = []

    def noted(*arguments: object, **options: object) -> object:
        drawn.extend(draw(*arguments, **options))  # type: ignore[arg-type]
        return drawn

    draw = sampling.draw
    monkeypatch.setattr(sampling, "draw", noted)
    several(captioner, given)
    assert len(drawn[0]) == 3
    inputs = direct.inputs(family, processor, given, captioner.instruction)
    for tokens, score in drawn[0]:
        expected = direct.log_probabilities(model, inputs, tokens.tolist())
        assert score == pytest.approx(float(expected.mean()), abs=1e-3)


def test_tokens_are_drawn_as_often_as_the_most_probable_ones_say() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -3.0])
    numbers = torch.linspace(0, 0.9999, 2000, dtype=torch.float64)
    tokens = sampling._drawn(logits.expand(2000, 4), numbers)
    shares = (logits / sampling.TEMPERATURE).softmax(0)
    kept = torch.tensor([True, True, False, False])  # 0.72 + 0.21 > 0.9
    expected = torch.where(kept, shares, 0.0) / shares[kept].sum()
    assert torch.bincount(tokens, minlength=4) / 2000 == pytest.approx(expected, abs=2e-3)
