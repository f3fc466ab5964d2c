"""The conditions of the study, which are sets of clips, and the measures of a caption against the truth.

Three passes over unseen clips make the captions: as they are, without their sound, and over clips whose sound
contradicts the picture (conflict).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from evcap_cli.demo.facts import ClipFacts
from evcap_cli.scoring.metrics import LABELS
from evcap_experiments.caption_judging import JudgedCaption

Pass = Literal["with audio", "without audio", "conflict"]
PASSES: Final[tuple[Pass, ...]] = ("with audio", "without audio", "conflict")


@dataclass(frozen=True)
class Condition:
    """A set of clips and how they are captioned.

    Args:
        name, title: of it. note: which clips these are.
        source: the pass. includes: which of its clips.
        measures: that its table shows, in order.
    """

    name: str
    title: str
    note: str
    source: Pass
    includes: Callable[[ClipFacts], bool]
    measures: tuple[str, ...]


def _roles_right(one: JudgedCaption) -> bool | None:
    """Whether the roles are right; None where the subjects or the action are wrong."""
    return one.roles_right if one.action_with_subjects_right else None


MEASURES: Final[Mapping[str, tuple[str, Callable[[JudgedCaption], bool | None]]]] = {
    "emotion": ("emotion", lambda one: one.emotion_right),
    "action with roles": ("who does what (to whom)", lambda one: one.action_with_roles_right),
    "any role": ("subjects and action, any role", lambda one: one.action_with_subjects_right),
    "roles": ("roles, where the rest is right", _roles_right),
    "subjects": ("subjects, any role", lambda one: one.subjects_right),
    "action": ("action", lambda one: one.action_right),
    "by sound": ("emotion of the sound", lambda one: one.reported.emotion == one.clip.sounding),
    "by face": ("emotion of face, posture and colours", lambda one: one.reported.emotion == one.clip.emotion),
    "neither": (
        "another emotion, or none",
        lambda one: one.reported.emotion not in (one.clip.sounding, one.clip.emotion),
    ),
}
"""Name -> its title and what is right of a clip; a share of the clips in percent, of those that it is not None of."""
METRICS: Final[Mapping[str, str]] = {
    key: LABELS[key] for key in ("acc_sw", "acc_c", "bleu_4", "rouge_l", "cider", "bfs", "cfs")
}
"""Those of the field that are computed; METEOR is left out."""

_ACTION: Final = ("action with roles", "any role", "subjects", "action")
CONDITIONS: Final = (
    Condition("all", "All clips", "every unseen clip as it is", "with audio", lambda _: True, ("emotion", *_ACTION)),
    Condition(
        "hidden",
        "Hidden face",
        "face covered or turned away, posture neutral, colours drawn independently: only the sound tells the emotion",
        "with audio",
        lambda clip: clip.hidden,
        ("emotion", "action with roles"),
    ),
    Condition(
        "no sound",
        "No sound",
        "clips whose picture shows the emotion, captioned as if they had no sound",
        "without audio",
        lambda clip: not clip.hidden,
        ("emotion", "action with roles"),
    ),
    Condition(
        "neither",
        "Hidden face and no sound",
        "the control: nothing tells the emotion, so that what is right is chance (12.5 %)",
        "without audio",
        lambda clip: clip.hidden,
        ("emotion", "action with roles"),
    ),
    Condition(
        "two subjects",
        "Two subjects",
        "one does something to the other; a still does not tell who",
        "with audio",
        lambda clip: len(clip.subjects) == 2,
        ("action with roles", "any role", "roles", "subjects", "action", "emotion"),
    ),
    Condition(
        "one subject", "One subject", "", "with audio", lambda clip: len(clip.subjects) == 1, (*_ACTION, "emotion")
    ),
    Condition(
        "conflict",
        "Sound and face in conflict",
        "face, posture and colours show one emotion, the sound tells another; never so in training",
        "conflict",
        lambda _: True,
        ("by sound", "by face", "neither", "action with roles"),
    ),
)


def condition(name: str) -> Condition:
    """The condition of that name."""
    return next(one for one in CONDITIONS if one.name == name)


def title_of_measure(name: str) -> str:
    """As tables and sentences name it."""
    return METRICS[name] if name in METRICS else MEASURES[name][0]
