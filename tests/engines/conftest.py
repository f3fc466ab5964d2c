"""What several tests train on, and compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.small_training import make_root, train


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("training") / "root")


@pytest.fixture(scope="session")
def trained_alone(training_root: Path) -> Path:
    """The folder of a run of one process, its cache next to it."""
    run = training_root.parent / "alone"
    assert train(training_root, run, "--device", "cpu", "--workers", 1) == 0
    return run
