"""Presets and weights of evcap.toml, single backbones beside a preset, and what a checkpoint remembers of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import save_file

from evcap_cli import plugins
from evcap_cli.commands.config_file import read_config
from evcap_cli.errors import UsageError
from evcap_cli.features.cache import FeatureCache
from tests.backbones.serving import Net
from tests.commands.small import ROOT, evcap, records
from tests.features.films import make_film
from tests.features.tiny import TINY
from tests.training import toy

CONFIG = """
[presets.mine]
appearance = "net"
motion = "tiny-motion"
object = "tiny-object"
audio = "tiny-audio"

[presets.ears]
audio = "tiny-audio"

[weights]
net = "net.safetensors"
hubert = "/models/hubert"

[option]
fasterrcnn.top_k = 20
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """net, of a distribution evcap-net, and the tiny backbones."""
    for cls in (Net, *TINY.values()):
        monkeypatch.setitem(plugins.registry().backbones, cls.spec.name, cls)
        monkeypatch.setitem(plugins.registry().origin, ("backbone", cls.spec.name), f"evcap-{cls.spec.name}")


@pytest.fixture
def config(films: Path) -> Path:
    Path("evcap.toml").write_text(CONFIG)
    save_file({"weight": torch.ones(4, 3), "bias": torch.zeros(4)}, "net.safetensors")
    return Path("evcap.toml")


def streams() -> Mapping[str, int]:
    """What the cache of this test holds, and how often."""
    found = dict(FeatureCache(None).info().streams)
    del found["videos"]
    return found


@pytest.mark.slow
def test_extract_takes_a_preset_of_yours_and_its_weights(films: Path, config: Path) -> None:
    assert evcap("extract", films / "a.mp4", "--backbone", "mine", "--config", config, "--device", "cpu") == 0
    assert streams() == {"net": 1, "tiny-motion": 1, "tiny-object": 1, "tiny-audio": 1}


@pytest.mark.slow
def test_a_preset_may_name_some_kinds_only_and_tables_may_name_what_is_not_used(films: Path, config: Path) -> None:
    assert evcap("extract", films / "a.mp4", "--backbone", "ears", "--config", config, "--device", "cpu") == 0
    assert streams() == {"tiny-audio": 1}


@pytest.mark.slow
def test_a_single_backbone_replaces_that_of_a_preset(films: Path, config: Path) -> None:
    command = ["extract", films / "a.mp4", "--device", "cpu"]
    single = ["--appearance", "net:wide", "--weights", "net=random:1"]
    assert evcap(*command, "--backbone", "ears", *single, "--config", config) == 0
    assert streams() == {"net:wide": 1, "tiny-audio": 1}
    assert evcap(*command, "--backbone", "lite", *single, "--object", "tiny-object") == 0
    assert streams() == {"net:wide": 1, "tiny-audio": 1, "lite-motion": 1, "tiny-object": 1, "lite-audio": 1}


@pytest.mark.slow
def test_other_weights_are_other_features(films: Path) -> None:
    command = ["extract", films / "a.mp4", "--appearance", "net", "--device", "cpu"]
    for fill in (1.0, 2.0, 1.0):
        save_file({"weight": torch.full((4, 3), fill), "bias": torch.zeros(4)}, "net.safetensors")
        assert evcap(*command, "--weights", "net=net.safetensors") == 0
    assert evcap(*command, "--weights", "net=random:1") == 0
    assert evcap(*command, "--weights", "net=random:2") == 0
    assert streams() == {"net": 4}


