"""Captions that know nothing of a clip."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from evcap_experiments.study.study_baselines import constant, shuffled
from evcap_experiments.study.study_results import Results
from evcap_experiments.study.study_systems import CONSTANT, GRID, SHUFFLED
from evcap_experiments.study.study_worlds import Worlds

from evcap_cli.demo.grammar import write_captions
from tests.experiments.worlds import drawn, told


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return drawn(tmp_path_factory.mktemp("worlds"))


def test_the_constant_is_a_caption_that_no_other_occurs_more_often_than(worlds: Worlds) -> None:
    said = constant(worlds)
    texts = {text for source in said.values() for text in source.values()}
    assert len(texts) == 1
    trained = [clip for clip in worlds.main.facts if clip not in worlds.unseen]
    counts = Counter(text for clip in trained for text in write_captions(clip))
    assert counts[texts.pop()] == max(counts.values())
    assert {source: len(told) for source, told in said.items()} == {"heard": 48, "muted": 48, "conflict": 16}


def test_shuffled_gives_each_clip_a_true_caption_of_another_and_each_other_once(worlds: Worlds) -> None:
    said = shuffled(worlds, 0)
    clips = {clip.id: clip for clip in worlds.unseen}
    assert said["heard"].keys() == clips.keys()
    owners = {name: {c.id for c in clips.values() if text in write_captions(c)} for name, text in said["heard"].items()}
    assert all(owner - {name} for name, owner in owners.items())
    assert said["heard"] == said["muted"] == shuffled(worlds, 0)["heard"] != shuffled(worlds, 1)["heard"]


def test_a_perfect_system_is_far_above_both(worlds: Worlds, tmp_path: Path) -> None:
    results = Results(worlds, times=100)
    for system, said in (
        (GRID[0], told(worlds, listens=True)),
        (CONSTANT, constant(worlds)),
        (SHUFFLED, shuffled(worlds, 0)),
    ):
        results.add(system, 0, said)
    best, *floors = (results.series(name, "all", "cfs").values[0] for name in ("fusion", "constant", "shuffled"))
    assert best > 4 * max(floors)
