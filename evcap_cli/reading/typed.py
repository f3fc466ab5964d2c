r"""JSON, JSON lines and TOML against a type: a value of that type, or one error with file, line and field.

pydantic does the work: its parser has a depth limit, and its strict mode takes no text for a number. What is not
standard JSON (NaN, infinities, a key twice in one object) is refused.

A name that is not Unicode stands in evcap's own files as the escapes of lone surrogates, ``\udcff``. pydantic's
parser refuses those, as JSON's standard may; ``_parsed`` carries them over.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from evcap_cli.errors import DataError
from evcap_cli.reading.text import Failure, decoded, printable, read_bytes, read_lines, read_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

MOST_TOML_BYTES: Final = 1 << 20
MOST_DEPTH: Final = 50
"""Of tables in TOML; pydantic's parser of JSON has a limit of its own."""
_MOST_INTEGER: Final = 1 << 63
"""TOML's integers have 64 bits."""
_SHOWN: Final = 60
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "float_type": "should be a number",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be an object",
    "mapping_type": "should be an object",
    "dataclass_type": "should be an object",
    "finite_number": "should be a finite number",
}
"""pydantic's kinds of errors in the words of the people who write the files."""
_HUGE: Final = (re.compile(rb"[0-9][eE]\+?[0-9]{3,}(?:[\s,\]}]|$)"), re.compile(rb"[0-9]{200}"))
"""What a number beyond a float's range needs to have; two patterns are faster than one of both."""
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][cC]([89a-fA-F][0-9a-fA-F])|.)", re.DOTALL
)
_PLACE: Final = 0x10FF00
"""Where lone surrogates are kept during parsing: the last private characters of Unicode."""
_PLACES: Final = re.compile(rb"\xf4\x8f[\xbe\xbf]|\\udbff", re.IGNORECASE)


class NotOfType(Exception):
    """Text that is no JSON or TOML, or a value of another type; the message names line and field."""


def from_json(
    kind: type[T],
    text: str | bytes,
    *,
    path: Path | None = None,
    error: Failure = DataError,
    hint: str | None = None,
    place: str = "",
) -> T:
    """The value that a JSON text holds.

    Args:
        kind: a dataclass, ``dict[str, list[str]]``, ``Any``, or whatever pydantic takes.
        text: the document; bytes in any encoding that ``text.decoded`` takes.
        path: what the error names.
        error: its class.
        hint: its next step.
        place: what comes before the cause.

    Raises:
        EvcapError: of the kind ``error``.
    """
    whole = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if isinstance(text, bytes):
        whole = decoded(text, path, error=error).encode()
    try:
        return _parsed(kind, whole, unique=True)
    except NotOfType as problem:
        raise error(f"{place}: {problem}" if place else str(problem), path=path, hint=hint) from problem


def read_json(kind: type[T], path: Path, *, error: Failure = DataError, hint: str = "check the file") -> T:
    """The value that a JSON file holds; see ``from_json``.

    Raises:
        EvcapError: of the kind ``error``.
    """
    return from_json(kind, read_bytes(path, error=error, hint=hint), path=path, error=error, hint=hint)


def read_json_lines(
    kind: type[T], path: Path, *, error: Failure = DataError, hint: str = "check the file"
) -> Iterator[tuple[int, T]]:
    """Numbered values of a file with a JSON value a line, one at a time; blank lines are passed by.

    Raises:
        EvcapError: of the kind ``error``, with the line.
    """
    for number, line in read_lines(path, error=error, hint=hint):
        if line.strip():
            try:
                yield number, json_line(kind, line)
            except NotOfType as problem:
                raise error(f"line {number}: {problem}", path=path, hint=hint) from problem


def json_line(kind: type[T], line: bytes) -> T:
    """The value of one line of UTF-8.

    Raises:
        NotOfType: with the field, without a line.
    """
    return _parsed(kind, line, unique=False)


def from_toml(
    kind: type[T], text: str, *, path: Path | None = None, error: Failure = DataError, hint: str | None = None
) -> T:
    """The value that a TOML text holds; see ``from_json``.

    Raises:
        EvcapError: of the kind ``error``.
    """
    import tomllib

    try:
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as problem:
            raise NotOfType(f"is not TOML ({_short(str(problem), 2 * _SHOWN)})") from problem
        except RecursionError as problem:
            raise NotOfType("is not TOML that can be read (nested too deeply)") from problem
        except ValueError as problem:  # Python's limit of digits
            raise NotOfType("is not TOML that can be read (a number has too many digits)") from problem
        _check_plain(values, (), integers=_MOST_INTEGER)
        return checked(kind, values)
    except NotOfType as problem:
        raise error(str(problem), path=path, hint=hint) from problem


def read_toml(kind: type[T], path: Path, *, error: Failure = DataError, hint: str = "check the file") -> T:
    """The value that a TOML file holds; see ``from_json``.

    Raises:
        EvcapError: of the kind ``error``.
    """
    return from_toml(
        kind, read_text(path, error=error, hint=hint, most=MOST_TOML_BYTES), path=path, error=error, hint=hint
    )


