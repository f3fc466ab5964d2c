"""The report of a study: study.md with its plots, study.json with every interval, and the raw results as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.console import counted, noun
from evcap_cli.files import write_whole
from evcap_experiments.study.claims import Answer, answers
from evcap_experiments.study.conditions import CONDITIONS, METRICS, Condition, title_of_measure
from evcap_experiments.study.crossed_bootstrap import Mean, mean
from evcap_experiments.study.dot_plot import Dot, dot_plot
from evcap_experiments.study.study_results import CLIPS, RESULTS
from evcap_experiments.study.study_systems import SHOWN

if TYPE_CHECKING:
    from evcap_experiments.study.study_results import StudyResults

REPORT, NUMBERS, PLOTS = "study.md", "study.json", "plots"
CHANCE: Final = 12.5
"""Percent of eight equally frequent emotions."""
_ANSWER: Final = {
    "holds": "**Yes.**",
    "does not show": "**It does not show.**",
    "reversed": "**No, part of it is the other way round.**",
    "not tested": "*Not tested yet.*",
}
_METRIC_TABLE: Final = Condition("all", "", "", "with audio", lambda _: True, tuple(METRICS))


@dataclass(frozen=True)
class About:
    """What a report says of how it came about.

    Args:
        command: that made it. clips: to train on, unseen, in conflict.
        recipe: its name. epochs: of a run. done, planned: runs. failures: run -> why it failed.
    """

    command: str
    clips: tuple[int, int, int]
    recipe: str
    epochs: int
    done: int
    planned: int
    failures: Mapping[str, str]


def write_report(folder: Path, results: StudyResults, about: About) -> list[Path]:
    """Write everything; each file whole or not at all.

    Raises:
        WriteError: no permission, a full disk.
    """
    found = answers(results)
    plots = _plots(results)
    contents = {
        folder / RESULTS: "".join(line + "\n" for line in results.result_lines()),
        folder / CLIPS: "".join(line + "\n" for line in results.clip_lines()),
        **{folder / PLOTS / f"{name}.svg": text for name, text in plots.items()},
        folder / NUMBERS: json.dumps(_numbers(results, found, about), indent=1) + "\n",
        folder / REPORT: to_markdown(results, found, about, list(plots)),
    }
    for path, content in contents.items():
        write_whole(path, content)
    return list(contents)


def to_markdown(results: StudyResults, found: Sequence[Answer], about: About, plots: Sequence[str]) -> str:
    """study.md."""
    train, test, conflict = about.clips
    epochs = counted(about.epochs, "epoch")
    runs = f"{about.done} of {counted(about.planned, 'run')} {noun(about.planned, 'is', 'are')} in"
    lines = [
        "# A controlled study of what the paper claims",
        "",
        f"Systems trained on the demo world ({train} clips) and tested on {test} clips they have never seen, and"
        f" on {conflict} clips whose sound contradicts the picture. Recipe `{about.recipe}`, {epochs};"
        f" {runs}. A is the audio-visual dual branch, B the fine-grained visual fusion.",
        "",
        "```console",
        about.command,
        "```",
        "",
        "## Answers",
        "",
    ]
    for answer in found:
        lines += [f"### {answer.claim.question}", "", f"{_ANSWER[answer.state]} ({answer.claim.source})", ""]
        lines += [f"- {one.state}: {one}" for one in answer.tested]
        lines.append("")
    lines += ["## Metrics of the field, all clips", "", *_table(results, _METRIC_TABLE), ""]
    lines += [f"![CFS of each system]({PLOTS}/cfs.svg)", ""] if "cfs" in plots else []
    for where in CONDITIONS:
        count = _clips(results, where)
        if not count:
            continue
        note = f"{where.note}; " if where.note else ""
        lines += [f"## {where.title}", "", f"{note}{counted(count, 'clip')}. Right captions in percent.", ""]
        lines += [*_table(results, where), ""]
        name = _file_name(where)
        lines += [f"![{where.title}]({PLOTS}/{name}.svg)", ""] if name in plots else []
    lines += [*_method(results), ""]
    if about.failures:
        lines += ["## Runs that failed", "", *(f"- {run}: {why}" for run, why in about.failures.items()), ""]
    return "\n".join(lines)


def _method(results: StudyResults) -> list[str]:
    return [
        "## How to read this",
        "",
        "Each cell is the mean over seeds with its 95 % interval over seeds and videos"
        f" ({results.times} resamplings that draw seeds, and clips for all seeds at once). Differences are paired: both"
        " systems meet the same draws. p is two-sided and not adjusted for the number of questions.",
        "",
        "A claim holds when the interval of each of its differences lies above 0, is reversed when one lies below 0,"
        " and does not show otherwise: an interval around 0 is no proof of no difference. Few seeds understate how much"
        " seeds differ (of three, by a third of the variance). A clip without a caption counts as wrong. Captions are"
        " judged by the facts of the clip; METEOR is left out. All numbers: `study.json`; each run and condition:"
        " `results.jsonl`; each caption: `clips.jsonl`.",
    ]


def _systems(results: StudyResults) -> list[str]:
    return [system.name for system in SHOWN if system.name in results.systems]


def _mean(results: StudyResults, system: str, where: Condition, what: str) -> Mean | None:
    series = results.series(system, where.name, what)
    return None if series is None else mean(series, results.seed)


def _clips(results: StudyResults, where: Condition) -> int:
    for system in _systems(results):
        series = results.series(system, where.name, where.measures[0])
        if series is not None:
            return series.clips
    return 0


def _table(results: StudyResults, where: Condition) -> list[str]:
    titles = [title_of_measure(what) for what in where.measures]
    lines = [f"| system | seeds | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for system in _systems(results):
        cells = [_cell(_mean(results, system, where, what)) for what in where.measures]
        title = results.systems[system].title
        lines.append(f"| {title} | {len(results.seeds(system))} | {' | '.join(cells)} |")
    return lines


def _cell(found: Mean | None) -> str:
    return "" if found is None else f"{found.value:.1f} ({found.low:.1f} to {found.high:.1f})"


def _file_name(where: Condition) -> str:
    return where.name.replace(" ", "-")


def _plots(results: StudyResults) -> dict[str, str]:
    """File name without its ending -> SVG."""
    systems = _systems(results)
    drawn = {}
    for where in CONDITIONS:
        if _clips(results, where):
            shown = where.measures[:3]
            emotional = any(what in ("emotion", "by sound", "by face") for what in shown)
            drawn[_file_name(where)] = dot_plot(
                f"{where.title}: right captions, percent",
                [
                    (results.systems[one].title, [_dot(_mean(results, one, where, what)) for what in shown])
                    for one in systems
                ],
                [title_of_measure(what) for what in shown],
                chance=CHANCE if emotional else None,
            )
    if systems:
        rows = [(results.systems[one].title, [_dot(_mean(results, one, _METRIC_TABLE, "cfs"))]) for one in systems]
        drawn["cfs"] = dot_plot("All clips: CFS", rows, ["CFS"], whole=False)
    return drawn


def _dot(found: Mean | None) -> Dot | None:
    return None if found is None else Dot(found.value, found.low, found.high)


def _numbers(results: StudyResults, found: Sequence[Answer], about: About) -> dict[str, Any]:
    cells = []
    for system in _systems(results):
        for where in (_METRIC_TABLE, *CONDITIONS):
            for what in where.measures:
                one = _mean(results, system, where, what)
                if one is not None:
                    cells.append({"system": system, "condition": where.name, "measure": what, **asdict(one)})
    return {
        "about": {**asdict(about), "resamplings": results.times},
        "answers": [answer.to_dict() for answer in found],
        "cells": cells,
    }
