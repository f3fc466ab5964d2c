"""Videos that damage took much of are counted where a batch log shows it."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from tests.commands.small import evcap, records
from tests.commands.test_caption import SCHEMA
from tests.media.clips import make_clip
from tests.media.dropouts import impossible, rubbish

LINE = "2 videos lost more than a tenth of their picture or sound"


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A film without damage, one that lost half of its picture, one half of its sound, one a tenth of a second."""
    folder = tmp_path / "videos"
    folder.mkdir()
    whole = make_clip(folder / "a.mkv", seconds=4, size=(96, 64), gop=12)
    rubbish(whole, folder / "b.mkv", "video", 1, 3, impossible)
    rubbish(whole, folder / "c.mkv", "audio", 1, 3, impossible)
    rubbish(whole, folder / "d.mkv", "audio", 1, 1.1, impossible)
    monkeypatch.chdir(tmp_path)
    return Path("videos")


@pytest.mark.slow
def test_records_and_the_last_line_tell_of_serious_loss(
    damaged: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("caption", damaged, "-c", checkpoint, "--cache-dir", "cache")
    assert evcap(*command, "-o", "one.jsonl") == 0
    assert LINE in capfd.readouterr().err.splitlines()[-1]
    found = {record["id"]: record for record in records(Path("one.jsonl"))}
    for record in found.values():
        jsonschema.validate(record, SCHEMA)
    media = {name: record["media"] for name, record in found.items()}
    assert media["a"]["lost_frames_share"] == media["a"]["lost_audio_seconds"] == media["a"]["lost_audio_share"] == 0
    assert media["b"]["lost_frames_share"] == pytest.approx(0.5, abs=0.15)
    assert media["b"]["lost_audio_share"] == 0
    assert media["c"]["lost_frames_share"] == 0
    assert media["c"]["lost_audio_seconds"] == pytest.approx(2, abs=0.3)
    assert media["c"]["lost_audio_share"] == pytest.approx(0.5, abs=0.1)
    assert 0 < media["d"]["lost_audio_share"] < 0.1
    # what the cache remembers says the same
    assert evcap(*command, "-o", "two.jsonl") == 0
    assert LINE in capfd.readouterr().err.splitlines()[-1]
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()
    assert evcap("merge", "one.jsonl", "-o", "all.jsonl") == 0
    assert LINE in capfd.readouterr().err.splitlines()[-1]
    assert Path("one.jsonl").read_bytes() == Path("all.jsonl").read_bytes()


@pytest.mark.slow
def test_extract_counts_them_too(damaged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert evcap("extract", damaged, "--backbone", "lite", "--cache-dir", "cache") == 0
        assert LINE in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_records_of_earlier_versions_are_read(damaged: Path, checkpoint: Path) -> None:
    assert evcap("caption", damaged / "a.mkv", "-c", checkpoint, "--cache-dir", "cache", "-o", "new.jsonl") == 0
    line = Path("new.jsonl").read_text()
    fields = ', "lost_frames_share": 0.0, "lost_audio_seconds": 0.0, "lost_audio_share": 0.0'
    assert fields in line
    Path("old.jsonl").write_text(line.replace(fields, ""))
    jsonschema.validate(records(Path("old.jsonl"))[0], SCHEMA)
    assert evcap("merge", "old.jsonl", "-o", "again.jsonl") == 0
    assert Path("again.jsonl").read_text() == line
