"""A study from plan to report in process: oracle features instead of videos, toy sizes instead of the recipe's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from evcap_experiments.oracle import oracle_features
from evcap_experiments.runs import TrainingRun, recipe_of
from evcap_experiments.study import study_work
from evcap_experiments.study.study_plan import StudyPlan, in_order, plan_study
from evcap_experiments.study.study_results import StudyResults
from evcap_experiments.study.study_systems import SYSTEMS
from evcap_experiments.study.study_work import Study, StudySources
from evcap_experiments.study.study_worlds import Worlds
from evcap_experiments.study.unseen_captions import kept_captions

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.errors import TrainingError, UsageError
from evcap_cli.training.feature_sources import MappingSource
from evcap_cli.training.recipe import load_recipe
from evcap_cli.training.trainer import Trainer
from tests.commands.small import evcap
from tests.experiments.roots import parse
from tests.experiments.worlds import drawn
from tests.training import toy

FUSION, A_OFF = SYSTEMS[0], SYSTEMS[1]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return drawn(tmp_path_factory.mktemp("worlds"), train=10, test=8, conflict=8)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(toy.recipe_text(epochs=1))
    return path


def planned(worlds: Worlds, folder: Path, recipe: Path, seeds: range = range(1)) -> StudyPlan:
    given = ["--backbone", "lite", "--recipe", str(recipe), "--data", str(worlds.main.root)]
    return plan_study((FUSION, A_OFF), DataRoot.open(worlds.main.root, "L"), folder, given, parse, seeds)


@pytest.fixture(autouse=True)
def few_resamplings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_work, "StudyResults", partial(StudyResults, times=100))


class Work:
    """Trains in process and counts."""

    def __init__(self, worlds: Worlds) -> None:
        self.worlds, self.trained = worlds, list[str]()
        self.broken: set[str] = set()
        self.opened = 0

    def train(self, run: TrainingRun, show: Callable[[str], None]) -> None:
        if run.folder.name in self.broken:
            raise TrainingError("it broke")
        values = parse(run.arguments)
        recipe = recipe_of(values)
        root = DataRoot.open(self.worlds.main.root, "L")
        run.begin()
        Trainer(recipe, root.train, root.lexicon, self.sources().main, run.folder, device="cpu").fit()
        (run.folder / "test.json").write_text("{}")
        self.trained.append(run.folder.name)
        show("done")

    def sources(self) -> StudySources:
        self.opened += 1
        return StudySources(
            MappingSource({clip.id: oracle_features(clip) for clip in self.worlds.main.facts}),
            MappingSource({clip.id: oracle_features(clip) for clip in self.worlds.conflict.facts}),
        )

    def study(self, folder: Path, plan: StudyPlan, *only: str) -> Study:
        return Study(
            folder=folder,
            planned=plan,
            requested=[system for system in plan if not only or system.name in only],
            worlds=self.worlds,
            sources=self.sources,
            train=self.train,
            command="evcap study",
        )


@pytest.mark.slow
def test_it_goes_on_where_it_stopped_and_reports_what_is_there(worlds: Worlds, recipe: Path, tmp_path: Path) -> None:
    plan = planned(worlds, tmp_path, recipe)
    work = Work(worlds)
    work.broken = {"a-off-seed0"}
    first = work.study(tmp_path, plan)
    first.run()
    assert (work.trained, first.done, first.total) == (["fusion-seed0"], 1, 2)
    assert "- a-off-seed0: it broke" in (tmp_path / "study.md").read_text()

    work.broken, before = set(), work.opened
    second = work.study(tmp_path, plan)
    second.run()
    assert work.trained == ["fusion-seed0", "a-off-seed0"]
    assert (second.done, second.failures) == (2, {})
    lines = [json.loads(line) for line in (tmp_path / "clips.jsonl").read_text().splitlines()]
    assert [(one["system"], one["pass"]) for one in lines] == [
        (name, source)
        for name in ("fusion", "a-off", "constant", "shuffled")
        for source in ("with audio", "without audio", "conflict")
    ]
    assert [len(one["ids"]) for one in lines] == [8] * 12
    # without A the sound makes no difference to any caption; the report can be made again from what is kept
    assert lines[3]["captions"] == lines[4]["captions"]
    kept = (tmp_path / "study.md").read_text()
    opened = work.opened
    assert opened > before
    third = work.study(tmp_path, plan, "fusion")
    third.run()
    assert (work.trained, work.opened) == (["fusion-seed0", "a-off-seed0"], opened), "nothing was left to do"
    assert (tmp_path / "results.jsonl").read_text().count('"system": "a-off"') == 7, "what is there stays in the report"
    assert (tmp_path / "study.md").read_text().replace("1 of 1 run is", "2 of 2 runs are") == kept


@pytest.mark.slow
def test_a_system_that_goes_on_from_another_s_epochs_ends_as_if_trained_alone(
    worlds: Worlds, recipe: Path, tmp_path: Path
) -> None:
    self_critical = next(system for system in SYSTEMS if system.name == "fusion-sc")
    grid = (FUSION, replace(self_critical, options=("--self-critical", "2")))
    assert grid[1].continues == "fusion"
    given = ["--backbone", "lite", "--recipe", str(recipe), "--data", str(worlds.main.root)]
    root = DataRoot.open(worlds.main.root, "L")
    ends = []
    for folder, only in ((tmp_path / "continued", ("fusion", "fusion-sc")), (tmp_path / "alone", ("fusion-sc",))):
        plan = plan_study(grid, root, folder, given, parse, range(1))
        work = Work(worlds)
        work.study(folder, plan, *only).run()
        assert work.trained == [f"{name}-seed0" for name in only]
        run = plan[grid[1]].runs[0].folder
        assert len((run / "log.jsonl").read_text().splitlines()) == 1 + 2, "one ordinary epoch, two self-critical ones"
        ends.append((run / "model.safetensors").read_bytes())
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_captions_of_another_checkpoint_or_other_clips_are_made_again(
    worlds: Worlds, recipe: Path, tmp_path: Path
) -> None:
    plan = planned(worlds, tmp_path, recipe)
    work = Work(worlds)
    work.study(tmp_path, plan, "fusion").run()
    run = plan[FUSION].runs[0].folder
    assert kept_captions(run, worlds) is not None
    assert kept_captions(run, drawn(tmp_path / "others", train=10, test=9, conflict=8)) is None
    (run / "model.safetensors").write_bytes(b"another")
    assert kept_captions(run, worlds) is None


def test_the_plan_is_a_run_a_system_and_seed_the_first_seeds_first(
    worlds: Worlds, recipe: Path, tmp_path: Path
) -> None:
    plan = planned(worlds, tmp_path, recipe, range(3, 5))
    assert [run.folder.name for _, run in in_order(plan)] == [
        "fusion-seed3",
        "a-off-seed3",
        "fusion-seed4",
        "a-off-seed4",
    ]
    values = parse(plan[A_OFF].runs[1].arguments)
    assert (values["model"], values["without"], values["seed"]) == ("fusion", ["audio-visual"], 4)


def test_runs_of_other_settings_are_not_mixed_in(worlds: Worlds, recipe: Path, tmp_path: Path) -> None:
    run = planned(worlds, tmp_path, recipe)[FUSION].runs[0]
    run.begin()
    (run.folder / "test.json").write_text("{}")
    planned(worlds, tmp_path, recipe)
    recipe = recipe.with_name("longer.toml")
    recipe.write_text(toy.recipe_text(epochs=2))
    with pytest.raises(UsageError, match="another epochs"):
        planned(worlds, tmp_path, recipe)


def test_the_study_recipe_differs_between_systems_in_the_system_only() -> None:
    recipes = [load_recipe("study", system.model) for system in SYSTEMS]
    assert len({str(replace(recipe.train, self_critical_epochs=0)) for recipe in recipes}) == 1
    for recipe in recipes:
        for name, weight in recipe.loss.items():
            assert name not in ("classification", "contrast", "alignment") or weight <= 0.003


@pytest.mark.slow
def test_a_dry_run_shows_commands_and_time_and_writes_nothing(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    small = ["--videos", 16, "--test-videos", 8, "--conflict-videos", 8, "--recipe", recipe]
    assert evcap("study", "-o", out, "--dry-run", "--only", "fusion,sa-lstm", "--seeds", 2, *small) == 0
    shown = capsys.readouterr().out
    assert not out.exists()
    assert shown.count("to do  evcap train --backbone lite") == 4
    assert "SA-LSTM: 0 of 2 done" in shown
    assert "time to go: about" in shown
    assert "a training step" in shown


@pytest.mark.slow
def test_a_folder_with_worlds_of_other_sizes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn(tmp_path / "s", train=10, test=8, conflict=8)
    code = evcap("study", "-o", tmp_path / "s", "--videos", 11, "--test-videos", 8, "--conflict-videos", 8)
    assert code == 2
    assert "give another -o, or the sizes that this study began with" in capsys.readouterr().err


def test_wrong_calls_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evcap("study", "-o", tmp_path / "s", "--only", "epam") == 2
    assert evcap("study", "-o", tmp_path / "s", "--test-videos", 3) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "no system 'epam'" in lines[0]
    assert "3 test clips are too few" in lines[1]
