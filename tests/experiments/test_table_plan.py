"""Which runs a table takes: rows that are trained, rows that are not and why, and what counts as done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from evcap_experiments.reproduction.table_plan import plan_table
from evcap_experiments.runs import TrainingRun

from evcap_cli import plugins
from evcap_cli.errors import UsageError
from tests.experiments.roots import finish, opened, parse, runs, write_root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("root"))


def given(root: Path, *more: str) -> list[str]:
    return ["--data", str(root), "--recipe", str(root / "tiny.toml"), *more]


def test_the_ablation_is_four_runs_of_one_system_on_the_printed_features(root: Path, tmp_path: Path) -> None:
    rows = plan_table("table3", opened(root), tmp_path, given(root), parse)
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


@pytest.mark.slow
def test_every_printed_system_is_trained_as_itself_with_its_own_optimiser(root: Path, tmp_path: Path) -> None:
    rows = [*plan_table("table1", opened(root), tmp_path, given(root), parse)]
    rows += plan_table("table2", opened(root), tmp_path, given(root), parse)
    assert [run.folder.name for run in runs(rows)] == [
        *("canet-resnet-seed0", "epan-resnet-seed0", "dcgn-resnet-seed0", "fusion-resnet-seed0"),
        *("sa-lstm-clip-seed0", "epan-clip-seed0", "fusion-clip-seed0"),
    ]
    for row in rows:
        read = parse(row.runs[0].arguments)
        assert (read["model"], read["without"] or []) == (row.printed.model, [])
        assert row.trained is not None
        assert row.trained.recipe.train.optimiser == (
            "adam" if row.printed.model in ("fusion", "sa-lstm") else "adamax"
        )
    assert [row.title for row in rows if row.note] == ["CANet (reconstruction)"]


def test_a_system_that_is_not_there_stays_in_the_table_with_the_reason(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(plugins.registry().systems, "epan")
    rows = plan_table("table1", opened(root), tmp_path, ["--data", str(root)], parse)
    assert [bool(row.runs) for row in rows] == [True, False, True, True]
    assert rows[1].reason == "no system 'epan' is installed"


@pytest.mark.slow
def test_tables_in_one_folder_train_what_they_share_once(root: Path, tmp_path: Path) -> None:
    second = plan_table("table2", opened(root), tmp_path, given(root), parse)
    third = plan_table("table3", opened(root), tmp_path, given(root), parse)
    assert second[-1].runs == third[-1].runs
    assert third[0].runs[0].folder.name == "fusion-clip-without-both-seed0"
    finish(third[-1].runs[0], 40.0)
    assert [run.done for run in runs(second)] == [False, False, True]


@pytest.mark.slow
def test_seeds_and_a_preset_for_all_rows(root: Path, tmp_path: Path) -> None:
    rows = plan_table("table1", opened(root), tmp_path, given(root), parse, backbone="lite", seeds=(3, 4))
    assert [run.folder.name for run in rows[-1].runs] == ["fusion-lite-seed3", "fusion-lite-seed4"]
    assert [parse(run.arguments)["seed"] for run in rows[0].runs] == [3, 4]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--without", "audio-visual"], "--without cannot be given here"),
        (["--model", "epan"], "--model cannot be given here"),
        (["--push-to-hub", "org/x"], "--push-to-hub cannot be given here"),
        (["--overwrite"], "--overwrite cannot be given here"),
        (["--no-test"], "--no-test leaves nothing"),
        (["--recipe", "none.toml"], "cannot read this recipe"),
    ],
)
def test_what_the_rows_decide_cannot_be_given(root: Path, tmp_path: Path, more: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_table("table3", opened(root), tmp_path, given(root, *more), parse)


@pytest.mark.slow
def test_scores_of_other_settings_are_refused_by_name_and_those_of_the_same_are_not(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    finish(runs(plan_table("table1", opened(root), folder, given(root), parse))[-1], 40.0)
    with pytest.raises(UsageError, match=r"another epochs \(2, now 9\).*give another -o"):
        plan_table("table1", opened(root), folder, given(root, "--epochs", "9"), parse)
    with pytest.raises(UsageError, match=r"vectors\.txt: .*check the path given with --glove"):
        plan_table("table1", opened(root), folder, given(root, "--glove", str(tmp_path / "vectors.txt")), parse)
    moved = shutil.copytree(root, tmp_path / "moved")
    again = given(moved, "--workers", "7", "--device", "cpu", "--videos", str(tmp_path), "--epochs", "2", "--quiet")
    assert runs(plan_table("table1", opened(moved), folder, again, parse))[-1].done
    captions = moved / "data" / "EmVidCap-L" / "EmVideo_test_captions.csv"
    captions.write_text(captions.read_text() + "vid6\tone more\n")
    with pytest.raises(UsageError, match="another data set"):
        plan_table("table1", opened(moved), folder, again, parse)


def test_a_run_of_somebody_else_in_the_folder_is_refused(root: Path, tmp_path: Path) -> None:
    run = runs(plan_table("table1", opened(root), tmp_path, given(root), parse))[0]
    finish(run, 40.0)
    (run.folder / "reproduce.json").unlink()
    with pytest.raises(UsageError, match="did not make"):
        plan_table("table1", opened(root), tmp_path, given(root), parse)


@pytest.mark.slow
def test_word_vectors_are_identified_by_their_content_wherever_they_lie(root: Path, tmp_path: Path) -> None:
    first, moved, other = (tmp_path / name / "vectors.txt" for name in ("first", "moved", "other"))
    for path, text in ((first, "a 1 2"), (moved, "a 1 2"), (other, "a 1 3")):
        path.parent.mkdir()
        path.write_text(text)

    def planned(path: Path) -> list[TrainingRun]:
        return runs(plan_table("table1", opened(root), tmp_path / "out", given(root, "--glove", str(path)), parse))

    finish(planned(first)[-1], 40.0)
    assert planned(moved)[-1].done
    with pytest.raises(UsageError, match="another glove"):
        planned(other)
