"""Captions judged and answered: against counts by hand, the demo's own rates and the scores of `evcap score`."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from evcap_experiments.rates import evaluate
from evcap_experiments.study.claims import CLAIMS, Answer, answers
from evcap_experiments.study.conditions import CONDITIONS, MEASURES, METRICS, condition
from evcap_experiments.study.dot_plot import Dot, dot_plot
from evcap_experiments.study.study_report import About, write_report
from evcap_experiments.study.study_results import StudyResults
from evcap_experiments.study.study_systems import SHOWN, SYSTEMS, choose
from evcap_experiments.study.study_worlds import Sizes, Worlds

from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.wording import DEMO_LEXICON
from evcap_cli.errors import UsageError
from evcap_cli.scoring.score_texts import score_texts
from tests.experiments.worlds import drawn, perfect_captions, sentence

FUSION, A_OFF, B_OFF, BOTH_OFF = SYSTEMS[:4]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    return drawn(tmp_path_factory.mktemp("worlds"))


@pytest.fixture(scope="module")
def results(worlds: Worlds) -> StudyResults:
    """Systems with A hear perfectly, those without see perfectly; two seeds each, the second without some captions."""
    found = StudyResults(worlds, times=300)
    for system in SYSTEMS[:4]:
        for seed in (0, 1):
            said = perfect_captions(worlds, listens="audio-visual" not in system.without)
            if seed:
                for clip in worlds.unseen[:5]:
                    del said["with audio"][clip.id]
            found.add(system, seed, said)
    return found


def by_name(found: list[Answer]) -> dict[str, Answer]:
    return {answer.claim.name: answer for answer in found}


@pytest.mark.slow
def test_shares_are_those_of_the_demos_own_rates(results: StudyResults, worlds: Worlds) -> None:
    rates = evaluate(worlds.unseen, perfect_captions(worlds, listens=False)["with audio"])
    names = {
        ("all", "emotion"): "emotion",
        ("hidden", "emotion"): "emotion, hidden",
        ("two subjects", "action with roles"): "two subjects: both, roles and action",
        ("two subjects", "any role"): "two subjects: both and action, any role",
        ("one subject", "action with roles"): "one subject: subject and action",
    }
    for (where, what), name in names.items():
        found = results.series("a-off", where, what)
        assert found is not None
        assert found.values[0] == pytest.approx(100 * rates[name].share)
        assert found.clips == rates[name].total


def test_a_clip_without_a_caption_is_wrong(results: StudyResults, worlds: Worlds) -> None:
    found = results.series("fusion", "all", "action with roles")
    assert found is not None
    assert found.values == pytest.approx([100.0, 100 * (len(worlds.unseen) - 5) / len(worlds.unseen)])


@pytest.mark.slow
def test_metrics_are_those_of_evcap_score_with_their_intervals(results: StudyResults, worlds: Worlds) -> None:
    references = {clip.id: write_captions(clip) for clip in worlds.unseen}
    captions = perfect_captions(worlds, listens=False)["with audio"]
    scores = score_texts(captions, references, DEMO_LEXICON, meteor=False, bootstrap=300)
    for metric in METRICS:
        found = results.series("a-off", "all", metric)
        assert found is not None
        assert found.values[0] == pytest.approx(scores.metrics[metric])
        middle = sorted(found.replicates[0])[7:-7]
        low, high = scores.intervals[metric]
        assert middle[0] == pytest.approx(low, abs=1)
        assert middle[-1] == pytest.approx(high, abs=1)


def test_conflict_tells_which_of_sound_and_face_is_followed(results: StudyResults) -> None:
    values = {
        (system, what): results.series(system, "conflict", what).values.tolist()  # type: ignore[union-attr]
        for system in ("fusion", "a-off")
        for what in ("by sound", "by face", "neither")
    }
    assert values["fusion", "by sound"] == values["a-off", "by face"] == [100, 100]
    assert values["fusion", "by face"] == values["a-off", "by sound"] == values["fusion", "neither"] == [0, 0]
    with pytest.raises(ValueError, match="no right emotion"):
        results.series("fusion", "conflict", "cfs")


def test_no_sound_is_the_clips_whose_picture_shows_the_emotion(results: StudyResults, worlds: Worlds) -> None:
    found = results.series("fusion", "no sound", "emotion")
    assert found is not None
    assert (found.clips, found.values[0]) == (sum(not clip.hidden for clip in worlds.unseen), 100)
    control = results.series("fusion", "neither", "emotion")
    assert control is not None
    assert control.values[0] == 0


@pytest.mark.slow
def test_answers_say_what_was_built_into_the_captions(results: StudyResults) -> None:
    found = by_name(answers(results))
    assert found["A, picture silent"].state == "holds"
    assert found["sound decides"].state == "holds"
    assert found["A for emotion"].state == "holds"
    assert found["sound before face"].state == "holds"
    assert found["B binds"].state == "does not show"
    assert found["better than others"].state == "not tested"
    assert found["together best"].state == "does not show", "B adds nothing to these captions"
    first = found["A, picture silent"].tested[0]
    assert first.found is not None
    assert first.found.other == 0
    assert re.match(
        r"Hidden face, emotion: fusion \(A and B\) against A off \(B only\): \d+\.\d against 0\.0, difference \+",
        str(first),
    )


@pytest.mark.slow
def test_the_other_way_round_is_reversed(worlds: Worlds) -> None:
    results = StudyResults(worlds, times=100)
    results.add(FUSION, 0, perfect_captions(worlds, listens=False))
    results.add(A_OFF, 0, perfect_captions(worlds, listens=True))
    found = by_name(answers(results))
    assert found["A, picture silent"].state == "reversed"
    assert found["sound before face"].state == "reversed"
    assert found["B binds"].state == "not tested"


@pytest.mark.slow
def test_roles_are_judged_only_where_subjects_and_action_are_right(worlds: Worlds) -> None:
    pairs = [clip for clip in worlds.unseen if len(clip.subjects) == 2]
    said = perfect_captions(worlds, listens=True)
    for number, clip in enumerate(pairs):  # a third each: right, roles swapped, another action altogether
        if number % 3 == 1:
            said["with audio"][clip.id] = sentence(replace(clip, subjects=clip.subjects[::-1]), clip.emotion)
        if number % 3 == 2:
            said["with audio"][clip.id] = ""
    found = StudyResults(worlds, times=300)
    found.add(FUSION, 0, said)
    right, swapped = len(range(0, len(pairs), 3)), len(range(1, len(pairs), 3))
    assert found.series("fusion", "two subjects", "action with roles").values[0] == pytest.approx(
        100 * right / len(pairs)
    )
    roles = found.series("fusion", "two subjects", "roles")
    assert roles.values[0] == pytest.approx(100 * right / (right + swapped))
    # the replicates are ratios of what the same resampled clips have of each
    actions, named = (
        found.series("fusion", "two subjects", what).replicates for what in ("action with roles", "any role")
    )
    assert roles.replicates == pytest.approx(100 * actions / named)


def test_every_claim_can_be_tested() -> None:
    names = {system.name for system in SHOWN}
    for claim in CLAIMS:
        for contrast in claim.contrasts:
            for cell in (contrast.this, contrast.other):
                assert cell.system in names
                assert cell.measure in MEASURES or (cell.measure in METRICS and cell.condition == "all")
                assert condition(cell.condition) in CONDITIONS


@pytest.mark.slow
def test_the_report_holds_answers_tables_plots_and_raw_results(
    results: StudyResults, worlds: Worlds, tmp_path: Path
) -> None:
    about = About("evcap study -o study", (16, 48, 16), "study", 14, 8, 24, {"epan-seed0": "it broke"})
    write_report(tmp_path, results, about)
    text = (tmp_path / "study.md").read_text()
    for claim in CLAIMS:
        assert f"### {claim.question}" in text
    assert "**Yes.** (the paper's text)" in text
    assert "8 of 24 runs" in text
    assert "- epan-seed0: it broke" in text
    shown = re.findall(r"\(plots/([\w-]+\.svg)\)", text)
    assert len(shown) == len(CONDITIONS) + 1
    for name in shown:
        assert ElementTree.parse(tmp_path / "plots" / name).getroot().tag.endswith("svg")
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 8 * len(CONDITIONS)
    first = rows[0]
    assert (first["system"], first["seed"], first["condition"], first["clips"]) == ("fusion", 0, "all", 48)
    assert first["right"]["emotion"] == 48
    assert first["metrics"]["acc_sw"] == 100
    numbers = json.loads((tmp_path / "study.json").read_text())
    cell = next(one for one in numbers["cells"] if (one["system"], one["measure"]) == ("fusion", "cfs"))
    assert cell["low"] <= cell["value"] <= cell["high"]
    claim = next(one for one in numbers["answers"] if one["claim"] == "sound before face")
    (contrast,) = claim["contrasts"]
    assert contrast["this"] == {"system": "fusion", "condition": "conflict", "measure": "by sound", "value": 100.0}
    assert contrast["difference"] == contrast["this"]["value"] - contrast["other"]["value"]
    assert contrast["interval"][0] <= contrast["difference"] <= contrast["interval"][1]


def test_clips_jsonl_suffices_for_the_counts(results: StudyResults, worlds: Worlds) -> None:
    lines = [json.loads(line) for line in results.clip_lines()]
    assert len(lines) == 8 * 3
    second = next(one for one in lines if (one["system"], one["seed"], one["pass"]) == ("a-off", 1, "with audio"))
    assert second["captions"][:5] == [None] * 5
    rates = evaluate(
        worlds.unseen, {name: text for name, text in zip(second["ids"], second["captions"], strict=True) if text}
    )
    assert second["right"]["emotion"].count("1") == rates["emotion"].right


def test_a_plot_places_dots_by_their_values() -> None:
    text = dot_plot("T & t", [("a", [Dot(50, 25, 75), None]), ("b", [Dot(0, 0, 0), Dot(100, 90, 100)])], ["x", "y"])
    root = ElementTree.fromstring(text)
    circles = [
        (float(one.get("cx", "")), one.get("fill")) for one in root.findall(".//{*}circle") if one.get("r") == "4"
    ]
    (half, first), (zero, _), (whole, second) = circles
    assert half == pytest.approx((zero + whole) / 2)
    assert first != second
    big = dot_plot("cfs", [("a", [Dot(230, 200, 260)])], ["CFS"], whole=False)
    assert ">300<" in big
    assert ">NaN" not in big


def test_names_of_the_grid_are_chosen_or_refused() -> None:
    assert choose("epan, fusion") == (SYSTEMS[0], SYSTEMS[4])
    assert choose(None) == SYSTEMS
    with pytest.raises(UsageError, match="no system 'epam'"):
        choose("epam,fusion")
    with pytest.raises(UsageError, match="too few"):
        Sizes(test=3)
