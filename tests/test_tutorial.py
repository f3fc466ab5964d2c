"""docs/plugins.md and docs/systems.md, followed to the letter: their files are written, their commands are run."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import evcap_cli
from evcap_cli.demo import make_facts
from tests.forked import Forked

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = Path(evcap_cli.__file__).parents[1]
PUBLISHING = "python -m twine upload dist/*"
"""The one line that is not run: it would publish."""
CAPTIONER_LINES = 40
"""A captioner of one's own."""
SYSTEM_LINES = 60
"""A system of one's own, as docs/systems.md promises."""
SECONDS = 1.0
"""Of a clip that a page renders."""


class Reader:
    """Someone who follows the page in an empty folder.

    ``pip install -e .`` becomes an install into a folder of its own, so that this environment stays as it is; the
    package's folder comes first on the path, as an editable install would have it.
    """

    def __init__(self, home: Path, **surroundings: str) -> None:
        self.surroundings = surroundings
        self.folder, self.site, self.cache = home, home / "site", home / "cache"
        self.output = ""
        self.run_lines: list[str] = []

    def write(self, text: str) -> None:
        first, rest = text.split("\n", 1)
        added = first.startswith("# add to ")
        path = self.folder / first.removeprefix("# ").removeprefix("add to ")
        assert path.suffix in (".py", ".toml"), f"the block begins with {first!r}, not with the name of a file"
        assert path.exists() == added, f"{path.name}: exists is {path.exists()}"
        path.write_text((path.read_text() if added else "") + rest)

    def run(self, line: str) -> None:
        self.run_lines.append(line)
        made = re.fullmatch(r"mkdir (\S+) && cd \1", line)
        if made:
            self.folder /= made.group(1)
            self.folder.mkdir()
            return
        if line == PUBLISHING:
            assert {path.suffix for path in (self.folder / "dist").iterdir()} == {".whl", ".gz"}
            return
        path = [self.folder, self.site]
        environment = {
            "PYTHONPATH": os.pathsep.join(map(str, (*path, SOURCE, SOURCE / "plugins"))),
            "EVCAP_CACHE_DIR": str(self.cache),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.surroundings,
        }
        if line.startswith(("evcap ", "python save", "pytest")):
            code, out, err = Forked(lambda: self.work(line), environment, path).end()
        else:
            done = subprocess.run(
                [sys.executable, *self.arguments(line)],
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, **environment},
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        self.output = out
        assert code == 0, f"{line}\n{out}\n{err}"
        assert "warning: plugin" not in err, err

    def work(self, line: str) -> None:
        """What a forked process does for a line."""
        os.chdir(self.folder)
        make_facts.SHORTEST_SECONDS = make_facts.LONGEST_SECONDS = SECONDS
        program, *sys.argv[1:] = shlex.split(line)
        if program == "evcap":
            from evcap_cli.app import main

            main()
        elif program == "pytest":
            without = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")  # the latter loads for two seconds
            sys.exit(pytest.main(["-q", *without, *sys.argv[1:]]))
        else:
            runpy.run_path(sys.argv[1], run_name="__main__")

    def arguments(self, line: str) -> list[str]:
        program, *rest = shlex.split(line)
        if line == "pip install -e .":
            offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
            return ["-m", "pip", "install", *offline, "--target", str(self.site), "."]
        if line == "python -m build":
            return ["-m", "build", "--no-isolation"]
        assert program == "python", f"nobody here knows how to run {line!r}"
        return rest

    def follow(self, page: Path) -> None:
        text = page.read_text()
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert text.count("```") == 2 * len(blocks)
        for kind, block in blocks:
            if kind in ("python", "toml"):
                self.write(block)
            elif kind == "console":
                for line in block.splitlines():
                    self.run(line)
            else:
                assert kind == "text", f"a block of kind {kind!r} is run by nobody"
                self.compare(block)

    def compare(self, text: str) -> None:
        for line in text.splitlines():
            assert line == "..." or line in self.output.splitlines(), f"{line!r} is not in\n{self.output}"


@pytest.mark.slow
def test_the_tutorial_leads_from_an_empty_folder_to_a_package(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow(DOCS / "plugins.md")
    assert {"evcap plugins check palette", "pytest", PUBLISHING} <= set(reader.run_lines)
    assert {"evcap plugins check brightness", "pytest test_brightness.py"} <= set(reader.run_lines)
    page = (DOCS / "plugins.md").read_text()
    captioner = page[page.index("from evcap_cli import CaptionerIdentity") :].partition("```")[0]
    assert sum(bool(line.strip()) for line in captioner.splitlines()) <= CAPTIONER_LINES
    assert (reader.folder / "brightness.srt").read_text().count(" picture") == 6
    assert (reader.folder / "captions.srt").read_text().count("-->") == 6
    assert len((reader.folder / "captions.lines").read_text().splitlines()) == 6


@pytest.mark.slow
def test_the_page_on_systems_leads_to_a_system_that_learns_and_captions(tmp_path: Path) -> None:
    reader = Reader(tmp_path, PATH=str(tmp_path / "nothing"))  # no Java: METEOR would take ten seconds each time
    reader.follow(DOCS / "systems.md")
    assert reader.run_lines[-1] == "pytest"
    made = json.loads((reader.folder / "run" / "config.json").read_text())
    assert (made["model"], made["distribution"], set(made["backbones"])) == ("mean-lstm", "evcap-mean", {"appearance"})
    records = [json.loads(line) for line in (reader.folder / "captions.jsonl").read_text().splitlines()]
    assert len(records) == len(list((reader.folder / "world" / "videos" / "Test").rglob("*.mp4"))) > 1
    assert all(record["checkpoint"]["name"] == "run" for record in records)
    assert json.loads((reader.folder / "run" / "test.json").read_text())["system"] == "mean-lstm"
    system = "".join((reader.folder / name).read_text() for name in ("evcap_mean.py", "evcap_mean_model.py"))
    assert sum(bool(line.strip()) for line in system.splitlines()) <= SYSTEM_LINES
