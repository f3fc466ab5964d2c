"""``evcap train --init CHECKPOINT``: a run that starts from a checkpoint's weights instead of random ones.

It keeps the checkpoint's system, architecture, backbones and words; ``weight_transfer.py`` moves the weights. The
vocabulary grows by the new words of the captions, after the old ones. The lexicon is the data's: categories and
emotion words that the checkpoint has by the same name keep their weights, others start near them, and what only the
checkpoint has is left out, because nothing in the data could train or score it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast, get_args

import torch

from evcap_cli import console, plugins
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.trained_backbones import check_installed, requested_backbones, with_trained_backbones
from evcap_cli.console import counted, listed
from evcap_cli.data.features_hdf5 import FOREIGN_VERSION
from evcap_cli.data.features_layout import surrogate_kinds
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.special_tokens import SPECIALS
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import CheckpointError, UsageError
from evcap_cli.features.options import FeatureOptions
from evcap_cli.reading.ranges import field_types
from evcap_cli.training.recipe import Recipe, TrainConfig, builtin_recipes, load_recipe
from evcap_cli.training.recipe_tables import FROM_DATA, system_defaults
from evcap_cli.training.weight_transfer import row_sources, take_over, word_dimensions

if TYPE_CHECKING:
    from pathlib import Path

    from evcap_cli.backbones.contract import Kind
    from evcap_cli.features.options import Sampling
    from evcap_cli.network.config import SystemConfig
    from evcap_cli.systems.contract import CaptionModel

OptionsT = TypeVar("OptionsT", bound=FeatureOptions)

RECIPE_NAME: Final = "fine-tuning"
LEAST_STEPS: Final = 600
"""*Decision*: of a run whose epochs nobody gave. The checkpoint's epochs were enough for its own data; on 60 clips they
are 180 steps, in which new words are hardly learned (docs/your-own.md has the figures)."""
MOST_EPOCHS: Final = 60
"""*Decision*: that a run gets for its steps: each one writes captions of the held-out videos."""
OF_THE_RUN: Final = frozenset(
    ("seed", "select", "val_share", "early_stop", "self_critical_epochs", "min_count", "precision")
)
"""Settings of training that are not taken from the checkpoint: they belong to its data, machine or question."""
_NAMED: Final = 5
_LONGEST: Final = 200
_FROM_NOTHING: Final = "to change it, train from nothing, without --init"


@dataclass(frozen=True)
class InitialWeights:
    """A checkpoint to start from.

    Args:
        checkpoint: whose weights.
        freeze: parts of the model (``CaptionModel.parts``) that training leaves as they are.
        refit_normalisation: take the statistics of features from the run's own training clips.

    Raises:
        UsageError: the system has no part of that name, or every part is frozen.
    """

    checkpoint: Checkpoint
    freeze: tuple[str, ...] = ()
    refit_normalisation: bool = False

    def __post_init__(self) -> None:
        parts = self.checkpoint.model.parts()
        unknown = [part for part in self.freeze if part not in parts]
        if unknown:
            raise UsageError(
                f"{self.checkpoint.system} has no part {unknown[0]!r} to freeze",
                path=self.checkpoint.name,
                hint=f"its parts: {', '.join(parts)}" if parts else "leave --freeze out",
            )
        if self.freeze and not parts.keys() - set(self.freeze):
            raise UsageError("--freeze names every part: nothing is left to train", hint=f"leave out {self.freeze[-1]}")

    @classmethod
    def open(cls, source: str | Path, *, freeze: Iterable[str] = (), refit_normalisation: bool = False) -> Self:
        """Load ``demo``, a run, a checkpoint folder or ``hf-hub:org/name[@revision]``.

        Raises:
            CheckpointError: it cannot be loaded. UsageError: see the class.
        """
        return cls(Checkpoint.from_pretrained(source), tuple(dict.fromkeys(freeze)), refit_normalisation)

    def recipe(self, given: str | None, system: str | None) -> Recipe:
        """How to train on from the checkpoint; its architecture and, unless a recipe sets them, its losses are kept.

        Args:
            given: a recipe, whose [train] table then counts as it stands; None: the checkpoint's own settings.
            system: that the user names.

        Raises:
            UsageError: another system or architecture, or a recipe that cannot be read.
        """
        own, config = self.checkpoint.system, self.checkpoint.model.config
        if system not in (None, own):
            raise UsageError(
                f"holds a {own} model, not {system}",
                path=self.checkpoint.name,
                hint=f"leave --model out, or train {system} without --init",
            )
        base = Recipe(self._settings(), name=RECIPE_NAME, system=own) if given is None else load_recipe(given, own)
        self.check(base)
        kept = {each.name: getattr(config, each.name) for each in fields(config) if each.name not in FROM_DATA}
        losses = asdict(config.loss) if hasattr(config, "loss") else {}
        return replace(base, model={**kept, **base.model}, loss={**losses, **base.loss})

    def check(self, recipe: Recipe) -> None:
        """See that a recipe asks for no other architecture than the checkpoint's.

        Raises:
            UsageError: naming the first field that differs, with both values.
        """
        self._check(recipe.model, f"recipe {recipe.name}")

    def check_config(self, config: SystemConfig) -> None:
        """The same of a whole configuration, the widths of its features included."""
        self._check({each.name: getattr(config, each.name) for each in fields(config)}, "this run")

    def _check(self, values: Mapping[str, Any], place: str) -> None:
        config = self.checkpoint.model.config
        types = field_types(type(config))
        for name, value in values.items():
            kind = types.get(name)
            # shares and noise are habits of training: dropout may be another one
            if name in ("vocabulary", "categories", "words", "loss") or float in (kind, *get_args(kind)):
                continue
            trained = getattr(config, name, None)
            if trained != (tuple(value) if isinstance(trained, tuple) else value):
                raise UsageError(
                    f"was trained with {name} {_shown(trained)}, not {_shown(value)} ({place})",
                    path=self.checkpoint.name,
                    hint=_FROM_NOTHING,
                )

    def _settings(self) -> TrainConfig:
        """The checkpoint's settings; by the recipe that it names where it has none, by its system's at last."""
        training, system = self.checkpoint.training, self.checkpoint.system
        name, stored = training.get("recipe"), training.get("settings")
        if name in builtin_recipes():
            base = load_recipe(str(name), system).train
        else:
            base = TrainConfig(**system_defaults(system)["train"])
        base = replace(base, self_critical_epochs=0)
        known = {each.name for each in fields(TrainConfig)} - OF_THE_RUN
        taken = {key: value for key, value in stored.items() if key in known} if isinstance(stored, dict) else {}
        try:
            base = replace(base, **taken)
        except (ValueError, TypeError) as problem:
            console.warn(f"{self.checkpoint.name}: its settings of training are not used ({problem})")
        return base

    def with_enough_steps(self, recipe: Recipe, captions: int) -> Recipe:
        """``recipe`` with so many epochs, ``MOST_EPOCHS`` at most, that few captions have ``LEAST_STEPS`` steps.

        What is changed is said.

        Args:
            recipe: whose epochs nobody gave.
            captions: to train on and to hold out.
        """
        settings = recipe.train
        an_epoch = math.ceil((1 - settings.val_share) * captions / settings.batch_size)
        epochs = min(math.ceil(LEAST_STEPS / max(an_epoch, 1)), MOST_EPOCHS)
        if epochs <= settings.epochs:
            return recipe
        console.info(
            f"{counted(epochs, 'epoch')} of {counted(an_epoch, 'step')}: {self.checkpoint.name} had {settings.epochs},"
            f" which are few steps for {counted(captions, 'caption')} (--epochs sets another number)"
        )
        return recipe.with_values(epochs=epochs)

    def options(self, options: OptionsT, *, videos: bool) -> OptionsT:
        """``options`` that name the checkpoint's backbones, and its sampling where they name none.

        Args:
            options: of the run.
            videos: features are computed; False: they come from files.

        Raises:
            CheckpointError: they name other backbones, or there are no backbones that could read videos.
            PluginError: one is not installed.
        """
        hint = f"leave the option out; {_FROM_NOTHING}"
        requested = requested_backbones(self.checkpoint, options)
        chosen = with_trained_backbones(self.checkpoint, options, requested, hint=hint)
        if videos:
            records = self.checkpoint.backbones
            made = surrogate_kinds(records)
            files = [r["name"] for kind, r in records.items() if kind in made or r["version"] == FOREIGN_VERSION]
            if files:
                raise CheckpointError(
                    f"was trained on feature files ({files[0]}), not on a backbone",
                    path=self.checkpoint.name,
                    hint="give files of the same features with --features",
                )
            check_installed(self.checkpoint)
        return replace(chosen, sampling=options.sampling or cast("Sampling", self.checkpoint.sampling))

    def check_source(self, backbones: Mapping[Kind, Mapping[str, Any]], sampling: str) -> None:
        """See that a run's features are those of the checkpoint's backbones.

        Raises:
            CheckpointError: naming the first difference.
        """
        self.checkpoint.check_records(backbones)
        if sampling != self.checkpoint.sampling:
            console.warn(
                f"{self.checkpoint.name} was trained on frames chosen by {self.checkpoint.sampling}, these are by"
                f" {sampling}"
            )

    def lexicon(self, own: Lexicon) -> Lexicon:
        """The run's lexicon: the data's ``own``, or the checkpoint's where the data brings none."""
        return self.checkpoint.lexicon if own == Lexicon.general() else own

    def vocabulary(self, found: Vocabulary) -> Vocabulary:
        """The checkpoint's words with their ids, then the new ones of ``found`` in their order."""
        old = self.checkpoint.vocabulary
        new = [word for word in found.words if word not in old]
        return Vocabulary((*old.words[len(SPECIALS) :], *new))

    def known_words(self) -> dict[str, Collection[str]]:
        """Words whose rows are taken over, by the name of their list."""
        lexicon = self.checkpoint.lexicon
        return {
            "vocabulary": self.checkpoint.vocabulary.ids,
            "categories": lexicon.categories,
            "words": lexicon.word_ids,
        }

    def start(self, model: CaptionModel, vocabulary: Vocabulary, lexicon: Lexicon, seed: int) -> None:
        """Put the checkpoint's weights into ``model`` and say what is new.

        Args:
            model: of the checkpoint's architecture, for the two lists.
            vocabulary: of ``vocabulary``.
            lexicon: of the run.
            seed: of the noise on new rows.

        Raises:
            UsageError: a tensor does not fit.
        """
        old, kind = self.checkpoint, plugins.system(self.checkpoint.system).load()

        def build(config: SystemConfig) -> CaptionModel:
            return kind(config, torch.zeros((config.categories, config.words), dtype=torch.bool))

        sources = row_sources((old.vocabulary, vocabulary), (old.lexicon, lexicon))
        try:
            dimensions = word_dimensions(build, model)
            take_over(model, old.model.state_dict(), dimensions, sources, seed)
        except ValueError as problem:
            raise UsageError(f"its weights do not fit ({problem})", path=old.name, hint=_FROM_NOTHING) from problem
        self._report(vocabulary, lexicon, {name: len(rows.new) for name, rows in sources.items()})

    def _report(self, vocabulary: Vocabulary, lexicon: Lexicon, new: Mapping[str, int]) -> None:
        console.info(
            f"started from {self.checkpoint.name}: {len(vocabulary) - len(SPECIALS)} words, {new['vocabulary']} of them"
            f" new; lexicon of {counted(len(lexicon.categories), 'category', 'categories')}, {new['categories']} new,"
            f" and {len(lexicon.words)} words, {new['words']} new"
        )
        gone = [name for name in self.checkpoint.lexicon.categories if name not in lexicon.categories]
        if gone:
            console.warn(
                f"the lexicon of the data lacks {counted(len(gone), 'category', 'categories')} of"
                f" {self.checkpoint.name}, which the new checkpoint cannot report: {listed(gone, _NAMED)}"
            )
        if "words" in self.freeze and new["vocabulary"]:
            console.warn(f"--freeze words keeps {counted(new['vocabulary'], 'new word')} as they start")

    def frozen(self, model: CaptionModel) -> None:
        """Take the frozen parts of ``model`` out of training."""
        parts = model.parts()
        for name in (name for part in self.freeze for name in parts[part]):
            model.get_parameter(name).requires_grad_(False)

    @property
    def identity(self) -> dict[str, Any]:
        """What of it decides the weights of a run."""
        return {
            "digest": self.checkpoint.digest,
            "freeze": sorted(self.freeze),
            "refit_normalisation": self.refit_normalisation,
        }

    @property
    def origin(self) -> dict[str, Any]:
        """What a run's checkpoint remembers of it, and of those that it came from itself, the latest first."""
        training = self.checkpoint.training
        before = training.get("init")
        earlier = [before, *_list(before.get("earlier"))] if isinstance(before, dict) else []
        return {
            "name": self.checkpoint.name,
            "data": _line(_name_of(training.get("data"))),
            **self.identity,
            "untrained": self.checkpoint.untrained,
            "earlier": [
                {key: _line(one.get(key, "")) for key in ("name", "data", "digest")}
                for one in earlier
                if isinstance(one, dict)
            ],
        }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _name_of(data: object) -> object:
    return data.get("name", "") if isinstance(data, dict) else ""


def _line(value: object) -> str:
    """Text from another's config.json, for ours and for a model card."""
    return " ".join(str(value).split())[:_LONGEST]


def _shown(value: object) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
