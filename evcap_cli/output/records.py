"""The record: what evcap says of one video, and the one shape that every writer and reader shares.

``docs/record.schema.json`` is its JSON Schema. Nothing here depends on when or how fast a run was: the same inputs,
checkpoint and versions give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from annotated_types import Interval

from evcap_cli.errors import EvcapError
from evcap_cli.media.decode_report import Loss
from evcap_cli.version import __version__

SCHEMA = 1
TOP_CATEGORIES = 5
LINE_ENDS = "\x85\u2028\u2029"
"""What many readers take for the end of a line besides the line feed; escaped where a text holds it."""
DECIMALS = 4
"""Of scores and probabilities. Rounded where a record is made, so that one read back is equal to one made now."""


UNFAMILIAR: Final = 0.01
"""Familiarity below which a caption is not to be trusted: one held-out training video in a hundred falls below it."""
SERIOUS_SHARE: Final = 0.1
"""Of a video's captions: so many unfamiliar ones are more than the chance that the threshold allows."""

Seconds = Annotated[float, Interval(ge=0, le=1e13)]
"""As many as 64 bits of microseconds hold: a container can claim as much."""
Share = Annotated[float, Interval(ge=0, le=1)]
Count = Annotated[int, Interval(ge=0, lt=1 << 31)]


@dataclass(frozen=True)
class Emotion:
    """The emotion of a segment: the predicted category, and the emotion words that its caption uses.

    Where the captioning system predicts none there is no ``probability`` and no ``top``, and the category is that of
    the caption's first emotion word.
    """

    category: str
    probability: Share | None
    words: tuple[str, ...] = ()
    top: Mapping[str, Share] = field(default_factory=dict)
    """The most probable categories, best first."""

    def __post_init__(self) -> None:
        if self.probability is not None:
            object.__setattr__(self, "probability", round(self.probability, DECIMALS))
        object.__setattr__(self, "top", {name: round(value, DECIMALS) for name, value in self.top.items()})


@dataclass(frozen=True)
class Caption:
    """One sentence for ``start`` to ``end`` (seconds from the start of the video).

    ``familiarity`` is the share of held-out training videos that are at least as unusual as this segment; None where
    the checkpoint has no summary of its training videos, and for ready-made captioners. ``id`` is that of a clip which
    a data root lists (``--segment from:ROOT``).
    """

    start: Seconds
    end: Seconds
    text: str
    score: float | None = None
    emotion: Emotion | None = None
    familiarity: Share | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        for name in ("score", "familiarity"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, round(value, DECIMALS))

    @property
    def unfamiliar(self) -> bool:
        """Whether the segment is so unlike the training videos that its caption is not to be trusted."""
        return self.familiarity is not None and self.familiarity < UNFAMILIAR


@dataclass(frozen=True)
class Media:
    """What the container says; ``fps`` is a fraction such as "25/1"."""

    duration: Seconds | None
    fps: str | None
    width: Count
    height: Count
    rotation: int
    has_audio: bool
    skipped_packets: Count = 0
    lost_frames_share: Share = 0.0
    """Of the frames that were looked for."""
    lost_audio_seconds: Seconds = 0.0
    lost_audio_share: Share = 0.0
    """Of the sound that the file should hold."""


@dataclass(frozen=True)
class Record:
    """One video: its captions, or the error that kept it, or some of its segments, from having any."""

    path: str
    id: str
    digest: str | None
    status: Literal["ok", "failed"]
    captions: tuple[Caption, ...] = ()
    media: Media | None = None
    backbones: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    error: Mapping[str, str] | None = None
    evcap: str = __version__

    @property
    def duration(self) -> float:
        """Seconds this video takes on a shared clock; 0 where nothing is known."""
        if self.media is not None and self.media.duration is not None:
            return self.media.duration
        return max((caption.end for caption in self.captions), default=0.0)

    @property
    def lost_much(self) -> bool:
        """Whether damage took more than a tenth of the picture or of the sound."""
        media = self.media
        if media is None:
            return False
        return Loss(media.lost_frames_share, media.lost_audio_seconds, media.lost_audio_share).serious

    @property
    def unfamiliar(self) -> int:
        """How many segments are unfamiliar; 0 where they are no more than chance explains."""
        found = len({(caption.start, caption.end) for caption in self.captions if caption.unfamiliar})
        return found if found > SERIOUS_SHARE * self.segments else 0

    @property
    def segments(self) -> int:
        """How many segments have a caption; one may have several."""
        return len({(caption.start, caption.end) for caption in self.captions})

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the published order."""
        return {
            "schema": SCHEMA,
            "path": self.path,
            "id": self.id,
            "digest": self.digest,
            "status": self.status,
            "captions": [_caption(caption) for caption in self.captions],
            "media": None if self.media is None else dict(vars(self.media)),
            "backbones": dict(self.backbones),
            "checkpoint": None if self.checkpoint is None else dict(self.checkpoint),
            "warnings": list(self.warnings),
            "error": None if self.error is None else dict(self.error),
            "evcap": self.evcap,
        }

    def to_line(self) -> str:
        """One line of JSON, without its line end; what is not Unicode in a file name is escaped."""
        line = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)
        for sign in LINE_ENDS:
            line = line.replace(sign, f"\\u{ord(sign):04x}")
        return line.encode("utf-8", "backslashreplace").decode()


def _caption(caption: Caption) -> dict[str, Any]:
    emotion = caption.emotion
    return {
        "start": caption.start,
        "end": caption.end,
        "text": caption.text,
        "score": caption.score,
        "emotion": None
        if emotion is None
        else {
            "category": emotion.category,
            "probability": emotion.probability,
            "words": list(emotion.words),
            "top": dict(emotion.top),
        },
        "familiarity": caption.familiarity,
        **({} if caption.id is None else {"id": caption.id}),
    }


def error_fields(problem: EvcapError) -> dict[str, str]:
    """``error`` of a failed record: a code that programs read and a line that people read."""
    return {"code": problem.code, "message": problem.message}
