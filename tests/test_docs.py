"""Documentation that tests keep true: README commands, hook list, plugin example, changelog, help texts."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import evcap_cli.testing
from evcap_cli import AudioInput, ClipInput, FrameInput, hookspecs
from evcap_cli.conformance import captioner_declaration, captions, comparing, declaration, features, refusals
from evcap_cli.conformance.checks import Check
from evcap_cli.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_DONE,
    EXIT_SOME_FAILED,
    EXIT_TERMINATED,
    EXIT_USAGE,
)

ROOT = Path(__file__).parents[1]


def hooks() -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if name.startswith("register_")
    }


def test_the_documented_hooks_are_the_hooks() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    rows = re.findall(r"^\| `(register_\w+)` \| `(\w+)` \|", text, re.MULTILINE)
    assert {name: [argument] for name, argument in rows} == hooks()


def test_guides_and_the_template_import_what_is_public() -> None:
    template = (ROOT / "plugins" / "evcap-dinov2").rglob("*.py")
    imported = {
        (module, name)
        for file in ((ROOT / "README.md"), *(ROOT / "docs").rglob("*.md"), *template)
        for module, names in re.findall(r"from (evcap_cli[\w.]*) import ([\w, ]+)", file.read_text())
        for name in names.replace(" ", "").split(",")
    }
    public = {("evcap_cli", name) for name in evcap_cli.__all__} | {
        ("evcap_cli.testing", name) for name in evcap_cli.testing.__all__
    }
    assert ("evcap_cli", "Backbone") in imported
    assert imported <= public


def test_the_documented_checks_are_the_checks_with_their_tolerances() -> None:
    of_backbones, of_captioners = (ROOT / "docs" / "plugins.md").read_text().split("## Captioners\n")
    tolerances = {
        "repeatable": f"{comparing.REPEAT_TOLERANCE:.0e}",
        "fresh-instance": f"{comparing.REPEAT_TOLERANCE:.0e}",
        "neighbours": f"{comparing.NEIGHBOUR_TOLERANCE:.0e}",
        "batch-size": f"{comparing.BATCH_TOLERANCE:.0e}",
        "one-row": f"{comparing.BATCH_TOLERANCE:.0e}",
        "half-precision": f"{comparing.HALF_TOLERANCE} of the norm",
    }
    checks = (*declaration.CHECKS, *refusals.CHECKS, *features.CHECKS)
    assert documented_checks(of_backbones) == listed_checks(checks, tolerances)
    tolerances["neighbours"] = tolerances["batch-size"]
    assert documented_checks(of_captioners) == listed_checks(
        (*captioner_declaration.CHECKS, *captions.CHECKS), tolerances
    )


def documented_checks(text: str) -> dict[str, str]:
    return dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|$", text, re.MULTILINE))


def listed_checks(checks: Iterable[Check[Any]], tolerances: dict[str, str]) -> dict[str, str]:
    return {
        check.name: check.promise + (f" ({tolerances[check.name]})" if check.name in tolerances else "")
        for check in checks
    }


def test_the_table_of_kinds_holds_every_field_of_every_input() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    rows = dict(re.findall(r"^\| (appearance|motion|object|audio) \| `(\w+)(?:\([^)]*\))?`", text, re.MULTILINE))
    assert rows == {"appearance": "FrameInput", "motion": "ClipInput", "object": "FrameInput", "audio": "AudioInput"}
    for cls, base in ((ClipInput, FrameInput), (AudioInput, object)):
        named = re.search(rf"`{cls.__name__}\(([^)]*)\)`", text)
        assert named is not None
        own = [field.name for field in fields(cls) if field.name not in getattr(base, "__dataclass_fields__", {})]
        assert named.group(1).split(", ") == own


def test_the_readme_holds_the_two_commands() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("pip install ")]
    assert lines == ["pip install . && evcap demo", "pip install -e '.[test]' && pytest"]


def test_the_documented_exit_codes_are_the_codes() -> None:
    text = (ROOT / "docs" / "captioning.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes == {EXIT_DONE, EXIT_NOTHING_DONE, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED}


def test_every_page_of_the_navigation_exists_and_no_other() -> None:
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_inside_the_docs_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
