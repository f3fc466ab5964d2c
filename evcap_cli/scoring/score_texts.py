"""The eleven metrics of the field from captions and references, as published, with intervals over videos.

``prediction_files.py`` reads files; here are plain texts by video. ``metric_parts.py`` has what each video adds to the
metrics, ``resampling.py`` draws videos again, ``human_row.py`` makes the human row.

Notation: N videos, all values x 100.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from evcap_cli.data.caption_text import MAX_WORDS, normalise
from evcap_cli.errors import DataError, EvcapError, one_line
from evcap_cli.plugin_calls import contained
from evcap_cli.scoring import resampling
from evcap_cli.scoring.constant_row import ConstantRow
from evcap_cli.scoring.human_row import HumanRow, leave_one_out, mean_row
from evcap_cli.scoring.metric_parts import Parts, Segments, measure
from evcap_cli.scoring.metrics import METRICS

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.scoring.captioned_by import CaptionedBy
    from evcap_cli.scoring.emotion_accuracy import EmotionVerdict
    from evcap_cli.scoring.meteor import Segment

KEPT_VIDEOS: Final = 10_000
"""Up to so many, normalised texts stay in memory; those of more are made again where they are read."""
Protocol = Literal["paper", "coco"]
_T = TypeVar("_T")
MetricFunction = Callable[[Mapping[str, str], Mapping[str, Sequence[str]]], float]
"""A plugin's: video -> caption and video -> references, normalised by the protocol, to a value shown as it is."""


@dataclass(frozen=True)
class VideoScore:
    """One video: its caption as given, the verdict on its emotions by name, its own metrics (``Parts.segments``)."""

    video: str
    caption: str
    right: list[str]
    wrong: list[str]
    missing: list[str]
    metrics: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """A line of ``evcap score --per-video``."""
        emotion = {"right": self.right, "wrong": self.wrong, "missing": self.missing}
        return {"id": self.video, "caption": self.caption, "emotion": emotion, **self.metrics}


@dataclass(frozen=True)
class VideoScores(Sequence[VideoScore]):
    """The scores of all videos, in the order of the captions; each is made when it is read.

    Args:
        captions: video -> caption as given.
        verdicts: on the emotions of each.
        segments: metrics of each.
        categories: names of emotions.
    """

    captions: Mapping[str, str]
    verdicts: Sequence[EmotionVerdict]
    segments: Segments
    categories: Sequence[str]

    @overload
    def __getitem__(self, which: int) -> VideoScore: ...

    @overload
    def __getitem__(self, which: slice) -> list[VideoScore]: ...

    def __getitem__(self, which: int | slice) -> VideoScore | list[VideoScore]:
        if isinstance(which, slice):
            return [self[number] for number in range(*which.indices(len(self)))]
        video = self._videos[which]
        verdict = self.verdicts[which]
        right, wrong, missing = (
            [self.categories[number] for number in sorted(numbers)]
            for numbers in (verdict.right, verdict.wrong, verdict.missing)
        )
        return VideoScore(video, self.captions[video], right, wrong, missing, self.segments[which])

    def __len__(self) -> int:
        return len(self.verdicts)

    @cached_property
    def _videos(self) -> list[str]:
        return list(self.captions)


@dataclass(frozen=True)
class Comparison:
    """Two systems on the videos that both have captions for.

    Args:
        metrics: differences, this system less the other; a metric that either lacks is not there.
        videos: how many both have. resamplings: of intervals and p-values.
    """

    metrics: dict[str, resampling.Difference]
    videos: int
    resamplings: int

    def to_dict(self) -> dict[str, Any]:
        """As ``evcap score --json`` has it."""
        return {
            "videos": self.videos,
            "resamplings": self.resamplings,
            "metrics": {name: found.to_dict() for name, found in self.metrics.items()},
        }


