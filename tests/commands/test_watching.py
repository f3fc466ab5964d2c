"""What a run says of itself on the way: the pace on standard error, events in a log, a profile at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from evcap_cli import console, profiling
from evcap_cli.errors import UsageError
from evcap_cli.event_log import EventLog
from evcap_cli.pace import Pace
from evcap_cli.profiling import Profile
from tests.commands.events import events
from tests.commands.small import evcap
from tests.output.test_formats import a_failure, a_record


def test_the_pace_counts_what_this_run_has_done() -> None:
    now = [100.0]
    pace = Pace(total=1000, clock=lambda: now[0])
    assert pace.text("videos") == ""
    pace.take_over(400)
    now[0] += 50.0
    pace.add(90, 3600.0)
    pace.add(10, failed=True)
    pace.take_over(400)
    assert (pace.done, pace.before, pace.failed) == (500, 400, 10)
    assert pace.left == 250.0
    assert pace.text("videos") == "2.0 videos/s, 72.0 h of video/h, about 4 min 10 s left, 10 failed"
    now[0] += 950.0
    assert pace.rates("videos") == "6.0 videos/min, 3.6 h of video/h"
    pace.add(500)
    assert pace.left is None


def test_a_plain_line_says_rates_time_left_and_failures(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_INTERVAL_SECONDS", 0.0)
    with console.progress(4, "captioning") as bar:
        bar.take_over(1)
        bar.advance(note="a.mp4", seconds=9.0, failed=True)
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("captioning: 2/4 videos in 0 s, ")
    assert " h of video/h, about 0 s left, 1 failed  a.mp4" in line


def test_a_log_grows_line_by_line_whoever_else_writes_and_dies(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.jsonl"
    with EventLog(path, "caption") as log, EventLog(path, "caption") as other:
        log.begin(2, ["out.srt"])
        other.begin(1, ["-"])
        bar = console.Bar(2)
        for record in (a_record("\udcff.mp4"), a_failure()):
            bar.advance(seconds=record.duration, failed=record.error is not None)
            log.record(record, bar)
        log.progress(bar)
        log.finish(3, unwritten=[])
    found = events(path)
    assert [event["event"] for event in found] == ["begin", "begin", "video", "video", "progress", "end", "end"]
    assert len({event["run"] for event in found}) == 2
    assert [event.get("error") for event in found[2:4]] == [None, dict(a_failure().error or {})]
    assert [found[4][name] for name in ("done", "total", "taken_over", "failed")] == [2, 2, 0, 1]
    assert [event["exit_code"] for event in found[5:]] == [None, 3]
    # a line that a kill has cut is ended before the next
    with path.open("a") as file:
        file.write('{"event": "vid')
    with EventLog(path, "caption") as log:
        log.finish(0)
    assert json.loads(path.read_text().splitlines()[-1])["exit_code"] == 0


@pytest.mark.parametrize(("problem", "code"), [(UsageError("x"), 2), (KeyboardInterrupt(), 130), (KeyError(1), None)])
def test_the_last_line_says_how_a_run_ended(problem: BaseException, code: int | None, tmp_path: Path) -> None:
    with pytest.raises(type(problem)), EventLog(tmp_path / "log", "caption"):
        raise problem
    (end,) = events(tmp_path / "log")
    assert (end["event"], end["exit_code"]) == ("end", code)


def test_a_log_that_cannot_be_kept_is_wrong_usage_before_any_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "file" / "log", Path("a\0b")):
        with pytest.raises(UsageError) as caught:
            EventLog(place, "caption")
        assert caught.value.exit_code == 2


def test_a_full_disk_ends_the_log_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(_: int, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    with EventLog(tmp_path / "log", "caption") as log:
        monkeypatch.setattr("evcap_cli.event_log.os.write", full)
        log.begin(1, [])
        log.begin(1, [])
    monkeypatch.undo()
    assert capfd.readouterr().err == f"warning: {tmp_path / 'log'}: the log ends here (No space left on device)\n"


def test_stages_inside_others_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("evcap_cli.profiling.time.perf_counter", lambda: now[0])
    profile = Profile()

    def spend(seconds: float) -> None:
        now[0] += seconds

    with profile.timed("forwards"):
        spend(1.0)
        for _ in range(2):
            with profile.timed("copies"):
                spend(2.0)
        spend(0.5)
    with profile.timed("waiting"):
        spend(14.0)
    spend(0.5)
    profile.add("decoding", 30.0)
    assert profile.seconds == {"forwards": 1.5, "copies": 4.0, "waiting": 14.0, "decoding": 30.0}
    rows = {stage.partition(":")[0]: (who, seconds, share) for who, stage, seconds, share in profile.rows(workers=2)}
    assert rows["decoding"] == ("decoders", "30.0", "75 %")
    assert rows["waiting"] == ("models", "14.0", "70 %")
    assert rows["all else"] == ("models", "0.5", "2 %")
    assert profile.bound_by(2, 8).startswith("bound by decoding (demuxing and decoding): the models waited 70 %")
    assert "--workers 8" in profile.bound_by(2, 8)
    assert "all 2 cores" in profile.bound_by(2, 2)
    profile.add("search", 99.0)
    assert profile.bound_by(2, 8).startswith("bound by search")


def test_nothing_is_measured_unless_a_profile_was_begun() -> None:
    with profiling.timed("search"):
        profiling.add("decoding", 1.0)
    with profiling.ended():
        measured = profiling.begin()
        with profiling.timed("search"):
            profiling.add("decoding", 1.0)
        assert profiling.seconds()["decoding"] == 1.0
    profiling.add("decoding", 1.0)
    assert profiling.seconds() == {}
    assert measured.seconds["decoding"] == 1.0
    assert 0 < measured.seconds["search"] < 1


@pytest.mark.slow
def test_a_run_logs_its_videos_and_says_where_its_time_went(
    films: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, log = Path("out.jsonl"), Path("log.jsonl")
    Path("bad.mp4").write_bytes(b"no film")
    call = ("caption", films / "a.mp4", films / "b.mp4", "bad.mp4", "-o", out, "-c", checkpoint, "--no-cache")
    assert evcap(*call, "--log-json", log, "--profile") == 3
    said = capfd.readouterr().err
    begin, *others, progress, end = events(log)
    several = [event for event in others if event["event"] == "video"]  # a slow run has lines of progress among them
    assert (begin["videos"], begin["outputs"]) == (3, [str(out)])
    logged = {event["path"]: (event["status"], event["error"], event["seconds"]) for event in several}
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert logged == {
        record["path"]: (record["status"], record["error"], (record["media"] or {"duration": 0})["duration"])
        for record in records
    }
    assert (progress["done"], progress["failed"], end["exit_code"], end["unwritten"]) == (3, 1, 3, [])
    assert all(progress["stages"][stage] > 0 for stage in ("decoding", "pixels", "forwards", "search"))
    seconds = {
        line.split()[1].rstrip(":"): float(line.split()[-4])
        for line in said.splitlines()
        if line.startswith(("decoders ", "models "))
    }
    assert {"decoding", "pixels", "waiting", "forwards", "search", "all"} <= set(seconds)
    assert "bound by " in said
    assert evcap(*call, "--log-json", films) == 2
