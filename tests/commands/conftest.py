"""One small checkpoint, a folder of short films and a warm feature cache for all command tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.small import evcap, save_checkpoint
from tests.features.films import make_film

FILMS = 5


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small")


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films a to e of 0.6 to 1.4 seconds; the third is silent."""
    folder = tmp_path_factory.mktemp("originals")
    for number, name in enumerate("abcde"[:FILMS]):
        make_film(folder / f"{name}.mp4", frames=12 + 4 * number, seed=number, sound=number != 2)
    return folder


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature cache that tests share: what one of them extracted is there for the others."""
    return tmp_path_factory.mktemp("warm")


@pytest.fixture
def films(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the films as ``videos``, in the folder where the test runs."""
    shutil.copytree(originals, tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    return Path("videos")


@pytest.fixture
def caption(checkpoint: Path, warm: Path) -> Callable[..., int]:
    """``evcap caption`` with the small checkpoint and the shared cache."""

    def call(*arguments: object) -> int:
        return evcap("caption", *arguments, "-c", checkpoint, "--cache-dir", warm)

    return call
