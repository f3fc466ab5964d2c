"""Rates of right captions with their 95 % intervals, and the captions that need no look at a video to compare with."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evcap_cli.demo.facts import ClipFacts
from evcap_experiments.caption_judging import Verdict, judge

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


@dataclass(frozen=True)
class Judged:
    """One clip and what its caption got right."""

    clip: ClipFacts
    verdict: Verdict

    @property
    def pair(self) -> bool:
        """Whether the clip shows two subjects."""
        return len(self.clip.subjects) == 2


Test = Callable[[Judged], bool]
_RATES: Final[Mapping[str, tuple[Test | None, Test]]] = {
    # name -> which clips it concerns (None: all), what is right
    "one subject: subject and action": (lambda j: not j.pair, lambda j: j.verdict.deed_right),
    "two subjects: both, roles and action": (lambda j: j.pair, lambda j: j.verdict.deed_right),
    "two subjects: both and action, any role": (
        lambda j: j.pair,
        lambda j: j.verdict.subjects_right and j.verdict.action_right,
    ),
    "place, where told": (lambda j: j.verdict.place_told, lambda j: j.verdict.place_right),
    "emotion word in the caption": (None, lambda j: j.verdict.emotion_told),
    "emotion": (None, lambda j: j.verdict.emotion_right),
    "emotion, picture and sound": (
        lambda j: not j.clip.hidden and not j.clip.silent,
        lambda j: j.verdict.emotion_right,
    ),
    "emotion, no sound": (lambda j: j.clip.silent, lambda j: j.verdict.emotion_right),
    "emotion, hidden": (lambda j: j.clip.hidden, lambda j: j.verdict.emotion_right),
}
MUTED: Final = "emotion, hidden, muted"


def evaluate(
    facts: Iterable[ClipFacts], captions: Mapping[str, str], muted: Mapping[str, str] | None = None
) -> dict[str, Rate]:
    """How often captions are right, by what is asked of them.

    Args:
        facts: the truth. A clip without a caption counts as wrong.
        captions: id -> caption.
        muted: id -> caption of the same clips captioned without their sound; only hidden clips are judged.
    """
    clips = list(facts)
    judged = [Judged(clip, judge(clip, captions.get(clip.id, ""))) for clip in clips]
    rates: dict[str, Rate] = {}
    for name, (concerns, right) in _RATES.items():
        concerned = [one for one in judged if concerns is None or concerns(one)]
        rates[name] = wilson(sum(map(right, concerned)), len(concerned))
    if muted is not None:
        hidden = [judge(clip, muted.get(clip.id, "")).emotion_right for clip in clips if clip.hidden]
        rates[MUTED] = wilson(sum(hidden), len(hidden))
    return rates


def constant_caption(training_captions: Iterable[str]) -> str:
    """The caption said most often of training clips (the first in alphabetical order of several)."""
    counts = Counter(training_captions)
    return min(counts, key=lambda caption: (-counts[caption], caption))


def constant(facts: Iterable[ClipFacts], training_captions: Iterable[str]) -> dict[str, str]:
    """One caption for every clip."""
    caption = constant_caption(training_captions)
    return {clip.id: caption for clip in facts}


def shuffled(captions: Mapping[str, str], seed: int = 0) -> dict[str, str]:
    """Each clip gets another clip's caption: right only by the shares of what is told, not by looking.

    A cyclic shift of a random order, so that no clip keeps its own (unless there is only one).
    """
    ids: Sequence[str] = sorted(captions)
    order = random.Random(seed).sample(ids, len(ids))
    return {clip: captions[order[number - 1]] for number, clip in enumerate(order)}
