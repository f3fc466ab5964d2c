"""Where a data root comes from: ``origin.json``, which evcap writes into every root that it makes.

A root of a model's captions says whose they are. What descends from it says so too: checkpoints, their records, scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evcap_cli.errors import DataError
from evcap_cli.reading.text import printable
from evcap_cli.reading.typed import read_json

ORIGIN_FILE: Final = "origin.json"
LEVELS: Final = 3
"""Folders from a caption file up to its root, as evcap writes it: data/EmVidCap-L/ in the root."""
LONGEST_NAME: Final = 300


@dataclass(frozen=True)
class Origin:
    """Where a root that evcap wrote comes from; ``origin.json`` holds more, for people.

    Args:
        made_by: the command, such as "evcap data import".
        labels_by: the captioner that wrote the captions; empty where people did.
        unfinished: the root was not written to its end.
    """

    made_by: str
    labels_by: str = ""
    unfinished: bool = False


def read_origin(root: Path) -> Origin | None:
    """Where a root comes from; None where nothing says it.

    Raises:
        DataError: the file that says it cannot be read.
    """
    path = root / ORIGIN_FILE
    if not path.exists():
        return None
    found = read_json(dict[str, Any], path, hint="it says where this data set comes from: mend it, or move it away")
    made_by, labels_by = shown_name(found.get("made_by")), shown_name(found.get("labels_by"))
    return Origin(made_by, labels_by, found.get("unfinished") is True)


def labels_of(file: Path) -> str:
    """The captioner that wrote the captions in ``file``; empty where people did, or nothing is known.

    Raises:
        DataError: the ``origin.json`` of its root cannot be read.
    """
    for folder in list(file.absolute().parents)[:LEVELS]:
        origin = read_origin(folder)
        if origin is not None:
            return origin.labels_by
    return ""


def check_finished(root: Path) -> None:
    """See that a root was written to its end.

    Raises:
        DataError: the command that wrote it was stopped.
    """
    origin = read_origin(root)
    if origin is not None and origin.unfinished:
        raise DataError(f"is not complete: {origin.made_by} was stopped", path=root, hint="run the same command again")


def together(names: Iterable[str]) -> str:
    """Several captioners as one name, each once, empty ones left out."""
    return " and ".join(dict.fromkeys(name for name in names if name))


def labels_note(name: str) -> str:
    """What everything says that descends from labels.

    Args:
        name: of the captioner that wrote them.
    """
    return f"labels by {name}: captions that a model wrote, not people"


def origin_notes(trained_on: str, references: str) -> list[str]:
    """What a result says of captions that people did not write, a line each.

    Args:
        trained_on: who wrote those that the system was trained on, where people did not.
        references: the same of those it is scored against.
    """
    notes = [f"the system was trained on {labels_note(trained_on)}"] if trained_on else []
    return notes + ([f"the references are {labels_note(references)}"] if references else [])


def shown_name(value: object) -> str:
    """A name from a file of others as one line; empty where it is none."""
    return " ".join(printable(value).split())[:LONGEST_NAME] if isinstance(value, str) else ""
