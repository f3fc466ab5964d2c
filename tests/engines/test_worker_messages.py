"""The worker's side: what it answers, and what makes it refuse to work."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evcap_cli import console
from evcap_cli.engines import worker_host
from evcap_cli.engines.contract import Answer, Orders, Surroundings
from evcap_cli.engines.options import EngineOptions, check_engine, devices_of
from evcap_cli.engines.ray_crew import DriverLog, workers_of
from evcap_cli.engines.worker_host import WorkerHost, surroundings
from evcap_cli.errors import CaptionerStopped, UsageError
from tests.engines.works import Naming, source


def answer_of(host: WorkerHost[str], orders: Orders, seconds: float = 5.0) -> Answer[str]:
    """All that is said until there is a result, a problem, or what the wishes lead to."""
    found: Answer[str] = Answer()
    deadline = time.monotonic() + seconds
    asked = replace(orders, seconds=0.2)
    while time.monotonic() < deadline:
        answer = host.exchange(asked)
        found.results += answer.results
        found.notes += answer.notes
        found.unseen += answer.unseen
        found = replace(
            answer,
            results=found.results,
            notes=found.notes,
            unseen=found.unseen,
            identity=answer.identity or found.identity,
        )
        asked = replace(asked, sources=())
        expected = len(orders.sources) or answer.version == orders.version
        if answer.problem or answer.broken or len(found.results) + len(found.unseen) >= expected > 0:
            return found
        if not orders.sources and answer.version == orders.version:
            return found
    raise AssertionError("no answer")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WorkerHost[str]]]:
    """Starts workers in this process, and takes back what each does to its process."""
    monkeypatch.setattr(console, "_verbosity", console.LIBRARY)
    logger = logging.getLogger("evcap_cli")
    before = logger.handlers[:], logger.level, logger.propagate
    hosts: list[WorkerHost[str]] = []

    def begin(driver: Surroundings | None = None, device: str | None = None, **more: Any) -> WorkerHost[str]:
        hosts.append(WorkerHost(Naming(), driver or surroundings(), device, "here", **more))
        return hosts[-1]

    yield begin
    for host in hosts:
        host.close()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture
def host(start: Callable[..., WorkerHost[str]]) -> WorkerHost[str]:
    return start(device="cpu")


def test_a_worker_says_what_it_is_and_answers_in_order(host: WorkerHost[str]) -> None:
    ready = answer_of(host, Orders(1, {"loud": "yes"}))
    assert (ready.version, ready.identity, ready.appetite) == (1, {"device": "usual", "loud": "yes"}, 3)
    answer = answer_of(host, Orders(1, sources=[(4, source("a")), (9, source("b"))]))
    assert answer.results == [(4, "A"), (9, "B")]
    assert answer.progress >= 2
    assert answer.notes == [("warning", "seen a"), ("warning", "seen b")]


def test_a_worker_logs_what_it_does(monkeypatch: pytest.MonkeyPatch, start: Callable[..., WorkerHost[str]]) -> None:
    monkeypatch.setattr(worker_host, "LOG_SECONDS", 0.0)
    lines: list[str] = []
    host = start(device="cpu", log=lines.append)
    answer_of(host, Orders(1))
    answer_of(host, Orders(1, sources=[(1, source("a")), (2, source("b"))]))
    host.exchange(Orders(1))
    answer_of(host, Orders(1, sources=[(3, source("memory"))]))
    assert {"warning: seen a", "warning: seen b", "2 videos done, 0 in hand", "error: MemoryError:"} <= set(lines)


def test_a_driver_on_ray_logs_what_its_user_sees_and_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(console, "_verbosity", console.QUIET)
    (tmp_path / "logs").mkdir()
    with closing(DriverLog(tmp_path)), console.progress(3, "captioning") as bar:
        bar.advance(note="a.mp4", seconds=9.0, failed=True)
        console.warn("b.mp4: \x1b[2J")
        console.detail("a worker on here: 1 video done")
    console.warn("later")
    DriverLog(tmp_path / "nowhere").close()
    with closing(DriverLog(None)):
        console.warn("nowhere")
    (log,) = (tmp_path / "logs").iterdir()
    assert log.name == f"evcap-driver-{os.getpid()}.log"
    progress, warning, detail, last = [line[20:] for line in log.read_text().splitlines()]
    assert re.fullmatch(r"captioning: 1/3 videos in 0 s, .* h of video/h, about \d+ s left, 1 failed  a\.mp4", progress)
    assert (warning, detail) == ("warning: b.mp4: \\x1b[2J", "a worker on here: 1 video done")
    assert last.startswith("captioning: 1/3 videos in ")
    assert capsys.readouterr().err == ""


def test_what_ends_the_work_and_what_nobody_expected_are_told_apart(
    host: WorkerHost[str], start: Callable[..., WorkerHost[str]]
) -> None:
    answer_of(host, Orders(1))
    stopped = answer_of(host, Orders(1, sources=[(1, source("stop"))]))
    assert isinstance(stopped.problem, CaptionerStopped)
    other = start()
    answer_of(other, Orders(1))
    broken = answer_of(other, Orders(1, sources=[(1, source("a")), (2, source("break"))]))
    assert (broken.results, broken.broken, broken.out_of_memory) == ([(1, "A")], "KeyError: 'broken'", False)
    full = start()
    answer_of(full, Orders(1))
    assert answer_of(full, Orders(1, sources=[(1, source("memory"))])).out_of_memory


def test_a_wish_that_cannot_be_met_is_a_problem(host: WorkerHost[str]) -> None:
    assert str(answer_of(host, Orders(1, {"loud": "no"})).problem) == "cannot be quiet"


def test_a_worker_leaves_alone_what_only_the_driver_sees(host: WorkerHost[str], tmp_path: Path) -> None:
    answer_of(host, Orders(1))
    here, gone = source(str(tmp_path)), source("/nowhere/b.mp4")
    answer = answer_of(host, Orders(1, sources=[(1, gone), (2, here), (3, gone)], there=frozenset({1, 2})))
    # the third is not there for anybody: its result says so
    assert answer.unseen == [1]
    assert answer_of(host, Orders(1), 1.0).results or answer.results


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"evcap": "0.0.1"},
            r"here: evcap .* is installed there, and 0\.0\.1 here; install evcap 0\.0\.1 on all nodes",
        ),
        (
            {"plugins": {"mine": "mine 1.0"}},
            r"here: plugin mine differs: missing there, mine 1\.0 here; install the same",
        ),
    ],
)
def test_a_worker_with_another_evcap_or_other_plugins_refuses(
    change: dict[str, Any], words: str, start: Callable[..., WorkerHost[str]]
) -> None:
    problem = answer_of(start(replace(surroundings(), **change)), Orders(1)).problem
    assert isinstance(problem, UsageError)
    assert re.match(words, str(problem))


def test_a_worker_takes_over_folder_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[..., WorkerHost[str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "other"
    folder.mkdir()
    monkeypatch.setenv("EVCAP_DATA", "before")
    answer_of(start(replace(surroundings(), folder=folder, variables={"EVCAP_DATA": "x"})), Orders(1))
    assert (Path.cwd(), os.environ["EVCAP_DATA"]) == (folder, "x")


@pytest.mark.parametrize(("text", "devices"), [("auto", ["auto"]), ("cuda:0, cuda:1", ["cuda:0", "cuda:1"])])
def test_devices_are_separated_by_commas(text: str, devices: list[str]) -> None:
    assert devices_of(text) == devices


@pytest.mark.parametrize("text", ["cuda:0,", ",", "auto,cpu"])
def test_each_of_several_devices_has_a_name(text: str) -> None:
    with pytest.raises(UsageError, match="does not name each device"):
        devices_of(text)


def test_ray_takes_no_list_of_devices() -> None:
    with pytest.raises(UsageError, match="--engine ray with --device cpu,cpu"):
        check_engine(EngineOptions(engine="ray"), "cpu,cpu")


def test_ray_that_is_not_installed_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.engines.options.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--engine ray needs Ray; pip install 'evcap\[ray\]'") as caught:
        check_engine(EngineOptions(engine="ray"), "auto")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("resources", "options", "gpus", "expected"),
    [
        ({"CPU": 64.0}, {}, 0.0, (16, 4.0)),
        ({"CPU": 2.0}, {}, 0.0, (1, 2.0)),
        ({"CPU": 1.0}, {}, 0.0, (1, 1.0)),
        ({"CPU": 1.0}, {"workers_per_node": 2}, 0.0, (2, 0.5)),
        ({"CPU": 6.0}, {"workers_per_node": 4}, 0.0, (4, 1.0)),
        ({"CPU": 6.0}, {"cpus_per_worker": 2.0}, 0.0, (3, 2.0)),
        ({"CPU": 32.0, "GPU": 4.0}, {}, 1.0, (4, 4.0)),
        ({"CPU": 32.0, "GPU": 4.0}, {}, 0.5, (8, 4.0)),
        ({"CPU": 8.0, "GPU": 4.0}, {}, 1.0, (4, 2.0)),
        ({"CPU": 64.0}, {}, 1.0, (0, 0.0)),
        ({}, {}, 0.0, (0, 0.0)),
        ({}, {"cpus_per_worker": 0.0}, 0.0, (1, 0.0)),
    ],
)
def test_workers_of_a_node_fit_on_it(
    resources: dict[str, float], options: dict[str, Any], gpus: float, expected: tuple[int, float]
) -> None:
    count, cpus = workers_of(resources, EngineOptions(**options), gpus)
    assert (count, cpus) == expected
    assert count * cpus <= resources.get("CPU", 0.0)
    assert count * gpus <= resources.get("GPU", 0.0)
