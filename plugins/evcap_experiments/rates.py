"""Rates of right captions with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evcap_cli.demo.facts import ClipFacts
from evcap_experiments.caption_judging import JudgedCaption, judge

Z_95: Final = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """A share of clips.

    Args:
        right: how many of ``total``.
        low, high: the 95 % interval (Wilson's score interval); 0 and 1 when there is no clip.
    """

    right: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """``right`` of ``total``; not a number when there is no clip."""
        return self.right / self.total if self.total else math.nan

    def __str__(self) -> str:
        if not self.total:
            return "no clip"
        return f"{100 * self.share:.1f} % ({self.right}/{self.total}; {100 * self.low:.1f} to {100 * self.high:.1f})"


def wilson(right: int, total: int) -> Rate:
    """Wilson's 95 % interval of a binomial share."""
    if total == 0:
        return Rate(0, 0, 0.0, 1.0)
    share, square = right / total, Z_95 * Z_95
    middle = (share + square / (2 * total)) / (1 + square / total)
    reach = Z_95 * math.sqrt(share * (1 - share) / total + square / (4 * total * total)) / (1 + square / total)
    # exact at the ends, where rounding would leave a sliver
    return Rate(right, total, middle - reach if right else 0.0, middle + reach if right < total else 1.0)


Test = Callable[[JudgedCaption], bool]
_RATES: Final[Mapping[str, tuple[Test | None, Test]]] = {
    # name -> which clips it concerns (None: all), what is right
    "one subject: subject and action": (lambda j: len(j.clip.subjects) == 1, lambda j: j.action_with_roles_right),
    "two subjects: both, roles and action": (lambda j: len(j.clip.subjects) == 2, lambda j: j.action_with_roles_right),
    "two subjects: both and action, any role": (
        lambda j: len(j.clip.subjects) == 2,
        lambda j: j.action_with_subjects_right,
    ),
    "place, where mentioned": (lambda j: j.place_mentioned, lambda j: j.place_right),
    "emotion word in the caption": (None, lambda j: j.emotion_mentioned),
    "emotion": (None, lambda j: j.emotion_right),
    "emotion, picture and sound": (
        lambda j: not j.clip.hidden and not j.clip.silent,
        lambda j: j.emotion_right,
    ),
    "emotion, no sound": (lambda j: j.clip.silent, lambda j: j.emotion_right),
    "emotion, hidden": (lambda j: j.clip.hidden, lambda j: j.emotion_right),
}
HIDDEN_WITHOUT_AUDIO: Final = "emotion, hidden, without audio"


def evaluate(
    facts: Iterable[ClipFacts], captions: Mapping[str, str], without_audio: Mapping[str, str] | None = None
) -> dict[str, Rate]:
    """How often captions are right, by question.

    Args:
        facts: the truth. A clip without a caption counts as wrong.
        captions: id -> caption.
        without_audio: id -> caption of the same clips captioned without their sound; only hidden clips are judged.
    """
    clips = list(facts)
    judged = [judge(clip, captions.get(clip.id, "")) for clip in clips]
    rates: dict[str, Rate] = {}
    for name, (concerns, right) in _RATES.items():
        concerned = [one for one in judged if concerns is None or concerns(one)]
        rates[name] = wilson(sum(map(right, concerned)), len(concerned))
    if without_audio is not None:
        hidden = [judge(clip, without_audio.get(clip.id, "")).emotion_right for clip in clips if clip.hidden]
        rates[HIDDEN_WITHOUT_AUDIO] = wilson(sum(hidden), len(hidden))
    return rates


def rates_table(rates: Mapping[str, Mapping[str, Rate]]) -> str:
    """A Markdown table of what ``evaluate`` gave: a row a question, a column a system."""
    first = next(iter(rates.values()))
    return markdown_table("", list(rates), {name: [str(of.get(name, "")) for of in rates.values()] for name in first})


def markdown_table(corner: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A Markdown table: titles of the columns, and the cells of each row by its title."""
    lines = [f"| {' | '.join([corner, *columns])} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join([title, *cells])} |" for title, cells in rows.items())])
