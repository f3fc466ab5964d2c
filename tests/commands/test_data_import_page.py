"""The guide's examples of ``evcap data import``: each form as it is shown there, and the output that is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evcap_cli.data.emvidcap import DataRoot
from tests.commands.small import evcap

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
FORMS = dict(
    re.findall(r"^`((?:captions|coco|msrvtt|vatex)\.\w+)`\n\n```\w+\n(.*?)```$", PAGE, re.DOTALL | re.MULTILINE)
)
CAPTIONS = {"dog": ["a dog, happily running", "the dog is proud"], "sea": ["the sea is calm"]}
BAD = (
    b"file,caption\ndog.mp4,a dog runs happily\ndog.mp4,the dog is proud\nsea.mp4,the sea is calm\nfish.mp4,a fish\n"
    b"dog.mp4,a dog runs happily\nsea.mp4,caf\xe9 at the sea\ncat.mp4\ncat.mp4,a sleepy cat\n"
)


@pytest.fixture(autouse=True)
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clips").mkdir()
    for name in ("dog", "sea"):
        Path(f"clips/{name}.mp4").write_bytes(name.encode())


def test_every_form_is_shown() -> None:
    assert set(FORMS) == {
        *("captions.csv", "captions.tsv", "captions.jsonl", "captions.json"),
        *("coco.json", "msrvtt.json", "vatex.json"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_each_form_as_it_is_shown_gives_the_same_captions(name: str) -> None:
    Path(name).write_text(FORMS[name])
    assert evcap("data", "import", name, "--videos", "clips", "-o", "root") == 0
    root = DataRoot.open(Path("root"))
    assert {**root.train, **root.test} == CAPTIONS


def test_the_page_shows_what_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    Path("bad.csv").write_bytes(BAD)
    Path("clips/cat.mp4").write_bytes(b"sea")
    assert evcap("data", "import", "bad.csv", "--videos", "clips", "-o", "mine") == 3
    said = capfd.readouterr()
    shown = re.search(r"\$ evcap data import bad.csv --videos clips -o mine\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert said.err + said.out == shown[1]