@dataclass(frozen=True)
class Scores:
    """Values x 100; None where a metric was not computed, with the reason in ``notes``.

    Args:
        metrics: one entry for each of ``METRICS``.
        intervals: 95 % bootstrap intervals, where requested.
        extra: metrics of plugins, as they gave them; None where one failed.
        lexicon: name, digest and whether it is EmVidCap's own.
        videos: N.
        missing: metrics that were requested, could be computed here and were not, with the reason.
        per_video: in the order of the captions.
        surrogate: whether features made from captions gave them.
        captioned_by: what wrote the captions, where they say so.
        labels_by: who wrote the captions that the system was trained on, where people did not.
        references_by: the same of the references.
    """

    metrics: dict[str, float | None]
    videos: int
    protocol: str
    lexicon: dict[str, Any]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    extra: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    per_video: Sequence[VideoScore] = ()
    comparison: Comparison | None = None
    human: HumanRow | None = None
    constant: ConstantRow | None = None
    surrogate: bool = False
    captioned_by: CaptionedBy | None = None
    labels_by: str = ""
    references_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What ``evcap score --json`` prints."""
        out: dict[str, Any] = {
            "metrics": {**self.metrics, **self.extra},
            "protocol": self.protocol,
            "lexicon": self.lexicon,
            "videos": self.videos,
        }
        if self.captioned_by is not None:
            out["captioner"] = self.captioned_by.to_dict()
        if self.intervals:
            out["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        if self.comparison is not None:
            out["comparison"] = self.comparison.to_dict()
        if self.human is not None:
            out["human"] = self.human.to_dict()
        if self.constant is not None:
            out["constant"] = self.constant.to_dict()
        for name in ("labels_by", "references_by"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        if self.notes:
            out["notes"] = self.notes
        if self.missing:
            out["missing"] = sorted(self.missing)
        return out

    @property
    def cfs(self) -> float:
        """The number that chooses an epoch."""
        value = self.metrics["cfs"]
        return 0.0 if value is None else value


def score_texts(
    hypotheses: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    lexicon: Lexicon,
    *,
    meteor: bool = True,
    bootstrap: int = 0,
    protocol: Protocol = "paper",
    seed: int = 0,
    extra: Mapping[str, MetricFunction] | None = None,
    compare: Mapping[str, str] | None = None,
    human: bool = False,
    constant: str | None = None,
) -> Scores:
    """Score one caption a video against its references; references of other videos are left out.

    Args:
        hypotheses: video -> caption, raw text.
        references: video -> captions, raw text.
        lexicon: decides Acc_sw and Acc_c.
        meteor: False leaves METEOR (and its Java process) out.
        bootstrap: number of resamplings of the videos for 95 % intervals; 0: none.
        protocol: "paper" (see ``data/caption_text.py``) or "coco" (PTB tokens, no cut; needs Java).
        seed: of the resampling and of the human row.
        extra: metrics of plugins by name; one that fails is left out with a note.
        compare: captions of another system; the two are compared on the videos of both, by ``bootstrap`` resamplings,
            1,000 where that is 0.
        human: score people's captions too, see ``human_row.py``.
        constant: a caption that is scored for every video too.

    Raises:
        DataError: nothing to score, a video without references, or no video in common.
    """
    tables = [hypotheses] if compare is None else [hypotheses, compare]
    floor: list[Mapping[str, str]] = [] if constant is None else [dict.fromkeys(hypotheses, constant)]
    (words, *others), truth = _normalised([*tables, *floor], references, protocol)
    floor = [others.pop() for _ in floor]
    notes: list[str] = []
    todo: list[tuple[Mapping[str, str], Mapping[str, Sequence[str]]]] = [(words, truth)]
    common = [video for video in words if others and video in others[0]]
    if others:
        if not common:
            raise DataError("the two systems have no video in common")
        todo += [({video: texts[video] for video in common}, truth) for texts in (words, others[0])]
    todo += [(texts, truth) for texts in floor]
    rounds = leave_one_out(words, truth, seed) if human else []
    todo += [(texts, one.references) for one in rounds for texts in (one.person, one.system)]
    if human and not rounds:
        notes.append("no video has two references: there is no human row")

    measured, note, failed = _measured(todo, lexicon, meteor=meteor)
    notes += [note] if note else []
    rest = iter(measured)
    whole = next(rest)
    pair = [next(rest) for _ in range(2 * len(others))]
    constants = [next(rest) for _ in floor]
    people = list(rest)
    if not lexicon.official:
        notes.append(
            f"emotions by the lexicon {lexicon.name!r}, not EmVidCap's own: not comparable with printed tables"
        )
    added, failures = _extra(extra or {}, words, truth)
    notes += failures
    comparison, row = None, None
    if pair:
        times = bootstrap or resampling.DEFAULT_RESAMPLINGS
        comparison = Comparison(resampling.compare(pair[0], pair[1], times, seed), len(common), times)
    if people:
        row = HumanRow(
            person=mean_row([parts.values() for parts in people[0::2]]),
            system=mean_row([parts.values() for parts in people[1::2]]),
            videos=people[0].videos,
            rounds=len(rounds),
        )
    resampled = resampling.replicates(whole, bootstrap, seed) if bootstrap else {}
    return Scores(
        metrics=whole.values(),
        videos=len(words),
        protocol=protocol,
        lexicon={"name": lexicon.name, "digest": lexicon.digest, "official": lexicon.official},
        intervals={name: resampling.interval(values) for name, values in resampled.items()},
        extra=added,
        notes=notes,
        missing={"meteor": note} if failed and note else {},
        per_video=VideoScores(hypotheses, whole.verdicts, whole.segments(), lexicon.categories),
        comparison=comparison,
        human=row,
        constant=ConstantRow(constant, constants[0].values()) if constant is not None else None,
    )


def _measured(
    todo: Sequence[tuple[Mapping[str, str], Mapping[str, Sequence[str]]]], lexicon: Lexicon, *, meteor: bool
) -> tuple[list[Parts], str | None, bool]:
    """Parts of each pair of captions and references, METEOR's by one process next to the rest.

    Returns:
        The parts, why there is no METEOR, and whether that is because it failed.
    """
    from evcap_cli.scoring.java import JavaFailed

    segments: dict[Segment, int] = {}
    places = [
        [segments.setdefault((text, tuple(truth[video])), len(segments)) for video, text in words.items()]
        for words, truth in (todo if meteor else ())
    ]
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(_meteor, list(segments)) if meteor else None
        measured = [measure(words, truth, lexicon) for words, truth in todo]
        failed = False
        try:
            found, note = (None, None) if pending is None else pending.result()
        except (JavaFailed, OSError) as problem:
            found, note, failed = None, _not_computed(problem), True
    if found is not None:
        measured = [parts.with_meteor(found[rows]) for parts, rows in zip(measured, places, strict=True)]
    return measured, note, failed


def _meteor(segments: Sequence[Segment]) -> tuple[npt.NDArray[Any] | None, str | None]:
    """METEOR's counts, or why there are none here.

    Raises:
        JavaFailed, OSError: there is a Java, and it failed.
    """
    from evcap_cli.scoring.java import JavaError, JavaFailed
    from evcap_cli.scoring.meteor import meteor_statistics

    try:
        return meteor_statistics(segments), None
    except JavaFailed:
        raise
    except JavaError as problem:
        return None, _not_computed(problem)


def _not_computed(problem: Exception) -> str:
    return f"METEOR was not computed: {problem}"


def _extra(
    metrics: Mapping[str, MetricFunction], words: Mapping[str, str], truth: Mapping[str, Sequence[str]]
) -> tuple[dict[str, float | None], list[str]]:
    """Values of plugins' metrics, and a note for each that failed; a name of ours stays ours."""
    values: dict[str, float | None] = {}
    notes = []
    for name, metric in metrics.items():
        if name in METRICS:
            notes.append(f"the metric {name!r} of a plugin has the name of one of evcap's own and is left out")
            continue
        try:
            with contained():
                values[name] = float(metric(words, truth))
        except Exception as problem:
            values[name] = None
            notes.append(f"the metric {name!r} of a plugin failed: {one_line(problem)}")
    return values, notes


