"""Whole runs with tiny models of four families: each raw answer is the model's own, whatever surrounds its clip."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from evcap_multimodal.captioner import MultimodalCaptioner

from evcap_cli.errors import VideoError
from evcap_cli.systems.clip_captioner import Clip, ClipCaption
from tests.commands.small import evcap, fork_evcap, records
from tests.features.films import make_film
from tests.multimodal import direct
from tests.multimodal.conftest import TOKENS

FAMILIES = ["smolvlm", "qwen3_vl", "gemma4", "git"]
"""Of which gemma4 takes audio, and git no instruction."""
SEGMENTS = 2
Captioned = list[tuple[Clip, str]]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of two segments; the second has no audio and another shape."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        size = (48, 64) if number == 1 else (64, 48)
        make_film(folder / f"{number}.mp4", frames=8, fps=4, size=size, sound=number != 1, seed=number)
    return folder


@pytest.fixture
def captioned(monkeypatch: pytest.MonkeyPatch) -> Captioned:
    """Clips that were captioned, each with the raw answer, in order."""
    found: Captioned = []
    plain = MultimodalCaptioner.caption

    def recording(self: MultimodalCaptioner, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        results = plain(self, clips)
        for clip, result in zip(clips, results, strict=True):
            assert isinstance(result, ClipCaption), result
            found.append((clip, result.raw))
        return results

    monkeypatch.setattr(MultimodalCaptioner, "caption", recording)
    return found


def call(model: Path, output: Path, *more: object) -> list[object]:
    return ["caption", "-c", model, "--max-words", 2, "--segment", "fixed:1", "-o", output, *more]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_raw_answers_of_a_run_are_those_of_the_model_called_directly(
    family: str,
    folder_of: Callable[[str], Path],
    captioner_of: Callable[..., MultimodalCaptioner],
    videos: Path,
    tmp_path: Path,
    captioned: Captioned,
) -> None:
    folder = folder_of(family)
    assert evcap(*call(folder, tmp_path / "a.jsonl", videos, "--batch-size", 4, "--workers", 2)) == 0
    together = list(captioned)
    assert len(together) == 3 * SEGMENTS
    assert len({raw for _, raw in together}) > 1, "the model does not depend on what it reads"
    processor, model = direct.loaded(family, folder)
    instruction = captioner_of(family).instruction
    assert [raw for _, raw in together] == [
        direct.answer(processor, model, direct.inputs(family, processor, clip, instruction), TOKENS)
        for clip, _ in together
    ]

    # another batch size and number of workers, other neighbours
    captioned.clear()
    assert evcap(*call(folder, tmp_path / "b.jsonl", videos, "--batch-size", 1, "--workers", 1)) == 0
    assert [raw for _, raw in captioned] == [raw for _, raw in together]
    captioned.clear()
    assert evcap(*call(folder, tmp_path / "c.jsonl", videos / "1.mp4")) == 0
    assert [raw for _, raw in captioned] == [raw for _, raw in together][SEGMENTS : 2 * SEGMENTS]
    many, few, alone = (
        [caption for record in records(tmp_path / f"{name}.jsonl") for caption in record["captions"]] for name in "abc"
    )
    for other, first in ((few, many), (alone, many[SEGMENTS : 2 * SEGMENTS])):
        assert [caption["text"] for caption in other] == [caption["text"] for caption in first]
        scores = [caption["score"] for caption in first]
        assert [caption["score"] for caption in other] == pytest.approx(scores, abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_run_goes_on_to_the_same_bytes(
    family: str,
    folder_of: Callable[[str], Path],
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    captioned: Captioned,
) -> None:
    calm, killed = tmp_path / "calm.jsonl", tmp_path / "killed.jsonl"
    folder = folder_of(family)
    assert evcap(*call(folder, calm, videos, "--batch-size", 1)) == 0
    plain = MultimodalCaptioner.caption
    calls: list[None] = []

    def killing(self: MultimodalCaptioner, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        calls.append(None)
        if len(calls) == 2 * SEGMENTS:  # the first video is finished, the second is not
            os.killpg(0, signal.SIGKILL)
        return plain(self, clips)

    with monkeypatch.context() as patch:
        patch.setattr(MultimodalCaptioner, "caption", killing)
        code, _, _ = fork_evcap(*call(folder, killed, videos, "--batch-size", 1)).end()
    assert code == -signal.SIGKILL
    assert not killed.exists()
    captioned.clear()
    assert evcap(*call(folder, killed, videos, "--batch-size", 1)) == 0
    assert len(captioned) == 2 * SEGMENTS, "what was finished is not captioned again"
    assert killed.read_bytes() == calm.read_bytes()
