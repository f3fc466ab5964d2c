"""A record with one hostile value is read, or refused with file and line; nothing else happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.commands.merge import merge
from evcap_cli.commands.report import report
from evcap_cli.errors import EvcapError
from evcap_cli.output.journal import RECORDS, Journal
from evcap_cli.output.record_files import read_records
from evcap_cli.scoring.prediction_files import read_predictions, read_references
from tests.commands.small import evcap
from tests.output.test_formats import a_failure, a_record
from tests.reading.hostile import mutated

VALID = json.loads(a_record(warnings=("the sound ends early",)).to_line())
FAILED = json.loads(a_failure().to_line())
FIRST = a_record("v/first.mp4").to_line()


def refused_or_done(path: Path, lines: list[str], line: int | None, call: Callable[[], object]) -> bool:
    """Whether ``call`` did its work; where it did not, its error names the file, the line and no Python."""
    path.write_text("\n".join(lines) + "\n", "utf-8")
    try:
        call()
    except EvcapError as problem:
        said = str(problem)
        assert str(path) in said
        assert line is None or f"line {line}" in said or "holds no" in said, said
        assert "Error" not in said
        assert len(said) < 500
        return False
    return True


@pytest.mark.slow
def test_records_are_written_in_every_format_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    writers = {writer.suffix: writer for writer in plugins.writers().values() if writer.suffix != ".html"}

    def call() -> None:
        records = read_records(path)
        texts = {suffix: writer.render(records) for suffix, writer in writers.items()}
        path.write_text(texts[".jsonl"])
        assert read_records(path) == records

    for seed, valid in enumerate((VALID, FAILED)):
        done = sum(refused_or_done(path, [FIRST, text], 2, call) for _, text in mutated(valid, 250, seed))
        assert done > 25


@pytest.mark.slow
def test_merge_and_report_read_or_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    path, page, outputs = (
        tmp_path / "out.jsonl",
        tmp_path / "r.html",
        [str(tmp_path / f"all.{s}") for s in ("srt", "jsonl")],
    )
    for _, text in mutated(VALID, 40):
        merged = refused_or_done(path, [FIRST, text], 2, lambda: merge([path], outputs))
        assert merged == refused_or_done(path, [FIRST, text], 2, lambda: report(path, page, thumbnails=False))


def test_a_report_of_records_whose_names_no_file_can_have(tmp_path: Path) -> None:
    path, page = tmp_path / "out.jsonl", tmp_path / "r.html"
    values = json.loads(FIRST)
    for name in ("x" * 100_000, "\udcff.mp4", "a\0b", ""):
        values["path"] = values["id"] = values["captions"][0]["emotion"]["category"] = name
        assert refused_or_done(path, [json.dumps(values)], 1, lambda: report(path, page))
        assert "a dog runs" in page.read_text("utf-8")


@pytest.mark.slow
def test_predictions_and_references_are_read_or_refused(tmp_path: Path) -> None:
    rows = [
        VALID,
        FAILED,
        {"video_id": "a", "caption": "a man", "references": ["a man", "one"], "features": "surrogate"},
        {"image_id": 7, "caption": "a man"},
        {"video_id": "a", "captions": ["a man", "one"]},
    ]
    first = json.dumps({"video_id": "first", "caption": "a dog", "captions": ["a dog"]})
    for seed, row in enumerate(rows):
        for _, text in mutated(row, 40, seed):
            for read in (read_predictions, read_references):
                path = tmp_path / "p.jsonl"
                refused_or_done(path, [first, text], 2, lambda read=read, path=path: read(path))
                path = tmp_path / "p.json"
                refused_or_done(path, [f"[{first},", text, "]"], None, lambda read=read, path=path: read(path))
    for seed, whole in enumerate(
        ({"a": ["a man"], "b": ["a dog", "one"]}, {"annotations": [{"image_id": 7, "caption": "a"}]}, {"a": "a man"})
    ):
        for _, text in mutated(whole, 40, seed):
            for read in (read_predictions, read_references):
                refused_or_done(path, [text], None, lambda read=read, path=path: read(path))


@pytest.mark.slow
def test_scores_of_hostile_predictions_are_computed_or_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, references = tmp_path / "p.jsonl", tmp_path / "r.json"
    references.write_text(json.dumps({"first": ["a dog"], "a": ["a man"]}))
    first = json.dumps({"video_id": "first", "caption": "a dog"})
    for _, text in mutated({"video_id": "a", "caption": "a man", "references": ["a man"]}, 12):
        path.write_text(f"{first}\n{text}\n")
        code = evcap("score", path, "--refs", references, "--no-meteor", "--json")
        said = capfd.readouterr().err
        assert "Error" not in said
        assert code == 0 or (code == 2 and "p.jsonl" in said)


def test_a_journal_drops_the_bad_line_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)
    folder = tmp_path / "out.partial"
    video = tmp_path / "a.mp4"
    video.write_bytes(b"film")
    with Journal(folder, {}) as journal:
        for key in ("a", "b", "c"):
            journal.add(key, video, a_record(key))
    settings, *entries = (folder / RECORDS).read_text().splitlines()
    for _, text in mutated(json.loads(entries[1]), 60):
        (folder / RECORDS).write_text("\n".join([settings, entries[0], text, entries[2]]) + "\n")
        with Journal(folder, {}) as journal:
            assert journal.get("a", video) == a_record("a")
            assert journal.get("c", video) == a_record("c")
    (folder / RECORDS).write_bytes(settings.encode() + b"\n\xff\xfe\r\0\n" + entries[2].encode() + b"\n")
    with Journal(folder, {}) as journal:
        assert list(journal.keys()) == ["c"]
