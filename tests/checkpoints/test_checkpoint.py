from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from evcap_cli.backbones.contract import Kind
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.checkpoint_files import FILES
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import CheckpointError
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.systems.fusion import Fusion
from tests.training import toy

VOCABULARY = Vocabulary(["a", "man", "happy", "sad"])


def made() -> Checkpoint:
    torch.manual_seed(0)
    config = toy.recipe().captioner(
        appearance_dim=8, motion_dim=6, object_dim=7, audio_dim=5, vocabulary=8, categories=2, words=4
    )
    model = Fusion(config, torch.from_numpy(toy.LEXICON.mask())).eval()
    model.fit_normalisation(toy.features(n) for n in range(4))
    records: dict[Kind, dict[str, Any]] = {
        kind: {"name": "grid", "options": {}, "version": "1", "dim": dim, "weights_digest": ""}
        for kind, dim in config.streams.items()
    }
    beam = BeamConfig(size=3)
    return Checkpoint(model, VOCABULARY, toy.LEXICON, records, beam, training={"seed": 1}, name="toy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made().save_pretrained(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.slow
def test_a_saved_checkpoint_loads_back_as_it_was(folder: Path) -> None:
    before, after = made(), Checkpoint.from_pretrained(folder)
    assert after.model.config == before.model.config
    assert not after.model.training
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name]), name
    assert (after.vocabulary, after.lexicon, after.beam) == (before.vocabulary, before.lexicon, before.beam)
    assert (after.backbones, after.training, after.name) == (before.backbones, before.training, "run")
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "README.md"])


@pytest.mark.slow
def test_the_digest_belongs_to_the_content_not_to_the_place(folder: Path, tmp_path: Path) -> None:
    digest = Checkpoint.from_pretrained(folder).digest
    shutil.copytree(folder, tmp_path / "copy")
    assert Checkpoint.from_pretrained(str(tmp_path / "copy")).digest == digest
    changed = json.loads((tmp_path / "copy" / "config.json").read_text())
    changed["beam"]["size"] = 4
    (tmp_path / "copy" / "config.json").write_text(json.dumps(changed))
    assert Checkpoint.from_pretrained(tmp_path / "copy").digest != digest


@pytest.mark.slow
def test_half_precision_halves_the_file_and_loads_back_as_float32(folder: Path, tmp_path: Path) -> None:
    before = made()
    before.save_pretrained(tmp_path / "half", half=True)
    after = Checkpoint.from_pretrained(tmp_path / "half").model.state_dict()
    parameters = dict(before.model.named_parameters())
    for name, tensor in before.model.state_dict().items():
        assert after[name].dtype == tensor.dtype, name
        expected = tensor.half().float() if name in parameters else tensor
        assert torch.equal(after[name], expected), name
    sizes = [(place / "model.safetensors").stat().st_size for place in (tmp_path / "half", folder)]
    assert sizes[0] < 0.7 * sizes[1]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        Checkpoint.from_pretrained(folder)


def edit(folder: Path, change: Any) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(format=9), "format 9"),
        (lambda v: v.pop("format"), "not a checkpoint's"),
        (lambda v: v.pop("beam"), "beam: is missing"),
        (lambda v: v["architecture"].update(wings=2), "unknown field 'wings'"),
        (lambda v: v["architecture"].update(vocabulary=99), "config.json names"),
        (lambda v: v["architecture"].update(width=32), "shape"),
        (lambda v: v["beam"].update(luck=1), "how to search"),
        (lambda v: v["backbones"].update(smell={}), "'smell'"),
        (lambda v: v.update(model="oracle"), "'oracle' model"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder: Path, change: Any, said: str) -> None:
    edit(folder, change)
    with pytest.raises(CheckpointError, match=said):
        Checkpoint.from_pretrained(folder)


@pytest.mark.slow
def test_weights_are_loaded_strictly(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    first = min(tensors)
    safetensors.torch.save_file({name: t for name, t in tensors.items() if name != first}, path)
    with pytest.raises(CheckpointError, match=f"lacks tensor {first}"):
        Checkpoint.from_pretrained(folder)
    safetensors.torch.save_file({**tensors, "more": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="unknown tensor more"):
        Checkpoint.from_pretrained(folder)
    path.write_bytes(b"garbage")
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.from_pretrained(folder)


def test_damaged_vocabulary_and_lexicon_are_checkpoint_errors(folder: Path) -> None:
    (folder / "lexicon.json").write_bytes(b"\xff{")
    with pytest.raises(CheckpointError):
        Checkpoint.from_pretrained(folder)


def test_a_folder_that_is_not_there_says_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="hf-hub:") as caught:
        Checkpoint.from_pretrained(tmp_path / "none")
    assert caught.value.exit_code == 2


def test_random_weights_mark_a_checkpoint_as_untrained() -> None:
    checkpoint = made()
    assert not checkpoint.untrained
    checkpoint.backbones["appearance"]["weights_digest"] = "random:3"
    assert checkpoint.untrained
