"""Files are written record by record, with the bytes that the whole list gives; a writer that wants a list gets one."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pysubs2
import pytest
from pysubs2.formats.subrip import SubripFormat
from pysubs2.formats.webvtt import WebVTTFormat

from evcap_cli import plugins
from evcap_cli.clocks import timestamp
from evcap_cli.errors import WriteError
from evcap_cli.output import rendering
from evcap_cli.output.records import Caption, Record
from evcap_cli.output.rendering import write_files
from evcap_cli.output.writers import StreamingWriter, Writer
from tests.output.test_formats import HOSTILE, a_failure, a_record

TEXTS = ("a dog runs happily", HOSTILE, "a {\\b1}man <i>says & waves", "\\N x \\h", "  ", "é 🙂")


def some_records(count: int, seed: int = 0) -> list[Record]:
    """Captions that overlap, share a time, begin late, last no time, or go on after their video has ended."""
    chosen = random.Random(seed)
    records: list[Record] = []
    for number in range(count):
        path = f"v/{number}.mp4"
        if chosen.random() < 0.2:
            records.append(a_failure(path))
            continue
        starts = [round(chosen.uniform(0, 9), 3) for _ in range(chosen.randrange(4))]
        captions = [
            Caption(start, start + chosen.choice((0.0, 0.0004, 1.5, 30.0)), chosen.choice(TEXTS), -0.5)
            for start in (*starts, *starts[:1])
        ]
        records.append(a_record(path, captions=tuple(captions), duration=chosen.choice((0.5, 5.0, 7.77))))
    return records


def by_pysubs2(records: Sequence[Record], kind: str) -> str:
    """A subtitle file made from all cues at once, by pysubs2's own writer of the format."""
    subtitles, offset = pysubs2.SSAFile(), 0.0
    for record in records:
        for caption in record.captions:
            start, end = (int((offset + moment) * 1000 + 1e-6) for moment in (caption.start, caption.end))
            (line,) = one_cue(caption.text, kind)
            subtitles.append(pysubs2.SSAEvent(start=start, end=max(end, start + 1), text=line))
        offset += record.duration

    class Srt(SubripFormat):  # type: ignore[misc]
        ms_to_timestamp = staticmethod(lambda ms: timestamp(ms, ","))

    class Vtt(WebVTTFormat):  # type: ignore[misc]
        ms_to_timestamp = staticmethod(lambda ms: timestamp(ms, "."))

    text = io.StringIO()
    (Vtt if kind == "vtt" else Srt).to_file(subtitles, text, kind)
    return text.getvalue()


def one_cue(text: str, kind: str) -> list[str]:
    """The text of a caption in a file of its own; in pysubs2's text form, where it means the same."""
    written = plugins.writers()[f".{kind}"].render([a_record(text=text, duration=1.0)])
    return [written.removeprefix("WEBVTT\n\n").removesuffix("\n\n").split("\n", 2)[2]]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_subtitles_are_those_of_all_cues_at_once(kind: str, seed: int) -> None:
    records = some_records(60, seed)
    assert plugins.writers()[f".{kind}"].render(records) == by_pysubs2(records, kind)


@pytest.mark.parametrize("suffix", [".jsonl", ".srt", ".vtt", ".tsv"])
def test_a_file_grows_as_records_come(suffix: str, tmp_path: Path) -> None:
    writer = plugins.writers()[suffix]
    assert isinstance(writer, StreamingWriter)
    read: list[str] = []

    def records() -> Iterator[Record]:
        for record in many:
            read.append(record.path)
            yield record

    many = [a_record(f"{number}.mp4") for number in range(50)]
    ahead = 0
    whole = ""
    for piece in writer.pieces(records()):
        whole += piece
        written = sum(f"{name}" in whole for name in read) if suffix in (".jsonl", ".tsv") else whole.count(" --> ")
        ahead = max(ahead, len(read) - written)
    assert ahead <= 1
    path = tmp_path / f"x{suffix}"
    assert write_files([(path, writer)], many) == []
    assert path.read_bytes().decode() == whole == writer.render(many)


