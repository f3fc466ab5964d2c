"""familiarity.safetensors: kept, found out where it is not the checkpoint's own, and used by captioning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.checkpoint_files import FAMILIARITY
from evcap_cli.checkpoints.familiarity_file import content_digest
from evcap_cli.errors import CheckpointError
from evcap_cli.features.familiarity import Familiarity, clip_means
from tests.checkpoints.test_checkpoint import made
from tests.training import toy


def summary() -> Familiarity:
    found = Familiarity.fit(
        [clip_means(toy.features(number)) for number in range(40)],
        [clip_means(toy.features(number)) for number in range(40, 80)],
    )
    assert found is not None
    return found


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = made()
    checkpoint.familiarity = summary()
    folder = tmp_path_factory.mktemp("familiar") / "toy"
    checkpoint.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "toy"))


@pytest.mark.slow
def test_a_saved_summary_gives_the_same_numbers(folder: Path) -> None:
    loaded = Checkpoint.from_pretrained(folder).familiarity
    assert loaded is not None
    clips = [toy.features(number) for number in range(30, 50)]
    assert loaded.unusualness(clips) == summary().unusualness(clips)
    assert loaded.of(clips) == summary().of(clips)


@pytest.mark.slow
def test_the_digest_of_the_checkpoint_depends_on_the_summary(folder: Path, tmp_path: Path) -> None:
    made().save_pretrained(tmp_path / "without")
    without = Checkpoint.from_pretrained(tmp_path / "without")
    assert without.familiarity is None
    assert without.digest != Checkpoint.from_pretrained(folder).digest


@pytest.mark.slow
def test_a_summary_left_by_another_training_is_not_used(folder: Path) -> None:
    made().save_pretrained(folder)
    assert (folder / FAMILIARITY).exists()
    assert Checkpoint.from_pretrained(folder).familiarity is None


def rewritten(folder: Path, content: bytes) -> None:
    (folder / FAMILIARITY).write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["familiarity"] = content_digest(content)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
def test_a_summary_that_cannot_be_used_is_named(folder: Path) -> None:
    def refused(cause: str) -> None:
        with pytest.raises(CheckpointError, match=cause) as problem:
            Checkpoint.from_pretrained(folder)
        assert "\n" not in str(problem.value)
        assert FAMILIARITY in str(problem.value)

    content = (folder / FAMILIARITY).read_bytes()
    (folder / FAMILIARITY).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused("is not the one that config.json names")
    rewritten(folder, content[: len(content) // 2])
    refused("is damaged")
    rewritten(folder, b"")
    refused("is damaged")
    tensors = safetensors.torch.load(content)
    rewritten(folder, safetensors.torch.save({**tensors, "motion.rest": torch.tensor(-1.0)}))
    refused("motion.rest must be positive")
    rewritten(folder, safetensors.torch.save({name: t for name, t in tensors.items() if name != "validation"}))
    refused("validation is missing")
    wider = {name: torch.ones(9) if name in ("motion.mean", "motion.scale") else t for name, t in tensors.items()}
    wider["motion.directions"] = torch.ones(len(tensors["motion.variances"]), 9)
    rewritten(folder, safetensors.torch.save(wider))
    refused("its motion stream is 9 wide, that of config.json 6")
    (folder / FAMILIARITY).unlink()
    refused("lacks familiarity.safetensors")
