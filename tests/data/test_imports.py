"""Every form in which people have captions becomes the same data root; what is wrong in a file is named by its line."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.imports.caption_rows import seconds_of
from evcap_cli.data.imports.importing import Imported, ImportPlan, import_captions
from evcap_cli.data.imports.recognising import read_caption_rows
from evcap_cli.data.imports.video_names import VideoNames
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError, EvcapError, UsageError

CAPTIONS = {
    "dog": ["A dog, happily running", "the dog is proud"],
    "cat": ['a "sleepy" cat'],
    "sea": ["waves under a gloomy sky", "the sea; it is calm"],
}
PAIRS = [(name, text) for name, texts in CAPTIONS.items() for text in texts]


@pytest.fixture(autouse=True)
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("clips")
    (folder / "deep").mkdir(parents=True)
    for name in ("dog", "sea", "deep/cat"):
        (folder / f"{name}.mp4").write_bytes(name.encode())
    return folder


def never(path: Path) -> Fraction:
    raise AssertionError(f"{path} was opened")


def imported(
    file: Path, *, columns: dict | None = None, encoding: str | None = None, root: str = "root", **plan
) -> Imported:
    names = VideoNames(Path("clips"))
    source = read_caption_rows(file, names, columns=columns, encoding=encoding)
    plan = ImportPlan(**{"lexicon": Lexicon.general(), **plan})
    return import_captions(source, names, Path(root), plan, end_of=never, overwrite=True)


def captions_of(root: str = "root") -> dict[str, list[str]]:
    opened = DataRoot.open(Path(root))
    assert not opened.train.keys() & opened.test.keys()
    return {**opened.train, **opened.test}


def table(mark: str, header: str = "file{m}caption") -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if mark in text or '"' in text else text

    rows = [header.format(m=mark), *(f"{name}.mp4{mark}{cell(text)}" for name, text in PAIRS)]
    return "\n".join(rows) + "\n"


def coco() -> str:
    images = [{"id": number, "file_name": f"{name}.mp4"} for number, name in enumerate(CAPTIONS)]
    places = {name: number for number, name in enumerate(CAPTIONS)}
    annotations = [{"id": n, "image_id": places[name], "caption": text} for n, (name, text) in enumerate(PAIRS)]
    return json.dumps({"images": images, "annotations": annotations})


def msr_vtt() -> str:
    videos = [
        {"video_id": name, "start time": 1.0, "end time": 9.5, "url": f"https://y/watch?v={name}x"} for name in CAPTIONS
    ]
    sentences = [{"video_id": name, "caption": text, "sen_id": n} for n, (name, text) in enumerate(PAIRS)]
    return json.dumps({"videos": videos, "sentences": sentences})


FORMS = {
    "a.csv": table(","),
    "b.csv": table(";", "VideoID{m}EmCaptions"),
    "c.tsv": table("\t", "Video Path{m}Description"),
    "d.csv": table(",").split("\n", 1)[1],
    "e.jsonl": "".join(json.dumps({"video_id": name, "caption": text}) + "\n" for name, text in PAIRS),
    "f.jsonl": "".join(
        json.dumps({"file": f"x/{name}.avi", "captions": texts}) + "\n" for name, texts in CAPTIONS.items()
    ),
    "g.json": json.dumps([{"video": name, "text": text} for name, text in PAIRS], indent=1),
    "h.json": json.dumps(CAPTIONS),
    "coco.json": coco(),
    "msrvtt.json": msr_vtt(),
    "vatex.json": json.dumps([{"videoID": name, "enCap": texts, "chCap": ["一"]} for name, texts in CAPTIONS.items()]),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_form_in_every_encoding_gives_the_same_captions(name: str, encoding: str) -> None:
    Path(name).write_bytes(FORMS[name].replace("\n", "\r\n").encode(encoding))
    found = imported(Path(name))
    assert found.source.problems == []
    assert captions_of() == CAPTIONS
    assert not Path("root/clips.jsonl").exists()
    assert DataRoot.open(Path("root")).videos(Path("root/videos")).keys() == CAPTIONS.keys()


def test_columns_may_have_other_names() -> None:
    Path("a.csv").write_text(table(",", "clip no{m}words"))
    with pytest.raises(
        DataError, match=r"line 1: no columns of file names and captions in 'clip no,words'; evcap reads CSV"
    ):
        imported(Path("a.csv"))
    assert imported(Path("a.csv"), columns={"file": "clip no", "caption": "words"}).source.problems == []
    assert captions_of() == CAPTIONS


@pytest.mark.parametrize(
    ("columns", "encoding", "error", "why"),
    [
        ({"caption": "Captoin"}, None, DataError, r"has no column 'Captoin' \(.*\); it has file, text"),
        ({}, "hex", UsageError, "unknown --encoding 'hex'"),
        ({}, "rot13", UsageError, "unknown --encoding 'rot13'"),
    ],
)
def test_a_mistyped_column_or_encoding_is_named(
    columns: dict[str, str], encoding: str | None, error: type[EvcapError], why: str
) -> None:
    Path("a.csv").write_text("file;text\ndog;a dog\n")
    with pytest.raises(error, match=why):
        imported(Path("a.csv"), columns=columns, encoding=encoding)


@pytest.mark.parametrize("first", ["", "sep=;\r\n", '"sep=;"\r\n'])
def test_what_excel_adds_to_a_table_is_no_row(first: str) -> None:
    Path("a.csv").write_text(first + table(";") + ";\r\n ; \r\n;;;\r\n")
    assert imported(Path("a.csv")).source.problems == []
    assert captions_of() == CAPTIONS


def test_a_quoted_cell_may_have_line_ends_and_a_stray_quote_swallows_nothing() -> None:
    Path("a.csv").write_text(
        'file,caption\ndog.mp4,"a dog\nruns, far"\nsea.mp4,"the sea is wide\n'
        'cat.mp4,"a cat"\nsea.mp4,a "wave", a big one\n'
    )
    assert imported(Path("a.csv"), test_share=0.0).source.problems == []
    assert captions_of() == {
        "dog": ["a dog runs, far"],
        "sea": ['"the sea is wide', 'a "wave", a big one'],
        "cat": ["a cat"],
    }


BAD_TABLE = (
    b"file,caption\ndog.mp4,a dog\nfish.mp4,a fish\nsea.mp4\ndog.mp4,a  dog\ncat.mp4,caf\xe9 cat\nsea.mp4,\n"
    b"sea.mp4,\xe7\x8b\x97\n,nothing\nsea.mp4,the sea\n"
)


def test_lines_that_cannot_be_imported_are_named_and_the_rest_is_imported() -> None:
    Path("a.csv").write_bytes(BAD_TABLE)
    found = imported(Path("a.csv"), test_share=0.0)
    assert {problem.place: (problem.kind, problem.text) for problem in found.source.problems} == {
        "a.csv: line 3": ("missing", "no video fish.mp4 below clips"),
        "a.csv: line 4": ("row", "1 cell where there are 2 columns; mend the line"),
        "a.csv: line 5": ("doubled", "the same caption of dog.mp4 as in line 2"),
        "a.csv: line 6": ("encoding", "not UTF-8; save the file as UTF-8, or name its --encoding"),
        "a.csv: line 7": ("empty", "the caption is empty"),
        "a.csv: line 8": ("empty", "the caption has no word in ASCII letters"),
        "a.csv: line 9": ("row", "names no video; mend the line"),
    }
    assert captions_of() == {"dog": ["a dog"], "sea": ["the sea"]}
    kept = json.loads(Path("root/origin.json").read_text())
    assert len(kept["not_imported"]) == 7
    again = imported(Path("a.csv"), encoding="latin-1", test_share=0.0).source
    assert "encoding" not in {problem.kind for problem in again.problems}
    assert captions_of()["cat"] == ["café cat"]


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        (
            "a.jsonl",
            '{"file": "dog", "caption": "a dog"}\n{"file": "cat"\n{"file": "cat"}\n[1]\n',
            ["line 2", "line 3", "line 4"],
        ),
        ("a.jsonl", '\n{"file": "dog", "end": NaN}\n{"file": "dog", "caption": "a dog"}\n', ["line 2"]),
        ("a.jsonl", '{"file": "cat", "capti\n\n{"file": "dog", "caption": "a dog"}', ["line 1"]),
        ("a.json", '{"file": "dog", "caption": "a dog"}\n{"file": "dog", "caption": "it runs"}\n', []),
        ("a.json", '{"file": "dog", "end": NaN}\r\n{"file": "dog", "caption": "it runs"}\r\n', ["line 1"]),
        (
            "a.jsonl",
            '{"images": [\n{"id": 1, "file_name": "dog"}],\n"annotations": [{"image_id": 1, "caption": "a"}]}',
            [],
        ),
        ("a.json", '[{"file": "dog", "caption": "a dog"}, {"file": "cat", "caption": 3}, 5]', ["entry 2", "entry 3"]),
        (
            "a.json",
            '{"images": [{"id": 1, "file_name": "dog"}], "annotations": [{"image_id": 1, "caption": "a"},'
            ' {"image_id": 2, "caption": "b"}, {"caption": "c"}, {"image_id": 1}]}',
            ["annotation 2", "annotation 3", "annotation 4"],
        ),
        ("a.json", '[{"videoID": "dog", "enCap": ["a"]}, {"videoID": "cat", "chCap": ["b"]}]', ["entry 2"]),
    ],
)
def test_bad_entries_of_json_are_named(name: str, text: str, places: list[str]) -> None:
    Path(name).write_text(text)
    found = imported(Path(name))
    assert [problem.place for problem in found.source.problems] == [f"{name}: {place}" for place in places]
    assert list(captions_of()) == ["dog"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"once upon a time\nthere was\n", "line 1: no columns of file names and captions"),
        ("a.csv", b"", "line 1: no columns"),
        ("a.json", b'{"a": 1}', "JSON of a form that is not known; evcap reads CSV"),
        ("a.json", b"{", "is not JSON"),
        ("a.jsonl", b'{"a": 1}\n{"b": 2}\n', "a.jsonl: line 1: has no file: its keys are a; evcap reads"),
        ("a.csv", "file,caption\ndog,a dog\n".encode("utf-16-le"), "line 1 holds a zero byte.*--encoding utf-16-le"),
        ("folder", None, "holds no subtitle"),
    ],
)
def test_what_cannot_be_recognised_is_one_error_with_what_is_understood(
    name: str, content: bytes | None, why: str
) -> None:
    Path(name).mkdir() if content is None else Path(name).write_bytes(content)
    with pytest.raises(DataError, match=why):
        imported(Path(name))
    assert not Path("root").exists()


def test_videos_of_one_name_are_told_apart_by_their_folders(clips: Path) -> None:
    (clips / "a").mkdir()
    (clips / "a/dog.mp4").touch()
    Path("a.csv").write_text(
        "file,caption\na/dog.mp4,one\ndog,two\n/data/clips/a/dog.mp4,three\ndeep\\cat.mp4,four\ndog.mp4,five\n"
    )
    found = imported(Path("a.csv"), test_share=0.0)
    assert [problem.kind for problem in found.source.problems] == ["ambiguous"]
    assert captions_of() == {"a/dog": ["one", "three"], "cat": ["four"], "dog.mp4": ["five"]}
    files = DataRoot.open(Path("root")).videos(Path("root/videos"))
    places = {name: path.relative_to("root/videos").as_posix() for name, path in files.items()}
    assert places == {"a/dog": "a/dog.mp4", "cat": "deep/cat.mp4", "dog.mp4": "dog.mp4"}


@pytest.mark.parametrize(
    ("names", "lost", "notes"),
    [
        ("a/cat.mp4,deep/cat.mp4", {2: "deep/cat.mp4"}, 0),
        ("cat,a/cat.mp4,b/a/cat", {3: "cat", 4: "cat"}, 0),
        ("a/cat.mp4,b/cat.mp4,dog.mp4", {2: "b/cat.mp4", 3: "a/cat.mp4"}, 0),
        ("/old/a/cat.mp4,a/cat.avi,old/dog.mp4", {}, 1),
        ("/old/deep/cat.mp4,clips\\deep\\cat.mp4,a/dog.mp4,dog.mp4", {}, 0),
    ],
)
def test_a_name_with_other_folders_does_not_get_the_video_of_another_name(
    names: str, lost: dict[int, str], notes: int
) -> None:
    rows = [f"{name},caption {chr(97 + number)}" for number, name in enumerate(names.split(","))]
    Path("a.csv").write_text("\n".join(["file,caption", *rows, "sea.mp4,the sea"]))
    found = imported(Path("a.csv"))
    problems = {problem.place: (problem.kind, problem.text) for problem in found.source.problems}
    assert problems == {
        f"a.csv: line {line}": (
            "missing",
            f"no video {names.split(',')[line - 2]} below clips: deep/cat.mp4 is that of {rival}",
        )
        for line, rival in lost.items()
    }
    one = "2 names lead to videos in another folder, such as /old/a/cat.mp4 to deep/cat.mp4"
    assert found.notes == [one] * notes


def test_names_that_a_caption_file_cannot_hold_get_an_id(clips: Path) -> None:
    (clips / 'my "best"\tclip .mp4').touch()
    Path("a.jsonl").write_text(json.dumps({"file": 'my "best"\tclip .mp4', "caption": "a dog"}))
    imported(Path("a.jsonl"))
    assert captions_of() == {"my_best_clip": ["a dog"]}
    assert DataRoot.open(Path("root")).videos(clips) == {"my_best_clip": clips / 'my "best"\tclip .mp4'}


def many(clips: Path, count: int = 20) -> Path:
    for number in range(count):
        (clips / f"v{number}.mp4").touch()
    rows = [f"v{number}.mp4,a dog,{'test' if number < 3 else 'val'}" for number in range(count)]
    Path("many.csv").write_text("\n".join(["file,caption,split", *rows]))
    return Path("many.csv")


def test_the_split_is_by_video_seeded_and_as_large_as_requested(clips: Path) -> None:
    splits = {}
    for seed, share in ((0, 0.2), (0, 0.5), (1, 0.2)):
        imported(many(clips), seed=seed, test_share=share)
        root = DataRoot.open(Path("root"))
        assert len(root.test) == round(20 * share)
        assert len(root.train) + len(root.test) == 20
        splits[seed, share] = set(root.test)
    imported(many(clips), seed=0, test_share=0.2)
    assert set(DataRoot.open(Path("root")).test) == splits[0, 0.2] != splits[1, 0.2]
    imported(many(clips), test_share=0.0)
    assert DataRoot.open(Path("root")).test == {}


def test_the_split_of_the_file_counts_unless_another_is_requested(clips: Path) -> None:
    found = imported(many(clips))
    assert found.own_split
    assert set(DataRoot.open(Path("root")).test) == {"v0", "v1", "v2"}
    assert not imported(many(clips), test_share=0.2).own_split


@pytest.mark.parametrize(
    ("splits", "notes"),
    [
        ("val,TEST,dev", ["the split is the file's own; --test-share draws another one"]),
        ("train,,train", []),
        ("train,holdout,holdout", ["'holdout' (2 captions): they do not count; name them train or test"]),
        (
            "train,test,Test set",
            [
                "the split is the file's own; --test-share draws another one",
                "'Test set' (1 caption): their videos are to train on; name them train or test",
            ],
        ),
        (
            "1,2,3,4",
            ["'1' (1 caption), '2' (1 caption), '3' (1 caption), ...: they do not count; name them train or test"],
        ),
    ],
)
def test_splits_of_unknown_names_are_named(clips: Path, splits: str, notes: list[str]) -> None:
    file = many(clips)
    rows = [f"v{number},a dog,{split}" for number, split in enumerate(splits.split(","))]
    file.write_text("\n".join(["file,caption,split", *rows]))
    assert [note.removeprefix("splits of unknown names: ") for note in imported(file).notes] == notes
    assert imported(file, test_share=0.5).notes == []


def test_a_root_of_another_making_is_never_replaced() -> None:
    Path("a.csv").write_text(FORMS["a.csv"])
    imported(Path("a.csv"))
    names, plan = VideoNames(Path("clips")), ImportPlan(Lexicon.general())
    source = read_caption_rows(Path("a.csv"), names)
    with pytest.raises(UsageError, match="root: holds a data set; replace it with --overwrite"):
        import_captions(source, names, Path("root"), plan, end_of=never)
    Path("root/origin.json").unlink()
    with pytest.raises(UsageError, match="root: holds a data set that evcap data import did not write"):
        import_captions(source, names, Path("root"), plan, end_of=never, overwrite=True)


def test_what_is_in_the_way_leaves_an_earlier_root_as_it_is() -> None:
    Path("a.csv").write_text(FORMS["a.csv"])
    imported(Path("a.csv"), test_share=0.0)
    with pytest.raises(DataError, match="category 'a/b' cannot be the name of a word list"):
        imported(Path("a.csv"), lexicon=Lexicon({"a/b": ["glad"], "joy": ["happily"]}))
    Path("root/videos").unlink()
    Path("root/videos").mkdir()
    with pytest.raises(UsageError, match="root/videos: is there, and is not clips"):
        imported(Path("a.csv"))
    assert DataRoot.open(Path("root")).train == CAPTIONS


def test_nothing_to_import_writes_nothing() -> None:
    Path("a.csv").write_text("file,caption\nfish.mp4,a fish\n")
    with pytest.raises(
        EvcapError, match=r"nothing in it can be imported: a.csv: line 2: no video fish.mp4 below clips"
    ):
        imported(Path("a.csv"))
    assert not Path("root").exists()


def test_the_lexicon_is_the_general_one_or_the_one_that_is_given() -> None:
    Path("a.csv").write_text(FORMS["a.csv"])
    imported(Path("a.csv"))
    assert Lexicon.from_folder(Path("root")) == Lexicon.general()
    assert Lexicon.from_folder(Path("root")).name == Lexicon.general().name
    own = Lexicon({"joy": ["happily"], "gloom": ["gloomy", "sad"]})
    imported(Path("a.csv"), lexicon=own)
    assert Lexicon.from_folder(Path("root")) == own


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("12.5", 12.5), (7, 7), ("1:02:03.25", 3723.25), ("02:03,5", 123.5), ("00:00:01.0004", 1.0)),
        *(("3.50000000000000035", 3.5), (0.2500000000000001, 0.25), (1e-05, 0), ("0:03.5000000000000004", 3.5)),
    ],
)
def test_times_are_seconds_or_clocks(text: object, seconds: float) -> None:
    assert seconds_of(text) == Fraction(seconds)


@pytest.mark.parametrize("text", ["", "-1", "1e9", "nan", "noon", True, "1:2:3:4", "9" * 40, -0.5, 1e12, float("nan")])
def test_other_times_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds_of(text)
