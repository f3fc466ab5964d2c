"""Worker processes on one machine, with work that needs no models: who does what, and what deaths and hangs do."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from evcap_cli import console
from evcap_cli.engines import dispatcher
from evcap_cli.engines.dispatcher import Dispatcher
from evcap_cli.engines.local_crew import LocalCrew
from evcap_cli.errors import CaptionerStopped, EvcapError, UsageError
from tests.engines.works import Naming, source

Start = Callable[..., Dispatcher[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers and waits for the first of them; in the end none may be left."""
    started: list[Dispatcher[str]] = []

    def begin(devices: str = "a,b", *, timeout: float = 100.0, **work: object) -> Dispatcher[str]:
        naming = Naming(journal=tmp_path, **work)  # type: ignore[arg-type]
        started.append(Dispatcher(naming, LocalCrew(naming, devices.split(",")), timeout=timeout, wait_seconds=30))
        started[-1].configure()
        return started[-1]

    yield begin
    for one in started:
        one.close()
    for file in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.name), 0)


def begun(folder: Path) -> dict[int, list[str]]:
    """What each worker began."""
    return {int(file.name): file.read_text().splitlines() for file in folder.iterdir()}


def names(count: int) -> list[str]:
    return [f"video {number}" for number in range(count)]


def run(engine: Dispatcher[str], given: list[str]) -> dict[str, str]:
    """Results by name; none may come twice."""
    found: dict[str, str] = {}
    for one, result in engine.run([source(name) for name in given]):
        assert one.given not in found
        found[one.given] = result
    return found


@pytest.mark.slow
def test_all_is_done_once_by_all_workers_and_again_by_the_same_ones(start: Start, tmp_path: Path) -> None:
    engine = start(seconds=0.02)
    given = names(40)
    assert run(engine, given) == {name: name.upper() for name in given}
    workers = begun(tmp_path)
    assert len(workers) == 2
    assert all(workers.values())
    assert sorted(name for done in workers.values() for name in done) == sorted(given)
    assert run(engine, ["more"]) == {"more": "MORE"}
    assert begun(tmp_path).keys() == workers.keys()
    assert run(engine, []) == {}


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced_and_nothing_is_lost(start: Start, tmp_path: Path) -> None:
    engine = start(seconds=0.03)
    given = names(40)
    found: dict[str, str] = {}
    killed: set[int] = set()
    with closing(engine.run([source(name) for name in given])) as results:
        for one, result in results:
            assert one.given not in found
            found[one.given] = result
            if len(found) in (5, 20):
                victim = next(pid for pid in begun(tmp_path) if pid not in killed)
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                killed.add(victim)
    assert found == {name: name.upper() for name in given}
    assert len(killed) == 2
    assert len(begun(tmp_path)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kill", r"crash: 2 workers died on this video \(the last one died \(SIGKILL\)\)"),
        ("break", r"crash: 2 workers died on this video \(the last one failed with KeyError: 'broken'\)"),
    ],
)
def test_a_video_that_ends_every_worker_fails_and_the_others_do_not(
    name: str, expected: str, start: Start, tmp_path: Path
) -> None:
    import re

    engine = start("a")
    given = [*names(2), name, *(f"later {number}" for number in range(3))]
    found = run(engine, given)
    assert re.fullmatch(expected, found.pop(name))
    assert found == {other: other.upper() for other in given if other != name}
    assert 2 <= sum(done.count(name) for done in begun(tmp_path).values()) <= 3


@pytest.mark.slow
def test_a_video_on_which_workers_hang_fails_after_two_of_them(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PATIENCE", 1.0)
    engine = start("a", timeout=1.0)
    before = time.monotonic()
    found = run(engine, ["hang", "video"])
    assert found["video"] == "VIDEO"
    assert found["hang"].startswith("timeout: 2 workers made no progress on this video")
    assert time.monotonic() - before < 60


@pytest.mark.slow
def test_a_worker_that_is_stopped_like_a_frozen_machine_is_given_up(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "PATIENCE", 1.0)
    engine = start("a", timeout=1.0, seconds=0.05)
    given = names(12)
    found = {}
    for one, result in engine.run([source(name) for name in given]):
        found[one.given] = result
        if len(found) == 2:
            os.kill(next(iter(begun(tmp_path))), signal.SIGSTOP)
    assert found == {name: name.upper() for name in given}
    assert len(begun(tmp_path)) == 2


@pytest.mark.slow
def test_what_stops_the_work_for_all_videos_ends_the_run(start: Start) -> None:
    engine = start("a")
    with pytest.raises(CaptionerStopped, match="no more"):
        run(engine, ["a", "stop", "b"])
    assert run(engine, ["c"]) == {"c": "C"}


@pytest.mark.slow
def test_a_device_that_cannot_be_used_is_left_out_and_named(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    engine = start("a,nothing", unloadable=("nothing",), seconds=0.02)
    assert len(run(engine, names(40))) == 40
    assert "worker 2 on nothing is not used: no nothing here" in capsys.readouterr().err


@pytest.mark.slow
def test_devices_none_of_which_can_be_used_are_the_error_of_the_first(start: Start) -> None:
    with pytest.raises(UsageError, match="no x here"):
        start("x,x", unloadable=("x",))


@pytest.mark.slow
def test_workers_that_die_while_they_load_are_not_started_forever(start: Start) -> None:
    with pytest.raises(
        EvcapError, match=r"worker 1 on dies: 3 workers could not load \(the last one died \(SIGKILL\)\)"
    ):
        start("dies")


@pytest.mark.slow
def test_a_worker_whose_results_would_differ_is_left_out(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    engine = start("a,strange", seconds=0.05)
    assert len(run(engine, names(30))) == 30
    error = capsys.readouterr().err
    assert "device differs" in error
    assert "is not used" in error


@pytest.mark.slow
def test_a_run_that_is_left_in_the_middle_leaves_no_worker_at_work(start: Start, tmp_path: Path) -> None:
    engine = start("a", seconds=0.05)
    results = engine.run([source(name) for name in names(30)])
    assert next(results)[1].startswith("VIDEO")
    results.close()
    done = sum(map(len, begun(tmp_path).values()))
    assert done < 30
    assert run(engine, ["again"]) == {"again": "AGAIN"}
    assert sum(map(len, begun(tmp_path).values())) == done + 1


@pytest.mark.slow
def test_wishes_reach_all_workers_and_one_that_cannot_be_met_is_the_users_to_hear(start: Start) -> None:
    engine = start("a")
    engine.configure(loud="yes")
    assert engine.identity == {"device": "usual", "loud": "yes"}
    with pytest.raises(UsageError, match="cannot be quiet"):
        engine.configure(loud="no")
    assert run(engine, ["a"]) == {"a": "A"}
    assert engine.identity == {"device": "usual", "loud": "yes"}


@pytest.mark.slow
def test_a_line_a_worker_says_what_it_is_doing(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = start(seconds=0.05)
    monkeypatch.setattr(console, "_verbosity", console.VERBOSE)
    monkeypatch.setattr(dispatcher, "WATCH_SECONDS", 0.0)
    run(engine, names(20))
    lines = [line for line in capsys.readouterr().err.splitlines() if " in hand" in line]
    most: dict[str, int] = {}
    for line in lines:
        found = re.fullmatch(r"(.+): (\d+) videos? done, \d+ in hand(, video \d+ first, progress \d+ s ago)?", line)
        assert found is not None
        assert most.get(found[1], 0) <= int(found[2])
        most[found[1]] = int(found[2])
    assert len(most) == 2
    assert sum(most.values()) <= 20
