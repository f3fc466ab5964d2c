"""Which runs a table takes: rows that are trained, rows that are not and why, and what counts as done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.errors import UsageError
from evcap_cli.reproduction.plan import plan
from tests.reproduction.roots import finish, opened, parse, runs, write_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("root"))


def given(root: Path, *more: str) -> list[str]:
    return ["--data", str(root), "--recipe", str(root / "tiny.toml"), *more]


def test_the_ablation_is_four_runs_of_one_system_on_the_printed_features(root: Path, tmp_path: Path) -> None:
    rows = plan("table3", opened(root), tmp_path, given(root), parse)
    assert [run.folder.name for run in runs(rows)] == [
        "fusion-clip-without-both-seed0",
        "fusion-clip-without-fine-grained-seed0",
        "fusion-clip-without-audio-visual-seed0",
        "fusion-clip-seed0",
    ]
    read = [parse(run.arguments) for run in runs(rows)]
    assert [sorted(values["without"] or ()) for values in read] == [
        ["audio-visual", "fine-grained"],
        ["fine-grained"],
        ["audio-visual"],
        [],
    ]
    assert {values["backbone"] for values in read} == {"clip"}
    assert [values["output"] for values in read] == [run.folder for run in runs(rows)]


def test_systems_that_are_not_there_stay_in_the_table_with_the_reason(root: Path, tmp_path: Path) -> None:
    rows = plan("table1", opened(root), tmp_path, given(root), parse)
    assert [(row.printed.system, bool(row.runs)) for row in rows] == [
        ("CANet", False),
        ("EPAN", False),
        ("DCGN", False),
        ("the paper", True),
    ]
    assert rows[1].reason == "this version has no system 'epan'"
    assert runs(rows)[0].folder.name == "fusion-resnet-seed0"


def test_the_base_of_the_ablation_stands_for_epan_where_the_print_equates_them(root: Path, tmp_path: Path) -> None:
    """Tables in one folder train what they share once."""
    second = plan("table2", opened(root), tmp_path, given(root), parse)
    third = plan("table3", opened(root), tmp_path, given(root), parse)
    epan = next(row for row in second if row.printed.system == "EPAN")
    assert epan.runs == third[0].runs
    assert epan.printed.values == third[0].printed.values
    assert "without either module" in epan.note
    assert second[-1].runs == third[-1].runs
    finish(third[0].runs[0], 40.0)
    assert [run.done for run in runs(second)] == [True, False]


def test_a_registered_system_is_trained_as_itself(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.registry().systems, "epan", object())
    rows = plan("table2", opened(root), tmp_path, given(root), parse)
    epan = next(row for row in rows if row.printed.system == "EPAN")
    assert epan.note == ""
    assert parse(epan.runs[0].arguments)["model"] == "epan"
    assert not parse(epan.runs[0].arguments)["without"]


def test_seeds_and_a_preset_for_all_rows(root: Path, tmp_path: Path) -> None:
    rows = plan("table1", opened(root), tmp_path, given(root), parse, backbone="lite", seeds=(3, 4))
    assert [run.folder.name for run in runs(rows)] == ["fusion-lite-seed3", "fusion-lite-seed4"]
    assert [parse(run.arguments)["seed"] for run in runs(rows)] == [3, 4]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--without", "audio-visual"], "--without cannot be given here"),
        (["--model", "epan"], "--model cannot be given here"),
        (["--push-to-hub", "org/x"], "--push-to-hub cannot be given here"),
        (["--overwrite"], "--overwrite cannot be given here"),
        (["--no-test"], "--no-test leaves nothing"),
        (["--recipe", "none.toml"], "cannot read this recipe"),
        (["--select", "luck"], "select must be one of"),
    ],
)
def test_what_the_rows_decide_cannot_be_given(root: Path, tmp_path: Path, more: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan("table3", opened(root), tmp_path, given(root, *more), parse)


def test_scores_of_other_settings_are_refused_by_name_and_those_of_the_same_are_not(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    finish(runs(plan("table1", opened(root), folder, given(root), parse))[0], 40.0)
    with pytest.raises(UsageError, match=r"another epochs \(2, now 9\).*give another -o"):
        plan("table1", opened(root), folder, given(root, "--epochs", "9"), parse)
    with pytest.raises(UsageError, match="another glove"):
        plan("table1", opened(root), folder, given(root, "--glove", "vectors.txt"), parse)
    moved = shutil.copytree(root, tmp_path / "moved")
    again = given(moved, "--workers", "7", "--device", "cpu", "--videos", str(tmp_path), "--epochs", "2", "--quiet")
    assert runs(plan("table1", opened(moved), folder, again, parse))[0].done
    captions = moved / "data" / "EmVidCap-L" / "EmVideo_test_captions.csv"
    captions.write_text(captions.read_text() + "vid6\tone more\n")
    with pytest.raises(UsageError, match="another data set"):
        plan("table1", opened(moved), folder, again, parse)


def test_a_run_of_somebody_else_in_the_folder_is_refused(root: Path, tmp_path: Path) -> None:
    run = runs(plan("table1", opened(root), tmp_path, given(root), parse))[0]
    finish(run, 40.0)
    (run.folder / "reproduce.json").unlink()
    with pytest.raises(UsageError, match="did not make"):
        plan("table1", opened(root), tmp_path, given(root), parse)
