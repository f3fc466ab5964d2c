"""A value of the expected type, or one error that names file, line and field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.errors import CheckpointError, DataError, UsageError
from evcap_cli.reading.typed import NotOfType, checked, from_json, from_toml, read_json, read_json_lines, read_toml


@dataclass(frozen=True)
class Cue:
    start: float
    text: str


@dataclass(frozen=True)
class Film:
    id: str
    cues: tuple[Cue, ...] = ()
    about: Any = None


WRONG = [
    ("[" * 100_000, "line 1: is not JSON (recursion limit exceeded"),
    ('{"id": ' * 100_000, "line 1: is not JSON (recursion limit exceeded"),
    ("1" * 100_000, "line 1: is not JSON (number out of range"),
    ("", "line 1: is not JSON (EOF while parsing a value"),
    ('{"id": "a"} x', "line 1: is not JSON (trailing characters"),
    ("{\n\n}{", "line 3: is not JSON (trailing characters"),
    ('{"id": "a\0"}', "line 1 is no text"),
    ('{"id": "\\ud800"}', "line 1: is not JSON"),
    ("[]", "should be an object, got []"),
    ("null", "should be an object, got None"),
    ("{}", "id: is missing"),
    ('{"id": 7}', "id: should be text, got 7"),
    ('{"id": true}', "id: should be text, got True"),
    ('{"id": "a", "cues": {}}', "cues: should be a list, got {}"),
    ('{"id": "a", "cues": [1]}', "cues[0]: should be an object, got 1"),
    ('{"id": "a", "cues": [{"start": "1", "text": "b"}]}', "cues[0].start: should be a number, got '1'"),
    ('{"id": "a", "cues": [{"start": true, "text": "b"}]}', "cues[0].start: should be a number, got True"),
    ('{"id": "a", "cues": [{"start": NaN, "text": "b"}]}', "cues[0].start: should be a finite number, got nan"),
    ('{"id": "a", "cues": [{"start": -Infinity, "text": "b"}]}', "cues[0].start: should be a finite number, got -inf"),
    ('{"id": "a", "cues": [{"start": 1e999, "text": "b"}]}', "cues[0].start: should be a finite number, got inf"),
    ('{"id": "a", "about": {"b": [0, 1e999]}}', "about.b[1]: should be a finite number, got inf"),
    ('{"id": "a", "about": NaN}', "about: should be a finite number, got nan"),
    ('{"id": "a", "id": "b"}', "the key 'id' stands twice in one object"),
]


@pytest.mark.parametrize(("text", "cause"), WRONG, ids=[cause[:40] for _, cause in WRONG])
def test_json_of_another_kind_is_one_error_with_file_and_field(text: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "film.json"
    path.write_text(text)
    with pytest.raises(CheckpointError) as problem:
        read_json(Film, path, error=CheckpointError)
    assert str(problem.value).startswith(f"{path}: {cause}")
    assert len(str(problem.value)) < 300


def test_lines_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "films.jsonl"
    path.write_text('{"id": "a"}\n\n{"id": "b", "cues": [{"start": [], "text": "c"}]}\n')
    read = read_json_lines(Film, path)
    assert next(read) == (1, Film("a"))
    with pytest.raises(DataError, match=r"films\.jsonl: line 3: cues\[0\]\.start: should be a number, got \[\]"):
        next(read)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_documents_and_lines_in_every_usual_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"id": "ä"}', encoding)
    assert read_json(Film, tmp_path / "a") == Film("ä")
    assert list(read_json_lines(Film, tmp_path / "a")) == [(1, Film("ä"))]
    (tmp_path / "a").write_text('id = "ä"', encoding)
    assert read_toml(dict[str, str], tmp_path / "a") == {"id": "ä"}


def test_text_that_only_looks_like_numbers_is_let_through() -> None:
    text = '{"id": "NaN 1e999 Infinity ' + "7" * 300 + '"}'
    assert from_json(Film, text).id.startswith("NaN 1e999 Infinity 777")
    assert from_json(Any, '{"a": {"a": 1}, "b": 1e-999}') == {"a": {"a": 1}, "b": 0.0}


def test_names_that_are_not_unicode_come_back_as_they_were() -> None:
    text = r'{"id": "a\udcff.mp4", "about": {"\uDCFE": ["\ud83d\ude00", "\\udcff", "\udcfd"]}}'
    film = from_json(Film, text)
    assert film.id.encode("utf-8", "surrogateescape") == b"a\xff.mp4"
    assert film.about == {"\udcfe": ["😀", r"\udcff", "\udcfd"]}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a = inf", "a: should be a finite number, got inf"),
        ("a = " + "[" * 2000 + "]" * 2000, "is not TOML that can be read (nested too deeply)"),
        ("a = " + "[" * 60 + "]" * 60, "a[0]"),
        ("a = " + "9" * 10_000, "is not TOML that can be read (a number has too many digits)"),
        ("a = " + "9" * 30, "a: is a number with too many digits"),
        ("a = 1\na = 2", "is not TOML (Cannot overwrite a value"),
        ("[b]\nc = 1\n\nd", "is not TOML (Expected '=' after a key in a key/value pair (at end"),
        ('a = "b\\u0000"', "a: holds a zero byte"),
        ("a = true", "a: should be a number, got True"),
        ("a = '1'", "a: should be a number, got '1'"),
    ],
)
def test_toml_of_another_kind_is_one_error_with_file_and_field(text: str, cause: str) -> None:
    with pytest.raises(UsageError) as problem:
        from_toml(Mapping[str, float], text, path=Path("my.toml"), error=UsageError)
    assert str(problem.value).startswith(f"my.toml: {cause}")


def test_values_that_were_parsed_already() -> None:
    assert checked(tuple[float, ...], [1, 2.5]) == (1.0, 2.5)
    with pytest.raises(NotOfType, match=r"sizes\[1\]: should be a whole number, got 2.5"):
        checked(tuple[int, ...], [1, 2.5], "sizes")
    with pytest.raises(NotOfType, match="rate: should be a finite number"):
        checked(float, float("nan"), "rate")
    with pytest.raises(NotOfType, match="rate: cannot be <object"):
        checked(float, object(), "rate")


def test_control_characters_of_a_field_never_reach_the_terminal() -> None:
    with pytest.raises(DataError) as problem:
        from_json(dict[str, int], '{"\\u001b[31m\\r": "\\u001b[0m"}')
    assert str(problem.value).isprintable()
