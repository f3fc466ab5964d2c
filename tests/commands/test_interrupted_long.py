"""A long video that is cut into segments goes on, after a kill, with the stretch that is missing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
from evcap_cli.features import reading_threads
from evcap_cli.media import stretch_limits
from evcap_cli.media.decode_plan import AudioChunk, DecodedFrame, DecodePlan
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.decoder import Decoder
from evcap_cli.output.records import Record
from tests.commands.small import evcap, fork_evcap, save_checkpoint
from tests.features.films import make_film
from tests.forked import kill_at_commit


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose features take little time."""
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small", kinds=("appearance", "audio"))


OPTIONS = ("-o", "out.jsonl", "--segment", "fixed:1")


class Recording(Decoder):
    """A decoder that keeps the plans of its passes."""

    plans: list[DecodePlan]

    def decode(self, plan: DecodePlan) -> Iterator[DecodedFrame | AudioChunk | DecodeReport]:
        self.plans.append(plan)
        return super().decode(plan)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.slow
def test_a_kill_late_in_a_long_video_repeats_what_is_left(
    cached: bool, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stretch_limits, "STRETCH_SECONDS", 1)
    plans: list[DecodePlan] = []
    monkeypatch.setattr(Recording, "plans", plans, raising=False)
    monkeypatch.setattr(reading_threads, "Decoder", Recording)
    film = make_film(tmp_path / "long.mkv", frames=100)
    assert evcap("caption", film, *OPTIONS, "-c", checkpoint, "--no-cache") == 0
    undisturbed = Path("out.jsonl").read_bytes()
    assert len(plans) == 5
    Path("out.jsonl").unlink()
    partial = Path("out.jsonl.partial")
    assert not partial.exists()
    place = ["--cache-dir", "kept"] if cached else ["--no-cache"]
    with monkeypatch.context() as patch:
        # of fifteen: two streams a segment, and a report a stretch
        kill_at_commit(patch, "safetensors", 12)
        process = fork_evcap("caption", film, *OPTIONS, "-c", checkpoint, *place)
        assert process.end()[0] == -signal.SIGKILL
    assert partial.exists()
    assert not Path("out.jsonl").exists()

    plans.clear()
    assert evcap("caption", film, *OPTIONS, "-c", checkpoint, *place) == 0
    assert Path("out.jsonl").read_bytes() == undisturbed
    assert len(plans) <= 4
    first = min(int(min(request.ordinals)) for plan in plans for request in plan.frames.values())
    assert first >= 2 * 20, "what was finished is not decoded again"
    assert not partial.exists()


@pytest.mark.slow
def test_features_of_a_finished_video_are_not_kept_without_a_cache(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    for seed in range(2):
        make_film(tmp_path / "films" / f"{seed}.mkv", frames=30, seed=seed)
    dropped = []
    plain = CheckpointCaptioner.drop_unfinished

    def drop(engine: CheckpointCaptioner, record: Record) -> None:
        folder = Path("out.jsonl.partial/unfinished") / str(record.digest)
        there = folder.exists()
        plain(engine, record)
        dropped.append((there, folder.exists()))

    monkeypatch.setattr(CheckpointCaptioner, "drop_unfinished", drop)
    assert evcap("caption", "films", *OPTIONS, "-c", checkpoint, "--no-cache") == 0
    assert dropped == [(True, False), (True, False)]
    dropped.clear()
    assert evcap("caption", "films", "-o", "out.jsonl", "-c", checkpoint, "--no-cache", "--overwrite") == 0
    assert dropped == [(False, False), (False, False)], "a part of a single segment is worth nothing"
