"""Documentation that tests keep true: README commands, hook list, plugin example, changelog, help texts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from evcap_cli import hookspecs
from evcap_cli.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_NOTHING_DONE, EXIT_SOME_FAILED, EXIT_USAGE

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


def test_the_plugin_of_the_tutorial_works() -> None:
    text = (ROOT / "docs" / "plugins.md").read_text()
    code = re.search(r"```python\n# my_module.py\n(.*?)```", text, re.DOTALL)
    assert code is not None
    module: dict[str, object] = {}
    exec(code.group(1), module)
    found: list[type] = []
    module["register_backbones"](found.append)  # type: ignore[operator]
    backbone = found[0]()
    backbone.load(None, torch.device("cpu"), torch.float32)
    assert backbone.extract(torch.rand(3, 3, 8, 8)).shape == (3, backbone.spec.dim)


def test_the_readme_holds_the_two_commands() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("pip install ")]
    assert lines == ["pip install . && evcap demo", "pip install -e '.[test]' && pytest"]


def test_the_documented_exit_codes_are_the_codes() -> None:
    text = (ROOT / "docs" / "captioning.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes == {EXIT_DONE, EXIT_NOTHING_DONE, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED}


def test_every_page_of_the_navigation_exists_and_no_other() -> None:
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_inside_the_docs_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target
