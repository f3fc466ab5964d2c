"""``evcap weights import epan`` and ``dcgn``: a checkpoint of their released code becomes a folder of evcap's."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import console
from evcap_cli.checkpoints.hub import CARD, CONFIG, without_places
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.training.released_checkpoint import ReleasedWeights

SYSTEMS: Final = ("epan", "dcgn")
"""Systems whose released checkpoints can be imported."""
ABOUT: Final = "Weights of the released code, imported; as_published = true computes as that code does."


@dataclass(frozen=True)
class ReleasedFlags:
    """What the command line says of a released checkpoint; None: nothing.

    Args:
        vocabulary: the file of words. lexicon: the emotion words.
        backbone: preset whose appearance backbone the features are from. appearance: that backbone itself.
        features: name of published features, of which nothing is known but their width.
        settings: of backbones.
    """

    vocabulary: Path | None
    lexicon: Path | None
    backbone: str | None
    appearance: str | None
    features: str | None
    settings: shared.BackboneSettings

    @property
    def any_given(self) -> bool:
        """Whether anything was said that only a system needs."""
        said = (self.vocabulary, self.lexicon, self.backbone, self.appearance, self.features)
        return any(value is not None for value in said)


def import_released(system: str, file: Path, run: Path, flags: ReleasedFlags) -> None:
    """Write the folder, config.json last.

    Raises:
        UsageError: something is not said that must be, or the folder is a checkpoint already.
        EvcapError: a file that does not fit or cannot be read, a backbone that does not fit.
    """
    vocabulary, lexicon = _needed(flags.vocabulary, "vocabulary"), _needed(flags.lexicon, "lexicon")
    named = [value for value in (flags.backbone, flags.appearance, flags.features) if value is not None]
    if not named:
        raise UsageError(
            "nothing says what the features are",
            hint="for example --backbone clip, or --features CLIP for published features",
        )
    if flags.features is not None and len(named) > 1:
        raise UsageError("--features goes without --backbone and --appearance", hint="name one of them")
    if run.is_file():
        raise UsageError("is a file, where a folder is to be made", path=run, hint="give another -o")
    if (run / CONFIG).exists():
        raise UsageError("is a checkpoint already", path=run, hint="give another -o")

    from evcap_cli.backbones.weights import read_legacy, read_tensors
    from evcap_cli.training.model_card import model_card
    from evcap_cli.training.released_checkpoint import ReleasedWeights, released_checkpoint

    read = read_tensors if file.suffix == ".safetensors" else read_legacy
    weights = ReleasedWeights.of(system, _tensors(read(file)), file)
    checkpoint = released_checkpoint(
        weights,
        vocabulary,
        lexicon,
        _features(weights, flags),
        name=run.resolve().name,
        command=without_places(shlex.join(["evcap", *sys.argv[1:]])),
    )
    checkpoint.save_pretrained(run, card=model_card(checkpoint, about=ABOUT))
    width = weights.config.appearance_dim
    words, name = len(checkpoint.vocabulary), checkpoint.backbones["appearance"]["name"]
    console.info(f"{run}: {system} with {counted(words, 'word')}, features {width} wide of {name}; {CARD} says more")
    more = "" if flags.features is None else " --appearance NAME"
    console.info(f"use it with evcap caption VIDEOS -c {shlex.quote(str(run))}{more} -o captions.srt")


def _needed(path: Path | None, what: str) -> Path:
    if path is None:
        hints = {
            "vocabulary": "--vocabulary FILE, a word a line in the order of the rows",
            "lexicon": "--lexicon FOLDER, such as the EmotionEval folder of EPAN",
        }
        raise UsageError(f"a checkpoint of the released code needs its {what}", hint=hints[what])
    return path


def _tensors(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in given.items()}


def _features(weights: ReleasedWeights, flags: ReleasedFlags) -> dict[str, Any]:
    """Record of the appearance backbone.

    Raises:
        UsageError: its features have another width, or a preset without one. EvcapError: it cannot be loaded.
    """
    from evcap_cli.backbones.loading import load_backbones, make_backbone
    from evcap_cli.backbones.presets import backbone_addresses
    from evcap_cli.checkpoints.checkpoint import backbone_record
    from evcap_cli.data.features_hdf5 import FOREIGN_VERSION

    dim = weights.config.appearance_dim
    if flags.features is not None:
        name = flags.features
        return {"name": name, "options": {}, "version": FOREIGN_VERSION, "dim": dim, "weights_digest": ""}
    own = {} if flags.appearance is None else {"appearance": flags.appearance}
    address = backbone_addresses(flags.backbone, own, flags.settings.presets).get("appearance")
    if address is None:
        raise UsageError(f"the preset {flags.backbone} names no appearance backbone", hint="name one with --appearance")
    settings = flags.settings
    width = make_backbone("appearance", address, settings.options).spec.dim
    if width != dim:
        raise UsageError(
            f"the weights read features {dim} wide, {address} gives {width}",
            path=weights.path,
            hint="name the backbone whose features they were trained on",
        )
    loaded = load_backbones(
        {"appearance": address}, weights=settings.weights, options=settings.options, allow_unused=settings.allow_unused
    )
    return backbone_record(loaded["appearance"])
