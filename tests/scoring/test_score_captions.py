"""Captions and references in every form that Python has them in give the scores that the golden case has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.errors import DataError, UsageError
from evcap_cli.output.records import Caption, Record
from evcap_cli.scoring.score_captions import score_captions
from tests.scoring.test_score import HYPOTHESES, LEXICON, REFERENCES

GOLDEN = {"acc_sw": 62.5, "bleu_1": 80.0, "cider": 196.47021171543584}


def records() -> list[Record]:
    return [Record(f"{video}.mp4", video, None, "ok", (Caption(0.0, 1.0, text),)) for video, text in HYPOTHESES.items()]


def lines(folder: Path) -> Path:
    path = folder / "preds.jsonl"
    path.write_text("".join(record.to_line() + "\n" for record in records()))
    return path


def root(folder: Path) -> Path:
    rows = [f"{video}\t{text}" for video, texts in REFERENCES.items() for text in texts]
    (folder / "EmVideo_test_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    words = folder / "sentiment-words-E"
    words.mkdir()
    for category, entries in LEXICON.table.items():
        (words / f"{category}.txt").write_text("\n".join(entries))
    return folder


def own_references() -> list[dict[str, Any]]:
    return [{**record.to_dict(), "references": REFERENCES[record.id]} for record in records()]


def check(scores: Any) -> None:
    assert {key: scores.metrics[key] for key in GOLDEN} == pytest.approx(GOLDEN)
    assert scores.metrics["meteor"] is None
    assert [video.video for video in scores.per_video] == list(HYPOTHESES)


@pytest.mark.parametrize(
    "form",
    [
        lambda folder: HYPOTHESES,
        lambda folder: records(),
        lambda folder: iter(records()),
        lines,
        lambda f: str(lines(f)),
    ],
)
def test_a_file_a_mapping_and_records_score_the_same(tmp_path: Path, form: Any) -> None:
    check(score_captions(form(tmp_path), REFERENCES, lexicon=LEXICON, meteor=False))


def test_references_are_a_mapping_a_file_a_data_root_or_the_records_own(tmp_path: Path) -> None:
    file = tmp_path / "refs.json"
    file.write_text(json.dumps(REFERENCES))
    folder = tmp_path / "root"
    folder.mkdir()
    check(score_captions(HYPOTHESES, file, lexicon=LEXICON, meteor=False))
    check(score_captions(HYPOTHESES, str(root(folder)), meteor=False))  # the lexicon is the root's
    check(score_captions(HYPOTHESES, DataRoot.open(folder), meteor=False))
    check(score_captions(own_references(), lexicon=LEXICON, meteor=False))


def test_the_lexicon_may_be_a_path(tmp_path: Path) -> None:
    (tmp_path / "lexicon.json").write_text(LEXICON.to_json())
    for path in (tmp_path, tmp_path / "lexicon.json", str(tmp_path)):
        scores = score_captions(HYPOTHESES, REFERENCES, lexicon=path, meteor=False)
        assert scores.lexicon["digest"] == LEXICON.digest


def test_intervals_and_a_comparison_with_another_system(tmp_path: Path) -> None:
    other = {f"sub/{video}": texts[0] for video, texts in REFERENCES.items()}
    scores = score_captions(HYPOTHESES, REFERENCES, bootstrap=20, lexicon=LEXICON, meteor=False, compare=other)
    low, high = scores.intervals["bleu_1"]
    assert low <= GOLDEN["bleu_1"] <= high
    assert scores.comparison is not None
    assert (scores.comparison.videos, scores.comparison.resamplings) == (6, 20)
    assert scores.comparison.metrics["bleu_1"].other == pytest.approx(100)


def test_what_has_no_counterpart_is_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    scores = score_captions({**HYPOTHESES, "z": "a man"}, {**REFERENCES, "y": ["a dog"]}, lexicon=LEXICON, meteor=False)
    check(scores)
    said = capsys.readouterr().err
    assert "predictions: 1 caption has no references and is left out: z\n" in said
    assert "predictions: 1 of 7 videos with references has no caption and is left out: y\n" in said


def test_a_failed_video_is_no_caption(tmp_path: Path) -> None:
    failed = Record("z.mp4", "z", None, "failed", error={"code": "open", "message": "x"})
    check(score_captions([*records(), failed], {**REFERENCES, "z": ["x"]}, lexicon=LEXICON, meteor=False))


def test_wrong_calls_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to score against"):
        score_captions(HYPOTHESES)
    with pytest.raises(DataError, match="predictions: holds no caption"):
        score_captions({}, REFERENCES)
    with pytest.raises(DataError, match="compare: none of its 1 video has references: the first is q \\(entry 1\\)"):
        score_captions(HYPOTHESES, REFERENCES, meteor=False, compare={"q": "x"})
    with pytest.raises(DataError, match="none of its 6 videos has references"):
        score_captions(HYPOTHESES, {})
    with pytest.raises(DataError, match=r"nowhere\.json"):
        score_captions(HYPOTHESES, tmp_path / "nowhere.json")


def test_references_that_a_model_wrote_are_named_in_the_result(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text('{"made_by": "evcap label", "labels_by": "teacher"}')
    note = "the references are labels by teacher: captions that a model wrote, not people"
    for references in (root(tmp_path), tmp_path / "EmVideo_test_captions.csv", DataRoot.open(tmp_path)):
        scores = score_captions(HYPOTHESES, references, meteor=False)
        assert (scores.references_by, scores.labels_by) == ("teacher", "")
        assert note in scores.notes
        assert scores.to_dict()["references_by"] == "teacher"
    assert "references_by" not in score_captions(HYPOTHESES, REFERENCES, meteor=False).to_dict()


@pytest.mark.parametrize("whose", [{"labels_by": "teacher"}, {"checkpoint": {"name": "x", "labels_by": "teacher"}}])
def test_captions_of_a_system_that_was_trained_on_labels_say_so(whose: dict[str, Any]) -> None:
    given = [{"video_id": video, "caption": text, **whose} for video, text in HYPOTHESES.items()]
    scores = score_captions(given, REFERENCES, meteor=False)
    assert (scores.references_by, scores.labels_by) == ("", "teacher")
    assert "the system was trained on labels by teacher: captions that a model wrote, not people" in scores.notes
    compared = score_captions(HYPOTHESES, REFERENCES, meteor=False, compare=given)
    assert compared.labels_by == "teacher"
