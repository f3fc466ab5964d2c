"""Captions of all runs judged: series for intervals and contrasts, and the raw results as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.data.caption_text import normalise
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.wording import DEMO_LEXICON
from evcap_cli.scoring.metric_parts import Parts, measure
from evcap_cli.scoring.resampling import replicates
from evcap_experiments.caption_judging import JudgedCaption, judge
from evcap_experiments.study.conditions import (
    CONDITIONS,
    MEASURES,
    METRICS,
    PASSES,
    Condition,
    Pass,
    condition,
)
from evcap_experiments.study.crossed_bootstrap import RESAMPLINGS, Series, clip_replicates
from evcap_experiments.study.study_systems import SHOWN

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.demo.facts import ClipFacts
    from evcap_experiments.study.study_systems import StudySystem
    from evcap_experiments.study.study_worlds import Worlds
    from evcap_experiments.study.unseen_captions import CaptionsByPass

RESULTS, CLIPS = "results.jsonl", "clips.jsonl"
BITS: Final = ("emotion", "action with roles", "any role", "by sound", "by face")
"""Measures that clips.jsonl has a 0 or 1 a clip of."""


def _percent(right: npt.ArrayLike, judged: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Right of those that were judged, x 100; 0 where none was."""
    counted = np.asarray(judged, dtype=np.float64)
    return 100 * np.divide(right, counted, out=np.zeros_like(counted), where=counted > 0)


class StudyResults:
    """What is known so far; runs are added as they are done.

    Args:
        worlds: of the study.
        times: resamplings of every interval.
        seed: of the resamplings.
    """

    def __init__(self, worlds: Worlds, *, times: int = RESAMPLINGS, seed: int = 0) -> None:
        self.worlds, self.times, self.seed = worlds, times, seed
        self.systems: dict[str, StudySystem] = {}
        self._captions: dict[tuple[str, int], CaptionsByPass] = {}
        self._judged: dict[tuple[str, int, Pass], list[JudgedCaption]] = {}
        self._parts: dict[tuple[str, int, str], Parts] = {}
        self._measured: dict[tuple[str, int, str, str], tuple[float, npt.NDArray[np.float64]]] = {}

    def add(self, system: StudySystem, seed: int, by_pass: CaptionsByPass) -> None:
        """The captions of one more run; a clip without a caption is wrong in everything."""
        self.systems[system.name] = system
        self._captions[system.name, seed] = by_pass
        for source in PASSES:
            captions = by_pass[source]
            clips = self._clips(source)
            self._judged[system.name, seed, source] = [judge(clip, captions.get(clip.id, "")) for clip in clips]

    def seeds(self, system: str) -> tuple[int, ...]:
        """Seeds of a system's runs that were added, in order."""
        return tuple(sorted(seed for name, seed in self._captions if name == system))

    def series(self, system: str, where: str, what: str) -> Series | None:
        """A measure or metric of a system under a condition; None where no run was added or no clip is concerned.

        Args:
            system: by name.
            where: a condition.
            what: one of ``MEASURES`` or ``METRICS``.

        Raises:
            ValueError: a metric of the field under a condition that is judged by the emotions only (conflict).
        """
        seeds = self.seeds(system)
        clips = len(self._concerned(condition(where)))
        if not seeds or not clips:
            return None
        measured = [self._value(system, seed, condition(where), what) for seed in seeds]
        return Series(
            seeds, np.array([value for value, _ in measured]), np.stack([several for _, several in measured]), clips
        )

    def _value(self, system: str, seed: int, where: Condition, what: str) -> tuple[float, npt.NDArray[np.float64]]:
        key = (system, seed, where.name, what)
        if key not in self._measured:
            if what in METRICS:
                self._measure_all(system, seed, where)
            else:
                found = [MEASURES[what][1](one) for one in self._of(system, seed, where)]
                right = np.array([[bool(one) for one in found]], dtype=np.float64)
                judged = np.array([[one is not None for one in found]], dtype=np.float64)
                resampled = (clip_replicates(values, self.times, self.seed)[0] for values in (right, judged))
                self._measured[key] = float(_percent(right.mean(), judged.mean())), _percent(*resampled)
        return self._measured[key]

    def _measure_all(self, system: str, seed: int, where: Condition) -> None:
        """All metrics of the field at once: they share the resampled corpora."""
        parts = self._scored(system, seed, where)
        values, resampled = parts.values(), replicates(parts, self.times, self.seed)
        for name in METRICS:
            self._measured[system, seed, where.name, name] = (float(values[name] or 0.0), resampled[name])

    def _scored(self, system: str, seed: int, where: Condition) -> Parts:
        if where.source == "conflict":
            raise ValueError("clips in conflict have no right emotion to score captions by")
        key = (system, seed, where.name)
        if key not in self._parts:
            captions = self._captions[system, seed][where.source]
            clips = self._concerned(where)
            words = {clip.id: normalise(captions.get(clip.id, "")) for clip in clips}
            self._parts[key] = measure(words, {clip.id: self._references[clip.id] for clip in clips}, DEMO_LEXICON)
        return self._parts[key]

    @cached_property
    def _references(self) -> Mapping[str, Sequence[str]]:
        return {clip.id: [normalise(text) for text in write_captions(clip)] for clip in self.worlds.unseen}

    def _clips(self, source: Pass) -> Sequence[ClipFacts]:
        return self.worlds.conflict.facts if source == "conflict" else self.worlds.unseen

    def _concerned(self, where: Condition) -> list[ClipFacts]:
        return [clip for clip in self._clips(where.source) if where.includes(clip)]

    def _of(self, system: str, seed: int, where: Condition) -> list[JudgedCaption]:
        return [one for one in self._judged[system, seed, where.source] if where.includes(one.clip)]

    def result_lines(self) -> Iterator[str]:
        """A line a run and condition: how many clips, how many right by measure, and the metrics of the field."""
        for name, seed in sorted(self._captions, key=self._place):
            for where in CONDITIONS:
                several = self._of(name, seed, where)
                row: dict[str, Any] = {
                    **self._head(name, seed),
                    "condition": where.name,
                    "clips": len(several),
                    "right": {what: sum(bool(right(one)) for one in several) for what, (_, right) in MEASURES.items()},
                }
                if where.source != "conflict" and several:
                    values = self._scored(name, seed, where).values()
                    row["metrics"] = {metric: round(float(values[metric] or 0.0), 4) for metric in METRICS}
                yield json.dumps(row)

    def clip_lines(self) -> Iterator[str]:
        """A line a run and pass: ids, captions, and a string of 0 and 1 a measure, one a clip, for paired tests."""
        for name, seed in sorted(self._captions, key=self._place):
            for source in PASSES:
                several = self._judged[name, seed, source]
                captions = self._captions[name, seed][source]
                bits = {what: "".join(str(int(bool(MEASURES[what][1](one)))) for one in several) for what in BITS}
                yield json.dumps(
                    {
                        **self._head(name, seed),
                        "pass": source,
                        "ids": [one.clip.id for one in several],
                        "captions": [captions.get(one.clip.id) for one in several],
                        "right": bits,
                    }
                )

    def _head(self, name: str, seed: int) -> dict[str, Any]:
        system = self.systems[name]
        return {"system": name, "model": system.model, "without": list(system.without), "seed": seed}

    def _place(self, key: tuple[str, int]) -> tuple[int, int]:
        names = [system.name for system in SHOWN]
        return (names.index(key[0]), key[1])
