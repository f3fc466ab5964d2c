from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from evcap_cli import console
from evcap_cli.commands import score as command
from evcap_cli.errors import EXIT_SOME_FAILED, EXIT_USAGE, DataError, UsageError, WriteError
from evcap_cli.scoring.java import JavaError
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.scoring.prediction_files import match_ids, read_predictions, read_references
from evcap_cli.scoring.published_rows import PUBLISHED_ROWS
from tests.scoring.test_score import HYPOTHESES, LEXICON, REFERENCES

Call = Callable[..., Result]


@pytest.fixture
def call() -> Iterator[Call]:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["score", *map(str, arguments)], catch_exceptions=False)

    yield run
    console.set_verbosity()


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
        (
            '{"video_id": "a", "caption": "x"}\n\n{"video_id": "a", "caption": "y"}',
            "line 3: the video a stands twice, first in line 1; keep one caption a video",
        ),
        ('{"caption": "x"}', "line 1: no video id"),
        ('{"video_id": "a"}', "line 1: no caption for a"),
        ("not json", "line 1: is not JSON"),
        ("3", "line 1: should be an object, got 3"),
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
    assert "4 captions have no references and are left out: c, d, e, ... (-v names all)\n" in result.stderr
    assert "1 of 3 videos with references has no caption and is left out: z\n" in result.stderr
    assert "all 4: c, d, e, f" not in result.stderr
    loud = call(predictions, "--refs", references, "--no-meteor", "-v")
    console.set_verbosity()
    assert "all 4: c, d, e, f\n" in loud.stderr


