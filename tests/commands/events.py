"""Logs of ``--log-json``, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "log.schema.json").read_text())


def events(path: Path) -> list[dict[str, Any]]:
    """Its lines, each as the schema has it."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for event in found:
        jsonschema.validate(event, SCHEMA)
    return found
