"""The ledger of benchmarks, with tiny benchmarks of its own: waiting, marks, failures, going on, the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.ledger import ROOT, Ledger, find, read
from tests.benchmarks.ledger_page import BEGIN, END, render, with_table
from tests.benchmarks.machine import STAT, busy_seconds, code_version, machine_facts
from tests.benchmarks.measured import Measured

FRAME = """
import os, sys, time
from pathlib import Path
from tests.benchmarks.measured import Measured, report
HERE = Path(__file__).parent

def main():
    (HERE / "begun.txt").open("a").write(" ".join([Path(__file__).stem, *sys.argv[1:]]) + "\\n")
    {body}

if __name__ == "__main__":
    main()
"""
FAST = """report(Measured("speed", "fast | slow", (1.0, 1.25, 1.5), at_most=1.3, note="cold"))
    report(Measured("share", "captions alike", (98.0,), "%", at_least=99))"""
BODIES = {
    "fast": f'"--rounds"; {FAST}',
    "broken": 'report(Measured("first", "before the fault", (3.0,), "s")); raise SystemExit("no such weights")',
    "silent": "pass",
    "endless": 'report(Measured("first", "before the end", (2.0,), "MB")); time.sleep(60)',
    "device": FAST,
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tiny_benchmarks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "shared.py").write_text("def helps(): pass\n")
    for name, body in BODIES.items():
        constants = {"device": "LEFT_OUT = 'needs a device'\n", "endless": "LEDGER_SECONDS = 0.5\n"}.get(name, "")
        (folder / f"{name}.py").write_text(f'"""Of {name}."""\n{constants}' + FRAME.replace("{body}", body))
    (folder / "page.md").write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    return folder


def run(
    folder: Path,
    *arguments: str,
    loads: Iterable[float] = (),
    busy: Callable[[], float | None] = lambda: None,
    code: str = "abc",
) -> int:
    """A run of the tiny package; the load is each of ``loads``, then 0."""
    left = iter(loads)

    def load() -> float:
        value = next(left, 0.0)
        if value < 0:
            raise KeyboardInterrupt
        return value

    def ledger(path: Path, facts: object, version: object, load: Callable[[], float], wait: float) -> Ledger:
        made = Ledger(path, {"cpu": "Tiny 1", "cores": "2"}, code, load, wait, "tiny_benchmarks")
        made.places, made.busy = (folder.parent, ROOT), busy
        return made

    files = ["--json", str(folder / "rows.json"), "--page", str(folder / "page.md")]
    return main([*files, *arguments], folder=folder, make_ledger=ledger, load=load)


def begun(folder: Path) -> list[str]:
    """Command lines of the benchmarks that ran, which are forgotten."""
    path = folder / "begun.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_benchmarks_are_the_modules_that_are_commands(package: Path) -> None:
    found = find(package)
    assert list(found) == ["broken", "device", "endless", "fast", "silent"]
    assert found["device"].left_out == "needs a device"
    assert (found["endless"].limit, found["fast"].limit) == (0.5, 1800)
    assert [name for name, of in found.items() if of.has_rounds] == ["fast"]


@pytest.mark.slow
def test_a_failure_is_named_and_the_others_are_taken(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(package, "--write") == 1
    said = capsys.readouterr()
    assert "failed: broken, endless, silent;" in said.err
    assert begun(package) == ["broken", "endless", "fast", "silent"]
    entries = read(package / "rows.json")
    assert {name: (entry.status, entry.error) for name, entry in entries.items()} == {
        "broken": ("failed", "exit code 1: no such weights"),
        "endless": ("failed", "not done after 0.5 s"),
        "fast": ("done", ""),
        "silent": ("failed", "it reported no figures"),
    }
    assert [row.name for entry in entries.values() for row in entry.measured] == ["first", "first", "speed", "share"]
    page = (package / "page.md").read_text()
    assert page.startswith("Before.\n\n" + BEGIN)
    assert page.endswith(END + "\n\nAfter.\n")
    assert "| fast \\| slow | 1.25x (1.00 to 1.50, 3 rounds); cold | at most 1.3x | `fast`, abc |" in page
    assert "| captions alike | 98 % (1 round) | at least 99 %, **missed** | `fast`, abc |" in page
    assert "| **failed**: exit code 1: no such weights |  |  | `broken`, abc |" in page
    # the failed ones again, the good one is there
    assert run(package) == 1
    assert begun(package) == ["broken", "endless", "silent"]


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(package: Path) -> None:
    only = ("--only", "fast", "device")
    with pytest.raises(KeyboardInterrupt):
        run(package, *only, loads=(0.1, -1))
    assert begun(package) == ["fast"]
    assert run(package, *only) == 0
    assert begun(package) == ["device"]
    assert run(package, *only) == 0
    assert begun(package) == []
    # other code, other rounds, --again: what is there does not count; --keep-older: it does
    assert run(package, "--only", "fast", code="def", loads=()) == 0
    assert run(package, "--only", "device", "--keep-older", code="def") == 0
    assert run(package, "--only", "fast", "--rounds", "7", code="def") == 0
    assert run(package, "--only", "device", "--again", "--", "--real", "DIR") == 0
    assert begun(package) == ["fast", "fast --rounds 7", "device --real DIR"]


@pytest.mark.slow
def test_ctrl_c_in_a_benchmark_keeps_its_rows_and_ends_its_processes(package: Path) -> None:
    stop = 'report(Measured("one", "kept", (1.0,))); print(os.getpid(), file=(HERE / "pid").open("w"), flush=True)'
    stop += "; os.kill(os.getppid(), 2); time.sleep(60)"
    (package / "fast.py").write_text(FRAME.replace("{body}", stop))
    with pytest.raises(KeyboardInterrupt):
        run(package, "--only", "fast")
    (entry,) = read(package / "rows.json").values()
    assert entry.status == "stopped"
    assert [row.name for row in entry.measured] == ["one"]
    assert not Path(f"/proc/{(package / 'pid').read_text().strip()}").exists()
    assert "**stopped**: taken again by the next run" in render({"fast": entry})


@pytest.mark.slow
def test_it_waits_for_an_idle_machine_and_marks_what_a_busy_one_gave(package: Path) -> None:
    assert run(package, "--only", "fast", "--wait", "60", loads=(2.0, 2.0, 0.4, 5.0)) == 0
    (entry,) = read(package / "rows.json").values()
    assert entry.load_before == 0.4
    assert run(package, "--only", "device", "--wait", "0", loads=(3.0, 0.0)) == 0
    busy = read(package / "rows.json")["device"]
    assert busy.busy
    assert busy.load_before == 3.0
    table = render({"device": busy})
    assert "Figures marked *busy machine* were taken while other programs ran." in table
    assert "| captions alike | 98 % (1 round), *busy machine* |" in table
    # what others use meanwhile counts as well
    spent = iter((0.0, 1000.0))
    assert run(package, "--only", "fast", "--again", busy=lambda: next(spent)) == 0
    entry = read(package / "rows.json")["fast"]
    assert (entry.load_before, entry.busy) == (0.0, True)
    # an idle figure takes its place
    begun(package)
    assert run(package, "--only", "device") == 0
    assert begun(package) == ["device"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_what_a_benchmark_leaves_is_ended_and_its_time_counts() -> None:
    left = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    left += "print(flush=True); time.sleep(60)"
    leaves = "import subprocess, sys\np = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=-1, "
    leaves += "start_new_session=True)\np.stdout.readline(); print(p.pid)"
    code = """if True:
        import os, subprocess, sys
        from tests.benchmarks.ledger import _children_seconds
        from tests.benchmarks.processes import adopt_orphans, end_children
        assert adopt_orphans()
        pid = int(subprocess.run([sys.executable, "-c", *sys.argv[1:]], stdout=-1).stdout)
        assert os.path.exists(f"/proc/{pid}")
        end_children()
        assert not os.path.exists(f"/proc/{pid}")
        assert _children_seconds() > 0.2
    """
    path = os.pathsep.join((str(ROOT), str(ROOT / "plugins")))
    command = [sys.executable, "-c", code, leaves, left]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, timeout=30).returncode == 0


def test_waiting_ends_when_patience_does(tmp_path: Path) -> None:
    now = [0.0]

    def load() -> float:
        now[0] += 5
        return 1.5

    ledger = Ledger(tmp_path / "rows.json", {}, "abc", load, 12.0, clock=lambda: now[0])
    assert ledger.wait() == 1.5
    assert now[0] == 20  # 5, 10 and 15 s of patience, and a last look
    assert ledger.wait() == 1.5
    assert now[0] == 25  # the next benchmark has none left


def test_wrong_use_is_named_before_any_work(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, cause in (
        (["--only", "nothing"], "there is no benchmark nothing"),
        (["--rounds", "0"], "--rounds is at least 1"),
        (["fast"], "--only fast runs some"),
        (["--only", "fast", "device", "--", "--real", "x"], "arguments after -- need one benchmark of --only"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(package, *arguments)
        assert cause in capsys.readouterr().err
    (package / "page.md").write_text("no markers")
    assert run(package, "--write") == 2
    assert "must be in it once" in capsys.readouterr().err
    (package / "rows.json").write_text("[]")
    assert run(package) == 2
    assert "is no ledger" in capsys.readouterr().err
    assert begun(package) == []


def test_the_list_runs_nothing(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(package, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines][1] == ["device", "-"]
    assert lines[1].endswith("Of device. [left out: needs a device]")
    assert begun(package) == []


@pytest.mark.slow
def test_rows_of_another_machine_are_taken_in(package: Path, tmp_path: Path) -> None:
    assert run(package, "--only", "fast", "--json", str(tmp_path / "other.json")) == 0
    assert run(package, "--merge", str(tmp_path / "other.json"), "--write") == 0
    assert read(package / "rows.json") == read(tmp_path / "other.json")
    assert "| `fast`, abc |" in (package / "page.md").read_text()
    assert begun(package) == ["fast"]
    assert run(package, "--merge", str(tmp_path / "none.json")) == 2


@pytest.mark.parametrize(
    ("values", "unit", "figure"),
    [
        ((1.0, 2.0), "x", "1.50x (1.00 to 2.00, 2 rounds)"),
        ((340.4, 489.2, 400.0), "x", "400x (340 to 489, 3 rounds)"),
        ((0.0412,), "x", "0.0412x (1 round)"),
        ((0.99931,), "", "0.9993 (1 round)"),
        ((1234.6,), "MB", "1,235 MB (1 round)"),
    ],
)
def test_figures_show_median_spread_and_rounds(values: tuple[float, ...], unit: str, figure: str) -> None:
    assert Measured("a", "b", values, unit).figure == figure


def test_goals_hold_for_the_median() -> None:
    assert Measured("a", "b", (1.0, 1.1, 9.0), at_most=1.1).met is True
    assert Measured("a", "b", (1.0, 1.2, 1.3), at_most=1.1).met is False
    assert Measured("a", "b", (7.9,), at_least=8).met is False
    assert Measured("a", "b", (7.9,)).met is None
    row = Measured("a", "b", (1.0, 2.0), "", 3.0, 1.0, "note")
    assert Measured.from_json(json.loads(json.dumps(row.as_json()))) == row
    with pytest.raises(ValueError, match="finite"):
        Measured("a", "b", (float("nan"),))


def test_the_page_has_the_table_of_the_rows() -> None:
    page, entries = (ROOT / "docs" / "benchmarks.md").read_text("utf-8"), read(ROOT / "docs" / "benchmarks.json")
    assert with_table(page, render(entries)) == page
    assert entries.keys() <= find(ROOT / "tests" / "benchmarks").keys()


def test_the_benchmarks_of_evcap_are_found() -> None:
    found = find(ROOT / "tests" / "benchmarks")
    assert {"training_step", "systems", "beam_search", "startup"} <= found.keys()
    assert {"timing", "processes", "measured", "ledger"}.isdisjoint(found)
    assert all(of.title for of in found.values())
    for name in (name for name, of in found.items() if not of.left_out):  # silent ones fail after all their time
        assert "report(" in (ROOT / "tests" / "benchmarks" / f"{name}.py").read_text("utf-8"), name


@pytest.mark.skipif(not STAT.exists(), reason="the system does not say what its processors did")
def test_busy_seconds_count_what_is_spent() -> None:
    before, own = busy_seconds(), time.process_time()
    while time.process_time() - own < 0.1:
        pass
    after = busy_seconds()
    assert before is not None
    assert after is not None
    assert after - before >= 0.08


def test_the_code_of_a_figure_is_a_commit_and_what_differs_from_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        named = ["-c", "user.name=a", "-c", "user.email=a@b"]
        assert os.spawnlp(os.P_WAIT, "git", "git", "-C", str(tmp_path), *named, *arguments) == 0

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "a.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = code_version(tmp_path)
    (tmp_path / "README.md").write_text("prose")
    assert code_version(tmp_path) == clean
    (tmp_path / "plugins" / "a.py").write_text("2")
    changed = code_version(tmp_path)
    assert changed.startswith(clean + "+")
    (tmp_path / "plugins" / "b.py").write_text("3")
    assert code_version(tmp_path) not in (clean, changed)
    assert machine_facts().keys() >= {"cpu", "cores", "memory", "python", "torch"}
