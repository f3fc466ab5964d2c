"""Subtitles of long videos, imported, trained on, captioned and scored segment by segment."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pysubs2
import pytest

from evcap_cli import plugins
from evcap_cli.scoring.java import JavaError
from tests.commands.small import ROOT, evcap, records
from tests.features.films import make_film
from tests.features.tiny import TINY
from tests.training import toy

CUES = ((0.2, 1.1), (1.0, 1.9), (2.0, 2.8))
VIDEOS = 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for cls in TINY.values():
        monkeypatch.setitem(plugins.registry().backbones, cls.spec.name, cls)
        monkeypatch.setitem(plugins.registry().origin, ("backbone", cls.spec.name), f"evcap-{cls.spec.name}")
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", no_java)
    monkeypatch.setenv("EVCAP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("talks").mkdir()
    texts = [text for several in toy.captions(9).values() for text in several]
    for number in range(VIDEOS):
        make_film(Path(f"talks/t{number}.mp4"), frames=30, fps=10, seed=number)
        subtitle = pysubs2.SSAFile()
        for (start, end), text in zip(CUES, texts[3 * number :], strict=False):
            subtitle.append(pysubs2.SSAEvent(start=int(1000 * start), end=int(1000 * end), text=text))
        subtitle.save(f"talks/t{number}.srt")
    Path("lexicon.json").write_text(toy.LEXICON.to_json())
    Path("tiny.toml").write_text(toy.recipe_text(epochs=10, learning_rate=3e-2))
    return Path("talks")


def no_java() -> str:
    raise JavaError("METEOR would take ten seconds")


@pytest.mark.slow
def test_train_caption_and_score_work_on_the_segments_of_a_root(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evcap("data", "import", folder, "-o", "root", "--lexicon", "lexicon.json") == 0
    said = capfd.readouterr()
    assert "root: 15 captions of 5 videos in 15 segments imported (subtitles): 4 to train on, 1 to test on" in said.err
    assert "5 segments overlap with one before: both stay" in said.err
    assert "12 of 12 found" in said.out

    kinds = [part for kind, cls in TINY.items() for part in (f"--{kind}", cls.spec.name)]
    train = ["train", *kinds, "--data", "root", "--recipe", "tiny.toml", "--device", "cpu", "-o", "run"]
    assert evcap(*train) == 0
    tested = json.loads(Path("run/test.json").read_text())
    assert tested["videos"] == 3
    assert tested["metrics"]["bleu_1"] > 0

    outputs = ["-o", "out.jsonl", "-o", "out.srt"]
    assert evcap("caption", "root/videos", "-c", "run", "--segment", "from:root", *outputs) == 0
    found = records(Path("out.jsonl"))
    schema = json.loads((ROOT / "docs" / "record.schema.json").read_text("utf-8"))
    for number, record in enumerate(found):
        jsonschema.validate(record, schema)
        assert [(caption["start"], caption["end"]) for caption in record["captions"]] == list(CUES)
        assert [caption["id"] for caption in record["captions"]] == [f"t{number}_{a:g}_{b:g}" for a, b in CUES]
        assert record["warnings"] == []
    assert len(pysubs2.load("out.srt")) == 15

    capfd.readouterr()
    assert evcap("score", "out.jsonl", "--data", "root", "--no-meteor", "--json") == 0
    scored = json.loads(capfd.readouterr().out)
    assert scored["videos"] == 3
    assert scored["metrics"] == tested["metrics"]
    assert evcap("score", "out.jsonl", "--data", "root", "--no-meteor", "--json", "--split", "all") == 0
    assert json.loads(capfd.readouterr().out)["videos"] == 15

    assert evcap("report", "out.jsonl", "-o", "report.html") == 0
    Path("root/clips.jsonl").write_text('{"id": "t0_1_2", "file": "t0.mp4", "start": 1, "end": 2}\n')
    assert evcap("caption", "talks/t0.mp4", "-c", "run", "--segment", "from:root", "-o", "out.jsonl") == 0
    assert [caption["id"] for caption in records(Path("out.jsonl"))[0]["captions"]] == ["t0_1_2"]
