"""What presets promise of their backbones: that they exist, can be fetched, and under which licences."""

from __future__ import annotations

import pytest

from evcap_cli.backbones.contract import Backbone
from evcap_cli.backbones.loading import make_backbone
from evcap_cli.backbones.presets import PRESETS, backbone_addresses

BY_HAND = {"resnext3d"}
"""Weights that nothing can download."""


def backbones(preset: str) -> list[Backbone]:
    return [make_backbone(kind, address, {}) for kind, address in backbone_addresses(preset).items()]


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_holds_weights_that_may_not_be_used_commercially(preset: str) -> None:
    for backbone in backbones(preset):
        source = backbone.weights_source()
        assert source is None or "-NC" not in source.license


def test_the_weights_of_modern_all_have_a_licence_and_lie_on_the_hub() -> None:
    sources = [backbone.weights_source() for backbone in backbones("modern")]
    assert [source.license for source in sources if source] == ["Apache-2.0", "MIT", "Apache-2.0", "CC-BY-SA-3.0"]
    assert all(source is not None and source.location.startswith("hf-hub:") for source in sources)


@pytest.mark.parametrize("preset", ["open", "modern"])
def test_nothing_of_open_and_modern_is_fetched_by_hand(preset: str) -> None:
    for backbone in backbones(preset):
        assert backbone.spec.name not in BY_HAND
        assert type(backbone).fetch_weights is not Backbone.fetch_weights


def test_open_is_the_papers_but_for_the_motion_network() -> None:
    assert {**PRESETS["clip"], "motion": "r3d"} == PRESETS["open"]
