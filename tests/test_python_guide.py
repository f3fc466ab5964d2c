"""docs/python.md and docs/api.md: the cells of the guide run, and every public name has its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import evcap_cli
from tests.features.films import make_film

ROOT = Path(__file__).parents[1]
CELL = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def cells(page: Path) -> list[str]:
    return CELL.findall(page.read_text())


@pytest.mark.slow
def test_the_cells_of_the_guide_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for number, name in enumerate("ab"):
        make_film(Path("videos") / f"{name}.mp4", frames=16, seed=number)
    names: dict[str, Any] = {}
    for cell in cells(ROOT / "docs" / "python.md"):
        exec(compile(cell, "docs/python.md", "exec"), names)
    assert set(names["captions"]) == {"a", "b"}
    assert names["summary"].done == 2
    assert Path("out.srt").read_text().count("-->") == 2
    assert Path("some.jsonl").read_text() == Path("out.jsonl").read_text()
    assert {path.name: problem.code for path, problem in names["failed"].items()} == {"broken.mp4": "open"}
    assert names["arrays"]["a"]["appearance"].shape[1] == names["features"].streams["appearance"].values.shape[1]
    assert names["scores"].metrics["meteor"] is None
    assert 0 <= names["scores"].intervals["cider"][0] <= names["scores"].metrics["cider"]
    printed = capsys.readouterr().out
    assert "broken.mp4 open" in printed
    assert "missing.mp4 open" in printed


def test_every_public_name_stands_on_the_api_page() -> None:
    listed = re.findall(r"^::: evcap_cli\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted([*listed, "__version__"]) == sorted(evcap_cli.__all__)


def test_public_functions_come_with_an_example() -> None:
    for name in ("load_captioner", "caption_videos", "extract_features", "score_captions"):
        assert "```python" in getattr(evcap_cli, name).__doc__, name
    for method in (evcap_cli.Captioner.caption, evcap_cli.Captioner.caption_many):
        assert "```python" in str(method.__doc__)


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_imports_public_names_only(page: Path) -> None:
    for cell in cells(page):
        for module, several in re.findall(r"^from (evcap_cli[\w.]*) import (.+)$", cell, re.MULTILINE):
            assert module in ("evcap_cli", "evcap_cli.testing"), f"{page.name}: {module}"
            if module == "evcap_cli":
                assert set(several.split(", ")) <= set(evcap_cli.__all__)
        assert not re.search(r"^import evcap_cli\.", cell, re.MULTILINE)
