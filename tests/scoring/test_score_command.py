from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from evcap_cli.commands import score as command
from evcap_cli.errors import DataError, UsageError
from evcap_cli.scoring.reading import match_ids, read_predictions, read_references
from tests.scoring.test_score import HYPOTHESES, LEXICON, REFERENCES

Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["score", *map(str, arguments)], catch_exceptions=False)

    return run


def record(video: str, *texts: str, status: str = "ok") -> str:
    captions = [{"start": n, "end": n + 1, "text": text, "score": -1.0} for n, text in enumerate(texts)]
    return json.dumps({"schema": 1, "path": f"{video}.mp4", "id": video, "status": status, "captions": captions})


FORMS = {
    "records.jsonl": "\n".join(record(video, text) for video, text in HYPOTHESES.items()),
    "lines.jsonl": "\n".join(json.dumps({"video_id": v, "caption": t}) for v, t in HYPOTHESES.items()),
    "coco.json": json.dumps([{"image_id": v, "caption": t} for v, t in HYPOTHESES.items()]),
    "map.json": json.dumps(HYPOTHESES),
    "epan.csv": "vid, caption\n" + "\n".join(f"{v}, {t}" for v, t in HYPOTHESES.items()),
    "bare.csv": "\n".join(f"{v},{t}" for v, t in HYPOTHESES.items()),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_predictions_reads_to_the_same_captions(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name] + "\n")
    assert read_predictions(path).captions == HYPOTHESES


def test_captions_of_segments_are_joined_and_failed_videos_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{record('a', 'one', 'two')}\n{record('b', status='failed')}\n")
    found = read_predictions(path)
    assert (found.captions, found.failed) == ({"a": "one two"}, ["b"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"video_id": "a", "caption": "x"}\n{"video_id": "a", "caption": "y"}', "line 2: the video a stands twice"),
        ('{"caption": "x"}', "line 1: no video id"),
        ('{"video_id": "a"}', "line 1: no caption for a"),
        ("not json", "line 1 is not JSON"),
        ("3", "line 1 is not an object"),
        ("", "holds no caption"),
    ],
)
def test_what_is_not_a_prediction_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_predictions(path)


REFERENCE_FORMS = {
    "map.json": json.dumps(REFERENCES),
    "coco.json": json.dumps(
        {"annotations": [{"image_id": v, "caption": t} for v, ts in REFERENCES.items() for t in ts]}
    ),
    "lines.jsonl": "\n".join(json.dumps({"video_id": v, "captions": ts}) for v, ts in REFERENCES.items()),
    "em.csv": "VideoID\tEmCaptions\n" + "\n".join(f"{v}\t{t}" for v, ts in REFERENCES.items() for t in ts),
}


@pytest.mark.parametrize("name", REFERENCE_FORMS)
def test_every_form_of_references_reads_to_the_same_captions(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(REFERENCE_FORMS[name])
    assert read_references(path) == REFERENCES


def test_ids_match_with_and_without_vid_and_by_their_last_part() -> None:
    assert match_ids(["vid1", "2", "a/b/vid3", "x"], ["1", "vid2", "vid3"]) == {
        "vid1": "1",
        "2": "vid2",
        "a/b/vid3": "vid3",
    }


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    predictions, references, lexicon = (tmp_path / name for name in ("p.jsonl", "r.json", "lexicon.json"))
    predictions.write_text(FORMS["records.jsonl"])
    references.write_text(REFERENCE_FORMS["map.json"])
    lexicon.write_text(LEXICON.to_json())
    return predictions, references, lexicon


def test_the_golden_case_from_the_command_line(call: Call, files: tuple[Path, Path, Path]) -> None:
    predictions, references, lexicon = files
    result = call(predictions, "--refs", references, "--lexicon", lexicon, "--json", "--no-meteor", "--bootstrap", 20)
    printed = json.loads(result.stdout)
    assert printed["metrics"]["acc_sw"] == pytest.approx(62.5)
    assert printed["metrics"]["cider"] == pytest.approx(196.47021171543584)
    assert printed["videos"] == 6
    assert set(printed["intervals"]) == set(printed["metrics"]) - {"meteor"}
    shown = call(predictions, "--refs", references, "--lexicon", lexicon, "--no-meteor").stdout
    assert "CIDEr     196.47" in shown
    assert "METEOR         -" in shown


def test_surplus_and_missing_videos_are_named(call: Call, files: tuple[Path, Path, Path]) -> None:
    predictions, references, _ = files
    references.write_text(json.dumps({"a": REFERENCES["a"], "b": REFERENCES["b"], "z": ["unseen"]}))
    result = call(predictions, "--refs", references, "--no-meteor", "--json")
    assert json.loads(result.stdout)["videos"] == 2
    assert "4 captions have no references and are left out: c, d, e, ..." in result.stderr
    assert "1 videos with references have no caption: z" in result.stderr


def test_references_in_the_records_come_first(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [{"video_id": v, "caption": t, "references": REFERENCES[v]} for v, t in HYPOTHESES.items()]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert json.loads(call(path, "--json", "--no-meteor").stdout)["metrics"]["bleu_1"] == pytest.approx(80)


def test_wrong_calls_name_the_next_step(call: Call, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    predictions, references, _ = files
    with pytest.raises(UsageError, match="nothing to score against") as caught:
        call(predictions)
    assert "--data" in str(caught.value)
    with pytest.raises(UsageError, match="--split"):
        call(predictions, "--split", "dev")
    with pytest.raises(UsageError, match="--protocol"):
        call(predictions, "--protocol", "mine")
    references.write_text('{"other": ["x"]}')
    with pytest.raises(DataError, match="none of its 6 videos"):
        call(predictions, "--refs", references)
    with pytest.raises(DataError, match="no such data root"):
        call(predictions, "--data", tmp_path / "none")


def test_metrics_of_plugins_stand_below_our_own_and_a_failing_one_fails_alone(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def length(hypotheses: dict[str, str], references: dict[str, list[str]]) -> float:
        seen.update(captions=hypotheses, references=references)
        return sum(len(text.split()) for text in hypotheses.values()) / len(hypotheses)

    def broken(hypotheses: object, references: object) -> float:
        raise KeyError("no model")

    table = {"length": length, "broken": broken, "cider": length}
    monkeypatch.setattr(command.plugins, "metrics", lambda: table)
    (tmp_path / "p.json").write_text(json.dumps(HYPOTHESES))
    (tmp_path / "r.json").write_text(json.dumps(REFERENCES))
    arguments = (tmp_path / "p.json", "--refs", tmp_path / "r.json", "--no-meteor")
    scores = json.loads(call(*arguments, "--json").stdout)
    words = [len(text.split()) for text in HYPOTHESES.values()]
    assert scores["metrics"]["length"] == pytest.approx(sum(words) / len(words))
    assert scores["metrics"]["broken"] is None
    assert scores["metrics"]["cider"] > 100
    assert any("'broken' of a plugin failed: KeyError" in note for note in scores["notes"])
    assert any("'cider' of a plugin has the name" in note for note in scores["notes"])
    assert (seen["captions"], set(seen["references"])) == (HYPOTHESES, set(REFERENCES))
    assert "length" in call(*arguments).stdout