def _normalised(
    tables: Sequence[Mapping[str, str]], references: Mapping[str, Sequence[str]], protocol: Protocol
) -> tuple[list[Mapping[str, str]], Mapping[str, Sequence[str]]]:
    """The captions of each system and the references of all their videos, normalised; empty references are dropped."""
    if not tables[0]:
        raise DataError("there is no caption to score")
    videos: Mapping[str, object] = tables[0]
    if len(tables) > 1:
        videos = dict.fromkeys(video for table in tables for video in table)
    without = [video for video in videos if not references.get(video)]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise DataError(f"no references for {without[0]}{more}")
    plain: Callable[[str], str] = _plain
    if protocol == "coco" or len(videos) <= KEPT_VIDEOS:
        texts = dict.fromkeys(text for table in tables for text in table.values())
        texts |= dict.fromkeys(text for video in videos for text in references[video])
        kept = _coco(list(texts)) if protocol == "coco" else {text: _plain(text) for text in texts}
        plain = kept.__getitem__
    truth: Mapping[str, Sequence[str]] = _Changed(
        videos, lambda video: [text for text in map(plain, references[video]) if text]
    )
    captions: list[Mapping[str, str]] = [
        _Changed(table, lambda video, table=table: plain(table[video]))  # type: ignore[misc]
        for table in tables
    ]
    if len(videos) <= KEPT_VIDEOS:
        captions, truth = [dict(table) for table in captions], dict(truth)
    empty = next((video for video, left in truth.items() if not left), None)
    if empty is not None:
        raise DataError(f"all references of {empty} are empty")
    return captions, truth


def _plain(text: str) -> str:
    return normalise(text, MAX_WORDS)


class _Changed(Mapping[str, _T]):
    """Values by the keys of ``keys``, made again each time that they are read."""

    def __init__(self, keys: Mapping[str, object], value: Callable[[str], _T]) -> None:
        self._keys, self._value = keys, value

    def __getitem__(self, video: str) -> _T:
        if video not in self._keys:
            raise KeyError(video)
        return self._value(video)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _coco(texts: Sequence[str]) -> dict[str, str]:
    from evcap_cli.scoring.java import JAVA_HINT, JavaError, JavaFailed, ptb_tokens

    try:
        return dict(zip(texts, ptb_tokens(texts), strict=True))
    except JavaFailed as problem:
        raise EvcapError(f"the coco protocol cannot be used: {problem}", hint="try again") from problem
    except JavaError as problem:
        raise DataError(
            "the coco protocol tokenises with a Java program and there is no Java", hint=JAVA_HINT
        ) from problem
