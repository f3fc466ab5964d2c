"""``evcap label``: a root of a captioner's captions, its messages and exit codes; a stopped run ends the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from evcap_cli.captioning import checkpoint_captioner
from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.emvidcap import DataRoot
from tests.commands.events import events
from tests.commands.small import LEXICON, ROOT, evcap, records, texts

Call = Callable[..., int]
SCHEMA = ROOT / "docs" / "record.schema.json"


@pytest.fixture
def label(checkpoint: Path, warm: Path) -> Call:
    """``evcap label`` with the small checkpoint and the shared cache."""

    def call(*arguments: object, captioner: object = checkpoint) -> int:
        return evcap("label", *arguments, "-c", captioner, "--cache-dir", warm)

    return call


def files(root: Path) -> dict[str, bytes]:
    parts = [root / "data", root / "EmotionEval", root / "origin.json"]
    found = [path for part in parts for path in ([part] if part.is_file() else part.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def captions(root: Path) -> dict[str, list[str]]:
    opened = DataRoot.open(root)
    return {**opened.train, **opened.test}


@pytest.mark.slow
def test_a_root_of_several_captions_a_video_that_training_takes(
    films: Path, label: Call, caption: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert label(films, "-o", "root", "--captions", "3") == 0
    said = capfd.readouterr().err.splitlines()
    assert said[-2] == "root: 15 captions of 5 videos, labels by small: 4 to train on, 1 to test on"
    assert said[-1] == "see what it is worth, and how to train on it: evcap data check root"
    found = captions(Path("root"))
    assert {video: len(set(several)) for video, several in found.items()} == dict.fromkeys("abcde", 3)
    assert DataRoot.open(Path("root")).lexicon == LEXICON
    assert caption(films, "-o", "out.jsonl") == 0
    first = {Path(path).stem: one for path, (one,) in texts(Path("out.jsonl")).items()}
    assert {video: several[0] for video, several in found.items()} == first
    capfd.readouterr()
    assert evcap("data", "check", "root") == 0
    assert "labels by small: captions that a model wrote, not people" in capfd.readouterr().out


@pytest.mark.slow
def test_segments_are_labelled_one_by_one_and_captioned_again_as_the_root_lists_them(
    films: Path, label: Call, caption: Call
) -> None:
    for name in "de":
        (films / f"{name}.mp4").unlink()
    assert label(films, "-o", "root", "--captions", "1", "--segment", "fixed:0.4", "--test-share", "0.4") == 0
    root = DataRoot.open(Path("root"))
    assert len(root.clips) == len(root.train) + len(root.test) > 5
    assert not {root.clips[name].file for name in root.train} & {root.clips[name].file for name in root.test}
    assert caption(films, "--segment", "from:root", "-o", "out.jsonl") == 0
    again = {one["id"]: [one["text"]] for record in records(Path("out.jsonl")) for one in record["captions"]}
    assert again == captions(Path("root"))


@pytest.mark.slow
def test_stopped_in_the_middle_the_same_command_ends_with_the_same_bytes(
    films: Path, label: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint_captioner, "CLIPS_A_BATCH", 1)
    call = (films, "--captions", "2", "--min-agreement", "0.05")
    assert label(*call, "-o", "calm") == 0
    plain, seen = CheckpointCaptioner._caption, list[int]()

    def stopping(self: CheckpointCaptioner, events: list[object]) -> object:
        if events and len(seen) == 2:
            raise KeyboardInterrupt
        seen.extend([1] * len(events))
        return plain(self, events)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckpointCaptioner, "_caption", stopping)
    assert label(*call, "-o", "stopped") == 130
    assert "2 videos finished, kept in stopped/candidates; run the same command to go on" in capfd.readouterr().err
    assert files(Path("stopped")) == {}

    def counting(self: CheckpointCaptioner, events: list[object]) -> object:
        seen.extend([1] * len(events))
        return plain(self, events)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckpointCaptioner, "_caption", counting)
    assert label(*call, "-o", "stopped") == 0
    assert len(seen) == 5
    assert files(Path("stopped")) == files(Path("calm"))


@pytest.mark.slow
def test_another_filter_captions_nothing_again(
    films: Path, label: Call, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert label(films, "-o", "root") == 0
    before = files(Path("root"))
    assert label(films, "-o", "root") == 2
    assert "root: holds a data set; replace it with --overwrite" in capfd.readouterr().err
    assert files(Path("root")) == before

    def never(*_: object) -> object:
        raise AssertionError("captioned again")

    monkeypatch.setattr(CheckpointCaptioner, "_caption", never)
    assert label(films, "-o", "root", "--overwrite", "--captions", "2", "--min-agreement", "0.01", "--seed", "3") == 0
    fewer = captions(Path("root"))
    assert all(1 <= len(several) <= 2 for several in fewer.values())
    assert json.loads(files(Path("root"))["origin.json"])["plan"]["min_agreement"] == 0.01
    capfd.readouterr()
    assert label(films, "-o", "root", "--overwrite", "--min-agreement", "1") == 1
    error = capfd.readouterr().err
    assert "no caption is left of any video" in error
    assert captions(Path("root")) == fewer


@pytest.mark.slow
def test_a_bad_video_is_named_the_others_are_labelled_and_it_can_be_mended(
    films: Path, label: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = (films / "c.mp4").read_bytes()
    (films / "c.mp4").write_text("no video")
    shutil.copy(films / "a.mp4", films / "twin.mp4")
    assert label(films, "-o", "root", "--log-json", "log.jsonl") == 3
    said = capfd.readouterr().err
    assert f"{films}/c.mp4: " in said
    begin, *others, progress, end = events(Path("log.jsonl"))
    assert (begin["command"], begin["videos"], begin["outputs"]) == ("label", 6, ["root"])
    assert {event["path"] for event in others if event.get("error")} == {f"{films}/c.mp4"}
    assert (progress["done"], progress["failed"], end["exit_code"]) == (6, 1, 3)
    assert "left out, twice among the videos: 1 (twin.mp4: the same bytes as a.mp4)" in said
    assert "4 videos, labels by small: 3 to train on, 1 to test on; 2 left out" in said
    left_out = json.loads(Path("root/origin.json").read_text())["left_out"]
    assert [(one["video"], one["reason"]) for one in left_out] == [("c.mp4", "failed"), ("twin.mp4", "same")]
    (films / "c.mp4").write_bytes(whole)
    assert label(films, "-o", "root", "--overwrite") == 0
    assert set(captions(Path("root"))) == set("abcde")


@pytest.mark.slow
def test_what_cannot_be_served_is_one_line_and_exit_code_2(
    films: Path, label: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        (
            "--min-familiarity",
            "0.1",
        ): "small: has no summary of training videos: --min-familiarity has nothing",
        ("--style", "factual"): "--style means nothing for the trained checkpoint",
        ("--captions", "0"): "--captions",
        ("--min-agreement", "2"): "--min-agreement",
    }
    for more, why in wrong.items():
        assert label(films, "-o", "root", *more) == 2, more
        said = capfd.readouterr().err
        assert why in said
        assert said.count("\n") == 1, said
    Path("other/data/EmVidCap-L").mkdir(parents=True)
    Path("other/data/EmVidCap-L/EmVideo_test_captions.csv").write_text("VideoID\tEmCaptions\na\tb\n")
    assert label(films, "-o", "other", "--overwrite") == 2
    assert "other: holds a data set that evcap label did not write" in capfd.readouterr().err
    assert label(films, "-o", films / "a.mp4") == 2
    assert label("nowhere", "-o", "root") == 2
    Path("empty").mkdir()
    assert label("empty", "-o", "root") == 1
    assert not Path("root").exists()


@pytest.mark.slow
def test_dry_run_names_the_videos_and_writes_nothing(
    films: Path, label: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    assert label(films, "-o", "root", "--dry-run", "--limit", "2", captioner="nowhere") == 0
    assert capfd.readouterr().out.splitlines() == ["videos/a.mp4", "videos/b.mp4", "2 videos -> root"]
    assert not Path("root").exists()


@pytest.mark.slow
def test_a_student_of_labels_says_so_in_its_records_and_in_its_own_labels(
    films: Path, label: Call, checkpoint: Path, warm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student = Checkpoint.from_pretrained(checkpoint)
    student.training["labels_by"], student.name = "teacher", "student"
    student.save_pretrained(Path("student"))
    assert evcap("caption", films, "-c", "student", "--cache-dir", warm, "-o", "out.jsonl", "--limit", "1") == 0
    (record,) = records(Path("out.jsonl"))
    assert record["checkpoint"]["labels_by"] == "teacher"
    jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    assert evcap("report", "out.jsonl", "-o", "report.html") == 0
    assert "checkpoint student (trained on labels by teacher)" in Path("report.html").read_text("utf-8")
    assert label(films, "-o", "root", "--captions", "1", "--test-share", "0.5", captioner="student") == 0
    assert DataRoot.open(Path("root")).labels_by == "student (labels by teacher)"
    assert evcap("caption", films, "-c", "student", "--cache-dir", warm, "-o", "all.jsonl") == 0
    capfd.readouterr()
    assert evcap("score", "all.jsonl", "--data", "root", "--json", "--no-meteor") == 0
    said = capfd.readouterr()
    found = json.loads(said.out)
    assert (found["labels_by"], found["references_by"]) == ("teacher", "student (labels by teacher)")
    assert "the references are labels by student (labels by teacher): captions that a model wrote" in said.err