def checked(kind: type[T], value: object, field: str = "") -> T:
    """A value that was parsed already, as ``kind``; lists are taken where tuples are expected.

    Args:
        kind: see ``from_json``.
        value: plain ones, as from TOML.
        field: its name, for the error.

    Raises:
        NotOfType: naming the field.
    """
    from pydantic import ValidationError
    from pydantic_core import PydanticSerializationError, to_json

    try:
        # by way of JSON: its strict mode takes lists for tuples and objects for dataclasses, Python's does not
        return cast("T", _adapter(kind).validate_json(to_json(value, inf_nan_mode="constants"), strict=True))
    except ValidationError as problem:
        raise _not_of_type(problem, field) from problem
    except (PydanticSerializationError, RecursionError) as problem:
        raise NotOfType(f"{field}: cannot be {reprlib.repr(value)}".removeprefix(": ")) from problem


def _parsed(kind: type[T], text: bytes, *, unique: bool) -> T:
    from pydantic import ValidationError

    whole, named = text, False
    adapter, anything = _built(cast("Any", kind))
    try:
        value = adapter.validate_json(whole, strict=True)
    except ValidationError as problem:
        whole = _with_places(text)
        named = whole != text
        if not named:
            raise _not_of_type(problem, lines=unique) from problem
        try:
            value = adapter.validate_json(whole, strict=True)
        except ValidationError as again:
            raise _not_of_type(again, lines=unique) from again
    if unique:
        json.loads(whole, object_pairs_hook=_unique)
    if anything and (b"NaN" in whole or b"Infinity" in whole or any(huge.search(whole) for huge in _HUGE)):
        from pydantic_core import from_json as plain

        _check_plain(plain(whole), ())
    return cast("T", _with_names(value)) if named else value


def _adapter(kind: Any) -> TypeAdapter[Any]:
    return _built(kind)[0]


@cache
def _built(kind: Any) -> tuple[TypeAdapter[Any], bool]:
    """What checks a type, and whether numbers that are not finite can pass it."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        adapter, strict = TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False)), True
    except PydanticUserError:  # a class brings its own settings
        adapter, strict = TypeAdapter(kind), hasattr(kind, "__pydantic_config__")
    return adapter, not strict or "'any'" in str(adapter.core_schema)


def _not_of_type(problem: ValidationError, field: str = "", *, lines: bool = False) -> NotOfType:
    first = problem.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        cause = first["msg"].removeprefix("Invalid JSON: ")
        found = re.search(r" at line (\d+) column (\d+)$", cause)
        if found is None:
            return NotOfType(f"is not JSON ({cause})")
        place = f"line {found[1]}: " if lines else ""
        return NotOfType(f"{place}is not JSON ({cause[: found.start()]}, column {found[2]})")
    words = _WORDS.get(first["type"], first["msg"].removeprefix("Input "))
    got = "" if first["type"] == "missing" else f", got {_short(reprlib.repr(first['input']))}"
    where = field + _field(first["loc"])
    return NotOfType(f"{where.removeprefix('.')}: {words}{got}" if where else f"{words}{got}")


def _field(path: tuple[int | str, ...]) -> str:
    """``captions[0].start``, with a dot before a name."""
    return _short("".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path), 2 * _SHOWN)


def _short(text: str, most: int = _SHOWN) -> str:
    text = printable(text).encode("unicode_escape").decode() if not text.isprintable() else text
    return text if len(text) <= most else text[: most - 3] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotOfType(f"the key {_short(twice)!r} stands twice in one object")
    return found


def _check_plain(value: object, path: tuple[int | str, ...], integers: int | None = None) -> None:
    """Refuse numbers that are not finite; of TOML too large integers, zero bytes and what is nested too deeply."""
    where = f"{_field(path).removeprefix('.')}: " if path else ""
    if isinstance(value, float) and not math.isfinite(value):
        raise NotOfType(f"{where}should be a finite number, got {value}")
    if isinstance(value, int) and integers is not None and not -integers <= value < integers:
        raise NotOfType(f"{where}is a number with too many digits")
    if isinstance(value, str) and integers is not None and "\0" in value:
        raise NotOfType(f"{where}holds a zero byte")
    if isinstance(value, (dict, list)):
        if integers is not None and len(path) >= MOST_DEPTH:
            raise NotOfType(f"{where}is nested too deeply")
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _check_plain(part, (*path, key), integers)


def _with_places(text: bytes) -> bytes:
    """Lone surrogates that stand for bytes of a name, as private characters; unchanged where those are in use."""
    if b"\\udc" not in text.lower() or _PLACES.search(text):
        return text
    return _ESCAPE.sub(lambda found: chr(_PLACE + int(found[1], 16)).encode() if found[1] else found[0], text)


_NAMES: Final = {_PLACE + byte: 0xDC00 + byte for byte in range(0x80, 0x100)}


def _with_names(value: Any) -> Any:
    """The inverse of ``_with_places`` for all that a value holds."""
    again: Callable[[Any], Any] = _with_names
    if isinstance(value, str):
        return value.translate(_NAMES)
    if isinstance(value, (list, tuple)):
        return type(value)(map(again, value))
    if isinstance(value, dict):
        return {again(key): again(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: again(getattr(value, each.name)) for each in fields(value) if each.init})
    return value
