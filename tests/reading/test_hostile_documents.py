"""A configuration, recipe, lexicon, vocabulary or world with one hostile value is read, or refused with its file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.commands.config_file import backbone_options, presets, read_config, weights
from evcap_cli.data.caption_files import read_captions
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.layout import FACTS_FILE, read_world
from evcap_cli.errors import EvcapError
from evcap_cli.reading.text import read_text
from evcap_cli.training.recipe import load_recipe
from tests.commands.small import evcap
from tests.reading.hostile import mutated

TOML = [
    "inf",
    "-inf",
    "nan",
    "1e999",
    "9" * 10_000,
    "9" * 25,
    "-9223372036854775808",
    "0",
    "-1",
    "1.5",
    "true",
    "false",
]
TOML += [
    '"x"',
    '""',
    '"\\u0000"',
    '"\\u001b[0m"',
    "'/dev/zero'",
    "1979-05-27",
    "07:32:00",
    "[]",
    "{}",
    '[1, "a"]',
    "[[]]",
]
TOML += [
    "[" * 2000 + "]" * 2000,
    "[" * 100 + "]" * 100,
    "{a = " * 100 + "1" + "}" * 100,
    "{a = 1}",
    "",
    "@",
    '"\\ud800"',
]
CONFIG = {
    "caption": [
        "workers",
        "segment",
        "cache-dir",
        "output",
        "dry-run",
        "timeout",
        "weights",
        "inputs",
        "config",
        "more",
    ],
    "weights": ["net", "a.b"],
    "option": ["net", "net.key", "net.key.more"],
    "presets.mine": ["appearance", "audio", "more"],
    "presets": ["mine"],
    "none": ["more"],
}
RECIPE = {
    "train": [
        "epochs",
        "learning_rate",
        "schedule",
        "amsgrad",
        "val_share",
        "seed",
        "beam_size",
        "rerank_consensus",
        "more",
    ],
    "model": ["width", "dropout", "fine_grained", "objects", "word_width", "more", "epan"],
    "loss": ["temperature", "nce_denominator", "more"],
    "system": ["more"],
}


def documents(tables: dict[str, list[str]]) -> Iterator[str]:
    draw = random.Random(7)
    for table, keys in tables.items():
        for key in keys:
            yield from (f"[{table}]\n{key} = {value}\n" for value in TOML)
    for value in TOML:
        yield f"{draw.choice(list(tables))} = {value}\n"


def refused_or_done(path: Path, text: str, call: Callable[[], object]) -> bool:
    path.write_text(text, "utf-8")
    try:
        call()
    except EvcapError as problem:
        said = str(problem)
        assert path.stem in said
        assert len(said) < 700
        assert said.isprintable()
        return False
    return True


@pytest.mark.slow
def test_configurations(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evcap.toml"

    def read() -> None:
        read_config(path)
        for part in (presets, weights, backbone_options):
            for name, value in part(path).items():
                assert isinstance(name, str)
                assert isinstance(value, (str, dict))

    several = list(documents(CONFIG))
    assert sum(refused_or_done(path, text, read) for text in several) > 20
    for text in random.Random(1).sample(several, 10):
        path.write_text(text)
        code = evcap("caption", tmp_path / "nowhere", "-o", tmp_path / "o.srt", "--dry-run", "--config", path)
        said = capfd.readouterr().err
        assert code == 2
        assert "evcap.toml" in said or "nowhere" in said or "Invalid value" in said
        assert "unexpected" not in said


@pytest.mark.slow
def test_recipes(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"

    def read() -> None:
        recipe = load_recipe(str(path))
        dims: dict[str, Any] = {f"{kind}_dim": 8 for kind in ("appearance", "motion", "object", "audio")}
        recipe.captioner(**dims, vocabulary=50, categories=3, words=5)

    assert sum(refused_or_done(path, text, read) for text in documents(RECIPE)) > 10


def test_lexicons_and_vocabularies(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    lexicon = json.loads(Lexicon({"joy": ["happily"], "fear": ["scared"]}).to_json())
    vocabulary = json.loads(Vocabulary(["a", "man"]).to_json())
    for kind, valid in ((Lexicon, lexicon), (Vocabulary, vocabulary)):
        for _, text in mutated(valid, 100):
            refused_or_done(path, text, lambda kind=kind: kind.from_json(read_text(path), path=path))


def test_worlds(tmp_path: Path) -> None:
    clip = ClipFacts("vid10000", ("man",), "walk", "park", "anger", "left", False, True, "anger", 4.0, 7)
    row = clip.to_dict() | {"split": "test"}
    path = tmp_path / FACTS_FILE
    path.write_text(json.dumps(row) + "\n")
    assert read_world(tmp_path).facts == (clip,)
    for _, text in mutated(row, 100):
        refused_or_done(path, text, lambda: read_world(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_every_reader_takes_what_windows_saves(encoding: str, tmp_path: Path) -> None:
    def saved(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding)
        return path

    assert read_config(saved("evcap.toml", '[weights]\nnet = "ä"\n')) == {"weights": {"net": "ä"}}
    assert load_recipe(str(saved("recipe.toml", "[train]\nepochs = 3\n"))).train.epochs == 3
    assert read_captions(saved("train.csv", "VideoID\tEmCaptions\r\nvid1\tein Bär\r\n")).captions == {
        "vid1": ["ein Bär"]
    }
    saved("words/fear.txt", "ängstlich\r\n")
    lists = saved("words/joy.txt", "fröhlich\r\nhappy\r\n").parent
    assert Lexicon.from_folder(lists).table == {"fear": ("ängstlich",), "joy": ("fröhlich", "happy")}
    lexicon = Lexicon({"joy": ["fröhlich"]})
    assert Lexicon.from_json(read_text(saved("lexicon.json", lexicon.to_json()))) == lexicon
