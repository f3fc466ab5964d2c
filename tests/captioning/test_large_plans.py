"""A run keeps no records: more videos take no more memory, and the bytes are those that a list gives."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.captioning.run import caption_videos
from evcap_cli.inputs import gather
from tests.benchmarks.plan_memory import constant_captioner, make_links

SUFFIXES = (".jsonl", ".vtt")
FEW, MANY = 200, 1200


def outputs(folder: Path) -> list[Path]:
    return [folder / f"out{suffix}" for suffix in SUFFIXES]


def peak_bytes(folder: Path, count: int) -> int:
    """Of Python's own objects while a run captions ``count`` videos."""
    video = folder / "video"
    video.write_bytes(b"film")
    make_links(folder / "videos", [video], count)
    tracemalloc.start()
    try:
        summary = caption_videos(folder / "videos", outputs(folder), captioner=constant_captioner())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        assert (summary.done, summary.total) == (count, count)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_videos(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "few", "many")]
    for folder in folders:
        folder.mkdir()
    _, few, many = (peak_bytes(folder, count) for folder, count in zip(folders, (1, FEW, MANY), strict=True))
    # a record that is kept takes thousands of bytes; names that Python and pydantic keep for a while, some tens
    assert many - few < 300 * (MANY - FEW)
    records = list(constant_captioner().run(gather([str(folders[1] / "videos")])))
    for path in outputs(folders[1]):
        assert path.read_bytes().decode() == plugins.writers()[path.suffix].render(records)
