"""docs/weights.md names the default weights of every bundled backbone and their licence, as the backbones do."""

from __future__ import annotations

import re

from evcap_cli import plugins
from evcap_cli.backbones.contract import KINDS
from evcap_cli.backbones.presets import PRESETS
from evcap_cli.commands.config_file import read_config
from tests.commands.small import ROOT

GUIDE = (ROOT / "docs" / "weights.md").read_text("utf-8")


def test_the_table_of_the_guide_is_what_the_backbones_say() -> None:
    rows = re.findall(r"^\| `(\S+)` \| ([^`|]+) \| [^|]+ \| ([^`|]+) \|$", GUIDE, re.MULTILINE)
    documented = {name: (source, licence) for name, source, licence in rows}
    registry = plugins.registry()
    sources = {
        name: registry.backbones[name]().weights_source()
        for (kind, name), distribution in registry.origin.items()
        if kind == "backbone" and distribution == "evcap"
    }
    said = {name: (source.name, source.license) for name, source in sources.items() if source is not None}
    assert documented == said


def test_the_table_of_presets_is_what_they_are() -> None:
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \| `(\S+)` \| `(\S+)` \| `(\S+)` \|$", GUIDE, re.MULTILINE)
    documented = {name: dict(zip(KINDS, addresses, strict=True)) for name, *addresses in rows}
    assert documented == {name: dict(addresses) for name, addresses in PRESETS.items()}


def test_the_example_of_evcap_toml_is_one(tmp_path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (tmp_path / "evcap.toml").write_text(example.group(1))
    values = read_config(tmp_path / "evcap.toml")
    assert values["presets"]["mine"]["motion"] == "r3d"
    assert set(values) == {"caption", "engine", "presets", "weights", "option"}
