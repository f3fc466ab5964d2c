"""Documents of the right form with one hostile change, drawn from a seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

RAW = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "a huge number": "1e999",
    "a huge integer": "1" * 100_000,
    "an integer of 300 digits": "7" * 300,
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "lists as deep as allowed": "[" * 150 + "]" * 150,
    "half a character": '"\\ud800"',
    "a byte of a name": '"a\\udcff.mp4"',
    "a zero byte": '"a\\u0000b"',
    "terminal codes": '"\\u001b[31mred\\r\\n"',
    "a key twice": '{"text": "a", "text": "b"}',
    "a long text": '"' + "x" * 100_000 + '"',
}
"""What Python's json writes in another way, or refuses to write."""
VALUES = [None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 0.5, -0.0, 1e308, -1e308, 5e-324, 1e20]
VALUES += [
    "",
    " ",
    "x",
    "7",
    "NaN",
    "../../etc/passwd",
    "=1+1",
    "\u2028",
    "\ufeff",
    "ä" * 300,
    [],
    {},
    [[]],
    [None],
    {"": None},
]
VALUES += [["a", 1], {"a": []}, [{}], {"text": 1}, "ok", "failed"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values of a document, its own included."""
    yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(part, (*path, key))


def mutated(valid: Any, count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """A description and the JSON text of ``count`` documents, each with one value replaced, missing or added."""
    draw = random.Random(seed)
    paths = list(places(valid))
    for _ in range(count):
        path = draw.choice(paths)
        changes = [*RAW, *range(len(VALUES)), "missing", "more", "cut"]
        change = draw.choice(changes)
        text = json.dumps(_changed(valid, path, change))
        if isinstance(change, str) and change in RAW:
            text = text.replace('"@@"', RAW[change])
        if change == "cut":
            text = text[: draw.randrange(len(text))]
        yield f"{'.'.join(map(str, path))}: {VALUES[change] if isinstance(change, int) else change!r}", text


def _changed(valid: Any, path: tuple[Any, ...], change: int | str) -> Any:
    if change == "cut":
        return valid
    new = VALUES[change] if isinstance(change, int) else "@@"
    if not path:
        return new
    document = copy.deepcopy(valid)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if change == "missing":
        del parent[path[-1]]
    elif change == "more" and isinstance(parent, dict):
        parent["more"] = 1
    else:
        parent[path[-1]] = new
    return document
