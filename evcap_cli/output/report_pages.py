"""Reports of any number of videos: one page up to ``PAGE_VIDEOS``, else as many pages as it takes.

The first page is the file that was requested; the others lie in a folder next to it that is named by what they show,
``report-pages-1f0c5a2e/2.html``. They are written before the first page, which alone leads to them: a report is there
whole or not at all, and the one before it stays whole until then.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import quote

from evcap_cli import console
from evcap_cli.files import write_whole
from evcap_cli.output.html_report import Paging, Totals, missing_pictures, rendered_page
from evcap_cli.output.records import Record
from evcap_cli.version import __version__

PAGE_VIDEOS: Final = 500
"""Of a page: with pictures, as much as a browser shows at ease."""
_PAGE: Final = re.compile(r"[1-9][0-9]*\.html")


def write_report(path: Path, records: Iterable[Record], *, thumbnails: bool = True) -> None:
    """Write the report of ``records`` to ``path``.

    Args:
        path: of the first page.
        records: begin again each time they are iterated.
        thumbnails: see ``render_report``.

    Raises:
        WriteError: a page cannot be written; the report that was there, if any, is as it was.
    """
    totals, digest = _totals(records)
    count = -(-totals.videos // PAGE_VIDEOS) or 1
    folder = path.with_name(f"{path.stem}-pages-{digest}")
    made = _Made(folder)
    pages = _pages(records, count)
    first = ""
    try:
        for number, some in enumerate(pages, 1):
            paging = None if count == 1 else _paging(path, folder, number, count, len(some))
            place = path if number == 1 else folder / f"{number}.html"
            text, found, wanted = rendered_page(some, totals, thumbnails=thumbnails, folder=place.parent, paging=paging)
            made.found, made.wanted = made.found + found, made.wanted + wanted
            if number == 1:
                first = text
            else:
                write_whole(place, text)
                made.pages.append(place)
        write_whole(path, first)
    except BaseException:
        made.undo()
        raise
    if lost := missing_pictures(made.found, made.wanted):
        console.warn(f"the report lacks {lost}")
    _remove_others(path, folder if count > 1 else None)


@dataclass
class _Made:
    """Pages that no first page leads to yet."""

    folder: Path
    pages: list[Path] = field(default_factory=list)
    found: int = 0
    wanted: int = 0
    before: bool = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.folder.exists()

    def undo(self) -> None:
        """Remove them, unless they replaced the same pages of the same records."""
        if not self.before:
            _remove(self.folder)


def _totals(records: Iterable[Record]) -> tuple[Totals, str]:
    """What all pages say of the whole report, and its name."""
    totals = Totals()
    digest = hashlib.blake2b(__version__.encode(), digest_size=4)
    for record in records:
        totals.add(record)
        digest.update(record.to_line().encode() + b"\n")
    return totals, digest.hexdigest()


def _pages(records: Iterable[Record], count: int) -> Iterator[list[Record]]:
    several = iter(records)
    for _ in range(count):
        yield list(islice(several, PAGE_VIDEOS))


def _paging(path: Path, folder: Path, number: int, count: int, videos: int) -> Paging:
    """How a page is called, and the way from it to others."""

    def way(to: int) -> str:
        if to == 1:
            return f"../{quote(path.name)}" if number > 1 else quote(path.name)
        return f"{to}.html" if number > 1 else f"{quote(folder.name)}/{to}.html"

    begin = (number - 1) * PAGE_VIDEOS
    ways = {"first": 1, "previous": number - 1, "next": number + 1, "last": count}
    links = {name: way(to) for name, to in ways.items() if 1 <= to <= count and to != number}
    return Paging(number, count, begin + 1, begin + videos, links)


def _remove_others(path: Path, kept: Path | None) -> None:
    """Remove the pages of earlier reports of this name; nothing else that lies there."""
    name = re.compile(re.escape(path.stem) + "-pages-[0-9a-f]{8}")
    with contextlib.suppress(OSError):
        for folder in list(path.parent.iterdir()):
            if name.fullmatch(folder.name) and folder != kept and folder.is_dir() and not folder.is_symlink():
                _remove(folder)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for page in list(folder.iterdir()):
            if _PAGE.fullmatch(page.name):
                page.unlink()
        folder.rmdir()
