"""Records read back as written, match the published schema, and every format says the same."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from evcap_cli import plugins
from evcap_cli.errors import DataError, WriteError
from evcap_cli.output.atomic import check_writable, write_whole
from evcap_cli.output.reading import read_records
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
