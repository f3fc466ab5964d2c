"""What a run folder keeps of its validation clips, for the page of the run (``run_report.py``).

``validation/clips.json`` is written once: some of the clips, drawn by the seed, each with two references, its emotion
and a picture. ``validation/captions.jsonl`` has a line for each of them and each epoch. Both are bounded, whatever the
size of the data set.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from evcap_cli.data.caption_text import tokens
from evcap_cli.errors import EvcapError
from evcap_cli.files import write_whole
from evcap_cli.output.html_report import Picture, all_pictures_at
from evcap_cli.reading.typed import read_json, read_json_lines
from evcap_cli.scoring.emotion_accuracy import judge

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon

CLIPS: Final = "validation/clips.json"
CAPTIONS: Final = "validation/captions.jsonl"
SHOWN: Final = 24
"""Validation clips that are kept."""
REFERENCES: Final = 2
"""References of each that are kept."""
LONGEST: Final = 400
"""Characters of a reference that are kept: imported captions may be whole articles."""
NO_EMOTION: Final = "(none)"
"""Instead of a category, where a text has no word of the lexicon."""
PICTURE_SIDE: Final = 120
"""Pixels of the short side."""
PICTURE_SECONDS: Final = 15.0
"""Without progress in a video; its picture is then left out."""
ALL_PICTURES_SECONDS: Final = 60.0
"""After so long no further video is decoded."""
_STREAM: Final = 0x5409
"""Numbers the random stream of the draw."""


@dataclass(frozen=True)
class ShownClip:
    """A validation clip of the page.

    Args:
        references: the first ones, raw.
        category: the emotion that most of all its references mention; ``NO_EMOTION`` where none does.
        emotion_words: of ``references``, with the first category of each.
        picture: the frame in the middle; None where there is no video, or it does not decode.
    """

    video_id: str
    references: list[str]
    category: str
    emotion_words: dict[str, str]
    picture: Picture | None = None


@dataclass(frozen=True)
class ShownClips:
    """What ``clips.json`` holds.

    Args:
        clips: in the order of the validation split.
        of: how many validation clips there are.
        facts: names and values, for the head of the page.
        lost: why pictures are missing; empty where all are there.
    """

    clips: list[ShownClip]
    of: int
    facts: dict[str, str] = field(default_factory=dict)
    lost: str = ""


@dataclass(frozen=True)
class ShownCaption:
    """A line of ``captions.jsonl``.

    Args:
        right: emotion words whose first category a reference of the clip mentions. wrong: the other emotion words.
        missing: categories that references mention and the caption does not.
    """

    epoch: int
    video_id: str
    caption: str
    right: list[str]
    wrong: list[str]
    missing: list[str]


def chosen(videos: Sequence[str], seed: int) -> list[str]:
    """At most ``SHOWN`` of ``videos`` in their order, the same for the same videos and seed."""
    drawn = np.random.default_rng([seed, _STREAM]).permutation(len(videos))[:SHOWN]
    return [videos[number] for number in sorted(drawn.tolist())]


def emotion_words(text: str, lexicon: Lexicon) -> dict[str, int]:
    """Emotion words of a text in their order -> the category that each counts for, by number."""
    firsts = {word: lexicon.first_category(word) for word in tokens(text, None)}
    return {word: number for word, number in firsts.items() if number is not None}


def shown_clip(video: str, references: Sequence[str], lexicon: Lexicon) -> ShownClip:
    """``video`` without a picture.

    Args:
        video: its name.
        references: raw, all of them.
        lexicon: of the run.
    """
    kept = [text if len(text) <= LONGEST else f"{text[:LONGEST]}…" for text in references[:REFERENCES]]
    words = {word: number for text in kept for word, number in emotion_words(text, lexicon).items()}
    named = {word: lexicon.categories[number] for word, number in words.items()}
    return ShownClip(video, kept, true_category(references, lexicon), named)


def true_category(references: Sequence[str], lexicon: Lexicon) -> str:
    """The category that most references have an emotion word of, ties by the alphabet."""
    counts = Counter(number for text in references for number in set(emotion_words(text, lexicon).values()))
    if not counts:
        return NO_EMOTION
    return lexicon.categories[min(counts, key=lambda number: (-counts[number], number))]


def predicted_category(caption: str, lexicon: Lexicon) -> str:
    """The category of the first emotion word in a caption."""
    number = next(iter(emotion_words(caption, lexicon).values()), None)
    return NO_EMOTION if number is None else lexicon.categories[number]


def confusion(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]], lexicon: Lexicon
) -> dict[str, dict[str, int]]:
    """True category -> predicted category -> captions; pairs that do not occur are left out.

    Args:
        captions: by video.
        references: raw, of each of these videos.
        lexicon: of the run.
    """
    counts = Counter(
        (true_category(references[video], lexicon), predicted_category(caption, lexicon))
        for video, caption in captions.items()
    )
    table: dict[str, dict[str, int]] = {}
    for (true, predicted), count in sorted(counts.items()):
        table.setdefault(true, {})[predicted] = count
    return table


def shown_caption(epoch: int, video: str, caption: str, references: Sequence[str], lexicon: Lexicon) -> ShownCaption:
    """``caption`` with its emotion words judged as Acc_sw does it.

    Args:
        epoch: from 1.
        video: its name.
        caption: of the epoch.
        references: raw, all of them.
        lexicon: of the run.
    """
    verdict = judge(tokens(caption, None), [tokens(text, None) for text in references], lexicon)
    words = emotion_words(caption, lexicon)
    return ShownCaption(
        epoch,
        video,
        caption,
        right=[word for word, number in words.items() if number in verdict.right],
        wrong=[word for word, number in words.items() if number in verdict.wrong],
        missing=[lexicon.categories[number] for number in sorted(verdict.missing)],
    )


def pictures(places: Mapping[str, tuple[Path, float]], videos: Iterable[str]) -> dict[str, Picture]:
    """Video -> the frame at its moment; what does not decode is left out, and everything that would take too long.

    Args:
        places: video -> file and seconds in it.
        videos: those whose pictures are requested.
    """
    from evcap_cli.media.decoder import Decoder

    found: dict[str, Picture] = {}
    end = time.monotonic() + ALL_PICTURES_SECONDS
    with Decoder(timeout=PICTURE_SECONDS) as decoder:
        for video in videos:
            if video in places and time.monotonic() < end:
                path, seconds = places[video]
                made = all_pictures_at(decoder, path, [seconds], PICTURE_SIDE)
                if 0 in made:
                    found[video] = made[0]
    return found


def write_clips(run: Path, shown: ShownClips) -> None:
    """Write ``clips.json``.

    Raises:
        WriteError: no permission, a full disk.
    """
    write_whole(run / CLIPS, json.dumps(asdict(shown), ensure_ascii=False, indent=1) + "\n")


def read_clips(run: Path) -> ShownClips | None:
    """What ``clips.json`` holds; None where it is not there, or is not what this version writes."""
    try:
        return read_json(ShownClips, run / CLIPS)
    except EvcapError:
        return None


def write_captions(run: Path, captions: Iterable[ShownCaption]) -> None:
    """Write ``captions.jsonl``.

    Raises:
        WriteError: no permission, a full disk.
    """
    lines = (json.dumps(asdict(caption), ensure_ascii=False) + "\n" for caption in captions)
    write_whole(run / CAPTIONS, "".join(lines))


def read_captions(run: Path) -> list[ShownCaption]:
    """The lines of ``captions.jsonl``; empty where it is not there, or is not what this version writes."""
    try:
        return [caption for _, caption in read_json_lines(ShownCaption, run / CAPTIONS)]
    except EvcapError:
        return []
