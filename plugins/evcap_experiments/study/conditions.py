"""What the study asks of which clips: conditions, and measures of a caption beside the truth.

Three passes over unseen clips make the captions: as they are (``heard``), without their sound (``muted``), and clips
whose sound contradicts the picture (``conflict``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from evcap_cli.demo.facts import ClipFacts
from evcap_cli.scoring.metrics import LABELS
from evcap_experiments.caption_judging import Verdict, judge, read_caption

Pass = Literal["heard", "muted", "conflict"]
PASSES: Final[tuple[Pass, ...]] = ("heard", "muted", "conflict")


@dataclass(frozen=True)
class Condition:
    """A set of clips and how they are captioned.

    Args:
        name, title: of it. note: what it holds.
        source: the pass. holds: which of its clips.
        measures: that its table shows, in order.
    """

    name: str
    title: str
    note: str
    source: Pass
    holds: Callable[[ClipFacts], bool]
    measures: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """A clip, what its caption gets right, and the emotion that it tells (None: none, or several)."""

    clip: ClipFacts
    verdict: Verdict
    emotion: str | None


def judged(clip: ClipFacts, caption: str) -> Judged:
    """A caption beside the facts; "" is wrong in everything."""
    return Judged(clip, judge(clip, caption), read_caption(caption).emotion)


def _roles_right(one: Judged) -> bool | None:
    """Whether the roles are right, asked only where both subjects and the action are."""
    named = one.verdict.subjects_right and one.verdict.action_right
    return one.verdict.deed_right if named else None


MEASURES: Final[Mapping[str, tuple[str, Callable[[Judged], bool | None]]]] = {
    "emotion": ("emotion", lambda one: one.verdict.emotion_right),
    "deed": ("who does what (to whom)", lambda one: one.verdict.deed_right),
    "any role": (
        "subjects and action, any role",
        lambda one: one.verdict.subjects_right and one.verdict.action_right,
    ),
    "roles": ("roles, where the rest is right", _roles_right),
    "subjects": ("subjects, any role", lambda one: one.verdict.subjects_right),
    "action": ("action", lambda one: one.verdict.action_right),
    "by sound": ("emotion of the sound", lambda one: one.emotion == one.clip.sounding),
    "by face": ("emotion of face, posture and colours", lambda one: one.emotion == one.clip.emotion),
    "neither": (
        "another emotion, or none",
        lambda one: one.emotion not in (one.clip.sounding, one.clip.emotion),
    ),
}
"""Name -> its title and what is right of a clip; a share of the clips in percent, of those that it is not None of."""
METRICS: Final[Mapping[str, str]] = {
    key: LABELS[key] for key in ("acc_sw", "acc_c", "bleu_4", "rouge_l", "cider", "bfs", "cfs")
}
"""Those of the field that are computed; METEOR is left out."""

_DEED: Final = ("deed", "any role", "subjects", "action")
CONDITIONS: Final = (
    Condition("all", "All clips", "every unseen clip as it is", "heard", lambda _: True, ("emotion", *_DEED)),
    Condition(
        "hidden",
        "Hidden face",
        "face covered or turned away, posture neutral, colours drawn independently: only the sound tells the emotion",
        "heard",
        lambda clip: clip.hidden,
        ("emotion", "deed"),
    ),
    Condition(
        "no sound",
        "No sound",
        "clips whose picture shows the emotion, captioned as if they had no sound",
        "muted",
        lambda clip: not clip.hidden,
        ("emotion", "deed"),
    ),
    Condition(
        "neither",
        "Hidden face and no sound",
        "the control: nothing tells the emotion, so that what is right is chance (12.5 %)",
        "muted",
        lambda clip: clip.hidden,
        ("emotion", "deed"),
    ),
    Condition(
        "two subjects",
        "Two subjects",
        "one does something to the other; a still does not tell who",
        "heard",
        lambda clip: len(clip.subjects) == 2,
        ("deed", "any role", "roles", "subjects", "action", "emotion"),
    ),
    Condition("one subject", "One subject", "", "heard", lambda clip: len(clip.subjects) == 1, (*_DEED, "emotion")),
    Condition(
        "conflict",
        "Sound and face in conflict",
        "face, posture and colours show one emotion, the sound tells another; never so in training",
        "conflict",
        lambda _: True,
        ("by sound", "by face", "neither", "deed"),
    ),
)


def condition(name: str) -> Condition:
    """The condition of that name."""
    return next(one for one in CONDITIONS if one.name == name)


def title_of_measure(name: str) -> str:
    """As tables and sentences name it."""
    return METRICS[name] if name in METRICS else MEASURES[name][0]
