"""Presets, addresses, weights and options end in loaded backbones or in one clear error."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from evcap_cli import plugins
from evcap_cli.backbones.contract import KINDS, BackboneSpec, FrameInput
from evcap_cli.backbones.identity import BackboneIdentity
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.backbones.offloader import Offloader
from evcap_cli.backbones.presets import PRESETS, backbone_addresses
from evcap_cli.backbones.weights import state_digest
from evcap_cli.errors import PluginError, UsageError, WeightsError
from tests.backbones.serving import Net
from tests.features.tiny import TINY, TinyAppearance, changed, tiny_backbones


class Family(TinyAppearance):
    """NAME:VARIANT with an option."""

    spec = BackboneSpec("family", "appearance", 3, "2", FrameInput(size=(8, 8)))

    @classmethod
    def spec_for(cls, variant, options):
        if variant not in (None, "wide") or set(options) - {"depth"}:
            raise ValueError(f"family has no variant {variant!r} with {sorted(options)}")
        return cls.spec

    def load(self, weights, device, dtype):
        self.given = weights, device, dtype


class Talkative(Family):
    spec = BackboneSpec("talkative", "appearance", 3, "1", FrameInput(size=(8, 8)))

    def load(self, weights, device, dtype):
        raise RuntimeError("size mismatch\n" * 200)

    @classmethod
    def spec_for(cls, variant, options):
        return cls.spec


class Broken(Family):
    def load(self, weights, device, dtype):
        raise KeyError("conv1.weight")


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    classes = {cls.spec.name: cls for cls in TINY.values()} | {"family": Family, "broken": Broken}
    classes |= {"net": Net, "talkative": Talkative}

    def backbone_class(name):
        if name not in classes:
            raise PluginError(f"no backbone named {name!r} is installed")
        return classes[name]

    monkeypatch.setattr(plugins, "backbone_class", backbone_class)


def test_every_preset_names_one_backbone_a_kind():
    for preset in PRESETS:
        assert tuple(backbone_addresses(preset)) == KINDS
    assert backbone_addresses("clip", {"motion": "r3d"})["motion"] == "r3d"
    assert backbone_addresses(None, {"audio": "x", "appearance": "y"}) == {"appearance": "y", "audio": "x"}


def test_unknown_presets_and_kinds_are_named():
    with pytest.raises(UsageError, match="light"):
        backbone_addresses("light")
    with pytest.raises(UsageError, match="sound"):
        backbone_addresses("lite", {"sound": "x"})


def test_presets_of_ones_own_stand_beside_those_of_evcap():
    own = {"mine": {"audio": "x", "appearance": "clip:ViT-L-14/openai"}}
    assert backbone_addresses("mine", own=own) == {"appearance": "clip:ViT-L-14/openai", "audio": "x"}
    assert backbone_addresses("mine", {"audio": "y"}, own)["audio"] == "y"
    assert backbone_addresses("lite", own=own) == backbone_addresses("lite")
    with pytest.raises(UsageError, match="lite, resnet, clip, open, modern, mine"):
        backbone_addresses("yours", own=own)


def test_backbones_get_their_variant_options_and_weights(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"abc")
    made = load_backbones(
        {"audio": "tiny-audio", "appearance": "family:wide"},
        weights={"family": str(weights)},
        options={"family:wide": {"depth": "3"}},
        device="cpu",
        dtype=torch.bfloat16,
    )
    assert list(made) == ["appearance", "audio"]
    family = made["appearance"]
    assert (family.variant, family.options, family.dtype) == ("wide", {"depth": "3"}, torch.bfloat16)
    assert family.given == (str(weights), torch.device("cpu"), torch.bfloat16)
    assert len(family.weights_digest) == 32


def test_random_weights_are_marked_as_such():
    made = load_backbones({"appearance": "family"}, weights={"family": "random:7"})
    assert made["appearance"].weights_digest == "random:7"
    # one that says what it drew keeps that as well: another torch may draw other numbers from one seed
    first, again, other = (
        load_backbones({"appearance": "net"}, weights={"net": f"random:{seed}"})["appearance"] for seed in (7, 7, 8)
    )
    assert first.weights_digest == again.weights_digest
    assert first.weights_digest.removeprefix("random:7:") == state_digest(first.model.state_dict())
    assert other.weights_digest.startswith("random:8:")
    assert not torch.equal(first.model.weight, other.model.weight)


def test_one_digest_for_one_content_wherever_it_lies_and_whatever_it_computes_in(tmp_path, monkeypatch):
    tensors = torch.nn.Linear(3, 4).state_dict()
    save_file(tensors, tmp_path / "w.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    digests = {
        load_backbones({"appearance": "net"}, weights={"net": str(path)}, dtype=dtype)["appearance"].weights_digest
        for path in (tmp_path / "w.safetensors", "~/w.safetensors")
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert digests == {state_digest(tensors)}


def test_names_that_only_a_file_brings_up_need_not_be_in_use():
    given = {"weights": {"resnet": "w.safetensors"}, "options": {"fasterrcnn": {"top_k": "20"}}}
    assert list(load_backbones({"appearance": "family"}, **given, allow_unused={"resnet", "fasterrcnn"})) == [
        "appearance"
    ]
    with pytest.raises(UsageError, match="fasterrcnn"):
        load_backbones({"appearance": "family"}, **given, allow_unused={"resnet"})


def test_a_bad_file_is_a_line_that_names_file_backbone_and_next_step(tmp_path):
    whole, cut, pickled, wide = (tmp_path / f"{name}.safetensors" for name in ("whole", "cut", "pickled", "wide"))
    save_file(torch.nn.Linear(3, 4).state_dict(), whole)
    cut.write_bytes(whole.read_bytes()[:-5])
    torch.save(torch.nn.Linear(3, 4).state_dict(), pickled)
    save_file(torch.nn.Linear(12, 4).state_dict(), wide)
    for path, cause, step in (
        (tmp_path / "gone.safetensors", "do not exist", "--weights net=PATH"),
        (cut, "not a whole safetensors file", "again"),
        (pickled, "pickle", f"evcap weights import net {pickled} -o"),
        (wide, "weight has shape (4, 12), not (4, 3)", "--weights net=PATH"),
    ):
        with pytest.raises(WeightsError) as caught:
            load_backbones({"appearance": "net"}, weights={"net": str(path)})
        for part in (f"{path}: ", cause, step):
            assert part in str(caught.value)
        assert "\n" not in str(caught.value)
    assert load_backbones({"appearance": "net"}, weights={"net": str(whole)})
    # a stranger's backbone need not know our room for weights: its own exception names the file, too, and is kept short
    with pytest.raises(WeightsError) as caught:
        load_backbones({"appearance": "talkative"}, weights={"talkative": str(whole)})
    assert str(caught.value).startswith(f"{whole}: cannot be loaded by talkative (RuntimeError: size mismatch size")
    assert "--weights talkative=PATH" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("addresses", "given", "error", "message"),
    [
        ({"appearance": "nowhere"}, {}, PluginError, "nowhere"),
        ({"motion": "family"}, {}, UsageError, "for appearance, not for motion"),
        ({"appearance": "family:thin"}, {}, UsageError, "thin"),
        ({"appearance": "family"}, {"options": {"family": {"top": "1"}}}, UsageError, "top"),
        ({"appearance": "family"}, {"options": {"famly": {}}}, UsageError, "famly"),
        ({"appearance": "family"}, {"weights": {"resnet": "random:1"}}, UsageError, "resnet"),
        ({"appearance": "family"}, {"weights": {"family": "missing.safetensors"}}, UsageError, "missing"),
        ({"appearance": "family"}, {"weights": {"family": ""}}, WeightsError, "--weights family=PATH"),
        ({"appearance": "family"}, {"weights": {"family": "random:x"}}, WeightsError, "random:x"),
        ({"appearance": "net"}, {}, WeightsError, "pass a local copy with --weights net=PATH"),
        ({"appearance": "broken"}, {}, PluginError, "conv1.weight"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line(addresses, given, error, message):
    with pytest.raises(error) as caught:
        load_backbones(addresses, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_in_place_of_weights_is_refused_whatever_the_plugin_does(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(WeightsError, match=r"pipe.safetensors: is a pipe, not a file; --weights family=PATH names"):
        load_backbones({"appearance": "family"}, weights={"family": str(tmp_path / "pipe.safetensors")})


def test_everything_that_features_depend_on_is_in_the_identity_and_nothing_else():
    plain = BackboneIdentity.of(tiny_backbones("appearance")["appearance"]).cache_identity
    different = [
        changed("appearance", version="2"),
        changed("appearance", name="other"),
        changed("appearance", input=FrameInput(size=(8, 8), mean=(0.5, 0, 0))),
        changed("appearance", input=FrameInput(size=(8, 9))),
    ]
    for name, value in (("weights_digest", "w"), ("variant", "v"), ("options", {"a": "b"}), ("dtype", torch.float16)):
        backbone = changed("appearance")
        setattr(backbone, name, value)
        different.append(backbone)
    identities = {BackboneIdentity.of(backbone).cache_identity for backbone in different}
    assert len(identities) == len(different)
    assert plain not in identities
    same = changed("appearance", license="MIT", batch_size=99)
    same.dtype = torch.float32
    assert BackboneIdentity.of(same).cache_identity == plain


class Elsewhere(torch.nn.Module):
    """Says where it is, on a device that this machine lacks."""

    def __init__(self):
        super().__init__()
        self.place = torch.device("cpu")

    def to(self, device):
        self.place = torch.device(device)
        return self

    def parameters(self, recurse=True):
        return iter([SimpleNamespace(device=self.place)])


def large_backbones(room):
    """Backbones of three kinds on a device that holds the models of ``room`` of them at once."""
    made = []

    def load(self, weights, device, dtype):
        self.model = Elsewhere()
        made.append(self)
        if sum(one.model.place.type == "cuda" for one in made) >= room:
            made.remove(self)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.model.to(device)

    return {
        f"tiny-{kind}": type("LargeBackbone", (TINY[kind],), {"load": load})
        for kind in ("appearance", "motion", "audio")
    }


def test_models_that_do_not_fit_together_are_on_the_device_one_at_a_time(monkeypatch, capsys):
    device = torch.device("cuda")
    addresses = {"appearance": "tiny-appearance", "motion": "tiny-motion", "audio": "tiny-audio"}
    for room, at_once in ((3, 3), (2, 1), (1, 1)):
        monkeypatch.setattr(plugins, "backbone_class", large_backbones(room).__getitem__)
        made = list(load_backbones(addresses, device=device).values())
        said = capsys.readouterr().err
        assert said.count("one at a time") == (room < 3)
        offloader = Offloader(made, device)
        assert sum(one.model.place == device for one in made) == at_once
        for backbone in [*made, *made]:
            offloader.load(backbone)
            assert backbone.model.place == device
            assert sum(one.model.place == device for one in made) == at_once


def test_a_model_that_does_not_fit_alone_ends_the_run_in_one_line(monkeypatch):
    monkeypatch.setattr(plugins, "backbone_class", large_backbones(0).__getitem__)
    with pytest.raises(PluginError) as caught:
        load_backbones({"motion": "tiny-motion"}, device="cuda")
    assert str(caught.value) == "tiny-motion: cannot be loaded: out of memory; free some memory, or try --device cpu"
