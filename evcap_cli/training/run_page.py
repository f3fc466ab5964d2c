"""The page of a run: from the files of a run folder to one offline HTML page.

It needs no weights, no features and no videos: ``evcap report RUN`` makes it again wherever the folder lies. Nothing in
it depends on the clock of the day, and what the page shows as text is escaped. It holds no script, and its own policy
keeps a browser from loading anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from annotated_types import Interval

from evcap_cli.data.caption_text import tokens
from evcap_cli.errors import EvcapError, UsageError
from evcap_cli.files import write_whole
from evcap_cli.output.html_pages import page
from evcap_cli.output.html_report import Picture, hue
from evcap_cli.reading.typed import read_json, read_json_lines, read_toml
from evcap_cli.scoring.metrics import LABELS, METRICS, metric_text
from evcap_cli.training.part_times import PARTS
from evcap_cli.training.run_charts import HEIGHT, WIDTH, charts
from evcap_cli.training.run_log import FILE as LOG
from evcap_cli.training.run_state import RECIPE
from evcap_cli.training.shown_clips import NO_EMOTION, ShownCaption, ShownClip, ShownClips, read_captions, read_clips

if TYPE_CHECKING:
    from markupsafe import Markup

FILE: Final = "report.html"
TEST: Final = "test.json"
MOST_CATEGORIES: Final = 24
"""Of the confusion, the most frequent ones; the rest share a row and a column."""
OTHERS: Final = "(others)"
MOST_STEPS: Final = 40
"""Different captions of a clip over the epochs that are listed."""
_PICTURE: Final = "data:image/jpeg;base64,"
_HINT: Final = "a run folder is what `evcap train -o RUN` writes"
_CHOSEN_BY: Final = {
    "cfs": "chosen by CFS on the held-out clips",
    "loss": "chosen by the cross entropy of the held-out clips",
    "last": "the last one (select = last)",
    "oracle": "chosen on the test split itself (oracle): its scores flatter the model",
}
_Epoch = Annotated[int, Interval(ge=1, le=10**7)]
_Value = Annotated[float, Interval(ge=-1e30, le=1e30)]
"""What can be drawn."""


@dataclass(frozen=True)
class LogEntry:
    """A line of ``log.jsonl``, as far as the page shows it."""

    epoch: _Epoch
    loss: dict[str, _Value]
    best: bool = False
    select: str = ""
    phase: str | None = None
    reward: _Value | None = None
    seconds: _Value | None = None
    captions_per_second: _Value | None = None
    validation: dict[str, _Value] = field(default_factory=dict)
    test: dict[str, _Value] = field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    part_seconds: dict[str, _Value] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds for its page.

    Args:
        name: of the folder.
        history: at least one epoch. best_epoch: the chosen one so far.
        planned: epochs there are to be; None where the recipe is not there.
        shown: the validation clips that are kept; None where none are. captions: theirs, of every epoch.
        test: what test.json holds; empty before the end of the run.
    """

    name: str
    history: list[LogEntry]
    best_epoch: int
    planned: int | None = None
    system: str = ""
    shown: ShownClips | None = None
    captions: Sequence[ShownCaption] = ()
    test: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """A held-out clip of the page.

    Args:
        caption: of the chosen epoch.
        steps: captions over the epochs: (first epoch, last epoch, caption), neighbours that are equal joined.
    """

    clip: ShownClip
    caption: ShownCaption | None
    steps: list[tuple[int, int, ShownCaption]]


@dataclass(frozen=True)
class Confusion:
    """True by predicted categories: (name, counts, their sum) a row; ``most`` is the largest count."""

    columns: list[str]
    rows: list[tuple[str, list[int], int]]
    most: int


