"""Records of a whole plan, read one at a time from where they lie: the journal, and the outputs of an earlier run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.errors import UsageError
from evcap_cli.interrupts import check_interrupted
from evcap_cli.output.record_files import iterate_records, read_line
from evcap_cli.output.records import Record
from evcap_cli.paths import name_key
from evcap_cli.scratch import Scratch, packed
from evcap_cli.sources import names_of

if TYPE_CHECKING:
    from evcap_cli.inputs import Source
    from evcap_cli.output.journal import Journal

_TABLES: Final = """
CREATE TABLE old (path BLOB PRIMARY KEY, alike BLOB NOT NULL, line BLOB NOT NULL);
CREATE INDEX by_name ON old (alike);
"""


class OldRecords:
    """Records of the videos that went well in an earlier run, from its JSONL output.

    Args:
        path: of the output; it may be replaced afterwards.
        digest: of the checkpoint or model that the records must be made with.

    Raises:
        UsageError: it is not there, or of another checkpoint.
        DataError: it holds something else.
    """

    def __init__(self, path: Path, digest: str) -> None:
        if not path.exists():
            raise UsageError("is not there, so nothing can be retried", path=path, hint="run without --retry-failed")
        self._table = Scratch(_TABLES)
        for record in iterate_records(path):
            check_interrupted()
            if record.status != "ok":
                continue
            if (None if record.checkpoint is None else record.checkpoint["digest"]) != digest:
                raise UsageError(
                    "was written with another checkpoint",
                    path=path,
                    hint="use the same -c, or run without --retry-failed",
                )
            self._table.change(
                "INSERT OR REPLACE INTO old VALUES (?, ?, ?)",
                (packed(record.path), packed(name_key(record.path)), record.to_line().encode()),
            )

    def get(self, given: str) -> Record | None:
        """The record of a video, whose name may be written with other accents now."""
        row = self._table.row("SELECT line FROM old WHERE path = ?", (packed(given),)) or self._table.row(
            "SELECT line FROM old WHERE alike = ? ORDER BY rowid DESC", (packed(name_key(given)),)
        )
        return None if row is None else replace(read_line(row[0]), path=given)


@dataclass
class FinishedRecords:
    """The records of a plan in its order; those of videos that are not finished are left out.

    Args:
        sources: the plan's.
        journal: open as long as this is read.
        old: taken before what the journal has.
    """

    sources: Sequence[Source]
    journal: Journal
    old: OldRecords | None = None

    def of(self, given: str, name: str) -> Record | None:
        """The record of one video by its path and id; the id depends on the other videos, which may have changed."""
        record = None if self.old is None else self.old.get(given)
        record = self.journal.read(given) if record is None else record
        return record if record is None or record.id == name else replace(record, id=name)

    def __iter__(self) -> Iterator[Record]:
        for given, name in names_of(self.sources):
            check_interrupted()
            record = self.of(given, name)
            if record is not None:
                yield record
