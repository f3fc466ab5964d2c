"""The report: one offline HTML page with thumbnails, captions, an emotion bar a caption and a timeline a video.

Pictures come from a small decode of the videos, which must still lie where the records say; a video that is gone
keeps its text. The page holds no time stamp and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from evcap_cli import console
from evcap_cli.clocks import clock
from evcap_cli.errors import DecoderCrashed, DecodeTimeout, EvcapError, OutOfMemory
from evcap_cli.output.html_pages import page
from evcap_cli.output.records import Caption, Record
from evcap_cli.reading.text import printable

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup

    from evcap_cli.media.decoder import Decoder

THUMBNAIL_SIDE = 180
"""Pixels of the short side."""
THUMBNAILS_A_VIDEO = 12
JPEG_QUALITY = 72

HUES = {
    "anger": 4,
    "anticipation": 32,
    "joy": 48,
    "trust": 130,
    "surprise": 188,
    "sadness": 216,
    "fear": 268,
    "disgust": 88,
}
"""Degrees on the colour circle for the eight basic emotions; other categories get one from their name."""


def hue(category: str) -> int:
    """The colour of a category, the same in every report."""
    digest = hashlib.blake2b(printable(category).encode(), digest_size=2).digest()
    return HUES.get(category, int.from_bytes(digest) % 360)


@dataclass(frozen=True)
class Picture:
    """A thumbnail as a data address."""

    source: str
    width: int
    height: int


@dataclass
class Totals:
    """What the head of each page says of the whole report."""

    videos: int = 0
    seconds: float = 0.0
    captions: int = 0
    failed: int = 0
    captioners: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        """Count one more video."""
        self.videos += 1
        self.seconds += record.duration
        self.captions += len(record.captions)
        self.failed += record.status == "failed"
        if record.checkpoint is not None:
            self.captioners.add(_captioner(record.checkpoint))


@dataclass(frozen=True)
class Paging:
    """One of several pages: its number, the numbers of its first and last video, and the addresses of others."""

    number: int
    count: int
    first: int
    last: int
    links: Mapping[str, str]


def render_report(records: Sequence[Record], *, thumbnails: bool = True, folder: Path | None = None) -> str:
    """The whole report on one page, however many videos it has; ``report_pages.py`` takes several.

    Args:
        records: what it shows.
        thumbnails: decode pictures of the videos that still lie where the records say.
        folder: where the page will lie; with it, a click on a caption plays the video there. None: no player.
    """
    totals = Totals()
    for record in records:
        totals.add(record)
    text, found, wanted = rendered_page(records, totals, thumbnails=thumbnails, folder=folder)
    if lost := missing_pictures(found, wanted):
        console.warn(f"the report lacks {lost}")
    return text


def rendered_page(
    records: Sequence[Record],
    totals: Totals,
    *,
    thumbnails: bool = True,
    folder: Path | None = None,
    paging: Paging | None = None,
) -> tuple[str, int, int]:
    """One page; returns how many of how many pictures are on it, too.

    Args:
        records: of this page.
        totals: of the whole report.
        thumbnails: see ``render_report``.
        folder: see ``render_report``.
        paging: None: it is the only page.
    """
    filters = {"clock": clock, "hue": hue, "mark_words": mark_words}
    pictures, wanted = _pictures(records) if thumbnails else ({}, 0)
    counts = Counter(c.emotion.category for r in records for c in r.captions if c.emotion is not None)
    text = page(
        "evcap_cli.output",
        "report.html",
        filters,
        records=records,
        pictures=pictures,
        links={} if folder is None else video_links(records, folder),
        lost=missing_pictures(len(pictures), wanted),
        counts=sorted(counts.items(), key=lambda item: (-item[1], item[0])),
        totals=totals,
        checkpoints=sorted(totals.captioners),
        paging=paging,
    )
    return text + "\n", len(pictures), wanted


def _captioner(checkpoint: Mapping[str, Any]) -> str:
    """What a record's captioner is called, and whose labels it was trained on."""
    labels_by = f" (trained on labels by {checkpoint['labels_by']})" if "labels_by" in checkpoint else ""
    return f"{checkpoint['name']}{labels_by}"


def mark_words(caption: Caption) -> Markup:
    """The caption with its emotion words marked."""
    from markupsafe import Markup, escape

    words = set() if caption.emotion is None else set(caption.emotion.words)
    mark = Markup('<mark style="--hue: {}">{}</mark>')
    shade = 0 if caption.emotion is None else hue(caption.emotion.category)
    return Markup(" ").join(
        mark.format(shade, word) if word in words else escape(word) for word in caption.text.split()
    )


