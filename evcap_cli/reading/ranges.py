"""Types and ranges of the numbers that files may set: checkpoints, recipes and configurations are checked alike.

A range is part of a field's type, ``layers: Layers``; ``check_fields`` sees that every value lies in its range before
anything of its size is built. The bounds are far above what a captioner of this kind has and far below what would keep
a machine from working.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, MaxLen

from evcap_cli.reading.typed import NotOfType, checked

Layers = Annotated[int, Ge(1), Le(64)]
Heads = Annotated[int, Ge(1), Le(256)]
Width = Annotated[int, Ge(1), Le(1 << 14)]
FeatureWidth = Annotated[int, Ge(1), Le(1 << 16)]
"""Of a backbone."""
Rows = Annotated[int, Ge(1), Le(1 << 10)]
"""Moments, objects, audio steps."""
Tokens = Annotated[int, Ge(4), Le(1 << 20)]
"""Words of a vocabulary, the four specials included."""
Categories = Annotated[int, Ge(1), Le(1 << 10)]
EmotionWords = Annotated[int, Ge(1), Le(1 << 16)]
CaptionWords = Annotated[int, Ge(1), Le(1000)]
Beams = Annotated[int, Ge(1), Le(256)]
Penalty = Annotated[float, Ge(0), Le(20)]
"""Exponent of a caption's length."""
Share = Annotated[float, Ge(0), Le(1)]
Weight = Annotated[float, Ge(0), Le(1e6)]
Positive = Annotated[float, Gt(0), Le(1e6)]
Count = Annotated[int, Ge(0), Le(1_000_000)]
Number = Annotated[int, Ge(1), Le(1_000_000)]
Seed = Annotated[int, Ge(0), Le((1 << 63) - 1)]
Name = Annotated[str, MaxLen(300)]

_OTHERS: Final[Mapping[Any, Any]] = {
    int: Annotated[int, Ge(-(1 << 31)), Le(1 << 31)],
    float: Annotated[float, Ge(-1e30), Le(1e30)],
    str: Annotated[str, MaxLen(1000)],
    bool: bool,
}
"""For fields without a range of their own, such as those of other people's systems."""


def check_fields(settings: Any, place: str = "") -> None:
    """See that each field of a dataclass, and of those in it, has its type and lies in its range.

    Args:
        settings: the dataclass.
        place: what to put before names.

    Raises:
        ValueError: naming the first field that does not.
    """
    types = field_types(type(settings))
    for each in fields(settings):
        value = getattr(settings, each.name)
        if is_dataclass(value):
            check_fields(value, f"{place}{each.name}.")
        else:
            check_value(f"{place}{each.name}", value, types.get(each.name))


def check_value(name: str, value: Any, kind: Any) -> None:
    """See that one value is of its type and lies in its range; a type that is not plain is let through.

    Raises:
        ValueError: it does not.
    """
    if get_origin(kind) is Literal:
        if not isinstance(value, str | int) or value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(kind)))}, got {reprlib.repr(value)}")
        return
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in get_args(kind):
            return
        kind = (
            next((part for part in get_args(kind) if part is not NoneType), None) if len(get_args(kind)) == 2 else None
        )
    bounded = kind if get_origin(kind) is Annotated else _OTHERS.get(kind) if isinstance(kind, type) else None
    if bounded is None:
        return
    try:
        checked(bounded, value, name)
    except NotOfType as problem:
        raise ValueError(str(problem)) from None


def field_types(kind: Any) -> Mapping[str, Any]:
    """Types of the fields of a class, with their ranges; without those that mean something to type checkers only."""
    return _field_types(kind)


@cache  # a function of its own, since mypy takes type[Any] for unhashable
def _field_types(kind: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        try:
            found |= get_type_hints(base, include_extras=True)
        except (NameError, TypeError):
            continue
    return found
