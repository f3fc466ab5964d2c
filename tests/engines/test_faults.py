"""What becomes of a run when workers end, each for a reason of its own: scripted workers, at the contract's level."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from evcap_cli.captioning import engine_captioner
from evcap_cli.engines import dispatcher, local_crew
from evcap_cli.engines.cache_filling import FeatureWorker
from evcap_cli.engines.contract import Answer, WorkerLost
from evcap_cli.engines.local_crew import LocalCrew, kills_for_memory
from evcap_cli.errors import EvcapError, OutOfMemory, WorkersGone, WriteError
from evcap_cli.features.cache import FeatureCache
from tests.commands.small import evcap, records
from tests.engines.fakes import ScriptedCrew, captions, ends_at_once, ends_on, engine_of, loads, names, run
from tests.engines.works import Naming

VIDEOS = ("a", "b", "large", "c", "d")
DIED = WorkerLost("died")
KILLED = WorkerLost("was killed for want of memory", kind=OutOfMemory)
RAN_OUT: Answer[str] = Answer(0, broken="MemoryError:", out_of_memory=True)
CAPITALS = {name: name.upper() for name in VIDEOS}


@pytest.mark.parametrize(("how", "words"), [(KILLED, "was killed for want of memory"), (RAN_OUT, "ran out of memory")])
def test_a_video_for_which_two_workers_lack_memory_fails_as_such_and_alone(
    how: Answer[str] | WorkerLost, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(engine_of(ScriptedCrew(one=[ends_on("large", how)], two=[ends_on("large", how)])), VIDEOS)
    assert found.pop("large") == f"memory: 2 workers died on this video (the last one {words})"
    assert found == {name: capitals for name, capitals in CAPITALS.items() if name != "large"}
    assert capsys.readouterr().err.count(f"{words}; its work goes to others") in (2, 3)


def test_a_video_that_is_too_much_for_one_worker_is_done_by_another() -> None:
    assert run(engine_of(ScriptedCrew(small=[ends_on("large", KILLED), names])), VIDEOS) == CAPITALS


def test_no_video_is_to_blame_for_a_node_that_is_lost() -> None:
    gone = ends_on("large", WorkerLost("is gone with its node", blame=False))
    crew = ScriptedCrew(one=[gone, gone, gone, gone, names])
    assert run(engine_of(crew), ["large"]) == {"large": "LARGE"}
    assert len(crew.started) == 5


def test_a_place_without_the_memory_to_load_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    crew = ScriptedCrew(small=[ends_at_once(KILLED)], large=[loads(8)])
    assert run(engine_of(crew), VIDEOS) == CAPITALS
    assert crew.started.count("small") == dispatcher.STARTS
    said = "small is not used: 3 workers could not load (the last one was killed for want of memory); see the logs"
    assert said in capsys.readouterr().err


def test_a_run_without_workers_waits_for_one_as_long_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "RECRUIT_SECONDS", 0.0)
    crew = ScriptedCrew(one=[ends_on("a", DIED), ends_at_once(DIED)])
    with pytest.raises(WorkersGone) as caught:
        run(engine_of(crew, wait_seconds=0.05), VIDEOS)
    assert str(caught.value) == (
        "no worker for 0.05 seconds (no place; one is not used: 3 workers could not load (the last one died); see the"
        " logs of that node); what is finished is kept: run the same command again when there are workers"
    )
    # a node that is added in time
    late = ScriptedCrew(one=[ends_on("a", DIED), ends_at_once(DIED)])
    engine = engine_of(late)
    late.later = {"two": [names]}
    assert run(engine, VIDEOS) == CAPITALS


def test_where_no_worker_can_come_any_more_nobody_waits_for_one() -> None:
    crew = ScriptedCrew(fixed=True, one=[ends_on("a", DIED), ends_at_once(DIED)], two=[ends_at_once(DIED)])
    with pytest.raises(WorkersGone, match=r"^no worker is left \(.*one is not used: 3 workers could not load"):
        run(engine_of(crew, wait_seconds=3600), VIDEOS)
    local: LocalCrew[str] = LocalCrew(Naming(), ["cpu", "cpu"])
    assert not local.hopeless({"worker 1 on cpu"})
    assert local.hopeless({"worker 1 on cpu", "worker 2 on cpu", "another"})


@pytest.mark.slow
def test_a_run_that_lost_all_its_workers_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(8):
        (tmp_path / f"{number}.mp4").write_bytes(b"film")
    out = tmp_path / "out.jsonl"
    dying = ends_on("5.mp4", DIED, captions)
    crews = iter([ScriptedCrew(fixed=True, one=[dying, ends_at_once(DIED)]), good := ScriptedCrew(one=[captions])])
    monkeypatch.setattr(engine_captioner, "crew_of", lambda *_: next(crews))
    call = ("caption", tmp_path, "-o", out, "--device", "cpu,cpu")
    assert evcap(*call) == 3
    said = capsys.readouterr().err
    assert "error: no worker is left (one is not used: 3 workers could not load (the last one died)" in said
    assert "what is finished is kept: run the same command again when there are workers" in said
    assert not out.exists()
    assert evcap(*call) == 0
    assert "captioned 8 of 8 videos (3 from an earlier run)" in capsys.readouterr().err
    assert [Path(name).name for name in good.heard] == [f"{number}.mp4" for number in range(3, 8)]
    assert [Path(record["path"]).name for record in records(out)] == [f"{number}.mp4" for number in range(8)]


def test_a_cache_that_one_node_cannot_write_costs_its_worker_and_a_full_disk_ends_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    full: Answer[str] = Answer(0, problem=WriteError("features cannot be kept (No space left on device)"))
    assert run(engine_of(ScriptedCrew(one=[ends_on("large", full)], two=[names])), VIDEOS) == CAPITALS
    assert "one is not used: features cannot be kept (No space left on device)" in capsys.readouterr().err
    with pytest.raises(WriteError, match="No space left"):
        run(engine_of(ScriptedCrew(one=[ends_on("large", full)], two=[ends_on("large", full)])), VIDEOS)


def test_features_are_computed_where_they_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder, words in ((tmp_path / "file" / "cache", "features cannot be kept here"), (tmp_path / "cache", None)):
        pipeline = SimpleNamespace(
            workers=1, identities={}, device=SimpleNamespace(type="cpu"), cache=FeatureCache(folder)
        )
        worker = FeatureWorker(pipeline, "fp32")  # type: ignore[arg-type]
        probe = tmp_path / "probe"
        with pytest.raises(EvcapError, match="the cache here is not the driver's"):
            worker.configure({"probe": probe})
        probe.touch()
        if words is None:
            worker.configure({"probe": probe})
        else:
            with pytest.raises(WriteError, match=words):
                worker.configure({"probe": probe})
        probe.unlink()


def test_a_kill_by_the_system_is_told_from_one_by_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = tmp_path / "vmstat"
    monkeypatch.setattr(local_crew, "COUNTERS", counters)
    assert kills_for_memory() == 0
    counters.write_text("pgfault 12\noom_kill 3\noom_kill_other x\n")
    assert kills_for_memory() == 3
    crew: LocalCrew[str] = LocalCrew(Naming(), ["cpu"])
    (hand,) = crew.recruit([], set())
    hand.process.kill()  # type: ignore[attr-defined]
    counters.write_text("oom_kill 4\n")
    causes = []
    for _ in range(2):
        with pytest.raises(WorkerLost) as caught:
            hand.answer()
        causes.append((caught.value.cause, caught.value.kind.code))
    hand.end()
    # one kill of the system explains one death
    assert causes == [("was killed for want of memory", "memory"), (f"died ({signal.SIGKILL.name})", "crash")]
