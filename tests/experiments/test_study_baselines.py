"""Captions that do not depend on the clip."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from evcap_experiments.baselines import constant_of_worlds, shuffled_of_worlds
from evcap_experiments.study.study_results import StudyResults
from evcap_experiments.study.study_systems import CONSTANT, SHUFFLED, SYSTEMS
from evcap_experiments.study.study_worlds import Worlds

from evcap_cli.demo.grammar import write_captions
from tests.experiments.worlds import drawn, perfect_captions


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return drawn(tmp_path_factory.mktemp("worlds"))


def test_the_constant_is_a_caption_that_no_other_occurs_more_often_than(worlds: Worlds) -> None:
    said = constant_of_worlds(worlds)
    texts = {text for source in said.values() for text in source.values()}
    assert len(texts) == 1
    trained = [clip for clip in worlds.main.facts if clip not in worlds.unseen]
    counts = Counter(text for clip in trained for text in write_captions(clip))
    assert counts[texts.pop()] == max(counts.values())
    assert {source: len(captions) for source, captions in said.items()} == {
        "with audio": 48,
        "without audio": 48,
        "conflict": 16,
    }


@pytest.mark.slow
def test_shuffled_gives_each_clip_a_true_caption_of_another_and_each_other_once(worlds: Worlds) -> None:
    said = shuffled_of_worlds(worlds, 0)
    clips = {clip.id: clip for clip in worlds.unseen}
    assert said["with audio"].keys() == clips.keys()
    owners = {
        name: {c.id for c in clips.values() if text in write_captions(c)} for name, text in said["with audio"].items()
    }
    assert all(owner - {name} for name, owner in owners.items())
    assert (
        said["with audio"]
        == said["without audio"]
        == shuffled_of_worlds(worlds, 0)["with audio"]
        != shuffled_of_worlds(worlds, 1)["with audio"]
    )


@pytest.mark.slow
def test_a_perfect_system_is_far_above_both(worlds: Worlds, tmp_path: Path) -> None:
    results = StudyResults(worlds, times=100)
    for system, said in (
        (SYSTEMS[0], perfect_captions(worlds, listens=True)),
        (CONSTANT, constant_of_worlds(worlds)),
        (SHUFFLED, shuffled_of_worlds(worlds, 0)),
    ):
        results.add(system, 0, said)
    best, *floors = (results.series(name, "all", "cfs").values[0] for name in ("fusion", "constant", "shuffled"))
    assert best > 4 * max(floors)
