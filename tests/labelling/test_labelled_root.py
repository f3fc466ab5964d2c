"""A root of labels: read as EmVidCap is, split by video, complete or marked as not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.imports.video_names import VideoNames
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.root_files import check_root
from evcap_cli.errors import DataError, UsageError
from evcap_cli.files import WholeFile
from evcap_cli.inputs import Source, gather
from evcap_cli.labelling.label_run import check_labelling
from evcap_cli.labelling.labelled_root import (
    MADE_BY,
    LabelPlan,
    Labels,
    common_folder,
    label_name,
    left_out_lines,
    take_labels,
    write_labels,
)
from evcap_cli.output.records import Caption, Record


class Named:
    """What a root needs of a captioner."""

    name, labels_by, settings = "teacher", "", {"checkpoint": "teacher"}
    lexicon = Lexicon({"joy": ["happily"], "fear": ["scared"]}, name="own")


def clips(folder: Path, *names: str) -> list[Source]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return gather([str(folder)])


def record(source: Source, *texts: str, familiarity: float | None = None, **more: Any) -> Record:
    captions = tuple(Caption(0.0, 2.0, text, -0.1 * n, None, familiarity) for n, text in enumerate(texts))
    values = {"path": source.given, "id": source.id, "digest": source.given, "status": "ok", "captions": captions}
    return Record(**{**values, **more})


def labelled(folder: Path, records: list[tuple[Source, Record]], segment: str = "whole", **plan: Any) -> Labels:
    return take_labels(records, VideoNames(folder), LabelPlan(**{"captions": 2, **plan}), "teacher", segment=segment)


def written(
    root: Path, folder: Path, records: list[tuple[Source, Record]], segment: str = "whole", **plan: Any
) -> Labels:
    found = labelled(folder, records, segment, **plan)
    write_labels(root, found, VideoNames(folder), Named(), LabelPlan(**{"captions": 2, **plan}))  # type: ignore[arg-type]
    return found


def twenty(folder: Path) -> list[tuple[Source, Record]]:
    sources = clips(folder, *(f"{number:02}.mp4" for number in range(20)))
    return [(source, record(source, f"video {source.id} shows a dog", "a cat happily sleeps")) for source in sources]


def test_the_root_reads_back_as_a_data_set_of_labels(tmp_path: Path) -> None:
    records = twenty(tmp_path / "clips")
    found = written(tmp_path / "root", tmp_path / "clips", records, test_share=0.25)
    root = DataRoot.open(tmp_path / "root")
    assert (len(root.train), len(root.test), root.labels_by) == (15, 5, "teacher")
    assert {**root.train, **root.test}["07"] == ["video 07 shows a dog", "a cat happily sleeps"]
    assert root.lexicon == Named.lexicon
    assert len(root.videos(tmp_path / "root" / "videos")) == 20
    assert found.sentence(Path("root")) == (
        "root: 40 captions of 20 videos, labels by teacher: 15 to train on, 5 to test on"
    )
    assert json.loads((tmp_path / "root" / "origin.json").read_text())["labels_by"] == "teacher"


def test_the_split_is_by_video_and_by_seed(tmp_path: Path) -> None:
    records = twenty(tmp_path)
    one, same, other = (labelled(tmp_path, records, seed=seed) for seed in (0, 0, 1))
    assert one.splits == same.splits != other.splits
    assert labelled(tmp_path, records, test_share=0.0).splits == dict.fromkeys(one.splits, "train")


def test_segments_of_a_video_are_in_one_split_and_are_listed_with_their_times(tmp_path: Path) -> None:
    sources = clips(tmp_path / "clips", *(f"{number}.mp4" for number in range(6)))
    three = (Caption(0.0, 1.5, "a dog"), Caption(0.0, 1.5, "a cat"), Caption(1.5, 3.25, "the sea"))
    cut = [(source, record(source, captions=three)) for source in sources]
    written(tmp_path / "root", tmp_path / "clips", cut, segment="fixed:1.5")
    root = DataRoot.open(tmp_path / "root")
    assert {**root.train, **root.test}["3_0.000_1.500"] == ["a dog", "a cat"]
    assert {name.partition("_")[0] for name in root.train}.isdisjoint(name.partition("_")[0] for name in root.test)
    assert float(root.clips["3_1.500_3.250"].end or 0) == 3.25
    assert len(root.videos(tmp_path / "clips")) == 12


def test_listed_segments_keep_their_ids(tmp_path: Path) -> None:
    sources = clips(tmp_path / "clips", "a.mp4", "b.mp4")
    listed = (Caption(1.0, 2.0, "a dog", id="first part"), Caption(1.0, 2.0, "a cat", id="first part"))
    records = [(sources[0], record(sources[0], captions=listed)), (sources[1], record(sources[1], "the sea"))]
    written(tmp_path / "root", tmp_path / "clips", records, segment="from:other", test_share=0.0)
    root = DataRoot.open(tmp_path / "root")
    assert root.train == {"first_part": ["a dog", "a cat"], "b": ["the sea"]}
    assert set(root.clips) == {"first_part"}


def test_what_is_left_out_is_counted_and_named_with_its_reason(tmp_path: Path) -> None:
    sources = clips(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "f.mp4")
    failure = {"status": "failed", "captions": (), "error": {"code": "decode", "message": "no frame decodes"}}
    records = [
        record(sources[0], "a dog runs", "a dog runs away", familiarity=0.5),
        record(sources[1], "a dog", familiarity=0.004),
        record(sources[2], familiarity=0.5, **failure),
        record(sources[3], "one two three", "four five six", familiarity=0.5),
        record(sources[4], "?!", familiarity=0.5),
        record(sources[5], "a dog", familiarity=0.5, digest=sources[0].given),
    ]
    plan = {"min_familiarity": 0.01, "min_agreement": 0.3}
    found = labelled(tmp_path, list(zip(sources, records, strict=True)), **plan)
    assert [(one.video, one.reason, one.text) for one in found.left_out] == [
        ("b.mp4", "unfamiliar", "familiarity 0.004"),
        ("c.mp4", "failed", "no frame decodes"),
        ("d.mp4", "disagreeing", "agreement 0.000 at most"),
        ("e.mp4", "wordless", "no caption with a word in ASCII letters"),
        ("f.mp4", "same", "the same bytes as a.mp4"),
    ]
    assert [text for _, text in found.captions] == ["a dog runs", "a dog runs away"]
    assert list(left_out_lines(found, LabelPlan(2, **plan), most=3)) == [
        "left out, twice among the videos: 1 (f.mp4: the same bytes as a.mp4)",
        "left out, below --min-familiarity 0.01: 1 (b.mp4: familiarity 0.004)",
        "left out, without a caption of --min-agreement 0.3: 1 (d.mp4: agreement 0.000 at most)",
        "left out, without a caption: 1 (e.mp4: no caption with a word in ASCII letters)",
        "2 candidates are below --min-agreement 0.3",
    ]


def test_a_video_without_a_familiarity_is_not_familiar(tmp_path: Path) -> None:
    (source,) = clips(tmp_path, "a.mp4")
    found = labelled(tmp_path, [(source, record(source, "a dog"))], min_familiarity=0.0)
    assert [one.reason for one in found.left_out] == ["unfamiliar"]


def test_videos_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    sources = clips(tmp_path / "clips", "x/a.mp4", "y/a.mp4", "x/b.mp4")
    texts = {"x/a.mp4": "first", "y/a.mp4": "second", "x/b.mp4": "third"}
    records = [(source, record(source, texts[str(source.relative)])) for source in sources]
    written(tmp_path / "root", tmp_path / "clips", records, test_share=0.0)
    root = DataRoot.open(tmp_path / "root")
    files = root.videos(tmp_path / "clips")
    found = {files[name].relative_to(tmp_path / "clips").as_posix(): text for name, (text,) in root.train.items()}
    assert found == texts


@pytest.mark.parametrize(
    ("labels_of", "others"),
    [
        (["clip.dat"], []),
        (["b.dat"], ["a.mp4"]),
        (["clip.dat"], ["clip.mp4"]),
        (["clip.dat", "clip.mp4"], []),
        (["d/x.dat"], ["c/x.mp4", "e/x.mp4"]),
    ],
)
def test_a_video_without_a_suffix_of_videos_is_found_again(
    tmp_path: Path, labels_of: list[str], others: list[str]
) -> None:
    folder, root = tmp_path / "clips", tmp_path / "root"
    clips(folder, *labels_of, *others)
    sources = gather([str(folder / file) for file in labels_of])
    videos, plan = check_labelling(sources, root, overwrite=False), LabelPlan(1, test_share=0.0)
    records = [(source, record(source, source.path.name)) for source in sources]
    write_labels(root, take_labels(records, videos, plan, "teacher", segment="whole"), videos, Named(), plan)  # type: ignore[arg-type]
    opened = DataRoot.open(root)
    files = opened.videos(root / "videos")
    assert {files[name].name: text for name, (text,) in opened.train.items()} == {
        source.path.name: source.path.name for source in sources
    }


def test_a_caption_is_one_line_of_the_file(tmp_path: Path) -> None:
    (source,) = clips(tmp_path / "clips", "a.mp4")
    written(tmp_path / "root", tmp_path / "clips", [(source, record(source, "a\tdog\n runs"))])
    assert DataRoot.open(tmp_path / "root").train == {"a": ["a dog runs"]}


def test_stopped_at_any_file_the_root_says_so_and_may_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, root = twenty(tmp_path / "clips"), tmp_path / "root"
    written(root, tmp_path / "clips", records)
    whole = {path.name: path.read_bytes() for path in root.rglob("*.*") if path.is_file() and "clips" not in path.parts}
    commit, left = WholeFile.commit, 0

    def stopping(self: WholeFile, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        commit(self, **options)

    monkeypatch.setattr(WholeFile, "commit", stopping)
    for files in range(1, 7):  # the mark, 2 + 2 word lists, 1 of the 2 caption files
        left = files
        with pytest.raises(KeyboardInterrupt):
            written(root, tmp_path / "clips", records)
        check_root(root, MADE_BY, overwrite=False)
        with pytest.raises(DataError, match=r"is not complete|neither"):
            DataRoot.open(root)
    monkeypatch.undo()
    written(root, tmp_path / "clips", records)
    again = {path.name: path.read_bytes() for path in root.rglob("*.*") if path.is_file() and "clips" not in path.parts}
    assert again == whole
    with pytest.raises(UsageError, match="holds a data set"):
        check_root(root, MADE_BY, overwrite=False)
    with pytest.raises(UsageError, match="evcap data import did not write"):
        check_root(root, "evcap data import", overwrite=True)


@pytest.mark.parametrize("category", ["../../stolen", "/etc/stolen", ".hidden", "two\nlines", "x" * 300])
def test_a_lexicon_cannot_write_files_elsewhere(tmp_path: Path, category: str) -> None:
    class Hostile(Named):
        lexicon = Lexicon({category: ["happily"], "joy": ["glad"]})

    records = twenty(tmp_path / "clips")
    with pytest.raises(DataError, match="cannot be the name"):
        write_labels(
            tmp_path / "root",
            labelled(tmp_path / "clips", records),
            VideoNames(tmp_path / "clips"),
            Hostile(),  # type: ignore[arg-type]
            LabelPlan(2),
        )
    assert {path.name for path in tmp_path.iterdir()} == {"clips"}


def test_the_name_keeps_whose_labels_the_captioner_was_trained_on() -> None:
    student = Named()
    assert label_name(student) == "teacher"  # type: ignore[arg-type]
    student.name, student.labels_by = "student", "teacher"
    assert label_name(student) == "student (labels by teacher)"  # type: ignore[arg-type]


def test_the_folder_in_common_is_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips(tmp_path, "v/a/1.mp4", "v/b/2.mp4")
    monkeypatch.chdir(tmp_path)
    assert common_folder(gather(["v/a/1.mp4"])) == Path("v/a")
    assert common_folder(gather(["v/a", "v/b/2.mp4"])) == Path("v")
    assert common_folder(gather([str(tmp_path / "v")])) == Path("v")
    monkeypatch.chdir(tmp_path / "v" / "a")
    assert common_folder(gather(["1.mp4"])) == tmp_path / "v" / "a"


@pytest.mark.parametrize(
    ("plan", "candidates"),
    [
        (LabelPlan(1), 1),
        (LabelPlan(1, min_agreement=0.1), 10),
        (LabelPlan(5), 10),
        (LabelPlan(20), 40),
    ],
)
def test_there_is_something_to_choose_from(plan: LabelPlan, candidates: int) -> None:
    assert plan.candidates == candidates