@dataclass(frozen=True)
class Parts:
    """Mean seconds of an epoch by part, the slowest first.

    Args:
        title: which epochs. seconds: of an epoch. rows: (part, seconds, share of the epoch).
    """

    title: str
    seconds: float
    rows: list[tuple[str, float, float]]


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run folder with a log."""
    return path.is_dir() and (path / LOG).exists()


def read_run(run: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        UsageError: it is none, or no epoch is finished. DataError: its log cannot be read.
    """
    if not is_run(run):
        raise UsageError(f"is no run folder ({LOG} is not there)", path=run, hint=_HINT)
    history = [entry for _, entry in read_json_lines(LogEntry, run / LOG, hint=_HINT)]
    if not history:
        raise UsageError("no epoch of this run is finished", path=run, hint="train it first, by the same command")
    best = max((entry.epoch for entry in history if entry.best), default=0)
    planned, system = _recipe(run)
    return RunRecord(
        name=run.resolve().name,
        history=history,
        best_epoch=best,
        planned=planned,
        system=system,
        shown=read_clips(run),
        captions=read_captions(run),
        test=_test(run),
    )


def _recipe(run: Path) -> tuple[int | None, str]:
    """Planned epochs and the system's name, by recipe.toml."""
    try:
        found = read_toml(dict[str, Any], run / RECIPE)
    except EvcapError:
        return None, ""
    train = found.get("train")
    counts = [train.get(name) for name in ("epochs", "self_critical_epochs")] if isinstance(train, dict) else []
    planned = [count for count in counts if isinstance(count, int)]
    return sum(planned) if planned else None, str(found.get("system", ""))


def _test(run: Path) -> dict[str, Any]:
    try:
        return read_json(dict[str, Any], run / TEST)
    except EvcapError:
        return {}


def write_page(run: Path, output: Path | None = None, *, thumbnails: bool = True) -> Path:
    """Make the page of a run folder again.

    Args:
        run: the folder.
        output: the page; None: ``report.html`` in the folder.
        thumbnails: show the pictures that the folder keeps.

    Returns:
        The page.

    Raises:
        UsageError, DataError: see ``read_run``. WriteError: no permission, a full disk.
    """
    target = run / FILE if output is None else output
    write_whole(target, render_run(read_run(run), thumbnails=thumbnails))
    return target


def render_run(record: RunRecord, *, thumbnails: bool = True) -> str:
    """The whole page."""
    last = record.history[-1]
    best = record.best_epoch or last.epoch
    of_best = next((entry for entry in record.history if entry.epoch == best), last)
    filters = {"hue": hue, "percent": percent, "seconds": seconds_text, "marked": marked, "marked_reference": reference}
    return (
        page(
            "evcap_cli.training",
            "run_report.html",
            filters,
            record=record,
            best=best,
            best_entry=of_best,
            last=last,
            chosen_by=_CHOSEN_BY.get(last.select if last.validation or last.test else "last", ""),
            charts=charts([asdict(entry) for entry in record.history], best),
            size=(WIDTH, HEIGHT),
            metrics=_metrics(of_best.validation),
            test=_metrics(_numbers(record.test.get("metrics"))),
            cards=cards(record, best),
            pictures=_pictures(record) if thumbnails else {},
            thumbnails=thumbnails,
            confusion=confusion_table(of_best.confusion),
            parts=parts(record.history),
            none=NO_EMOTION,
        )
        + "\n"
    )


def _metrics(values: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(LABELS[name], metric_text(values[name])) for name in METRICS if name in values]


def _numbers(values: object) -> dict[str, float]:
    found = values if isinstance(values, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, (int, float))}


def _pictures(record: RunRecord) -> dict[str, Picture]:
    """Video -> its picture; whatever else stands in its place in the file is not shown."""
    clips = record.shown.clips if record.shown else []
    return {clip.video_id: clip.picture for clip in clips if clip.picture and clip.picture.source.startswith(_PICTURE)}


