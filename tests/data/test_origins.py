"""``origin.json``: whose captions a root holds, and that its text is not trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evcap_cli.data.origins import Origin, check_finished, labels_of, origin_notes, read_origin, together
from evcap_cli.errors import DataError


def root_of(folder: Path, **values: object) -> Path:
    (folder / "data" / "EmVidCap-L").mkdir(parents=True)
    (folder / "origin.json").write_text(json.dumps(values))
    return folder / "data" / "EmVidCap-L" / "EmVideo_test_captions.csv"


def test_a_caption_file_says_whose_captions_it_holds(tmp_path: Path) -> None:
    file = root_of(tmp_path / "labelled", made_by="evcap label", labels_by="demo")
    assert labels_of(file) == "demo"
    assert labels_of(root_of(tmp_path / "own", made_by="evcap data import")) == ""
    assert labels_of(tmp_path / "elsewhere.csv") == ""


@pytest.mark.parametrize("content", ["[]", "{", '"label"'])
def test_an_origin_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "origin.json").write_text(content)
    with pytest.raises(DataError, match=r"origin\.json"):
        read_origin(tmp_path)


def test_names_are_one_line_and_not_endless(tmp_path: Path) -> None:
    root_of(tmp_path, made_by=3, labels_by="demo\n**bold**\n" + "x" * 999, unfinished="yes")
    found = read_origin(tmp_path)
    assert found is not None
    assert found.labels_by.startswith("demo **bold** xxx")
    assert (len(found.labels_by), found.made_by, found.unfinished) == (300, "", False)


def test_a_root_that_was_not_written_to_its_end_is_refused(tmp_path: Path) -> None:
    root_of(tmp_path, made_by="evcap label", unfinished=True)
    assert read_origin(tmp_path) == Origin("evcap label", unfinished=True)
    with pytest.raises(DataError, match="is not complete: evcap label was stopped; run the same command again"):
        check_finished(tmp_path)


def test_several_names_are_joined_each_once() -> None:
    assert together(["a", "", "b", "a"]) == "a and b"
    assert together([]) == ""
    assert origin_notes("", "") == []
    assert origin_notes("a", "b") == [
        "the system was trained on labels by a: captions that a model wrote, not people",
        "the references are labels by b: captions that a model wrote, not people",
    ]
