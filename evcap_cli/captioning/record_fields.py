"""What a record says of a caption's emotion and of the video's container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evcap_cli.console import noun
from evcap_cli.output.records import TOP_CATEGORIES, Emotion, Media, Record

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.features.events import VideoDone


def emotion_of(words: Sequence[str], probabilities: Sequence[float] | None, lexicon: Lexicon) -> Emotion | None:
    """What a record says of a caption's emotion.

    Args:
        words: of the caption.
        probabilities: of the lexicon's categories; None where the captioning system perceives no emotion. The category
            is then that of the first emotion word of the caption, and there is no emotion without one.
        lexicon: of the checkpoint.
    """
    found = tuple(dict.fromkeys(word for word in words if word in lexicon.word_ids))
    if probabilities is None:
        if not found:
            return None
        return Emotion(lexicon.categories[lexicon.category_ids[found[0]][0]], None, found)
    order = sorted(range(len(probabilities)), key=lambda number: (-probabilities[number], number))
    return Emotion(
        category=lexicon.categories[order[0]],
        probability=probabilities[order[0]],
        words=found,
        top={lexicon.categories[number]: probabilities[number] for number in order[:TOP_CATEGORIES]},
    )


def with_familiarity(record: Record) -> Record:
    """``record`` with a warning where its video is unlike those that its checkpoint was trained on."""
    if not record.unfamiliar:
        return record
    name = "the checkpoint" if record.checkpoint is None else record.checkpoint["name"]
    which = "" if record.segments == 1 else f"{record.unfamiliar} of {record.segments} segments are "
    text = f"{which}unlike the videos that {name} was trained on: do not trust the {noun(record.unfamiliar, 'caption')}"
    return replace(record, warnings=(*record.warnings, text))


def whole_milliseconds(seconds: Any) -> float:
    """Whole milliseconds, rounded down so that no cue leaves its video."""
    return int(seconds * 1000) / 1000


def media_fields(done: VideoDone) -> Media:
    """What a record says of the container."""
    info = done.info
    if info is None:
        raise ValueError("this video was never opened")
    return Media(
        duration=None if info.duration is None else round(float(info.duration), 6),
        fps=None if info.fps is None else f"{info.fps.numerator}/{info.fps.denominator}",
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        has_audio=info.has_audio,
        skipped_packets=done.skipped_packets,
        lost_frames_share=done.loss.frames_share,
        lost_audio_seconds=done.loss.audio_seconds,
        lost_audio_share=done.loss.audio_share,
    )
