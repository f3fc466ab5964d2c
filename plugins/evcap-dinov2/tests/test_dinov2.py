"""The plugin keeps evcap's contract and gives DINOv2's own numbers; all on small weights in the real format."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from evcap_dinov2 import DEFAULT, WIDTHS, Dinov2
from evcap_dinov2.model import SIZES, TRAINED_SIDE
from transformers import AutoImageProcessor, Dinov2Config, Dinov2Model

from evcap_cli import WeightsError
from evcap_cli.testing import check_backbone

SMALL = "facebook/dinov2-small"
CPU = torch.device("cpu")
PREPROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "BitImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 256},
}
"""preprocessor_config.json of facebook/dinov2-base."""


def save(folder: Path, **changes: object) -> Path:
    """One layer of a DINOv2 as wide as the small one, as ``save_pretrained`` writes it."""
    sizes = {"hidden_size": 384, "num_hidden_layers": 1, "num_attention_heads": 6, "mlp_ratio": 1, "image_size": 70}
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(**{**sizes, **changes})).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("weights") / "dinov2-small")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def loaded(weights: Path) -> Dinov2:
    backbone = Dinov2(SMALL)
    backbone.load(str(weights), CPU, torch.float32)
    return backbone


def test_it_keeps_the_contract(weights: Path) -> None:
    report = check_backbone(Dinov2, SMALL, weights=str(weights))
    assert {result.name for result in report.results if result.status == "skip"} == {
        *("boxes", "steps", "short-sound"),
    }


def test_the_entry_point_leads_here() -> None:
    (point,) = entry_points(group="evcap", name="dinov2")
    found: list[type] = []
    point.load().register_backbones(found.append)
    assert found == [Dinov2]


def test_features_are_those_of_transformers_with_its_own_preparation(weights: Path) -> None:
    # a frame whose short side is 256 already: evcap's resizing is not in question here, its crop and its numbers are
    frame = np.random.default_rng(0).integers(0, 256, (256, 340, 3), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(weights, local_files_only=True)
    with torch.inference_mode():
        model = Dinov2Model.from_pretrained(weights, local_files_only=True).float().eval()
        expected = model(**processor(frame, return_tensors="pt")).last_hidden_state[:, 0]
        declared = Dinov2.spec.input
        assert (declared.short_side, declared.size, declared.fit, declared.interpolation) == (
            256,
            (224, 224),
            "crop",
            "bicubic",
        )
        pixels = torch.from_numpy(frame[16:240, 58:282]).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (declared.mean, declared.std))
        features = loaded(weights).extract((pixels - mean) / std)
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", WIDTHS)
def test_every_size_has_its_width_and_its_source(name: str) -> None:
    backbone = Dinov2(name)
    assert backbone.spec.dim == WIDTHS[name] == SIZES[name]["hidden_size"]
    assert backbone.weights_source().location == f"hf-hub:{name}"
    with torch.device("meta"):
        model = Dinov2Model(Dinov2Config(image_size=TRAINED_SIDE, **SIZES[name]))
    millions = {"facebook/dinov2-small": 22, "facebook/dinov2-base": 87, "facebook/dinov2-large": 304}
    counted = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert counted == pytest.approx(millions.get(name, 1136), rel=0.01)  # as the paper's table of models has it


def test_only_what_evcap_exports_is_used() -> None:
    import evcap_dinov2

    import evcap_cli

    for file in Path(evcap_dinov2.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("evcap_cli"):
                assert node.module == "evcap_cli", file
                assert set(names) <= set(evcap_cli.__all__), file
            elif isinstance(node, ast.Import):
                assert not any(name.startswith("evcap_cli") for name in names), file


def test_the_default_is_the_base_model() -> None:
    assert Dinov2().spec.dim == WIDTHS[DEFAULT] == 768
    assert Dinov2().spec == Dinov2.spec


def test_drawn_weights_are_the_seeds_own_and_disturb_nobody() -> None:
    before = torch.get_rng_state()
    digests = []
    for seed in (0, 0, 1):
        backbone = Dinov2(SMALL)
        backbone.load(f"random:{seed}", CPU, torch.float32)
        digests.append(backbone.weights_digest)
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), before)


def pickled(folder: Path) -> Path:
    save(folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    return folder


def truncated(folder: Path) -> Path:
    with (save(folder) / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    return folder


def lacking(folder: Path) -> Path:
    config = json.loads((save(folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    return folder


def of_another_shape(folder: Path) -> Path:
    config = json.loads((save(folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "mlp_ratio": 2}))
    return folder


def of_a_million_layers(folder: Path) -> Path:
    config = json.loads((save(folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**6}))
    return folder


def nested_deeply(folder: Path) -> Path:
    (save(folder) / "config.json").write_text("[" * 100_000)
    return folder


def without_an_object(folder: Path) -> Path:
    (save(folder) / "config.json").write_text("[]")
    return folder


def of_another_kind(folder: Path) -> Path:
    config = json.loads((save(folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
    return folder


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda folder: folder, "config.json"),
        (pickled, "model.safetensors"),
        (truncated, "cannot be read"),
        (lacking, r"no encoder\.layer\.1\.\S+ and 17 more"),
        (of_another_shape, "cannot be read|no encoder"),
        (of_another_kind, "'vit'"),
        (of_a_million_layers, "claims 1000000 layers"),
        (nested_deeply, "can be read"),
        (without_an_object, "can be read"),
        (lambda folder: save(folder, hidden_size=96), "96 wide, not 384"),
    ],
)
def test_weights_that_cannot_be_used_are_one_line_that_names_the_folder(made, message, tmp_path: Path) -> None:
    folder = made(tmp_path / "given")
    with pytest.raises(WeightsError, match=message) as caught:
        loaded(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "--weights dinov2=" in str(caught.value) or "dinov2:facebook" in str(caught.value)


def test_without_a_network_the_line_names_the_model_and_the_option() -> None:
    for call in (lambda: Dinov2(SMALL).load(None, CPU, torch.float32), Dinov2(SMALL).fetch_weights):
        with pytest.raises(WeightsError) as caught:
            call()
        assert SMALL in str(caught.value)
        assert "--weights dinov2=FOLDER" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def evcap(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command of the environment this test runs in."""
    command = Path(sys.executable).with_name("evcap")
    return subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_evcap_trains_and_captions_with_it(weights: Path, tmp_path: Path) -> None:
    name, given = f"dinov2:{SMALL}", f"dinov2={weights}"
    listed = evcap("plugins")
    assert "dinov2" in listed.stdout
    assert "evcap-dinov2" in listed.stdout
    checked = evcap("plugins", "check", name, "--weights", given)
    assert checked.returncode == 0, checked.stdout
    assert evcap("demo-world", tmp_path / "world", "--videos", "4", "--seed", "1").returncode == 0
    trained = evcap(
        *("train", "--backbone", "lite", "--appearance", name, "--weights", given, "--epochs", "0"),
        *("--data", tmp_path / "world", "-o", tmp_path / "run", "--cache-dir", tmp_path / "cache", "--no-test"),
    )
    assert trained.returncode == 0, trained.stderr
    captioned = evcap(
        *("caption", tmp_path / "world" / "videos", "-c", tmp_path / "run", "--weights", given, "--limit", "1"),
        *("-o", tmp_path / "out.jsonl", "--cache-dir", tmp_path / "cache"),
    )
    assert captioned.returncode == 0, captioned.stderr
    record = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert record["status"] == "ok"
    assert record["backbones"]["appearance"] == name
