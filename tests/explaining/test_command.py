"""``evcap explain``: the caption of ``evcap caption`` on one whole page, one line for what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.small import evcap, records, save_checkpoint
from tests.explaining.test_explain_page import self_contained
from tests.features.films import make_film


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small", seed=1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_page_tells_the_caption_and_the_emotion_that_caption_writes(
    here: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_film(Path("a.mp4"), frames=40, seed=2)
    cache = ("--cache-dir", "features")
    assert evcap("explain", "a.mp4", "-c", checkpoint, "-o", "page.html", *cache) == 0
    assert capfd.readouterr().err == "the inside of a.mp4: page.html\n"
    assert evcap("caption", "a.mp4", "-c", checkpoint, "-o", "out.jsonl", *cache) == 0
    record = records(Path("out.jsonl"))[0]["captions"][0]
    page = self_contained(Path("page.html").read_text("utf-8"))
    words = record["text"].split()
    assert words
    told = page.text[page.text.index("instead") + 1 :]
    assert all(word in told for word in [*words, "(end)"])
    assert f"{record['score']:.4f}" in page.text
    reported = told[told.index("Reported: the mean of those that count") :]
    assert reported[1] == record["emotion"]["category"]
    pictures = [address for address in page.addresses() if len(address) > 200]
    assert len(pictures) > len(words)
    # the same bytes again, from the cache; nothing else is left lying about
    first = Path("page.html").read_bytes()
    assert evcap("explain", "a.mp4", "-c", checkpoint, "-o", "page.html", *cache) == 0
    assert Path("page.html").read_bytes() == first
    assert sorted(path.name for path in here.iterdir()) == ["a.mp4", "features", "out.jsonl", "page.html"]


@pytest.mark.slow
def test_a_film_without_sound_says_so(here: Path, checkpoint: Path) -> None:
    make_film(Path("a.mp4"), frames=8, sound=False)
    assert evcap("explain", "a.mp4", "-c", checkpoint, "-o", "page.html", "-q") == 0
    page = self_contained(Path("page.html").read_text("utf-8"))
    assert any(text.startswith("This clip has no sound") for text in page.text)
    assert any("absent" in text for text in page.text)


@pytest.mark.slow
def test_what_goes_wrong_is_one_line(here: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_film(Path("a.mp4"), frames=8)
    make_film(Path("b.mp4"), frames=8)
    Path("text.mp4").write_text("this is no video\n" * 50)
    Path("folder").mkdir()
    Path("taken.html").mkdir()
    c, o = ("-c", checkpoint), ("-o", "page.html")
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (2, "gone.mp4: no such file or folder; ", ("gone.mp4", *c, *o)),
        (2, "folder: is a folder, not a video; ", ("folder", *c, *o)),
        (2, "*.mp4: names 3 videos; ", ("*.mp4", *c, *o)),
        (2, "page.srt: the page is HTML; ", ("a.mp4", *c, "-o", "page.srt")),
        (1, "taken.html: is a folder, not a file; ", ("a.mp4", *c, "-o", "taken.html")),
        (2, "nowhere: ", ("a.mp4", "-c", "nowhere", *o)),
        (2, "appearance backbone", ("a.mp4", *c, *o, "--appearance", "resnet")),
        (1, "text.mp4: ", ("text.mp4", *c, *o)),
    ]
    for code, said, arguments in cases:
        assert evcap("explain", *arguments) == code, arguments
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert said in lines[0]
        assert not Path("page.html").exists()


def test_the_video_is_not_overwritten(here: Path, checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    film = make_film(Path("a.mp4"), frames=8).rename("a.html")
    before = film.read_bytes()
    assert evcap("explain", "a.html", "-c", checkpoint, "-o", "./a.html") == 2
    assert "is the video itself" in capfd.readouterr().err
    assert film.read_bytes() == before