def cards(record: RunRecord, best: int) -> list[Card]:
    """The held-out clips of a run with their captions, in the order of the file.

    Args:
        record: of the run.
        best: the chosen epoch.
    """
    of: dict[str, list[ShownCaption]] = {}
    for caption in sorted(record.captions, key=lambda one: one.epoch):
        of.setdefault(caption.video_id, []).append(caption)
    made = []
    for clip in record.shown.clips if record.shown else []:
        every = of.get(clip.video_id, [])
        chosen = next((caption for caption in every if caption.epoch == best), None)
        groups = [list(group) for _, group in groupby(every, key=lambda one: one.caption)]
        steps = [(group[0].epoch, group[-1].epoch, group[0]) for group in groups]
        if len(steps) > MOST_STEPS:
            steps = [steps[number * (len(steps) - 1) // (MOST_STEPS - 1)] for number in range(MOST_STEPS)]
        made.append(Card(clip, chosen, steps))
    return made


def confusion_table(counts: Mapping[str, Mapping[str, int]]) -> Confusion | None:
    """``shown_clips.confusion`` as a table; the rarest categories of more than ``MOST_CATEGORIES`` share one line.

    Rows and columns are sorted by name, captions and references without an emotion last. None where nothing is counted.
    """
    totals: Counter[str] = Counter()
    for true, row in counts.items():
        for predicted, count in row.items():
            totals[true] += count
            totals[predicted] += count
    if not totals:
        return None
    named = [name for name in totals if name != NO_EMOTION]
    kept = set(sorted(named, key=lambda name: (-totals[name], name))[:MOST_CATEGORIES]) | {NO_EMOTION}
    table: Counter[tuple[str, str]] = Counter()
    for true, row in counts.items():
        for predicted, count in row.items():
            table[true if true in kept else OTHERS, predicted if predicted in kept else OTHERS] += count

    def order(name: str) -> tuple[int, str]:
        return (name == OTHERS) + 2 * (name == NO_EMOTION), name

    columns = sorted({predicted for _, predicted in table} | {true for true, _ in table}, key=order)
    lines = [(true, [table[true, predicted] for predicted in columns]) for true in columns]
    return Confusion(columns, [(true, row, sum(row)) for true, row in lines if sum(row)], max(table.values()))


def parts(history: Sequence[LogEntry]) -> list[Parts]:
    """Where the time of ordinary and of self-critical epochs goes; empty where the log does not say."""
    made = []
    for phase in dict.fromkeys(entry.phase for entry in history):
        entries = [entry for entry in history if entry.phase == phase and entry.part_seconds and entry.seconds]
        if not entries:
            continue
        whole = sum(entry.seconds or 0.0 for entry in entries) / len(entries)
        means = {
            part: sum(entry.part_seconds.get(part, 0.0) for entry in entries) / len(entries)
            for part in PARTS
            if any(part in entry.part_seconds for entry in entries)
        }
        whole = max(whole, sum(means.values())) or 1.0
        means["other"] = whole - sum(means.values())
        rows = sorted(means.items(), key=lambda item: -item[1])
        title = f"{phase or 'ordinary'} epochs ({len(entries)})"
        made.append(Parts(title, whole, [(part, value, value / whole) for part, value in rows]))
    return made


def marked(caption: ShownCaption) -> Markup:
    """A caption with its right and wrong emotion words marked."""
    from markupsafe import Markup, escape

    kinds = {**dict.fromkeys(caption.wrong, "wrong"), **dict.fromkeys(caption.right, "right")}
    mark = Markup('<mark class="{}" title="{}">{}</mark>')
    notes = {"right": "a reference has this emotion", "wrong": "no reference has this emotion"}

    def word(text: str) -> Markup:
        kind = kinds.get("".join(tokens(text, None)))
        return escape(text) if kind is None else mark.format(kind, notes[kind], text)

    return Markup(" ").join(word(text) for text in caption.caption.split())


def reference(text: str, clip: ShownClip, caption: ShownCaption | None) -> Markup:
    """A reference with its emotion words marked: those whose category the caption misses as missing."""
    from markupsafe import Markup, escape

    mark = Markup('<mark class="{}" title="{}">{}</mark>')

    def word(text: str) -> Markup:
        category = clip.emotion_words.get("".join(tokens(text, None)))
        if category is None:
            return escape(text)
        missing = caption is not None and category in caption.missing
        return mark.format("missing" if missing else "said", f"{category}{': not in the caption' * missing}", text)

    return Markup(" ").join(word(text) for text in text.split())


def percent(share: float) -> str:
    """34 %, 0.4 % below one; no line breaks in it."""
    return f"{100 * share:.{0 if share >= 0.01 or share == 0 else 1}f}\N{NO-BREAK SPACE}%"


def seconds_text(value: float) -> str:
    """12 s, 1.2 s, 0.034 s."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 1 else f"{value:.3f} s"
