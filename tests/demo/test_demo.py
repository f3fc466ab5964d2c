"""``evcap demo`` for real: clips are drawn, captioned by the bundled checkpoint and scored."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from evcap_experiments import exam as exam_module
from evcap_experiments.exam import examine
from typer.testing import CliRunner

from evcap_cli.app import build
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.checkpoint_files import resolve
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import SHORTEST_SECONDS, make_facts
from evcap_cli.demo.run import DEMO_CLIPS, DEMO_SEED
from tests.training import toy

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 25 << 20
CLIPS = 8
"""Of the examination: enough for a difference that is large."""


@pytest.mark.slow
def test_the_demo_writes_captions_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)
    folder = tmp_path / "a demo"
    result = CliRunner().invoke(build(), ["demo", str(folder), "--videos", "2"])
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert {record["id"] for record in records} == {clip.id for clip in make_facts(2, DEMO_SEED)}
    assert all(record["captions"][0]["text"] in result.stdout for record in records)
    assert (folder / "out.srt").read_text().count(" --> ") == 2
    assert "data:image/jpeg" in (folder / "report.html").read_text()
    assert "cider" in result.stdout
    before = (folder / "out.jsonl").read_bytes()
    assert CliRunner().invoke(build(), ["demo", str(folder), "--videos", "2"]).exit_code == 0
    assert (folder / "out.jsonl").read_bytes() == before


@pytest.mark.slow
def test_the_bundled_checkpoint_is_small_and_says_how_it_was_made() -> None:
    folder, _ = resolve("demo")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST_BYTES
    card = (folder / "README.md").read_text()
    assert "evcap train --model fusion+ --backbone lite" in card
    training = Checkpoint.from_pretrained("demo").training
    assert not training.get("untrained")


def test_the_demo_shows_clips_that_training_never_saw() -> None:
    page = (ROOT / "docs" / "demo-world.md").read_text()
    command = re.search(r"evcap demo-world \S+ --videos (\d+) --seed (\d+)", page)
    assert command is not None
    trained = {(clip.id, clip.seed) for clip in make_facts(int(command.group(1)), int(command.group(2)))}
    assert not trained & {(clip.id, clip.seed) for clip in make_facts(DEMO_CLIPS, DEMO_SEED)}


def test_the_transcript_of_the_readme_speaks_of_the_demos_clips() -> None:
    text = (ROOT / "README.md").read_text()
    shown = set(re.findall(r"^(vid\d{5}) ", text, re.MULTILINE))
    assert shown == {clip.id for clip in make_facts(DEMO_CLIPS, DEMO_SEED)}


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_an_examination_tells_the_checkpoint_from_the_baselines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)
    monkeypatch.setattr(exam_module, "BOOTSTRAP", 20)
    facts = [replace(clip, seconds=SHORTEST_SECONDS) for clip in make_facts(CLIPS, 99)]
    write_world(tmp_path, facts, workers=1, test_share=1.0)
    exam = examine(tmp_path)
    emotion = {system: rates["emotion"].share for system, rates in exam.rates.items()}
    assert emotion["checkpoint"] > max(emotion["constant"], emotion["shuffled"]) + 0.3
    muted = exam.rates["checkpoint"]["emotion, hidden, without audio"]
    assert muted.total == sum(clip.hidden for clip in facts)
    assert "| emotion |" in exam.markdown()
