"""The page of ``evcap explain``: numbers of one trace to bars and curves, a template to one offline HTML page.

All marks are inline SVG: they print as they show, and the page loads nothing from anywhere and runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from evcap_cli.clocks import clock
from evcap_cli.data.origins import labels_note
from evcap_cli.explaining.trace_values import END_MARK
from evcap_cli.output.html_pages import page
from evcap_cli.output.html_report import Picture, hue

if TYPE_CHECKING:
    from evcap_cli.checkpoints.checkpoint import Checkpoint
    from evcap_cli.explaining.explain_video import ExplainedVideo
    from evcap_cli.explaining.trace_values import ClipTrace, DecodedWord, ObjectAttention, Row

FILM_FRAMES = 10
"""Pictures of the film strip, at most."""
SHOWN_CATEGORIES = 5
"""Categories of each distribution that get a bar of their own; the rest share one."""


@dataclass(frozen=True)
class FilmFrame:
    """A picture that stands for neighbouring moments.

    Args:
        picture: of the middle one, where it decodes. seconds: of the middle one. span: how many moments.
    """

    picture: Picture | None
    seconds: float
    span: int


@dataclass(frozen=True)
class WordRow:
    """One word of the figure.

    Args:
        word: the word. emotion: its category, where the lexicon has the word.
        peak: the number of the moment with the greatest weight.
        share: of appearance in the moments it attends to. objects: what the decoder attends to, else what these
            moments attend to, (M,).
    """

    word: DecodedWord
    emotion: str | None
    peak: int | None
    share: float | None
    objects: Row | None


@dataclass(frozen=True)
class Distribution:
    """Bars of one emotion distribution, which sum to one: (name, probability), the last one of all other categories.

    Args:
        words: the emotion words that the branch finds likeliest.
        present: False where the branch had no stream.
    """

    title: str
    bars: tuple[tuple[str, float], ...]
    rest: int
    words: tuple[tuple[str, float], ...] = ()
    present: bool = True


def render(explained: ExplainedVideo, checkpoint: Checkpoint) -> str:
    """The whole page."""
    filters = {"clock": clock, "hue": hue, "percent": percent, "points": points}
    trace = explained.trace
    rows = word_rows(trace, checkpoint)
    return (
        page(
            "evcap_cli.explaining",
            "explain.html",
            filters,
            title=PurePath(explained.name).name,
            explained=explained,
            trace=trace,
            end_mark=END_MARK,
            rows=rows,
            highest=max((weight for row in rows for weight in row.word.attention or ()), default=1.0),
            film=film(trace.moments, explained.moments),
            objects=object_means(trace),
            distributions=distributions(trace, checkpoint.lexicon.categories),
            facts=facts(checkpoint),
        )
        + "\n"
    )


def word_rows(trace: ClipTrace, checkpoint: Checkpoint) -> list[WordRow]:
    """The words of the figure, the end mark last."""
    lexicon = checkpoint.lexicon
    rows = []
    for word in trace.words:
        category = lexicon.first_category(word.text)
        peak = share = objects = None
        if word.attention is not None:
            peak = max(range(len(word.attention)), key=word.attention.__getitem__)
            if trace.appearance_share is not None:
                share = trace.through_attention(word, trace.appearance_share)
            if word.objects is not None:
                objects = word.objects
            elif trace.objects:
                objects = tuple(trace.through_attention(word, _both(seen)) for seen in trace.objects)
        rows.append(WordRow(word, None if category is None else lexicon.categories[category], peak, share, objects))
    return rows


def _both(seen: ObjectAttention) -> Row:
    """The mean of the two attentions over objects, at each moment."""
    return tuple((a + m) / 2 for a, m in zip(seen.by_appearance, seen.by_motion, strict=True))


def film(moments: Row, pictures: Mapping[int, Picture]) -> list[FilmFrame]:
    """At most ``FILM_FRAMES`` pictures over all moments, each with its share of them."""
    count = len(moments)
    frames = min(FILM_FRAMES, count)
    edges = [count * number // frames for number in range(frames + 1)]
    return [
        FilmFrame(pictures.get((first + last) // 2), moments[(first + last) // 2], last - first)
        for first, last in pairwise(edges)
    ]


def object_means(trace: ClipTrace) -> list[tuple[ObjectAttention, float, float]]:
    """Each object with its mean weight over the moments, as appearance and as motion see it."""
    return [
        (seen, sum(seen.by_appearance) / len(seen.by_appearance), sum(seen.by_motion) / len(seen.by_motion))
        for seen in trace.objects or ()
    ]


def distributions(trace: ClipTrace, names: Sequence[str]) -> list[Distribution]:
    """The emotion of each branch and what is reported, with the same categories in the same order."""
    if trace.categories is None:
        return []
    rows = [branch.categories for branch in trace.branches] + [trace.categories]
    best = {number for row in rows for number in sorted(range(len(row)), key=lambda n: -row[n])[:SHOWN_CATEGORIES]}
    reported = trace.categories
    shown = sorted(best, key=lambda number: (-reported[number], number))

    def bars(row: Row) -> tuple[tuple[str, float], ...]:
        return tuple((names[number], row[number]) for number in shown)

    rest = len(names) - len(shown)
    found = [
        Distribution(f"The {branch.name}", bars(branch.categories), rest, branch.words, branch.present)
        for branch in trace.branches
    ]
    return [*found, Distribution("Reported: the mean of those that count", bars(reported), rest)]


def facts(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """What the page says of the checkpoint: names with values."""
    config = checkpoint.model.config
    switches = [
        f"{title} {'on' if getattr(config, name) else 'off'}"
        for name, title in (("audio_visual", "A (audio-visual)"), ("fine_grained", "B (fine-grained)"))
        if hasattr(config, name)
    ]
    made = [("checkpoint", checkpoint.name), ("system", checkpoint.system)]
    if checkpoint.labels_by:
        made.append(("trained on", labels_note(checkpoint.labels_by)))
    if switches:
        made.append(("modules", ", ".join(switches)))
    made += [(kind, str(record["name"])) for kind, record in checkpoint.backbones.items()]
    return made + ([("weights", "random: this checkpoint is untrained")] if checkpoint.untrained else [])


def percent(share: float) -> str:
    """34 %, 0.4 % below one, < 0.1 % where even that would be nothing; no line breaks in it."""
    text = f"{100 * share:.0f}" if share >= 0.01 else f"{100 * share:.1f}" if share >= 0.0005 else "< 0.1"
    return f"{text} %".replace(" ", "\N{NO-BREAK SPACE}")


def points(values: Row, width: float, height: float) -> str:
    """A curve of values from 0 to 1 for an SVG polyline; a single value is a level line."""
    values = values if len(values) > 1 else values * 2
    step = width / (len(values) - 1)
    return " ".join(f"{number * step:.1f},{height * (1 - value):.1f}" for number, value in enumerate(values))