def test_a_flag_wins_over_the_file_name_by_name(films: Path, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["extract", films / "a.mp4", "--backbone", "mine", "--config", config, "--device", "cpu"]
    assert evcap(*command, "--weights", "net=gone.safetensors") == 2
    assert "gone.safetensors: these weights do not exist; check --weights net=PATH" in capfd.readouterr().err
    assert evcap(*command, "--weights", "hubert=/models/hubert") == 2  # a flag for what is not in use is a mistake
    assert "hubert" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[presets]\nmine = 3", ["mine", "no backbone"]),
        ("[presets.mine]", ["mine", "no backbone"]),
        ("[presets.mine]\nsound = 'hubert'", ["mine", "sound", "appearance, motion, object, audio"]),
        ("[presets.mine]\naudio = 3", ["mine", "audio"]),
        ("[presets.mine]\naudio = ''", ["mine", "audio"]),
        ("[presets.lite]\naudio = 'hubert'", ["lite", "evcap's own"]),
        ("presets = 3", ["presets"]),
        ("[weights]\nnet = 3", ["weights", "net"]),
        ("[weights.net]\npath = 'x'", ["weights", "net"]),
        ("[option]\ntop_k = 3", ["option", "top_k"]),
    ],
)
def test_a_bad_table_is_one_line(films: Path, text: str, parts: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    Path("evcap.toml").write_text(text)
    for command in (["extract", films], ["caption", films, "-o", "out.srt"], ["weights", "list", "lite"]):
        assert evcap(*command, "--config", "evcap.toml") == 2
        (line,) = capfd.readouterr().err.splitlines()
        for part in ("evcap.toml", *parts):
            assert part in line
    with pytest.raises(UsageError):
        read_config(Path("evcap.toml"))


def test_an_unknown_preset_names_those_there_are(films: Path, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert evcap("extract", films, "--backbone", "nimble", "--config", config) == 2
    (line,) = capfd.readouterr().err.splitlines()
    for part in ("nimble", "lite, resnet, clip, open, modern, mine, ears", "[presets.nimble]", "--config"):
        assert part in line


@pytest.mark.slow
def test_options_are_named_in_the_file_as_their_flags(films: Path) -> None:
    Path("evcap.toml").write_text("[extract]\nobject = 'tiny-object'\ndevice = 'cpu'\nlimit = 1\n")
    assert evcap("extract", films, "--config", "evcap.toml") == 0
    assert streams() == {"tiny-object": 1}


@pytest.fixture
def trained(films: Path, config: Path) -> Path:
    """What ``train --epochs 0`` makes of preset mine with random weights for net."""
    data = Path("data/EmVidCap-L")
    data.mkdir(parents=True)
    Path("clips").mkdir()
    captions = toy.captions(4)
    for split, videos in (("trainval", list(captions)[:3]), ("test", list(captions)[3:])):
        rows = [f"{video}\t{text}" for video in videos for text in captions[video]]
        (data / f"EmVideo_{split}_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    for number in range(3):
        make_film(Path("clips") / f"{number}.mp4", frames=12, seed=number)
    Path("tiny.toml").write_text(toy.recipe().to_toml())
    command = ["train", "--backbone", "mine", "--config", config, "--weights", "net=random:3", "--epochs", "0"]
    place = ["--data", ".", "--videos", "clips", "--recipe", "tiny.toml", "-o", "run", "--no-test", "--device", "cpu"]
    assert evcap(*command, *place) == 0
    return Path("run")


@pytest.mark.slow
def test_random_weights_are_marked_in_checkpoint_card_and_every_record(
    trained: Path, films: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((trained / "config.json").read_text())["backbones"]["appearance"]
    assert record["weights_digest"].startswith("random:3:")
    assert record["distribution"] == "evcap-net"
    assert "Random weights" in (trained / "README.md").read_text()
    capfd.readouterr()
    # the checkpoint says how its weights were drawn: nothing more need be given
    assert evcap("caption", films, "-c", trained, "-o", "out.jsonl", "--device", "cpu") == 0
    assert "net has random weights (random:3)" in capfd.readouterr().err
    schema = json.loads((ROOT / "docs" / "record.schema.json").read_text())
    made = records(Path("out.jsonl"))
    assert len(made) == 5
    for line in made:
        jsonschema.validate(line, schema)
        assert line["checkpoint"]["untrained"] is True
        assert line["checkpoint"]["weights"] == {"appearance": record["weights_digest"]}
    assert evcap("caption", films, "-c", trained, "-o", "out.srt", "--weights", "net=random:4") == 2
    told = capfd.readouterr().err
    for part in ("other weights", "random:3:", "random:4:", "--weights net=PATH"):
        assert part in told


@pytest.mark.slow
def test_caption_accepts_a_preset_of_yours_that_the_checkpoint_was_trained_on(
    trained: Path, films: Path, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["caption", films / "a.mp4", "-c", trained, "-o", "out.srt", "--device", "cpu"]
    assert evcap(*command, "--backbone", "mine", "--config", config, "--weights", "net=random:3") == 0
    assert evcap(*command, "--backbone", "lite", "--appearance", "net") == 2
    assert "was trained with motion backbone tiny-motion, not with lite-motion" in capfd.readouterr().err


@pytest.mark.slow
def test_a_missing_plugin_is_named_with_the_distribution_to_install(
    trained: Path, films: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(plugins.registry().backbones, "net")
    monkeypatch.delitem(plugins.registry().origin, ("backbone", "net"))
    capfd.readouterr()
    assert evcap("caption", films, "-c", trained, "-o", "out.srt") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: run: needs the appearance backbone net: ")
    assert line.endswith("; pip install evcap-net")
    broken = plugins.Loaded("net", "evcap-net", "1.0", "ImportError: no module named dinosaurs")
    monkeypatch.setattr(plugins.registry(), "loaded", [*plugins.registry().loaded, broken])
    assert evcap("caption", films, "-c", trained, "-o", "out.srt") == 2
    assert "evcap-net brings it and is broken (ImportError: no module named dinosaurs)" in capfd.readouterr().err
