"""The demo world on disk: read by what reads the real data set, kept by reruns, refused when it is another."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from evcap_cli.commands import demo_world
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.demo import layout
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import read_world, write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.demo.wording import DEMO_LEXICON
from evcap_cli.errors import DataError, EvcapError, WriteError

FACTS = make_facts(60, 31)


@pytest.mark.slow
def test_the_reader_of_the_real_data_set_reads_it(tmp_path: Path) -> None:
    world = write_world(tmp_path, FACTS, render=False)
    root = DataRoot.open(tmp_path)
    assert root.lexicon == DEMO_LEXICON
    assert not root.lexicon.official
    assert root.train.keys() == {clip.id for clip in world.of("trainval")}
    assert root.test.keys() == {clip.id for clip in world.of("test")}
    assert {**root.train, **root.test} == {clip.id: write_captions(clip) for clip in FACTS}
    for clip in FACTS:
        world.video(clip).parent.mkdir(parents=True, exist_ok=True)
        world.video(clip).touch()
    assert root.videos(tmp_path / "videos") == {clip.id: world.video(clip) for clip in FACTS}


def test_files_look_as_emvidcap_has_them(tmp_path: Path) -> None:
    write_world(tmp_path, FACTS, render=False)
    rows = (tmp_path / "data/EmVidCap-L/EmVideo_trainval_captions.csv").read_bytes().decode("ascii").split("\n")
    assert rows[0] == "VideoID\tEmCaptions"
    assert rows[-1] == ""
    videos = [row.split("\t")[0] for row in rows[1:-1]]
    assert videos == sorted(videos)  # a video's rows are contiguous
    words = (tmp_path / "EmotionEval/179_words.txt").read_text().split()
    assert words == list(DEMO_LEXICON.words)
    assert len(list((tmp_path / "EmotionEval/sentiment-words-E").glob("*.txt"))) == 8
    assert (tmp_path / "EmotionEval/34_emotion.txt").read_text().split() == list(DEMO_LEXICON.categories)


def test_facts_and_splits_are_read_back(tmp_path: Path) -> None:
    world = write_world(tmp_path, FACTS, render=False)
    assert read_world(tmp_path) == world
    with pytest.raises(DataError, match="no demo world here"):
        read_world(tmp_path / "elsewhere")
    (tmp_path / "facts.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(DataError, match=r"facts\.jsonl: line 1: id: should be text, got 3"):
        read_world(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "tests"), [(0.0, 0), (0.2, 80), (1 / 3, 133), (1.0, 400)])
def test_the_test_split_is_spread_evenly(tmp_path: Path, share: float, tests: int) -> None:
    world = write_world(tmp_path, make_facts(400, 2), render=False, test_share=share)
    assert len(world.of("test")) == tests
    for of in ("emotion", "hidden", "silent"):
        whole, part = (Counter(getattr(clip, of) for clip in clips) for clips in (world.facts, world.of("test")))
        assert all(abs(part[value] - whole[value] * share) <= 9 for value in whole)
    assert (tmp_path / "data/EmVidCap-L/EmVideo_test_captions.csv").exists() == (tests > 0)
    assert (tmp_path / "data/EmVidCap-L/EmVideo_trainval_captions.csv").exists() == (tests < 400)


def test_another_world_is_refused_unless_overwritten(tmp_path: Path) -> None:
    write_world(tmp_path, FACTS, render=False)
    (tmp_path / "mine.txt").write_text("kept")
    other = make_facts(60, 32)
    for facts, share in ((other, 0.2), (FACTS, 0.5), (FACTS[:-1], 0.2)):
        with pytest.raises(DataError, match=r"another demo world.*--overwrite"):
            write_world(tmp_path, facts, render=False, test_share=share)
    assert read_world(tmp_path).facts == tuple(FACTS)
    write_world(tmp_path, other, render=False, test_share=1.0, overwrite=True)
    assert read_world(tmp_path).facts == tuple(other)
    assert not (tmp_path / "data/EmVidCap-L/EmVideo_trainval_captions.csv").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"


@pytest.mark.slow
def test_clips_are_drawn_once_and_only_missing_ones_again(tmp_path: Path) -> None:
    world = write_world(tmp_path, FACTS[:3], workers=2, test_share=0.34)
    contents = {clip.id: world.video(clip).read_bytes() for clip in world.facts}
    times = {clip.id: world.video(clip).stat().st_mtime_ns for clip in world.facts}
    lost = world.facts[1]
    world.video(lost).unlink()
    write_world(tmp_path, FACTS[:3], workers=1, test_share=0.34)
    assert {clip.id: world.video(clip).read_bytes() for clip in world.facts} == contents
    assert [c.id for c in world.facts if world.video(c).stat().st_mtime_ns != times[c.id]] == [lost.id]
    assert DataRoot.open(tmp_path).videos(tmp_path / "videos").keys() == contents.keys()


def _die(*_: object) -> None:
    os._exit(1)


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_a_write_error_and_leaves_no_half_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.demo.render.render_clip", _full)
    with pytest.raises(WriteError, match="No space left on device"):
        write_world(tmp_path, FACTS[:1])
    assert not list(tmp_path.rglob("*.mp4"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_a_drawing_process_that_dies_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_draw", _die)
    with pytest.raises(EvcapError, match="drawing process died"):
        write_world(tmp_path, FACTS[:2], workers=2)


@pytest.mark.slow
def test_the_command_writes_a_world_that_trains_next(tmp_path: Path) -> None:
    app = typer.Typer()
    demo_world.register(app)
    app.callback()(lambda: None)
    folder = tmp_path / "world"
    done = CliRunner().invoke(app, ["demo-world", str(folder), "--videos", "1", "--seed", "4", "--test-share", "0"])
    assert done.exit_code == 0, done.output
    assert read_world(folder).facts == tuple(make_facts(1, 4))
    assert f"evcap train --backbone lite --data {folder}" in done.stderr
    assert CliRunner().invoke(app, ["demo-world", str(folder), "--videos", "0"]).exit_code == 2
