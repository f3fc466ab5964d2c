"""Numbers that users give with ``--option NAME.KEY=VALUE``."""

from __future__ import annotations

import re
from typing import Final

_DIGITS: Final = re.compile("[0-9]{1,6}")


def whole_number(name: str, text: str, least: int = 0, most: int | None = None) -> int:
    """A whole number.

    Args:
        name: NAME.KEY.
        text: what the user gave.
        least: smallest value.
        most: largest value; None: any of up to six digits.

    Raises:
        ValueError: it is none, or out of its range.
    """
    value = int(text) if _DIGITS.fullmatch(text) else -1
    if value < least or (most is not None and value > most):
        within = "" if most is None else f" from {least} to {most}"
        raise ValueError(f"{name} must be a whole number{within}, got {text!r}")
    return value


def share(name: str, text: str) -> float:
    """A number from 0 to below 1.

    Raises:
        ValueError: it is none, or out of its range.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, got {text!r}")
    return value