def video_links(records: Sequence[Record], folder: Path) -> dict[int, str]:
    """Record number -> address of its video as seen from a page in ``folder``, for videos that still lie there.

    Addresses are relative, so that page and videos can be moved together; on another drive they are absolute.
    """
    links: dict[int, str] = {}
    for number, record in enumerate(records):
        if record.captions and is_there(record.path):
            there = os.path.abspath(record.path)  # noqa: PTH100  no link of a path is resolved
            try:
                relative = os.path.relpath(there, folder)
            except ValueError:  # another drive
                links[number] = Path(there).as_uri()
            else:
                links[number] = quote(os.fsencode(relative.replace(os.sep, "/")))
    return links


def is_there(path: str) -> bool:
    """Whether the video of a record still lies where the record says, whatever it says."""
    return os.path.isfile(path)  # noqa: PTH113  that of pathlib raises for names that no file can have


def _pictures(records: Sequence[Record]) -> tuple[dict[tuple[int, int], Picture], int]:
    """(record number, caption number) -> the frame in the middle of the caption; and how many there should be."""
    from evcap_cli.media.decoder import Decoder

    found: dict[tuple[int, int], Picture] = {}
    wanted = 0
    with Decoder() as decoder:
        for number, record in enumerate(records):
            if record.captions and is_there(record.path):
                chosen = range(len(record.captions))
                if len(chosen) > THUMBNAILS_A_VIDEO:
                    chosen = range(0, len(record.captions), -(-len(record.captions) // THUMBNAILS_A_VIDEO))
                middles = [(record.captions[which].start + record.captions[which].end) / 2 for which in chosen]
                wanted += len(middles)
                for place, picture in all_pictures_at(decoder, record.path, middles).items():
                    found[number, chosen[place]] = picture
    return found, wanted


def missing_pictures(found: int, wanted: int) -> str:
    """What to say where not all pictures are there; empty where they are."""
    if found == wanted:
        return ""
    return f"{wanted - found} of {console.counted(wanted, 'picture')}, whose frames did not decode again"


def all_pictures_at(
    decoder: Decoder, path: str | Path, wanted_seconds: Sequence[float], side: int = THUMBNAIL_SIDE
) -> dict[int, Picture]:
    """``pictures_at``, tried once more where the decoder died; what cannot be decoded is left out, never an error."""
    found: dict[int, Picture] = {}
    for _ in range(2):
        left = [place for place in range(len(wanted_seconds)) if place not in found]
        try:
            if left:
                for place, picture in pictures_at(decoder, path, [wanted_seconds[n] for n in left], side):
                    found[left[place]] = picture
        except (DecoderCrashed, DecodeTimeout, OutOfMemory):
            continue
        except EvcapError:
            pass
        break
    return found


def pictures_at(
    decoder: Decoder, path: str | Path, wanted_seconds: Sequence[float], side: int = THUMBNAIL_SIDE
) -> Iterator[tuple[int, Picture]]:
    """Frames nearest to given times, each with its place in ``wanted_seconds``; one that does not decode is left out.

    Args:
        decoder: reads the file again.
        path: of the video.
        wanted_seconds: of the video's clock, in any order.
        side: pixels of the short side.

    Raises:
        VideoError: the file cannot be opened or decoded.
    """
    import numpy as np

    from evcap_cli.media.decode_plan import DecodedFrame, DecodePlan, FrameRequest
    from evcap_cli.media.frames import Geometry

    timeline = decoder.open(path)
    seconds = np.asarray([float(timeline.seconds(i)) for i in range(len(timeline.times))])
    wanted: dict[int, list[int]] = {}
    for place, moment in enumerate(wanted_seconds):
        wanted.setdefault(int(np.abs(seconds - moment).argmin()), []).append(place)
    request = FrameRequest(Geometry(short_side=side, max_side=side * 2, fit="keep"), sorted(wanted))
    for item in decoder.decode(DecodePlan({"thumbnail": request}, None)):
        if isinstance(item, DecodedFrame):
            picture = _jpeg(item.pixels)
            yield from ((place, picture) for place in wanted[item.ordinal])


def _jpeg(pixels: np.ndarray[Any, Any]) -> Picture:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=JPEG_QUALITY, optimize=True)
    source = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
    return Picture(source, pixels.shape[1], pixels.shape[0])
