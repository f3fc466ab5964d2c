"""``--decoder-memory``: what one video may take, in every command that decodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.small import evcap
from tests.features.films import make_film
from tests.media.bombs import huge_picture


@pytest.mark.slow
def test_a_video_over_the_limit_fails_alone(
    films: Path, checkpoint: Path, warm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    huge_picture(films / "huge.gif", side=1500)
    options = ("-c", checkpoint, "--cache-dir", warm, "--decoder-memory", "100M")
    assert evcap("caption", films / "huge.gif", films / "a.mp4", "-o", "out.jsonl", *options) == 3
    records = {Path(r["path"]).name: r for r in map(json.loads, Path("out.jsonl").read_text().splitlines())}
    assert records["a.mp4"]["status"] == "ok"
    assert records["huge.gif"]["error"]["code"] == "memory"
    assert "1500 x 1500 pixels; raise --decoder-memory" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "code"), [("80M", 1), ("1G", 0)])
def test_extract_has_the_same_limit(limit: str, code: int, tmp_path: Path) -> None:
    film = make_film(tmp_path / "large.mp4", frames=3, size=(1920, 1080), sound=False)
    call = ("extract", film, "--appearance", "lite-appearance", "--cache-dir", tmp_path / "kept", "--device", "cpu")
    assert evcap(*call, "--decoder-memory", limit) == code
