"""``evcap data surrogate``, and what is trained on its files: every result says what it was told from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.features_layout import SURROGATE_NOTE
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.training.printed_comparison import rows_beside
from tests.commands.small import evcap
from tests.training import toy

STREAMS = [part for kind in ("appearance", "motion", "object", "audio") for part in (f"--{kind}", f"surrogate-{kind}")]


@pytest.fixture(autouse=True)
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An invented data root without any video, METEOR without Java, a working folder of its own."""
    monkeypatch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)
    monkeypatch.chdir(tmp_path)
    write_world(Path("world"), make_facts(16, 1), render=False)
    Path("tiny.toml").write_text(toy.recipe(epochs=1, batch_size=32).to_toml())
    return Path("world")


def test_it_says_what_it_made_what_it_is_and_how_to_train(capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("data", "surrogate", "world", "-o", "out", "--subset", "L", "--width", 16) == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "out: 8 files of 13 train and 3 test videos, 16 wide (" in told.err
    assert f"warning: {SURROGATE_NOTE}\n" in told.err
    assert "evcap train --data world --features out -o runs/surrogate\n" in told.err
    assert len(list(Path("out").iterdir())) == 8


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere", "-o", "out"], "nowhere: no such data root"),
        (["world", "-o", "out", "--width", 20], "width must be a multiple of 8, not 20"),
        (["world", "-o", "out", "--subset", "M"], "Invalid value for '--subset': 'M' is not one of"),
        (["world", "-o", "tiny.toml/x"], "cannot write"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[object], why: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("data", "surrogate", *arguments) in (1, 2)
    told = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert len(told) == 1
    assert told[0].startswith("error: ")
    assert why in told[0]
    assert not Path("out").exists()


@pytest.mark.slow
def test_files_that_are_there_need_overwrite(capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("data", "surrogate", "world", "-o", "out", "--width", 16) == 0
    assert evcap("data", "surrogate", "world", "-o", "out", "--width", 8) == 1
    assert "surrogate-appearance_train.hdf5: is there already; choose another folder" in capfd.readouterr().err
    assert evcap("data", "surrogate", "world", "-o", "out", "--width", 8, "--overwrite") == 0


@pytest.mark.slow
def test_a_run_on_surrogates_is_marked_in_all_its_results(capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("data", "surrogate", "world", "-o", "out", "--width", 16, "-q") == 0
    given = ["--data", "world", "--features", "out", "--recipe", "tiny.toml", "--device", "cpu", "-o", "run"]
    assert evcap("train", *given, *STREAMS) == 0
    told = capfd.readouterr().err
    assert told.count(f"warning: {SURROGATE_NOTE}") == 2  # taken to train on, scored
    assert "this run (SURROGATE features), epoch 1 of 1" in told
    assert (
        "the paper's rows are not shown: surrogates made from captions, not features of videos: appearance, motion"
        in told
    )
    assert "made on surrogate features, it cannot caption videos" in told
    assert "evcap caption" not in told
    document = json.loads(Path("run/test.json").read_text())
    assert SURROGATE_NOTE in document["notes"]
    assert document["surrogate"] == ["appearance", "motion", "object", "audio"]
    assert document["published"] == []
    lines = [json.loads(line) for line in Path("run/test.jsonl").read_text().splitlines()]
    assert {line["features"] for line in lines} == {"surrogate"}
    card = Path("run/README.md").read_text()
    assert f"**S{SURROGATE_NOTE[1:]}. It cannot caption videos.**" in card
    assert "held-out videos on SURROGATE features | test split (3 videos) on SURROGATE features |" in card
    assert "audio: surrogate-audio, version 1, captions " in card
    assert "evcap caption" not in card
    assert {record["name"] for record in Checkpoint.from_pretrained("run").backbones.values()} == {
        f"surrogate-{kind}" for kind in ("appearance", "motion", "object", "audio")
    }

    assert evcap("score", "run/test.jsonl", "--data", "world", "--rows", "paper", "--json", "--subset", "L") == 0
    scored = capfd.readouterr()
    assert SURROGATE_NOTE in json.loads(scored.out)["notes"]
    assert "published" not in json.loads(scored.out)
    assert "the paper's rows are not shown" in scored.err

    Path("clip.mp4").touch()
    for more in ([], ["--backbone", "lite"]):
        assert evcap("caption", "clip.mp4", "-c", "run", "-o", "out.jsonl", "--device", "cpu", *more) == 2
        assert "run: was trained on surrogate features, made from captions: it cannot caption videos" in (
            capfd.readouterr().err
        )


def test_one_surrogate_stream_keeps_printed_rows_away() -> None:
    split = [f"vid1{number:04}" for number in range(382)]
    assert rows_beside("clip", (), split, official=True)[0]
    rows, why = rows_beside("clip", (), split, official=True, surrogates=["audio"])
    assert rows == []
    assert why.endswith("not features of videos: audio")
