"""Captions of parts of long videos: subtitles and rows with times become clips that a root lists, none is cut."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.imports.importing import Imported, ImportPlan, import_captions
from evcap_cli.data.imports.recognising import read_caption_rows
from evcap_cli.data.imports.video_names import VideoNames
from evcap_cli.data.learnable import learnable
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError, OpenFailed
from evcap_cli.media.listed_segments import ListedClips

LENGTH = Fraction(60)


@pytest.fixture(autouse=True)
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("clips")
    (folder / "deep").mkdir(parents=True)
    for name in ("talk", "deep/walk", "bad"):
        (folder / f"{name}.mkv").touch()
    return folder


def length_of(path: Path) -> Fraction:
    if path.stem == "bad":
        raise OpenFailed("is no video", path=path)
    return LENGTH


def imported(file: str, **plan: object) -> Imported:
    names = VideoNames(Path("clips"))
    source = read_caption_rows(Path(file), names)
    chosen = ImportPlan(Lexicon.general(), **{"test_share": 0.0, **plan})
    return import_captions(source, names, Path("root"), chosen, end_of=length_of, overwrite=True)


def listed() -> dict[str, tuple[str, float | None, float | None]]:
    rows = [json.loads(line) for line in Path("root/clips.jsonl").read_text().splitlines()]
    return {row["id"]: (row["file"], row["start"], row["end"]) for row in rows}


SRT = """1
00:00:01,500 --> 00:00:04,000
<i>A man</i> speaks,
happily

2
00:00:04,000 --> 00:00:06,250 X1:10 X2:20
{\\an8}they laugh
"""
VTT = """WEBVTT - a talk

STYLE
::cue { color: red }

NOTE nobody sees this
at all

intro
00:01.500 --> 00:04.000 line:0
<v Ann>A man</v> speaks,
happily

