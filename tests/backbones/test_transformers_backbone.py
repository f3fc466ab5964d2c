"""Networks of transformers are loaded strictly: what is missing, left over or of another kind is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from evcap_backbones.videomae import VideoMAE
from evcap_backbones.vjepa2 import VJepa2
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from evcap_cli.errors import WeightsError
from tests.backbones.hub_folders import CPU, copied, loaded, written
from tests.backbones.small_networks import SmallVideoMAE, SmallVJepa2

PREPARATION = {
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = written(SmallVideoMAE, tmp_path_factory.mktemp("nets") / "net")
    (place / "preprocessor_config.json").write_text(json.dumps(PREPARATION))
    return place


def broken(folder: Path, place: Path, how: str) -> Path:
    """A folder, or a file, with one thing wrong."""
    fields = {
        "another type": {"model_type": "vivit"},
        "another width": {"hidden_size": 64},
        "other frames": {"num_frames": 8},
        "a million layers": {"num_hidden_layers": 10**6},
        "no end of width": {"intermediate_size": 10**12},
        "nonsense in the config": {"hidden_size": "wide"},
    }
    copied(folder, place, **fields.get(how, {}))
    weights = place / "model.safetensors"
    tensors = load_file(weights)
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "a pickle":
        torch.save(tensors, place / "pytorch_model.bin")
        weights.unlink()
    elif how == "no JSON":
        (place / "config.json").write_text("{")
    elif how == "one tensor less":
        del tensors["videomae.encoder.layer.2.attention.attention.q_bias"]
        save_file(tensors, weights)
    elif how == "one tensor more":
        save_file({**tensors, "videomae.encoder.layer.9.output.dense.bias": torch.zeros(3)}, weights)
    elif how == "another shape":
        save_file({**tensors, "fc_norm.weight": torch.zeros(3)}, weights)
    elif how == "not a number":
        tensors["fc_norm.weight"][0] = torch.nan
        save_file(tensors, weights)
    elif how == "another network":
        save_file({"conv1.weight": torch.zeros(3)}, weights)
    elif how == "other pictures":
        (place / "preprocessor_config.json").write_text(json.dumps({**PREPARATION, "image_mean": [0.5, 0.5, 0.5]}))
    elif how == "not normalised":
        (place / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    elif how == "another size":
        (place / "preprocessor_config.json").write_text(json.dumps({**PREPARATION, "size": {"shortest_edge": 48}}))
    return place


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("truncated", "model.safetensors: is not a whole safetensors file"),
        ("a pickle", "holds no model.safetensors; turn pytorch_model.bin into .* import NAME .*pytorch_model.bin -o "),
        ("no JSON", "config.json: line 1: is not JSON"),
        ("nonsense in the config", "config.json: does not describe a videomae network"),
        ("another type", "config.json: describes a model of type 'vivit', not 'videomae'"),
        ("another width", "is a network with hidden_size 64, not 32; name its variant"),
        ("other frames", "is a network with num_frames 8, not 4"),
        ("a million layers", "weights of another architecture: holds [0-9]+ tensors, too few for 1000000 layers"),
        ("no end of width", "weights of another architecture: holds less than half of the [0-9,]+ numbers it needs"),
        ("one tensor less", r"weights of another architecture: lacks videomae\.encoder\.layer\.2\..*query\.bias"),
        ("one tensor more", r"holds an unknown videomae\.encoder\.layer\.9\.output"),
        ("another shape", r"fc_norm\.weight has shape \(3,\), not \(32,\)"),
        ("not a number", r"tensor fc_norm\.weight holds a value that is not a finite number"),
        ("another network", "weights of another architecture: holds 1 tensors, too few"),
        ("other pictures", "prepares pictures in another way than videomae .*image_mean"),
        ("not normalised", "prepares pictures in another way"),
        ("another size", "prepares pictures in another way than videomae .*size shortest_edge 48"),
    ],
)
def test_a_folder_with_something_wrong_gives_one_line(folder: Path, tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said) as caught:
        loaded(SmallVideoMAE, broken(folder, tmp_path / "net", how))
    assert "\n" not in str(caught.value)


def test_a_file_of_its_own_is_the_variants_network(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path / "mine.safetensors")
    assert (
        loaded(SmallVideoMAE, tmp_path / "mine.safetensors").weights_digest
        == loaded(SmallVideoMAE, folder).weights_digest
    )


def test_an_old_pickle_can_be_imported(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    named = SmallVideoMAE().import_state({f"module.{name}": tensor for name, tensor in tensors.items()})
    SmallVideoMAE().check_state(named)
    assert named.keys() == tensors.keys()
    with pytest.raises(WeightsError, match="videomae: weights of another architecture: lacks"):
        SmallVideoMAE().check_state({name: tensor for name, tensor in named.items() if "fc_norm" not in name})


@pytest.mark.slow
def test_the_digest_tells_apart_what_the_tensors_do_not(folder: Path, tmp_path: Path) -> None:
    plain = loaded(SmallVideoMAE, folder).weights_digest
    assert loaded(SmallVideoMAE, copied(folder, tmp_path / "a", num_attention_heads=4)).weights_digest != plain
    assert loaded(SmallVideoMAE, copied(folder, tmp_path / "b", initializer_range=0.5)).weights_digest == plain


def test_drawing_and_loading_leave_torchs_generator_as_it_was(folder: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (loaded(SmallVJepa2, f"random:{seed}") for seed in (3, 3, 4))
    loaded(SmallVideoMAE, folder)
    assert torch.equal(before, torch.get_rng_state())
    assert first.weights_digest == again.weights_digest != other.weights_digest


def test_half_precision_on_the_hub_is_read_as_float32(folder: Path, tmp_path: Path) -> None:
    place = copied(folder, tmp_path / "net", dtype="float16")
    halves = {name: tensor.half() for name, tensor in load_file(place / "model.safetensors").items()}
    save_file(halves, place / "model.safetensors")
    backbone = loaded(SmallVideoMAE, place)
    assert {weight.dtype for weight in backbone.encoder.parameters()} == {torch.float32}


def test_without_a_network_one_line_names_repository_and_option(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for call in (lambda: VJepa2().load(None, CPU, torch.float32), VideoMAE().fetch_weights):
        with pytest.raises(WeightsError) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        for part in ("model.safetensors", "hf-hub:", "--weights NAME=PATH"):
            assert part in text


def test_what_the_hubs_cache_holds_loads_without_a_network(folder: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--small--tuned"
    shutil.copytree(folder, repository / "snapshots" / ("5" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("5" * 40)
    backbone = SmallVideoMAE()
    backbone.load(None, CPU, torch.float32)
    assert backbone.weights_digest == loaded(SmallVideoMAE, folder).weights_digest
