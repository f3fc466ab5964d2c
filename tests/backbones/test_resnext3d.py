"""3D-ResNeXt-101 takes Hara's file, strictly, and computes what a slow reading of the definition computes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from evcap_backbones.resnext3d import ResNeXt3D101
from safetensors.torch import load_file

from evcap_cli.backbones.weights import read_legacy
from evcap_cli.commands.weights import import_
from evcap_cli.errors import WeightsError
from evcap_cli.features.runner import BackboneRunner

CPU = torch.device("cpu")
STAGES = ((128, 3, 1), (256, 4, 2), (512, 23, 2), (1024, 3, 2))
"""Width, blocks, stride, as the paper's table of ResNeXt-101 has them."""
PARAMETERS = 48_340_816
"""Weights of convolutions, batch norms and classifier, counted by hand below."""


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of upstream's state dict, written from the definition, without the prefix."""
    table: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        table.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})

    table["conv1.weight"] = (64, 3, 7, 7, 7)
    norm("bn1", 64)
    incoming = 64
    for stage, (width, blocks, _) in enumerate(STAGES, 1):
        for place in range(blocks):
            block = f"layer{stage}.{place}"
            table[f"{block}.conv1.weight"] = (width, incoming, 1, 1, 1)
            table[f"{block}.conv2.weight"] = (width, width // 32, 3, 3, 3)
            table[f"{block}.conv3.weight"] = (2 * width, width, 1, 1, 1)
            for number, channels in ((1, width), (2, width), (3, 2 * width)):
                norm(f"{block}.bn{number}", channels)
            if place == 0:
                table[f"{block}.downsample.0.weight"] = (2 * width, incoming, 1, 1, 1)
                norm(f"{block}.downsample.1", 2 * width)
            incoming = 2 * width
    table["fc.weight"], table["fc.bias"] = (400, 2048), (400,)
    return table


def drawn() -> dict[str, torch.Tensor]:
    """Random values of those shapes with which every layer has something to say."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes().items():
        values = torch.randn(shape, generator=generator)
        if len(shape) == 5:
            values *= math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith("running_var"):
            values = 0.5 + values.abs()
        elif name.endswith("weight") and len(shape) == 1:
            values = 0.3 + 0.1 * values
        else:
            values *= 0.1
        tensors[name] = values
    return tensors


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return drawn()


@pytest.fixture(scope="module")
def imported(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `evcap weights import` makes of a file as Hara published it."""
    folder = tmp_path_factory.mktemp("weights")
    published = {f"module.{name}": tensor for name, tensor in state.items()}
    content = {"arch": "resnext-101", "epoch": 151, "optimizer": {"lr": 0.1}, "state_dict": published}
    torch.save(content, folder / "resnext-101-kinetics.pth")
    import_("resnext3d", folder / "resnext-101-kinetics.pth", folder / "resnext3d.safetensors")
    return folder / "resnext3d.safetensors"


def loaded(weights: str | None) -> ResNeXt3D101:
    backbone = ResNeXt3D101()
    backbone.load(weights, CPU, torch.float32)
    return backbone


def reference(x: torch.Tensor, state: dict[str, torch.Tensor]) -> torch.Tensor:
    """The features by plain functions: each group convolved alone, batch norm by its formula."""

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias, mean, var = (
            state[f"{name}.{part}"].reshape(1, -1, 1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = F.conv3d(x, state["conv1.weight"], stride=(1, 2, 2), padding=3)
    x = F.max_pool3d(F.relu(normed(x, "bn1")), 3, stride=2, padding=1)
    for stage, (_, blocks, first_stride) in enumerate(STAGES, 1):
        for place in range(blocks):
            name, stride = f"layer{stage}.{place}", first_stride if place == 0 else 1
            inner = F.relu(normed(F.conv3d(x, state[f"{name}.conv1.weight"]), f"{name}.bn1"))
            groups = zip(inner.chunk(32, 1), state[f"{name}.conv2.weight"].chunk(32, 0), strict=True)
            inner = torch.cat([F.conv3d(part, weight, stride=stride, padding=1) for part, weight in groups], 1)
            inner = F.relu(normed(inner, f"{name}.bn2"))
            inner = normed(F.conv3d(inner, state[f"{name}.conv3.weight"]), f"{name}.bn3")
            if place == 0:
                x = normed(F.conv3d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            x = F.relu(inner + x)
    assert x.shape[2:] == (1, 4, 4)  # what upstream's average pool of 1 x 4 x 4 takes
    return F.avg_pool3d(x, (1, 4, 4)).flatten(1)


def test_every_shape_and_the_number_of_parameters_are_upstreams() -> None:
    from evcap_backbones.resnext3d_network import ResNeXt3D

    with torch.device("meta"):
        network = ResNeXt3D()
    ours = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")  # newer than the published file
    }
    assert ours == shapes()
    counted = sum(math.prod(shape) for name, shape in shapes().items() if "running" not in name)
    assert counted == PARAMETERS == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.slow
def test_a_published_file_imports_and_gives_the_features_of_the_definition(imported, state) -> None:
    written = load_file(imported)
    assert written.keys() == shapes().keys()
    backbone = loaded(str(imported))
    grey = np.random.default_rng(0).integers(0, 256, (2, 16, 112, 112, 3), dtype=np.uint8)
    runner = BackboneRunner(backbone, batch_size=2, device="cpu", owner=lambda ticket: ticket)
    with torch.inference_mode():
        batch = runner.prepare(list(grey))
        ours = backbone.extract(batch)
        # upstream: 0..255 in RGB, less the mean, divided by nothing
        plain = torch.from_numpy(grey[:1]).permute(0, 4, 1, 2, 3).float()
        plain -= torch.tensor([114.7748, 107.7354, 99.4750]).reshape(1, 3, 1, 1, 1)
        torch.testing.assert_close(batch[:1], plain, atol=1e-3, rtol=0)
        theirs = reference(plain, state)
    assert ours.shape == (2, 2048) == (2, backbone.spec.dim)
    assert float(theirs.std()) > 0.1
    scale = float(theirs.abs().max())
    torch.testing.assert_close(ours[:1] / scale, theirs / scale, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_an_imported_file_in_torch_hubs_folder_is_the_default(imported, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    (place / "resnext-101-kinetics.safetensors").hardlink_to(imported)
    backbone = loaded(None)
    assert backbone.weights_digest == loaded(str(imported)).weights_digest
    backbone.fetch_weights()


def test_without_a_file_one_line_says_where_it_is_to_be_had_and_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for call in (lambda: loaded(None), ResNeXt3D101().fetch_weights):
        with pytest.raises(WeightsError) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        for part in (
            "resnext-101-kinetics.pth",
            "https://drive.google.com/",
            "`evcap weights import resnext3d resnext-101-kinetics.pth -o resnext3d.safetensors`",
            "--weights resnext3d=resnext3d.safetensors",
        ):
            assert part in text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 2048)}, "this is not resnext-101-kinetics.pth"),
        ({"stem.0.weight": (64, 3, 3, 7, 7)}, "this is not resnext-101-kinetics.pth"),
        ({"module.conv1.weight": (1,), "conv1.weight": (1,)}, "twice"),
    ],
)
def test_files_of_other_networks_are_refused(names, said) -> None:
    with pytest.raises(ValueError, match=said):
        ResNeXt3D101().import_state({name: torch.zeros(shape) for name, shape in names.items()})


@pytest.mark.slow
def test_a_relative_of_another_depth_is_refused_by_its_first_strange_tensor(state) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in state.items() if not name.startswith("layer3.22.")}
    backbone = ResNeXt3D101()
    with pytest.raises(WeightsError, match=r"lacks layer3\.22\.bn1\.bias and \d+ more"):
        backbone.check_state(backbone.import_state(tensors))
    wider = {**state, "fc.weight": torch.zeros(700, 2048)}
    with pytest.raises(WeightsError, match=r"fc\.weight has shape \(700, 2048\), not \(400, 2048\)"):
        backbone.check_state(wider)


def test_a_pickle_is_not_loaded(imported) -> None:
    pickle = imported.with_name("resnext-101-kinetics.pth")
    assert len(read_legacy(pickle)) == len(shapes())
    with pytest.raises(WeightsError, match="is a pickle"):
        loaded(str(pickle))
