"""The truth of one demo clip, from which pictures, sound and captions are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

EMOTIONS = ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust")
"""VideoEmotion-8, in the order of the first digit (1 to 8) of an EmVidCap-L id."""
SUBJECTS = ("man", "woman", "boy", "girl", "dog", "cat")
SOLO_ACTIONS = ("walk", "run", "jump", "dance", "wave", "fall")
PAIR_ACTIONS = ("chase", "give", "hug")
PLACES = ("street", "park", "room", "beach", "night")


@dataclass(frozen=True)
class Cast:
    """Who lives in a world, and what they do."""

    subjects: tuple[str, ...]
    solo_actions: tuple[str, ...]
    pair_actions: tuple[str, ...]


CAST = Cast(SUBJECTS, SOLO_ACTIONS, PAIR_ACTIONS)
VARIANT_CAST = Cast(
    ("robot", "wizard", "ghost", "penguin", "rabbit", "frog"),
    ("spin", "bow", "kick", "squat", "march", "roll"),
    ("push", "tickle", "throw"),
)
"""Of the variant world, which has nothing of this in common with the usual one."""


@dataclass(frozen=True)
class ClipFacts:
    """One clip of the demo world.

    Args:
        id: "vid" and five digits; the first digit is the emotion's class, 1 to 8.
        subjects: one or two different names; with two, the first does the action to the second.
        actor_side: where the actor stands, "left" or "right" (with two subjects the other one stands opposite).
        hidden: the picture does not show the emotion: face hidden, posture neutral, ``mood`` drawn independently.
        silent: no sound track at all. Never together with ``hidden``.
        mood: the emotion whose colour mood is shown; equals ``emotion`` unless ``hidden``.
        seconds: length, 3 to 6.
        seed: of everything random in drawing and sounding this clip.
        audio_emotion: of the sound where it contradicts the picture, which then shows ``emotion``; None elsewhere.
        variant: of the variant world: other words, another style of drawing.
    """

    id: str
    subjects: tuple[str, ...]
    action: str
    place: str
    emotion: str
    actor_side: str
    hidden: bool
    silent: bool
    mood: str
    seconds: float
    seed: int
    audio_emotion: str | None = None
    variant: bool = False

    @property
    def sounding(self) -> str:
        """The emotion of the sound, if there is one."""
        return self.audio_emotion or self.emotion

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for facts.jsonl.

        ``heard`` is there only where sound and picture are in conflict, ``variant`` only where it is true.
        """
        values = asdict(self) | {"subjects": list(self.subjects)}
        if not values["variant"]:
            del values["variant"]
        contradicting = values.pop("audio_emotion")
        return values if contradicting is None else values | {"heard": contradicting}
