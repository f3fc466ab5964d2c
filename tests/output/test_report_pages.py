"""A report of many videos is several pages that lead to each other, there together or not at all."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from evcap_cli.errors import WriteError
from evcap_cli.output import report_pages
from evcap_cli.output.html_report import render_report
from evcap_cli.output.records import Record
from evcap_cli.output.rendering import write_file
from evcap_cli.output.report_pages import PAGE_VIDEOS
from evcap_cli.output.writers import HtmlReport
from tests.output.test_streamed_formats import AnyOrder, some_records

PAGES = HtmlReport(thumbnails=False)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of seven videos."""
    monkeypatch.setattr(report_pages, "PAGE_VIDEOS", 7)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shown(page: Path) -> list[str]:
    """The videos of a page, in order."""
    return re.findall(r"<h2>([^<]*)<", page.read_text())


class Links(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.to: dict[str, Path] = {}
        self.page, self._address = page, ""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._address = dict(attrs).get("href") or "" if tag == "a" else ""

    def handle_endtag(self, tag: str) -> None:
        self._address = "" if tag == "a" else self._address

    def handle_data(self, data: str) -> None:
        if self._address:
            self.to[data] = (self.page.parent / unquote(self._address)).resolve()


def test_up_to_the_size_of_a_page_it_is_one_file_as_ever(tmp_path: Path) -> None:
    for count in (0, 1, PAGE_VIDEOS):
        records = some_records(count)
        write_file(tmp_path / "r.html", PAGES, AnyOrder(records))
        assert tree(tmp_path) == {"r.html": render_report(records, thumbnails=False, folder=tmp_path).encode()}


@pytest.mark.usefixtures("small")
def test_pages_hold_all_videos_in_order_and_lead_to_each_other(tmp_path: Path) -> None:
    records = some_records(24)
    path = tmp_path / "my #1 report.html"
    write_file(path, PAGES, AnyOrder(records))
    (folder,) = (entry for entry in tmp_path.iterdir() if entry.is_dir())
    others = [folder / f"{number}.html" for number in (2, 3, 4)]
    assert sorted(tree(tmp_path)) == sorted(str(page.relative_to(tmp_path)) for page in (path, *others))
    assert [name for page in (path, *others) for name in shown(page)] == [record.path for record in records]
    first, second, third, fourth = (Links(page).to for page in (path, *others))
    assert first == {"next": others[0], "last": others[2]}
    assert second == {"first": path, "previous": path, "next": others[1], "last": others[2]}
    assert third == {"first": path, "previous": others[0], "next": others[2], "last": others[2]}
    assert fourth == {"first": path, "previous": others[1]}
    heads = {re.findall(r'<p class="soft">(24 videos[^<]*)<', page.read_text())[0] for page in (path, *others)}
    assert len(heads) == 1
    assert "Page 4 of 4, videos 22 to 24" in others[2].read_text()


@pytest.mark.usefixtures("small")
def test_a_video_is_played_from_a_page_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records = [record for record in some_records(30) if record.captions]
    (tmp_path / "v").mkdir()
    for record in records:
        Path(record.path).write_bytes(b"film")
    write_file(Path("r.html"), PAGES, records)
    for page in tmp_path.rglob("*.html"):
        addresses = re.findall(r'data-video="([^"]*)"', page.read_text())
        assert [(page.parent / address).resolve() for address in addresses] == [tmp_path / n for n in shown(page)]


@pytest.mark.usefixtures("small")
def test_what_cannot_be_written_leaves_the_report_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "r.html", PAGES, some_records(24))
    before = tree(tmp_path)
    plain = report_pages.write_whole
    refused = "3.html"

    def full(path: Path, content: str) -> None:
        if path.name == refused:
            raise WriteError("cannot write (no space)", path=path)
        plain(path, content)

    monkeypatch.setattr(report_pages, "write_whole", full)
    for refused in ("3.html", "r.html"):  # noqa: B007  read by ``full``
        with pytest.raises(WriteError, match="no space"):
            write_file(tmp_path / "r.html", PAGES, some_records(25, seed=1))
        assert tree(tmp_path) == before
    # the same records again, and again not: the pages that are there are those of the report that is there
    with pytest.raises(WriteError):
        write_file(tmp_path / "r.html", PAGES, some_records(24))
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("small")
def test_a_new_report_takes_the_pages_of_the_old_one_away_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    write_file(other, PAGES, some_records(24))
    theirs = tree(tmp_path)
    path = tmp_path / "r.html"
    write_file(path, PAGES, some_records(24))
    (mine,) = (entry for entry in tmp_path.iterdir() if entry.is_dir() and entry.name.startswith("r-pages"))
    (mine / "notes.txt").write_text("mine")
    records: list[Record] = some_records(3)
    write_file(path, PAGES, records)
    left = {**theirs, "r.html": path.read_bytes(), f"{mine.name}/notes.txt": b"mine"}
    assert tree(tmp_path) == left
    assert shown(path) == [record.path for record in records]