class Listed:
    """A writer as plugins have written them since the first version."""

    suffix, description = ".count", "how many records"

    def render(self, records: Sequence[Record]) -> str:
        return f"{len(records)} records, the last is {records[-1].path}\n"


class AnyOrder:
    """Records that are read again from somewhere each time; no list."""

    def __init__(self, records: Sequence[Record], broken: bool = False) -> None:
        self.records, self.broken, self.times = records, broken, 0

    def __iter__(self) -> Iterator[Record]:
        self.times += 1
        yield from self.records
        if self.broken:
            raise WriteError("was changed on disk", path="journal")


def test_a_writer_that_wants_a_list_gets_one(tmp_path: Path) -> None:
    writer: Writer = Listed()
    assert write_files([(tmp_path / "x.count", writer)], AnyOrder(some_records(7))) == []
    assert (tmp_path / "x.count").read_text() == "7 records, the last is v/6.mp4\n"


def test_records_that_cannot_be_read_are_not_the_writers_fault(tmp_path: Path) -> None:
    old = tmp_path / "x.jsonl"
    old.write_text("old")
    (problem,) = write_files([(old, plugins.writers()[".jsonl"])], AnyOrder(some_records(7), broken=True))
    assert str(problem) == "journal: was changed on disk"
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_writer_that_fails_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    class Broken(Listed):
        def pieces(self, records: Sequence[Record]) -> Iterator[str]:
            for number, record in enumerate(records):
                if number == 3:
                    raise KeyError(number)
                yield record.path

    (tmp_path / "x.count").write_text("old")
    (problem,) = write_files([(tmp_path / "x.count", Broken())], some_records(7))
    assert "the format .count of evcap failed (KeyError: 3)" in str(problem)
    assert (tmp_path / "x.count").read_text() == "old"


@pytest.mark.parametrize("seed", range(3))
def test_files_share_one_reading_of_the_records(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0

    class Watched(rendering.deque[Record]):
        def append(self, record: Record) -> None:
            nonlocal most
            super().append(record)
            most = max(most, len(self))

    monkeypatch.setattr(rendering, "deque", Watched)
    records = some_records(120, seed)
    writers = plugins.writers()
    several = [(tmp_path / f"x{suffix}", writers[suffix]) for suffix in (".srt", ".jsonl", ".vtt", ".tsv")]
    source = AnyOrder(records)
    assert write_files([*several, (tmp_path / "x.count", Listed())], source) == []
    assert source.times == 2  # once for all that are written piece by piece
    # no file is far behind another: as many records wait as there may be in a row without a caption
    assert most < 20
    for path, writer in several:
        assert path.read_bytes().decode() == writer.render(records)


def test_one_of_several_files_that_fails_costs_itself_only(tmp_path: Path) -> None:
    class Broken(Listed):
        def pieces(self, records: Iterable[Record]) -> Iterator[str]:
            for number, record in enumerate(records):
                if number == 3:
                    raise KeyError(number)
                yield record.path

    records = some_records(50)
    (tmp_path / "folder.srt").mkdir()
    (tmp_path / "b.count").write_text("old")
    writers = plugins.writers()
    files: list[tuple[Path, Writer]] = [
        (tmp_path / "a.jsonl", writers[".jsonl"]),
        (tmp_path / "folder.srt", writers[".srt"]),
        (tmp_path / "b.count", Broken()),
        (tmp_path / "c.tsv", writers[".tsv"]),
    ]
    problems = write_files(files, records)
    assert [problem.path for problem in problems] == [str(tmp_path / "folder.srt"), str(tmp_path / "b.count")]
    assert (tmp_path / "a.jsonl").read_text() == writers[".jsonl"].render(records)
    assert (tmp_path / "c.tsv").read_text() == writers[".tsv"].render(records)
    assert (tmp_path / "b.count").read_text() == "old"
    # records that cannot be read to their end leave no file at all, though some were ahead of others
    problems = write_files(files[:1] + files[3:], AnyOrder(records[:30], broken=True))
    assert [str(problem) for problem in problems] == ["journal: was changed on disk"] * 2
    assert (tmp_path / "a.jsonl").read_text() == writers[".jsonl"].render(records)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.count", "c.tsv", "folder.srt"]