def test_references_in_the_records_come_first(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [{"video_id": v, "caption": t, "references": REFERENCES[v]} for v, t in HYPOTHESES.items()]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert json.loads(call(path, "--json", "--no-meteor").stdout)["metrics"]["bleu_1"] == pytest.approx(80)


@pytest.mark.slow
def test_wrong_calls_name_the_next_step(call: Call, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    predictions, references, _ = files
    with pytest.raises(UsageError, match="nothing to score against") as caught:
        call(predictions)
    assert "--data" in str(caught.value)
    for option in ("--split", "--subset", "--protocol", "--rows"):
        wrong = call(predictions, option, "mine")
        assert wrong.exit_code == EXIT_USAGE
        assert option in wrong.stderr
        assert "'mine' is not" in " ".join(wrong.stderr.replace("│", " ").split())
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
    monkeypatch.setattr("evcap_cli.plugins.metrics", lambda: table)
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


def test_quotes_in_a_csv_are_undone_and_never_swallow_a_row(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'vid,caption\r\na,"a man, happy"\r\nb,"a stray quote\r\nc,says ""hi""\r\n\r\nd,\r\n')
    assert read_predictions(path).captions == {
        "a": "a man, happy", "b": '"a stray quote', "c": 'says ""hi""', "d": "",
    }  # fmt: skip
    path.write_text("a,x\nb x\n")
    with pytest.raises(DataError, match="line 2: no comma between video and caption"):
        read_predictions(path)


@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.csv"])
def test_a_latin_1_file_is_named_with_its_line_and_how_to_convert_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b'{"video_id": "a", "caption": "x"}\n{"video_id": "b", "caption": "caf\xe9"}\n')
    for read in (read_predictions, read_references):
        if (name, read) == ("p.csv", read_references):
            continue  # EmVidCap's own csv files are read with a warning, see tests/data
        with pytest.raises(DataError, match=r"line 2 is not UTF-8 \(byte 0xe9\); .*iconv -f latin1") as caught:
            read(path)
        assert str(caught.value).startswith(str(path))


def test_captions_of_another_data_set_are_told_by_both_sides_ids(call: Call, files: tuple[Path, Path, Path]) -> None:
    predictions, references, _ = files
    references.write_text('{"vid900": ["x"]}')
    with pytest.raises(DataError) as caught:
        call(predictions, "--refs", references)
    said = str(caught.value)
    assert said.startswith(f"{predictions}: none of its 6 videos has references: the first is a (line 1)")
    assert "the references begin with vid900; " in said
    assert "--split and --subset" in said


def test_a_video_under_two_names_is_refused_with_both_lines(call: Call, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("vid7,x\n8,y\n7,z\n")
    (tmp_path / "r.json").write_text('{"vid7": ["x"], "vid8": ["y"]}')
    with pytest.raises(DataError, match=r"line 3: 7 is the same video as vid7 \(line 1\); keep one caption a video"):
        call(tmp_path / "p.csv", "--refs", tmp_path / "r.json")


def test_empty_captions_are_scored_and_named_with_their_line(call: Call, files: tuple[Path, Path, Path]) -> None:
    predictions, references, lexicon = files
    said = {**HYPOTHESES, "b": "", "e": " ?! "}
    predictions.write_text("\n".join(record(video, text) for video, text in said.items()))
    result = call(predictions, "--refs", references, "--lexicon", lexicon, "--no-meteor", "--json")
    assert "2 captions have no word: they score as they are, caption these videos again: b (line 2), e (line 5)" in (
        result.stderr
    )
    assert json.loads(result.stdout)["videos"] == 6


def test_per_video_lines_are_written_whole_and_hold_verdicts_and_metrics(
    call: Call, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    predictions, references, lexicon = files
    out = tmp_path / "new" / "videos.jsonl"
    call(predictions, "--refs", references, "--lexicon", lexicon, "--no-meteor", "--per-video", out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["id"], line["caption"]) for line in lines] == list(HYPOTHESES.items())
    assert lines[2]["emotion"] == {"right": ["annoyance"], "wrong": ["fear"], "missing": ["worry"]}
    assert set(lines[2]) == {
        "id",
        "caption",
        "emotion",
        "meteor",
        "rouge_l",
        "cider",
        *(f"bleu_{n}" for n in range(1, 5)),
    }
    assert lines[2]["meteor"] is None
    assert sum(line["cider"] for line in lines) / 6 == pytest.approx(196.47021171543584)
    assert list(out.parent.iterdir()) == [out]
    with pytest.raises(WriteError):
        call(predictions, "--refs", references, "--no-meteor", "--per-video", tmp_path)


def test_the_table_names_the_lexicon_with_its_digest(call: Call, files: tuple[Path, Path, Path]) -> None:
    predictions, references, lexicon = files
    shown = call(predictions, "--refs", references, "--lexicon", lexicon, "--no-meteor").stdout
    assert shown.startswith(f"6 videos, paper protocol, lexicon golden ({LEXICON.digest[:12]})\n")


@pytest.mark.slow
def test_two_systems_are_compared_on_the_videos_of_both(
    call: Call, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    predictions, references, lexicon = files
    other = tmp_path / "other.csv"
    other.write_text("\n".join(f"sub/{video},{REFERENCES[video][0]}" for video in list(HYPOTHESES)[1:]) + "\nzz,x\n")
    arguments = (predictions, "--refs", references, "--lexicon", lexicon, "--no-meteor", "--compare", other)
    result = call(*arguments, "--json")
    found = json.loads(result.stdout)["comparison"]
    assert (found["videos"], found["resamplings"]) == (5, 1000)
    assert set(found["metrics"]) == set(METRICS) - {"meteor"}
    bleu = found["metrics"]["bleu_1"]
    assert bleu["difference"] == pytest.approx(bleu["this"] - bleu["other"])
    assert bleu["other"] == pytest.approx(100)
    assert bleu["interval"][0] <= bleu["difference"] <= bleu["interval"][1] <= 0
    assert 0 < bleu["p"] < 0.1
    assert f"{other}: 1 caption has no references and is left out: zz" in result.stderr
    shown = call(*arguments, "--bootstrap", 50).stdout
    assert f"{predictions} less {other} on 5 videos, 50 resamplings" in shown
    other.write_text("a,x\n")
    predictions.write_text(record("b", "y"))
    with pytest.raises(DataError, match="no video in common"):
        call(*arguments)


def test_people_and_published_rows_stand_below(call: Call, files: tuple[Path, Path, Path]) -> None:
    predictions, references, lexicon = files
    arguments = (predictions, "--refs", references, "--lexicon", lexicon, "--no-meteor", "--human", "--rows", "paper")
    shown = call(*arguments).stdout
    assert "one reference of each of 6 videos against its others, mean of 2 draws" in shown
    assert "quoted as printed, not computed here" in shown
    row = next(line for line in shown.splitlines() if line.startswith("Table 2, CLIP, the paper"))
    assert " ".join(row.split()[-11:]) == "65.7 64.2 74.4 54.0 38.1 27.8 21.9 42.6 35.1 45.4 40.8"
    found = json.loads(call(*arguments, "--json").stdout)
    assert set(found["human"]["human"]) == set(METRICS)
    assert (found["human"]["videos"], found["human"]["rounds"]) == (6, 2)
    assert found["published"]["quoted_as_printed"] is True
    assert len(found["published"]["rows"]) == len(PUBLISHED_ROWS)


def test_published_rows_beside_other_data_are_said_to_be_of_another_kind(
    call: Call, files: tuple[Path, Path, Path]
) -> None:
    predictions, references, _ = files
    arguments = (predictions, "--refs", references, "--no-meteor", "--rows", "paper")
    assert "of EmVidCap-L, test split, paper protocol" in call(*arguments, "--subset", "S").stderr
    assert "of EmVidCap-L, test split" not in call(*arguments).stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An EPAN checkout of six invented videos: a to d are L's, e and f are S's, a is in training too."""
    for key, videos, mark in (("L", "abcd", "\t"), ("S", "ef", ",")):
        folder = tmp_path / "EPAN" / "data" / f"EmVidCap-{key}"
        folder.mkdir(parents=True)
        rows = [f"{video}{mark}{text}" for video in videos for text in REFERENCES[video]]
        (folder / "EmVideo_test_captions.csv").write_text("\n".join([f"VideoID{mark}EmCaptions", *rows]) + "\n")
        train = [f"{video}{mark}an unhappy robot" for video in videos[:1]]
        (folder / "EmVideo_trainval_captions.csv").write_text("\n".join([f"VideoID{mark}EmCaptions", *train]) + "\n")
    words = tmp_path / "EPAN" / "EmotionEval" / "sentiment-words-E"
    words.mkdir(parents=True)
    for category, entries in LEXICON.table.items():
        (words / f"{category}.txt").write_text("\n".join(entries))
    return tmp_path / "EPAN"


@pytest.mark.parametrize(("subset", "videos"), [("L", 4), ("S", 2), ("both", 6)])
def test_a_data_root_gives_references_of_its_subset_and_the_lexicon(
    call: Call, files: tuple[Path, Path, Path], root: Path, subset: str, videos: int
) -> None:
    printed = json.loads(call(files[0], "--data", root, "--subset", subset, "--no-meteor", "--json").stdout)
    assert printed["videos"] == videos
    assert printed["lexicon"]["digest"] == LEXICON.digest
    if subset == "both":
        assert printed["metrics"]["cider"] == pytest.approx(196.47021171543584)
        assert printed["metrics"]["acc_sw"] == pytest.approx(62.5)


def test_split_chooses_whose_references(call: Call, files: tuple[Path, Path, Path], root: Path) -> None:
    arguments = (files[0], "--data", root, "--no-meteor", "--json")
    assert json.loads(call(*arguments, "--split", "train").stdout)["videos"] == 1
    assert json.loads(call(*arguments, "--split", "all").stdout)["videos"] == 4


def test_references_come_from_records_then_refs_then_data_then_the_environment(
    call: Call, files: tuple[Path, Path, Path], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions, references, _ = files

    def videos(*arguments: object) -> int:
        return int(json.loads(call(*arguments, "--no-meteor", "--json").stdout)["videos"])

    references.write_text(json.dumps({"a": ["x"], "b": ["y"], "c": ["z"]}))
    monkeypatch.setenv("EVCAP_DATA", str(root))
    assert videos(predictions) == 4
    assert videos(predictions, "--refs", references) == 3
    own = tmp_path / "own.jsonl"
    lines = [{"video_id": v, "caption": t, "references": REFERENCES[v]} for v, t in list(HYPOTHESES.items())[:2]]
    own.write_text("\n".join(map(json.dumps, lines)))
    assert videos(own, "--refs", references) == 2
    assert videos(own, "--data", root) == 2
    monkeypatch.setenv("EVCAP_DATA", str(tmp_path / "none"))
    assert videos(predictions, "--data", root) == 4
    unused = call(own, "--no-meteor")
    assert "EVCAP_DATA is not used: " in unused.stderr
    with pytest.raises(DataError, match="no such data root"):
        call(predictions)
    with pytest.raises(DataError, match="no such data root"):
        call(own, "--data", tmp_path / "none")


def test_without_java_one_line_says_that_meteor_is_missing(
    call: Call, files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> str:
        raise JavaError("no Java found; install one")

    monkeypatch.setattr("evcap_cli.scoring.java.find_java", nowhere)
    result = call(files[0], "--refs", files[1], "--json", "--bootstrap", 5, "--human")
    printed = json.loads(result.stdout)
    assert printed["metrics"]["meteor"] is None
    assert printed["human"]["human"]["meteor"] is None
    assert "meteor" not in printed["intervals"]
    assert [line for line in result.stderr.splitlines() if "METEOR" in line] == [
        "warning: METEOR was not computed: no Java found; install one"
    ]


def test_a_java_that_dies_leaves_a_number_missing_that_was_requested(
    call: Call, files: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "java"
    fake.write_text("#!/bin/sh\necho 'no memory' >&2\nkill -9 $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: str(fake))
    result = call(files[0], "--refs", files[1], "--json", "--quiet")
    printed = json.loads(result.stdout)
    assert result.exit_code == EXIT_SOME_FAILED
    assert printed["metrics"]["meteor"] is None
    assert printed["missing"] == ["meteor"]
    assert printed["metrics"]["cider"] is not None
    assert "error: METEOR was not computed: METEOR answered 0 of 6 captions (no memory)" in result.stderr
    plain = call(files[0], "--refs", files[1])
    assert plain.exit_code == EXIT_SOME_FAILED
    assert plain.stdout.endswith("METEOR was not computed: METEOR answered 0 of 6 captions (no memory)\n")
    assert call(files[0], "--refs", files[1], "--no-meteor").exit_code == 0


PAGE = Path(__file__).parents[2] / "docs" / "scoring.md"
SHOWN = [line for line in PAGE.read_text().splitlines() if line.startswith("evcap score")]


@pytest.mark.slow
@pytest.mark.parametrize("line", SHOWN)
def test_commands_of_the_page_on_scoring_work(
    call: Call, root: Path, files: tuple[Path, Path, Path], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_meteor(segments: object) -> None:
        raise JavaError("left out: other tests run it")

    folder = root.parent
    (folder / "preds.jsonl").write_text(FORMS["records.jsonl"])
    (folder / "zero-shot.jsonl").write_text(FORMS["records.jsonl"])
    (folder / "other.jsonl").write_text(FORMS["lines.jsonl"])
    (folder / "refs.json").write_text(REFERENCE_FORMS["map.json"])
    monkeypatch.chdir(folder)
    monkeypatch.setattr("evcap_cli.scoring.meteor.meteor_statistics", no_meteor)
    if "coco" in line:
        monkeypatch.setattr("evcap_cli.scoring.java.ptb_tokens", lambda texts: [text.lower() for text in texts])
    result = call(*shlex.split(line)[2:])
    assert result.exit_code == 0
    assert "CIDEr" in result.stdout or "cider" in result.stdout
    if "--per-video" in line:
        assert len((folder / "videos.jsonl").read_text().splitlines()) == 4
