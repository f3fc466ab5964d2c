"""Merging on disk is merging in a dictionary: the same records, order and refusals."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evcap_cli.errors import UsageError
from evcap_cli.output.merged_records import MergedRecords
from evcap_cli.output.record_files import RecordFile
from evcap_cli.output.records import Record
from evcap_cli.paths import name_key
from tests.output.test_formats import a_failure, a_record

NAMES = ("a", "b", "é", "e\u0301", "É", "E\u0301", "\udcff", "\ue000", "🙂", "z")


def in_memory(files: Sequence[Sequence[Record]]) -> list[Record] | None:
    """What merging was before it was done on disk; None: it refuses."""
    records: dict[str, Record] = {}
    alike: dict[str, str] = {}
    for found in files:
        here = {record.path for record in found}
        for record in found:
            name = record.path if record.path in records else alike.setdefault(name_key(record.path), record.path)
            if name != record.path and name in here:
                name = record.path  # both in one file: two videos whose names look the same
            earlier = records.get(name)
            same = earlier is not None and replace(record, path=earlier.path, id=earlier.id) == earlier
            if earlier is not None and earlier.status == "ok" and not same:
                if record.status == "ok":
                    return None
                continue
            records[name] = record
    return [records[path] for path in sorted(records)]


def shards(seed: int) -> list[list[Record]]:
    chosen = random.Random(seed)
    files: list[list[Record]] = []
    for _ in range(chosen.randrange(1, 4)):
        names = chosen.sample(NAMES, chosen.randrange(1, 6))
        text = chosen.choice(("a dog runs", "a dog runs", "a dog runs", "a man sings"))
        files.append(
            [a_failure(name) if chosen.random() < 0.3 else a_record(name, text, id=str(seed)) for name in names]
        )
    return files


def add_all(merged: MergedRecords, paths: Sequence[Path]) -> None:
    for path in paths:
        merged.add(path)


def test_merging_is_as_in_memory(tmp_path: Path) -> None:
    refused = 0
    for seed in range(150):
        files = shards(seed)
        expected = in_memory(files)
        merged = MergedRecords()
        paths = [tmp_path / f"{number}.jsonl" for number in range(len(files))]
        for path, records in zip(paths, files, strict=True):
            path.write_text("".join(record.to_line() + "\n" for record in records))
        if expected is None:
            refused += 1
            with pytest.raises(UsageError, match="captioned here and, differently"):
                add_all(merged, paths)
            continue
        add_all(merged, paths)
        assert list(merged) == list(merged) == expected
        assert len(merged) == len(expected)
    assert 5 < refused < 145


def test_records_of_a_pipe_are_read_more_than_once(tmp_path: Path) -> None:
    records = [a_record(f"{number}.mp4") for number in range(3)]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "".join(record.to_line() + "\n" for record in records)
    thread = threading.Thread(target=pipe.write_text, args=(text,))
    thread.start()
    found = RecordFile(pipe)
    thread.join()
    assert list(found) == list(found) == records
