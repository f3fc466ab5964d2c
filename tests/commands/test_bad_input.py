"""Bad and damaged files among good ones: one error each, the others captioned, exit code 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest

from tests.commands.small import evcap, records
from tests.features.films import make_film
from tests.media.clips import cut, flip_bits

Call = Callable[..., int]


def only_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        samples = np.sin(np.arange(16000) / 20).astype(np.float32)[None]
        for at in range(0, 16000, 1024):
            block = av.AudioFrame.from_ndarray(samples[:, at : at + 1024], format="fltp", layout="mono")
            block.sample_rate = 16000
            container.mux(stream.encode(block))
        container.mux(stream.encode())


@pytest.fixture
def mixture(films: Path) -> Path:
    """The good films with one of each bad and damaged file."""
    (films / "x1-text.mp4").write_text("this is no video\n" * 50)
    cut(films / "e.mp4", films / "x2-cut.mp4", 0.5)
    only_sound(films / "x3-sound.mp4")
    (films / "x4-empty.mp4").touch()
    make_film(films / "y1-one-frame.mp4", frames=1, sound=False)
    long = make_film(films / "y2-whole.mkv", frames=60, size=(160, 120), seed=6)
    flip_bits(long, films / "y3-bits.mkv", every=900)
    cut(long, films / "y4-cut.mkv", 0.6)
    return films


@pytest.mark.slow
def test_bad_files_get_an_error_each_and_the_others_their_captions(
    mixture: Path, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert caption(mixture, "-o", "out.jsonl", "-o", "out.srt", "-o", "out.html", "-o", "tree/") == 3
    told = capfd.readouterr().err.splitlines()
    found = {record["id"]: record for record in records(Path("out.jsonl"))}
    failed = {name: record["error"]["code"] for name, record in found.items() if record["status"] == "failed"}
    assert failed == {"x1-text": "open", "x2-cut": "open", "x3-sound": "no-video", "x4-empty": "open"}
    for name in failed:
        lines = [line for line in told if name in line and line.startswith("error: ")]
        assert len(lines) == 1, told
        assert ";" in lines[0], "cause and next step"
        assert not Path(f"tree/{name}.mp4.srt").exists()
    captioned = {name for name, record in found.items() if record["status"] == "ok"}
    assert captioned == {*"abcde", "y1-one-frame", "y2-whole", "y3-bits", "y4-cut"}
    assert all(record["captions"] for name, record in found.items() if name in captioned)
    for name in ("y1-one-frame", "y3-bits", "y4-cut"):
        assert found[name]["warnings"], name
        assert any(line.startswith("warning: ") and name in line for line in told)
    assert not found["a"]["warnings"]
    assert told[-1].startswith(
        "captioned 9 of 13 videos, 4 failed, 1 video lost more than a tenth of its picture or sound: "
    )
    assert len(pysubs2.load("out.srt")) == 9
    assert caption(mixture, "-o", "again.jsonl") == 3
    assert Path("again.jsonl").read_bytes() == Path("out.jsonl").read_bytes()
    # the neighbours of bad files say what they say alone
    assert caption(mixture / "c.mp4", mixture / "y2-whole.mkv", "-o", "good.jsonl") == 0
    assert set(Path("good.jsonl").read_text().splitlines()) < set(Path("out.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_nothing_but_bad_files_is_nothing_done(films: Path, caption: Call) -> None:
    Path("only").mkdir()
    Path("only/text.mp4").write_text("no video")
    assert caption("only", "-o", "out.jsonl") == 1
    assert [record["status"] for record in records(Path("out.jsonl"))] == ["failed"]


@pytest.mark.slow
def test_fail_fast_stops_and_keeps_what_was_done(films: Path, caption: Call, capfd: pytest.CaptureFixture[str]) -> None:
    (films / "b.mp4").write_text("no video")
    assert caption(films, "-o", "out.jsonl", "--fail-fast") == 3
    assert not Path("out.jsonl").exists()
    assert "run again without it" in capfd.readouterr().err
    assert caption(films, "-o", "out.jsonl") == 3
    assert "captioned 4 of 5 videos (2 from an earlier run), 1 failed" in capfd.readouterr().err
    assert not Path("out.jsonl.partial").exists()


@pytest.mark.slow
def test_retry_failed_does_only_what_failed_or_is_new(
    films: Path, caption: Call, capfd: pytest.CaptureFixture[str], originals: Path
) -> None:
    assert caption(films, "-o", "whole.jsonl") == 0
    (films / "b.mp4").write_text("no video")
    last = (films / "e.mp4").rename(Path("later.mp4"))
    assert caption(films, "-o", "out.jsonl") == 3
    (films / "b.mp4").write_bytes((originals / "b.mp4").read_bytes())
    last.rename(films / "e.mp4")
    capfd.readouterr()
    assert caption(films, "-o", "out.jsonl", "-o", "out.srt", "--retry-failed") == 0
    assert "captioned 5 of 5 videos (3 from an earlier run)" in capfd.readouterr().err
    assert Path("out.jsonl").read_bytes() == Path("whole.jsonl").read_bytes()


@pytest.mark.slow
def test_retry_failed_refuses_records_of_another_checkpoint(
    films: Path, caption: Call, warm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from tests.commands.small import save_checkpoint

    assert caption(films, "-o", "out.jsonl", "--limit", "1") == 0
    other = save_checkpoint(tmp_path / "other", seed=1)
    assert evcap("caption", films, "-o", "out.jsonl", "-c", other, "--cache-dir", warm, "--retry-failed") == 2
    assert "another checkpoint" in capfd.readouterr().err