00:00:04.000 --> 00:00:06.250
they &amp; we laugh
"""
CLIPS = {"talk_1.5_4": ("talk.mkv", 1.5, 4.0), "talk_4_6.25": ("talk.mkv", 4.0, 6.25)}


@pytest.mark.parametrize(
    ("name", "text"), [("talk.srt", SRT), ("talk.vtt", VTT), ("talk.en.srt", SRT), ("talk.mkv.srt", SRT)]
)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_each_cue_is_a_segment_of_the_video_next_to_it(name: str, text: str, encoding: str) -> None:
    Path(f"clips/{name}").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    for file in (f"clips/{name}", "clips"):
        assert imported(file).source.problems == []
        assert listed() == CLIPS
        captions = DataRoot.open(Path("root")).train
        assert captions["talk_1.5_4"] == ["A man speaks, happily"]
        assert captions["talk_4_6.25"] in (["they laugh"], ["they & we laugh"])


def test_rows_with_times_are_segments_and_others_whole_videos() -> None:
    Path("a.csv").write_text(
        "video,start,end,caption\ntalk,0:01,0:02.5,a man\ntalk,1,2.50,a man speaks\ntalk,,,a talk\n"
        "walk,5,60.3,they walk\n"
    )
    assert imported("a.csv").source.problems == []
    assert listed() == {
        "talk_1_2.5": ("talk.mkv", 1.0, 2.5),
        "talk": ("talk.mkv", None, None),
        "walk_5_60": ("deep/walk.mkv", 5.0, 60.0),
    }
    root = DataRoot.open(Path("root"))
    assert root.train == {"talk_1_2.5": ["a man", "a man speaks"], "talk": ["a talk"], "walk_5_60": ["they walk"]}
    assert root.videos(Path("root/videos"))["walk_5_60"] == Path("root/videos/deep/walk.mkv")
    assert root.segment_files == {"talk_1_2.5": "talk.mkv", "walk_5_60": "deep/walk.mkv"}


def test_clips_of_vatex_and_msr_vtt_are_found_in_the_longer_videos_they_were_cut_from() -> None:
    Path("a.json").write_text(json.dumps([{"videoID": "talk_000010_000020", "enCap": ["a man"]}]))
    imported("a.json")
    assert listed() == {"talk_10_20": ("talk.mkv", 10.0, 20.0)}
    videos = [
        {"video_id": "video7", "url": "https://www.youtube.com/watch?v=talk&t=3", "start time": 3.5, "end time": 9}
    ]
    Path("a.json").write_text(json.dumps({"videos": videos, "sentences": [{"video_id": "video7", "caption": "a man"}]}))
    imported("a.json")
    assert listed() == {"talk_3.5_9": ("talk.mkv", 3.5, 9.0)}
    Path("clips/video7.mp4").touch()
    imported("a.json")
    assert DataRoot.open(Path("root")).train == {"video7": ["a man"]}
    assert not Path("root/clips.jsonl").exists()


def test_times_that_cannot_be_are_named_by_line_and_overlaps_stay() -> None:
    rows = [
        "talk,0,10,one",
        "talk,5,15,two",
        "talk,70,80,after the end",
        "talk,50,61,beyond the end",
        "talk,8,8,no length",
        "talk,9,8,backwards",
        "talk,9,9.05,too short",
        "talk,9,,half",
        "talk,noon,9,no time",
        "bad,1,2,no video",
        "talk,0,10,one",
    ]
    Path("a.csv").write_text("\n".join(["file,start,end,caption", *rows]))
    found = imported("a.csv")
    assert {problem.place: problem.text for problem in found.source.problems} == {
        "a.csv: line 4": "70 s to 80 s, but talk.mkv ends at 60 s",
        "a.csv: line 5": "50 s to 61 s, but talk.mkv ends at 60 s",
        "a.csv: line 6": "ends at 8 s, not after 8 s",
        "a.csv: line 7": "ends at 8 s, not after 9 s",
        "a.csv: line 8": "shorter than 0.1 s",
        "a.csv: line 9": "a segment needs both a start and an end",
        "a.csv: line 10": "'noon' is no time (12.5 or 1:02:03.5)",
        "a.csv: line 11": "bad.mkv: is no video",
        "a.csv: line 12": "the same caption of talk as in line 2",
    }
    assert list(listed()) == ["talk_0_10", "talk_5_15"]
    assert found.notes == ["1 segment overlaps with one before: both stay"]


def test_bad_cues_are_named_by_their_lines_and_one_subtitle_a_video_counts() -> None:
    Path("clips/talk.srt").write_text(
        SRT + "\n3\n00:00:0x,000 --> 00:00:09,000\nnever\n\n4\n00:01:30,000 --> 00:01:31,000\nlate\n"
    )
    Path("clips/talk.de.srt").write_text(SRT)
    Path("clips/nobody.vtt").write_text(VTT)
    assert [(problem.kind, problem.place) for problem in imported("clips").source.problems] == [
        ("times", "clips/talk.srt: line 10"),
        ("doubled", "clips/talk.de.srt"),
        ("missing", "clips/nobody.vtt: line 9"),
        ("missing", "clips/nobody.vtt: line 14"),
        ("times", "clips/talk.srt: line 14"),
    ]
    assert listed() == CLIPS


ONE, TWO = "00:00:01,000 --> 00:00:02,000", "00:00:03,000 --> 00:00:04,000"


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        (f"1\n{ONE}\na man\n2\n{TWO}\nhe laughs\n", ["a man", "he laughs"]),
        (f"{ONE}\na man\n{TWO}\nhe laughs", ["a man", "he laughs"]),
        (f"1\n{ONE}\na man\n\u200b\n2\n{TWO}\nhe laughs\n", ["a man", "he laughs"]),
        (f"1\n{ONE}\na man\n\nspeaks\n\n2\n{TWO}\nhe laughs\n", ["a man speaks", "he laughs"]),
        (f"1\n\n{ONE}\n\na man\n\nspeaks\n\n2\n\n{TWO}\n\nhe laughs\n", ["a man speaks", "he laughs"]),
        (f"{ONE}\nin the year\n1984\n\n{TWO}\nhe laughs\n\nNOTE no\n", ["in the year 1984", "he laughs"]),
        (f"1\n{ONE}\nI <3 you\n- me too -> really\n42\nor --> so", ["I <3 you - me too -> really 42 or --> so"]),
        (f"WEBVTT\n\n{ONE}\n \na<00:00:01.500><c> man</c>\n{TWO}\nhe laughs".replace(",", "."), ["a man", "he laughs"]),
    ],
)
def test_blank_lines_may_be_missing_or_too_many_in_subtitles(text: str, captions: list[str]) -> None:
    Path("clips/talk.srt").write_text(text)
    assert imported("clips/talk.srt").source.problems == []
    root = DataRoot.open(Path("root"))
    assert root.train == {f"talk_{2 * n + 1}_{2 * n + 2}": [caption] for n, caption in enumerate(captions)}


@pytest.mark.parametrize(
    ("text", "line", "kind", "why"),
    [
        ("100:00:01,000 --> 100:00:02,000\nlate\n", 7, "times", "360001 s to 360002 s, but talk.mkv ends at 60 s"),
        (
            "3\n00:00:0x,000 --> 00:00:09,000\nnever\n\nat all\n",
            7,
            "times",
            "'00:00:0x,000 --> 00:00:09,000' is no time",
        ),
        ("at all\n", 7, "row", "text without times; mend the subtitle"),
    ],
)
def test_text_and_times_of_no_cue_are_named(text: str, line: int, kind: str, why: str) -> None:
    head = "WEBVTT" if kind == "row" else ""
    Path("clips/talk.vtt").write_text(f"{head}\n\n1\n{ONE}\na man\n\n{text}")
    (problem,) = imported("clips/talk.vtt").source.problems
    assert (problem.kind, problem.place) == (kind, f"clips/talk.vtt: line {line}")
    assert problem.text.startswith(why)
    assert DataRoot.open(Path("root")).train == {"talk_1_2": ["a man"]}


def test_segments_of_a_video_are_in_one_split_and_on_one_side_of_validation(videos: Path) -> None:
    rows = ["file,start,end,caption"]
    for number in range(10):
        (videos / f"v{number}.mkv").touch()
        rows += [f"v{number},{second},{second + 1},second {second}" for second in range(5)]
    Path("a.csv").write_text("\n".join(rows))
    imported("a.csv", test_share=0.3)
    root = DataRoot.open(Path("root"))
    train, test = ({name.partition("_")[0] for name in split} for split in (root.train, root.test))
    assert (len(train), len(test), train & test) == (7, 3, set())
    found = learnable(root.train, validation_share=0.3, files=root.segment_files)
    learned, validation = ({name.partition("_")[0] for name in part} for part in (found.train, found.validation))
    assert (len(learned), len(validation), learned & validation) == (5, 2, set())
    one = {
        name: texts
        for name, texts in root.train.items()
        if root.segment_files[name] == next(iter(root.segment_files.values()))
    }
    assert len(learnable(one, validation_share=0.2, files=root.segment_files).validation) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": "a", "file": "../a.mkv"}', "line 1: the file '../a.mkv' is not below the folder of the videos"),
        ('{"id": "a", "file": "/etc/passwd"}', "is not below the folder"),
        ('{"id": "a", "file": "a.mkv", "start": 1}', "needs both a start and an end"),
        ('{"id": "a", "file": "a.mkv", "start": 2, "end": 2.0004}', "ends at 2 s, not after its start at 2 s"),
        ('{"id": "a", "file": "a.mkv"}\n{"id": "a", "file": "b.mkv"}', "line 2: the id a stands twice"),
        ('{"id": "a", "file": "a.mkv", "start": -1, "end": 2}', "line 1: start"),
        ('{"id": "a"}', "line 1: file: is missing"),
        ("nothing", "line 1: is not JSON"),
    ],
)
def test_a_list_of_clips_that_cannot_be_is_one_error_with_its_line(line: str, why: str) -> None:
    Path("root").mkdir()
    Path("root/clips.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=why):
        ListedClips.of_root(Path("root"))


def test_a_file_is_found_in_the_list_by_its_name_and_else_by_its_folders() -> None:
    Path("root").mkdir()
    rows = [("a", "x/one.mkv"), ("b", "y/one.mkv"), ("c", "z/two.mkv")]
    Path("root/clips.jsonl").write_text("".join(json.dumps({"id": name, "file": file}) + "\n" for name, file in rows))
    clips = ListedClips.of_root(Path("root"))
    found = {
        path: [clip.id for clip in clips.of(Path(path))]
        for path in ("/v/x/one.mp4", "y/one.mkv", "two.webm", "one.mkv")
    }
    assert found == {"/v/x/one.mp4": ["a"], "y/one.mkv": ["b"], "two.webm": ["c"], "one.mkv": []}
