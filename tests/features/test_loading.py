"""Presets, addresses, weights and options end in loaded backbones or in one clear error."""

from __future__ import annotations

import pytest
import torch

from evcap_cli import plugins
from evcap_cli.backbones.contract import KINDS, BackboneSpec, FrameInput
from evcap_cli.backbones.identity import BackboneIdentity
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.backbones.presets import PRESETS, backbone_addresses
from evcap_cli.errors import PluginError, UsageError
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


class Broken(Family):
    def load(self, weights, device, dtype):
        raise KeyError("conv1.weight")


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    classes = {cls.spec.name: cls for cls in TINY.values()} | {"family": Family, "broken": Broken}

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
        ({"appearance": "broken"}, {}, PluginError, "conv1.weight"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line(addresses, given, error, message):
    with pytest.raises(error) as caught:
        load_backbones(addresses, **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


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
