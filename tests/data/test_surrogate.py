"""Surrogate features: what a stream tells, what it does not, and that the same captions give the same bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.features_hdf5 import FeatureFiles
from evcap_cli.data.features_layout import SURROGATE_NOTE, surrogate_kinds
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.surrogate import KINDS, SurrogateMaker, SurrogateSettings, direction, seen
from evcap_cli.data.word_classes import WordClasses
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.errors import DataError, UsageError, WriteError
from evcap_cli.output import features_hdf5
from evcap_cli.output.surrogate_files import surrogate_paths, write_surrogates

LEXICON = Lexicon({"joy": ["happily", "cheerful"], "fear": ["scared"], "sadness": ["sadly"]}, name="three")
TABLE = {"man": "noun", "dogs": "noun", "dog": "noun", "tree": "noun", "rides": "verb", "riding": "verb", "run": "verb"}
CLASSES = WordClasses(LEXICON, TABLE)  # type: ignore[arg-type]
CLEAR = SurrogateSettings(noise=0, dropout=0, width=1024)


def streams(captions: list[str], settings: SurrogateSettings = CLEAR, key: str = "10001") -> dict[str, np.ndarray]:
    made = SurrogateMaker(CLASSES, settings).features(key, captions).streams
    return {kind: stream.values.numpy() for kind, stream in made.items()}


def told(rows: np.ndarray, stream: str, word: str) -> float:
    """The most that any row tells of a word."""
    return float((rows @ direction(stream, word, rows.shape[1])).max())


def test_each_kind_of_word_is_in_its_streams_and_in_no_other() -> None:
    made = streams(["a man rides happily", "the dogs run"])
    strong = {
        (kind, word)
        for kind in KINDS
        for word in ("man", "dog", "rid", "run", "word happily", "word scared")
        if told(made[kind], kind, word) > 0.15
    }
    assert strong == {
        *((kind, word) for kind in ("appearance", "object") for word in ("man", "dog")),
        *(("motion", word) for word in ("rid", "run")),
        *((kind, "word happily") for kind in ("appearance", "audio")),
    }
    assert told(made["appearance"], "appearance", "word happily") < 0.7 * told(made["audio"], "audio", "word happily")


def test_words_of_a_category_share_a_direction_and_others_do_not() -> None:
    joy, cheer, fear = (streams([f"man {word}"])["audio"].sum(axis=0) for word in ("happily", "cheerful", "scared"))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(joy, cheer) == pytest.approx(0.5, abs=0.1)
    assert cosine(joy, fear) == pytest.approx(0, abs=0.1)


def test_a_word_counts_by_the_share_of_captions_that_say_it() -> None:
    found = seen([["a", "man", "man", "rides"], ["the", "man", "riding"], ["dogs"], ["dog"], []], CLASSES)
    assert dict(zip(found["noun"].words, found["noun"].strengths.tolist(), strict=True)) == {"dog": 0.5, "man": 0.5}
    assert dict(zip(found["verb"].words, found["verb"].strengths.tolist(), strict=True)) == {"rid": 0.5}
    made = streams(["a man"] * 3 + ["a tree"])
    assert told(made["appearance"], "appearance", "man") == pytest.approx(0.75, abs=0.1)
    assert told(made["appearance"], "appearance", "tree") == pytest.approx(0.25, abs=0.1)


def test_rows_are_within_the_limits_and_a_word_shows_in_one_stretch() -> None:
    for number in range(20):
        made = streams(["a man rides happily"], key=str(number))
        assert (len(made["appearance"]), len(made["motion"]), len(made["object"])) == (30, 30, 1)
        assert 20 <= len(made["audio"]) <= 60
        on = (made["motion"] @ direction("motion", "rid", 1024)) > 0.5
        assert 9 <= on.sum() <= 30
        assert np.abs(np.diff(on.astype(int))).sum() <= 2
    words = {f"thing{chr(97 + n)}": "noun" for n in range(26)}
    many = SurrogateMaker(WordClasses(LEXICON, words), CLEAR)  # type: ignore[arg-type]
    assert many.features("1", [" ".join(words)]).streams["object"].values.shape == (16, 1024)


def test_a_video_whose_captions_say_nothing_known_has_noise_only() -> None:
    made = streams(["an odd zebra", ""], SurrogateSettings(noise=0.5, width=64))
    assert {kind: len(rows) for kind, rows in made.items()} | {"audio": 0} == {
        "appearance": 30,
        "motion": 30,
        "object": 0,
        "audio": 0,
    }
    assert all(np.isfinite(rows).all() for rows in made.values())


def test_noise_has_the_length_that_is_asked_for_and_does_not_average_out() -> None:
    rows = np.stack([streams([""], SurrogateSettings(noise=2, width=256), str(n))["motion"] for n in range(30)])
    assert np.sqrt((rows**2).sum(axis=2).mean()) == pytest.approx(2, rel=0.05)
    shared = np.sqrt((rows.mean(axis=1) ** 2).sum(axis=1).mean())
    assert shared == pytest.approx(np.sqrt(2), rel=0.1)


@pytest.mark.slow
def test_dropout_hides_its_share_of_words_and_all_at_one() -> None:
    def hidden(share: float) -> float:
        settings = SurrogateSettings(noise=0, dropout=share, width=64)
        return float(np.mean([not streams(["a man"], settings, str(n))["appearance"].any() for n in range(300)]))

    assert (hidden(0), hidden(1)) == (0, 1)
    assert hidden(0.3) == pytest.approx(0.3, abs=0.08)


def test_directions_do_not_depend_on_the_seed_and_noise_does() -> None:
    first, other = (streams(["a man"], SurrogateSettings(seed=seed, dropout=0, width=64)) for seed in (0, 1))
    assert not np.array_equal(first["motion"], other["motion"])
    # the value is held: files of one version of evcap must fit the checkpoints of another
    assert np.sign(direction("appearance", "man", 16)).astype(int).tolist() == GOLDEN
    assert np.linalg.norm(direction("motion", "man", 512)) == pytest.approx(1)


GOLDEN = [1, -1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1, -1, 1, -1, -1]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"noise": -1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"dropout": 1.5}, "dropout"),
        ({"width": 12}, "width"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        SurrogateSettings(**values)


Opened = Callable[[], DataRoot]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """An invented data root of 24 videos without any video."""
    write_world(tmp_path / "world", make_facts(24, 1), render=False)
    return tmp_path / "world"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_files_are_in_the_published_layout_and_name_themselves(world: Path, tmp_path: Path) -> None:
    root = DataRoot.open(world)
    written = write_surrogates(root, tmp_path / "out", SurrogateSettings(width=32))
    assert {path.name for path in written.files} == {
        f"surrogate-{kind}_{split}.hdf5" for kind in KINDS for split in ("train", "test")
    }
    assert written.videos == {"train": len(root.train), "test": len(root.test)}
    for split, videos in (("train", root.train), ("test", root.test)):
        for kind, path in surrogate_paths(tmp_path / "out", split).items():
            with h5py.File(path) as file:
                assert set(file) == {video.removeprefix("vid") for video in videos}
                assert {item.shape[1] for item in file.values()} == {32}
                assert file.attrs["surrogate"] == SURROGATE_NOTE
                about = json.loads(file.attrs["evcap"])
                assert (about["kind"], about["backbone"]["name"]) == (kind, f"surrogate-{kind}")
                options = about["backbone"]["options"]
                assert (options["noise"], options["dropout"], options["seed"]) == ("1", "0.2", "0")
    both = zip(*(surrogate_paths(tmp_path / "out", split).items() for split in ("train", "test")), strict=True)
    source = FeatureFiles({kind: [train, test] for (kind, train), (_, test) in both})
    assert surrogate_kinds(source.backbones) == list(KINDS)
    assert [video for video, _ in source.read([*root.train, *root.test])] == [*root.train, *root.test]


def test_no_word_of_a_caption_is_in_the_files(world: Path, tmp_path: Path) -> None:
    root = DataRoot.open(world)
    write_surrogates(root, tmp_path / "out", SurrogateSettings(width=32))
    words = {word for texts in root.train.values() for text in texts for word in text.split() if len(word) > 6}
    assert words
    whole = b"".join(contents(tmp_path / "out").values())
    assert [word for word in sorted(words) if word.encode() in whole] == []


@pytest.mark.slow
def test_the_same_root_gives_the_same_bytes_whatever_the_order_of_its_rows(world: Path, tmp_path: Path) -> None:
    settings = SurrogateSettings(width=32)
    write_surrogates(DataRoot.open(world), tmp_path / "one", settings)
    for path in world.rglob("*.csv"):
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head, *random.Random(3).sample(rows, len(rows))]) + "\n")
    write_surrogates(DataRoot.open(world), tmp_path / "two", settings)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    write_surrogates(DataRoot.open(world), tmp_path / "three", SurrogateSettings(width=32, seed=1))
    assert (
        contents(tmp_path / "one")["surrogate-audio_test.hdf5"]
        != contents(tmp_path / "three")["surrogate-audio_test.hdf5"]
    )


@pytest.mark.slow
def test_files_that_are_there_stay_unless_they_may_be_replaced(world: Path, tmp_path: Path) -> None:
    root, folder = DataRoot.open(world), tmp_path / "out"
    write_surrogates(root, folder, SurrogateSettings(width=32))
    before = contents(folder)
    with pytest.raises(WriteError, match="is there already"):
        write_surrogates(root, folder, SurrogateSettings(width=64))
    assert contents(folder) == before
    root.test.clear()
    write_surrogates(root, folder, SurrogateSettings(width=64), overwrite=True)
    # the test features of other settings must not stay beside the new ones
    assert {path.name for path in folder.iterdir()} == {f"surrogate-{kind}_train.hdf5" for kind in KINDS}


@pytest.mark.slow
def test_a_failure_half_way_leaves_what_was_there(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = DataRoot.open(world), tmp_path / "out"
    write_surrogates(root, folder, SurrogateSettings(width=32))
    before = contents(folder)
    real, calls = features_hdf5.FeatureExport.add, 0

    def failing(self: features_hdf5.FeatureExport, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 21:
            raise WriteError("cannot write (No space left on device)", path=folder)
        real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features_hdf5.FeatureExport, "add", failing)
    with pytest.raises(WriteError, match="No space"):
        write_surrogates(root, folder, SurrogateSettings(width=64), overwrite=True)
    assert contents(folder) == before


def test_an_id_that_is_no_key_is_refused(world: Path, tmp_path: Path) -> None:
    root = DataRoot.open(world)
    root.train["a/b"] = ["a man runs"]
    with pytest.raises(DataError, match="'a/b' cannot be a key"):
        write_surrogates(root, tmp_path / "out", SurrogateSettings(width=32))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_clips_of_msvd_go_by_their_own_names(world: Path, tmp_path: Path) -> None:
    root = DataRoot.open(world)
    root.train["vid12"] = ["a man runs"]
    root.aliases["vid12"] = "abc_1_9"
    write_surrogates(root, tmp_path / "out", SurrogateSettings(width=32))
    with h5py.File(tmp_path / "out" / "surrogate-motion_train.hdf5") as file:
        assert "abc_1_9" in file
        assert "12" not in file
