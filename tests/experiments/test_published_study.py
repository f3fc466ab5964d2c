"""The study in docs/: its page says what its raw results say, and these follow from its captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evcap_experiments.study.conditions import CONDITIONS, METRICS, Condition
from evcap_experiments.study.study_results import StudyResults
from evcap_experiments.study.study_systems import CONSTANT, SHOWN, SHUFFLED, SYSTEMS, StudySystem
from evcap_experiments.study.study_worlds import Sizes, Worlds

from tests.experiments.worlds import drawn

DOCS = Path(__file__).parents[2] / "docs"
RAW = DOCS / "study"
PAGE = (DOCS / "study.md").read_text("utf-8")
AGAIN = [next(system for system in SYSTEMS if system.name == name) for name in ("fusion", "dcgn", "fusion+")]
"""Systems whose results are computed again."""


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RAW / name).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    sizes = Sizes()
    return drawn(tmp_path_factory.mktemp("worlds"), sizes.train, sizes.test, sizes.conflict)


def test_every_system_has_three_seeds_or_more() -> None:
    seeds: dict[str, set[int]] = {}
    for row in rows("results.jsonl"):
        seeds.setdefault(row["system"], set()).add(row["seed"])
    assert set(seeds) == {system.name for system in SHOWN}
    assert min(map(len, seeds.values())) >= 3


@pytest.mark.parametrize("where", [Condition("all", "", "", "with audio", lambda _: True, tuple(METRICS)), *CONDITIONS])
def test_the_tables_of_the_page_are_those_of_the_numbers(where: Condition) -> None:
    numbers = json.loads((RAW / "study.json").read_text("utf-8"))
    cells = {(one["system"], one["condition"], one["measure"]): one for one in numbers["cells"]}
    for system in SHOWN:
        found = [cells[system.name, where.name, what] for what in where.measures]
        shown = " | ".join(f"{one['value']:.1f} ({one['low']:.1f} to {one['high']:.1f})" for one in found)
        assert f"| {system.title} | {found[0]['seeds']} | {shown} |" in PAGE


def test_the_answers_of_the_page_are_those_of_the_numbers() -> None:
    numbers = json.loads((RAW / "study.json").read_text("utf-8"))
    for answer in numbers["answers"]:
        assert f"### {answer['question']}" in PAGE
        for one in answer["contrasts"]:
            values = f"{one['this']['value']:.1f} against {one['other']['value']:.1f}"
            low, high = one["interval"]
            assert f"{values}, difference {one['difference']:+.1f} ({low:+.1f} to {high:+.1f}; p" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("system", AGAIN, ids=lambda system: system.name)
def test_raw_results_follow_from_the_captions(worlds: Worlds, system: StudySystem) -> None:
    results = StudyResults(worlds, times=1)
    passes = {row["pass"]: row for row in rows("clips.jsonl") if (row["system"], row["seed"]) == (system.name, 0)}
    said = {
        name: {clip: text for clip, text in zip(row["ids"], row["captions"], strict=True) if text is not None}
        for name, row in passes.items()
    }
    results.add(system, 0, said)
    assert [json.loads(line) for line in results.clip_lines()] == list(passes.values())
    kept = [row for row in rows("results.jsonl") if (row["system"], row["seed"]) == (system.name, 0)]
    assert [json.loads(line) for line in results.result_lines()] == kept


def test_every_plot_of_the_page_is_there() -> None:
    for name in ("cfs", "all", "hidden", "no-sound", "two-subjects", "conflict"):
        assert f"(study/plots/{name}.svg)" in PAGE
        assert (RAW / "plots" / f"{name}.svg").is_file()
    assert CONSTANT.title in PAGE
    assert SHUFFLED.title in PAGE
