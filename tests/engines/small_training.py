"""A data root of a few films, and `evcap train` on it with bundled backbones, which workers have as well."""

from __future__ import annotations

from pathlib import Path

from evcap_cli.features.cache_entries import unpack
from tests.commands.small import evcap
from tests.features.films import make_film
from tests.training import toy


def make_root(root: Path, *, train: int = 4, test: int = 1) -> Path:
    """Films to train on, of which the last is a link to the first and one more is no video; and some to test on."""
    captions = toy.captions(train + 2 + test)
    videos = list(captions)
    folder = root / "data" / "EmVidCap-L"
    folder.mkdir(parents=True)
    (root / "videos").mkdir()
    for split, part in (("trainval", videos[: train + 2]), ("test", videos[train + 2 :])):
        rows = [f"{video}\t{text}" for video in part for text in captions[video]]
        (folder / f"EmVideo_{split}_captions.csv").write_text("\n".join(["VideoID\tEmCaptions", *rows]) + "\n")
    for number in (*range(train), *range(train + 2, train + 2 + test)):
        make_film(root / "videos" / f"{number}.mp4", frames=10 + number, sound=False, seed=number)
    (root / "videos" / f"{train}.mp4").symlink_to(root / "videos" / "0.mp4")
    (root / "videos" / f"{train + 1}.mp4").write_text("not a video")
    words = root / "EmotionEval" / "sentiment-words-E"
    words.mkdir(parents=True)
    for category, entries in toy.LEXICON.table.items():
        (words / f"{category}.txt").write_text("\n".join(entries))
    (root / "tiny.toml").write_text(toy.recipe_text(epochs=1))
    return root


def train(root: Path, run: Path, *more: object) -> int:
    """The exit code."""
    backbones = ("--appearance", "lite-appearance", "--motion", "lite-motion")
    off = ("--without", "fine-grained", "--without", "audio-visual")
    given = ("--data", root, "--recipe", root / "tiny.toml", "--select", "loss", "--no-test")
    return evcap("train", *backbones, *off, *given, "--cache-dir", run.with_suffix(".cache"), "-o", run, *more)


def made(run: Path) -> dict[str, object]:
    """The bytes of a run's weights and of all features in its cache, whose headers have no fixed order."""
    found: dict[str, object] = {"weights": (run / "model.safetensors").read_bytes()}
    for file in run.with_suffix(".cache").rglob("*.safetensors"):
        about, arrays = unpack(file.stem, file.read_bytes())
        found[file.stem] = about, {name: (array.shape, array.tobytes()) for name, array in arrays.items()}
    return found
