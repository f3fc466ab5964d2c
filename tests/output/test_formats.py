"""Records read back as written, match the published schema, and every format says the same."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema
import pytest

from evcap_cli import plugins
from evcap_cli.errors import DataError, WriteError
from evcap_cli.files import check_writable, write_whole
from evcap_cli.output.record_files import read_records
from evcap_cli.output.records import Caption, Emotion, Media, Record

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "record.schema.json").read_text())
MEDIA = Media(13.06, "25/1", 320, 180, 0, has_audio=True)


def a_record(
    path: str = "v/a.mp4", text: str = "a dog runs happily", duration: float = 13.06, **more: object
) -> Record:
    felt = Emotion("joy", 0.712345, ("happily",), {"joy": 0.712345, "surprise": 0.1})
    media = Media(duration, "25/1", 320, 180, 0, has_audio=True)
    values = {
        "path": path,
        "id": Path(path).stem,
        "digest": "0" * 32,
        "status": "ok",
        "captions": (Caption(0.0, duration, text, -0.412345, felt),),
        "media": media,
        "backbones": {"appearance": "lite-appearance"},
        "checkpoint": {"name": "demo", "digest": "1" * 32},
    }
    return Record(**{**values, **more})  # type: ignore[arg-type]


def a_failure(path: str = "v/b.mp4", media: Media | None = MEDIA) -> Record:
    error = {"code": "decode", "message": "no frame decodes; check the file"}
    return a_record(path, status="failed", captions=(), media=media, error=error)


@pytest.mark.parametrize("record", [a_record(), a_failure(), a_failure(media=None), a_record(digest=None)])
def test_records_follow_the_schema_and_read_back(record: Record, tmp_path: Path) -> None:
    values = json.loads(record.to_line())
    jsonschema.validate(values, SCHEMA)
    path = tmp_path / "out.jsonl"
    path.write_text(record.to_line() + "\n")
    assert read_records(path)[0].to_dict() == record.to_dict()


def test_the_schema_refuses_what_is_not_a_record() -> None:
    for change in ({"status": "fine"}, {"captions": [{}]}, {"more": 1}, {"error": {"code": "decode", "message": ""}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**a_record().to_dict(), **change}, SCHEMA)


def test_scores_are_rounded_to_four_decimals() -> None:
    caption = a_record().to_dict()["captions"][0]
    assert caption["score"] == -0.4123
    assert caption["emotion"]["probability"] == 0.7123


def test_several_videos_lie_end_to_end_and_a_failed_one_keeps_its_time() -> None:
    text = plugins.writers()[".srt"].render([a_record(duration=2.5), a_failure(), a_record("v/c.mp4", duration=3661.0)])
    assert text.split("\n\n")[0].splitlines()[1] == "00:00:00,000 --> 00:00:02,500"
    # 2.5 + 13.06 seconds come before the third video
    assert text.split("\n\n")[1].splitlines()[1] == "00:00:15,560 --> 01:01:16,560"


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_text_cannot_break_a_cue(suffix: str) -> None:
    hostile = "a {\\b1}man\n\n2\n00:00:00,000 --> 00:00:09,000\n<i>says & waves"
    text = plugins.writers()[suffix].render([a_record(text=hostile), a_record("v/z.mp4")])
    assert text.count(" --> ") == 2
    assert "man" in text
    assert "waves" in text
    assert "{" not in text


HOSTILE = "a \x1b[31mred\x00 dog\r\n\n2\x85\u2028\u2029--->\u202e\u2066\x9bruns\\N\\N\\hof\x0b \t\x7f"


@pytest.mark.parametrize("suffix", [".srt", ".vtt", ".tsv"])
def test_nothing_in_a_caption_commands_a_terminal_a_player_or_the_lines(suffix: str) -> None:
    plain, hostile = (
        plugins.writers()[suffix].render([a_record(text=text), a_record("v/z.mp4")]) for text in ("a dog", HOSTILE)
    )
    assert len(hostile.splitlines()) == len(plain.splitlines())
    assert hostile.count("-->") == plain.count("-->")
    assert set("\x00\x0b\x1b\r\x7f\x85\x9b\u2028\u2029\u202e\u2066").isdisjoint(hostile)
    shown = hostile.replace("\u2060", "")
    assert "a \ufffd[31mred\ufffd dog 2 ->\ufffd\ufffd\ufffdruns\\N\\N\\hof \ufffd" in shown
    assert json.loads(a_record(text=HOSTILE).to_line())["captions"][0]["text"] == HOSTILE


def test_letters_that_need_joiners_and_marks_keep_them() -> None:
    text = "\u0645\u06cc\u200c\u062e\u0646\u062f\u062f \U0001f468\u200d\U0001f466 na\u00efve \u200f\u05d0"
    for suffix in (".srt", ".vtt", ".tsv"):
        assert text in plugins.writers()[suffix].render([a_record(text=text)])


NAMES = {
    "=cmd|' C'!A0.mp4": "'=cmd|' C'!A0.mp4",
    "+1.mp4": "'+1.mp4",
    "-1.mp4": "'-1.mp4",
    "@SUM(A1).mp4": "'@SUM(A1).mp4",
    "\t=1.mp4": "'\\t=1.mp4",
    "\r=1.mp4": "'\\r=1.mp4",
    "a\rb\nc\x1b[2J\u2028.mp4": "a\\rb\\nc\\x1b[2J\\u2028.mp4",
    'a "b" c.mp4': 'a "b" c.mp4',
    "v/=a.mp4": "v/=a.mp4",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_table_keeps_its_rows_and_holds_no_formula_whatever_videos_are_called(name: str) -> None:
    felt = Emotion("=joy", 0.5, (), {})
    record = a_record(name, captions=(Caption(0.0, 1.0, "=1+1", -0.4, felt),))
    text = plugins.writers()[".tsv"].render([record, a_record()])
    head, row, last = csv.reader(io.StringIO(text, newline=""), "excel-tab")
    assert dict(zip(head, row, strict=True)) == {
        "id": NAMES[name].removesuffix(".mp4") if "/" not in name else "'=a",
        "path": NAMES[name],
        "start": "0.000",
        "end": "1.000",
        "caption": "'=1+1",
        "category": "'=joy",
        "probability": "0.5000",
    }
    assert last[1] == "v/a.mp4"
    assert len(text.splitlines()) == 3
    assert json.loads(record.to_line())["path"] == name


def test_a_table_has_a_row_a_caption() -> None:
    rows = plugins.writers()[".tsv"].render([a_record(text='tab\there "quoted"'), a_failure()]).splitlines()
    assert len(rows) == 2
    assert rows[0].split("\t")[:3] == ["id", "path", "start"]


def test_an_emotion_known_by_its_words_alone_is_told_without_a_probability(tmp_path: Path) -> None:
    felt = Emotion("joy", None, ("happily",))
    told = a_record(captions=(Caption(0.0, 6.0, "a dog runs happily", -0.4, felt), Caption(6.0, 13.06, "a dog runs")))
    values = json.loads(told.to_line())
    jsonschema.validate(values, SCHEMA)
    assert values["captions"][0]["emotion"] == {"category": "joy", "probability": None, "words": ["happily"], "top": {}}
    path = tmp_path / "out.jsonl"
    path.write_text(told.to_line() + "\n")
    assert read_records(path)[0] == told
    rows = plugins.writers()[".tsv"].render([told]).splitlines()
    assert [row.split("\t")[-2:] for row in rows[1:]] == [["joy", ""], ["", ""]]
    page = plugins.writers()[".html"].render([told])
    assert "joy, by happily</span>" in page
    assert '<mark style="--hue' in page
    assert 'class="bar"' not in page.split("<main>")[1]


def test_reading_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(a_record().to_line() + "\n{broken\n")
    with pytest.raises(DataError, match="line 2") as caught:
        read_records(path)
    assert str(path) in str(caught.value)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.srt"
    write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.srt"]


def test_a_folder_in_the_way_is_a_write_error(tmp_path: Path) -> None:
    (tmp_path / "out.srt").mkdir()
    with pytest.raises(WriteError, match="is a folder"):
        check_writable(tmp_path / "out.srt")
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        check_writable(tmp_path / "file" / "out.srt")
