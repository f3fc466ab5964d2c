"""Rows of a reproduced table that are not trained here: scored on its test split, next to people and a constant."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from evcap_experiments.reproduction import compared_rows as module
from evcap_experiments.reproduction.compared_rows import ComparedRow, compare_rows
from evcap_experiments.reproduction.table_pages import to_html, to_markdown, to_text
from evcap_experiments.reproduction.table_plan import plan_table
from evcap_experiments.reproduction.table_results import collect

from evcap_cli.data.caption_text import normalise
from evcap_cli.errors import DataError
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.scoring.prediction_files import Predictions, read_predictions
from evcap_cli.scoring.score_texts import score_texts
from tests.commands.small import evcap
from tests.experiments.roots import finish, opened, parse, write_root

RESAMPLINGS = 20
CHECKPOINT = {"name": "hf-hub:org/tiny", "digest": "d", "style": "factual", "prompt": "ab" * 16}
TITLE = "zero-shot hf-hub:org/tiny, factual prompt abababababab"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java, few resamplings."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(module, "BOOTSTRAP", RESAMPLINGS)


@pytest.fixture
def captions(root: Path, tmp_path: Path) -> Path:
    """The last reference of each test video, as if a ready-made captioner had written it."""
    path = tmp_path / "tiny.jsonl"
    record = {"status": "ok", "checkpoint": CHECKPOINT, "backbones": {}}
    rows = [{**record, "id": video, "captions": [{"text": texts[-1]}]} for video, texts in opened(root).test.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(root: Path, captions: Path, *, literature: bool = True) -> tuple[ComparedRow, ...]:
    return compare_rows({captions: read_predictions(captions)}, opened(root), literature=literature)


def test_captions_are_scored_on_the_test_split_with_people_and_a_constant_next_to_them(
    root: Path, captions: Path
) -> None:
    ours, constant, people, *literature = rows_of(root, captions)
    data = opened(root)
    expected = score_texts({video: texts[-1] for video, texts in data.test.items()}, data.test, data.lexicon)
    assert ours.title == TITLE
    assert ours.scored == expected.metrics
    assert ours.scored["bleu_1"] == pytest.approx(100)
    assert set(ours.intervals) == set(METRICS) - {"meteor"}
    frequent = re.fullmatch('"(.*)" for every video', constant.title)
    assert frequent is not None
    training = [normalise(text) for texts in data.train.values() for text in texts]
    assert training.count(frequent[1]) == max(map(training.count, training))
    assert constant.scored == score_texts(dict.fromkeys(data.test, frequent[1]), data.test, data.lexicon).metrics
    assert people.title == "people"
    assert not people.scored
    assert [set(row.fewer) for row in (ours, constant, people)] == [set(METRICS)] * 3
    assert literature[-1].title == "Causal-EVC (2026)"
    assert literature[-1].printed["cfs"] == 75.6


@pytest.mark.slow
def test_pages_show_them_below_the_table(root: Path, captions: Path, tmp_path: Path) -> None:
    train = ["--data", str(root), "--recipe", str(root / "tiny.toml")]
    planned = plan_table("table2", opened(root), tmp_path / "out", train, parse)
    finish(planned[2].runs[0], 40.0)
    found = collect("table2", planned, opened(root), compared=rows_of(root, captions))
    text = to_text(found)
    below = text.split("Not trained here\n")[1]
    assert re.match(rf"{TITLE}\n  scored +\S+.*\n  95 % from .*\n  95 % to .*\n  one ref. fewer ", below)
    assert re.search(r"people\n  one ref. fewer +\d", below)
    assert re.search(r"Causal-EVC \(2026\)\n  printed +82\.8 +81\.5 +- ", below)
    assert "Their printed rows: Causal-EVC (2026), its Table 1" in below
    assert f"| **{TITLE}** | scored | " in to_markdown(found)
    assert TITLE in to_html(found)
    stored = found.to_dict()["compared"]
    assert stored[0]["captioner"]["prompt"] == CHECKPOINT["prompt"]
    assert stored[0]["scored"]["bleu_1"] == pytest.approx(100)
    assert stored[-1]["source"].startswith("Causal-EVC")
    plain = collect("table2", planned, opened(root))
    for page in (to_text(plain), to_markdown(plain), to_html(plain)):
        assert "Not trained here" not in page


def test_test_videos_without_a_caption_are_counted(root: Path, captions: Path) -> None:
    first = captions.read_text().splitlines()[0]
    captions.write_text(first)
    (row, *_) = rows_of(root, captions, literature=False)
    assert f"{TITLE}: 1 of 2 test videos were scored" in row.notes


def test_without_captions_and_literature_there_are_no_rows(root: Path) -> None:
    assert compare_rows({}, opened(root), literature=False) == ()


def test_captions_of_other_videos_are_refused(root: Path) -> None:
    other = Predictions.of("other", [("line 1", {"id": "zz", "caption": "x"})])
    with pytest.raises(DataError, match="none of its 1 video has references"):
        compare_rows({Path("other.jsonl"): other}, opened(root), literature=False)


@pytest.mark.slow
def test_the_command_scores_before_it_trains(
    root: Path, captions: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ["--data", root, "--backbone", "lite", "--recipe", root / "tiny.toml", "-o", out]
    train = ["--data", str(root), "--recipe", str(root / "tiny.toml")]
    for row in plan_table("table2", opened(root), out, train, parse, backbone="lite", seeds=(1,)):
        finish(row.runs[0], 40.0)
    call = ["reproduce", "table2", *given, "--captions", captions]
    assert evcap(*call, "--dry-run") == 0
    assert f"{TITLE}: scored, not trained\n" in capfd.readouterr().out
    assert evcap(*call, "--rows", "literature") == 0
    shown = capfd.readouterr().out
    assert f"Not trained here\n{TITLE}\n  scored " in shown
    assert TITLE in (out / "table2.md").read_text()
    captions.write_text("no captions")
    assert evcap(*call) == 2
    assert "tiny.jsonl: line 1: is not JSON" in capfd.readouterr().err
