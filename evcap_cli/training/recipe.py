"""Every number of a training run, and the TOML recipes that set them. The paper's set-up (section 2) is the default.

A recipe has up to three tables: ``[train]`` (``TrainConfig``), ``[model]`` and ``[loss]`` (fields of the system's own
configuration). It may say which ``system`` it is for; what it leaves open is as that system has it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_cli.data.learnable import VALIDATION_SHARE
from evcap_cli.errors import PluginError, UsageError
from evcap_cli.reading.ranges import (
    Beams,
    CaptionWords,
    Count,
    Name,
    Number,
    Penalty,
    Positive,
    Rows,
    Seed,
    Share,
    Weight,
    check_fields,
    check_value,
)
from evcap_cli.reading.typed import read_toml
from evcap_cli.search.rerank import Rerank
from evcap_cli.training.recipe_tables import (
    FUSION,
    check_tables,
    config_kind,
    family,
    for_system,
    loss_kind,
    system_defaults,
    to_toml,
    whole_tables,
)

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.network.config import SystemConfig

Select = Literal["cfs", "loss", "last", "oracle"]
DEFAULT: Final = "paper"
"""The recipe where none is named."""
ORACLE: Final = "oracle"
"""The published habit of choosing the epoch on the test split, to compare with printed tables; marked everywhere."""
MODULES: Final[Mapping[str, str]] = {"fine-grained": "fine_grained", "audio-visual": "audio_visual"}
"""``--without NAME`` -> field of the model."""
OWN_MODULES: Final[Mapping[str, str]] = {"objects": "decoder_objects"}
"""The same of what ``fusion+`` adds."""
MODULE_STREAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "fine-grained": ("motion", "object"),
    "objects": ("motion", "object"),
    "audio-visual": ("audio",),
}
"""What the modules cannot do without."""


def modules_of(system: str) -> Mapping[str, str]:
    """What ``--without`` can leave out of a system: name -> field of the model.

    Raises:
        PluginError: no such system.
    """
    if system == FUSION:
        return MODULES
    return {**MODULES, **OWN_MODULES} if family(system) == FUSION else {}


_ANY_SIZES: Final = {"vocabulary": 1 << 10, "categories": 1 << 10, "words": 1 << 10}
"""Of a configuration that only serves to find the streams it reads."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What the paper leaves open is marked *Decision*."""

    epochs: Count = 30
    batch_size: Rows = 128
    """Captions a step."""
    captions_per_clip: Rows = 4
    """*Decision*: captions of one video that share a step, so that a video is encoded once for them."""
    learning_rate: Positive = 7e-4
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` falls to a hundredth of the rate at the last epoch, once an epoch."""
    warmup_epochs: Count = 0
    """Epochs over which the rate rises linearly, step by step."""
    optimiser: Literal["adam", "adamax"] = "adam"
    amsgrad: bool = False
    """Adam by the largest second moment so far."""
    weight_decay: Weight = 0.0
    clip_norm: Positive = 5.0
    """EPAN's gradient clip."""
    seed: Seed = 0
    val_share: Share = VALIDATION_SHARE
    """*Decision*: share of the training videos held out to choose the epoch; EmVidCap has no validation split."""
    select: Select = "cfs"
    """*Decision*: the epoch is chosen by CFS on the held-out videos (``loss``: by their cross entropy; ``oracle``: by
    CFS on the test split)."""
    early_stop: Count = 0
    """Stop after so many epochs without a better one; 0: never."""
    self_critical_epochs: Count = 0
    """Further epochs after ``epochs``, from the best one so far on, that reward sampled captions by their CFS
    (``self_critical.py``); 0: none."""
    self_critical_rate: Positive = 1e-4
    """Constant learning rate of those."""
    self_critical_samples: Rows = 5
    """Captions sampled of a clip in a step of those, which takes ``batch_size`` captions in all."""
    min_count: Number = 1
    """Rarer words become unknown."""
    labels: Literal["caption", "video"] = "caption"
    """Emotion labels of a caption: of its own words, or of all training captions of its video."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """``auto``: bf16 on CUDA, fp32 elsewhere."""
    beam_size: Beams = 5
    max_words: CaptionWords = 15
    length_penalty: Penalty = 1.6
    rerank_consensus: Weight = 0.0
    """Ours, off: the beam's best are put in a new order (``search/reranking.py``), in training's scores as well."""
    rerank_emotion: Weight = 0.0
    rerank_candidates: int = 10
    store: Literal["float32", "float16"] = "float32"
    """Number format of the weights in the checkpoint."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.self_critical_samples < 2:
            raise ValueError(
                f"self_critical_samples must be at least 2, got {self.self_critical_samples}: a caption is compared"
                " with the others of its clip"
            )
        if self.amsgrad and self.optimiser != "adam":
            raise ValueError(f"amsgrad = true goes with optimiser adam, not with {self.optimiser}")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share must lie in [0, 1), got {self.val_share}")
        _ = self.rerank

    @property
    def rerank(self) -> Rerank:
        """How captions are chosen among the beam's best."""
        return Rerank(self.rerank_consensus, self.rerank_emotion, self.rerank_candidates)


@dataclass(frozen=True)
class Recipe:
    """A training run without its data.

    Args:
        train: how to train.
        model: fields of the system's configuration that differ from its defaults.
        loss: fields of its losses that differ from their defaults.
        name: of the recipe, for the model card.
        system: the registered system that is trained.
    """

    train: TrainConfig = field(default_factory=TrainConfig)
    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    name: str = "paper"
    system: str = FUSION

    def captioner(self, **from_data: Any) -> SystemConfig:
        """The model's configuration, with what backbones and data decide.

        Raises:
            UsageError: numbers that do not go together.
            PluginError: the system cannot be loaded.
        """
        kind = config_kind(self.system)
        losses = loss_kind(kind)
        try:
            loss = {} if losses is None else {"loss": losses(**self.loss)}
            return kind(**{**self.model, **from_data}, **loss)
        except (ValueError, TypeError) as problem:
            raise UsageError(f"the recipe's model cannot be built: {problem}", path=self.name) from problem

    def with_values(self, *, model: Mapping[str, Any] | None = None, **train: Any) -> Recipe:
        """The recipe with what the command line gives; None leaves a value as it is.

        Raises:
            UsageError: a value that is not allowed.
        """
        given = {key: value for key, value in train.items() if value is not None}
        try:
            return replace(self, train=replace(self.train, **given), model={**self.model, **(model or {})})
        except (ValueError, TypeError) as problem:
            raise UsageError(str(problem), hint="see `evcap train --help`") from problem

    def leaving_out(self, names: Collection[str]) -> Recipe:
        """The recipe without modules; what cannot work without one of them is left out with it.

        Raises:
            UsageError: a module that the system does not have.
        """
        modules = modules_of(self.system)
        unknown = [name for name in names if name not in modules]
        if unknown:
            if not modules:
                raise UsageError(f"{self.system} has no modules to leave out", hint="leave --without out")
            raise UsageError(f"unknown --without {unknown[0]!r}", hint=f"one of: {', '.join(modules)}")
        off = {*names, *(name for name in OWN_MODULES if name in modules and "fine-grained" in names)}
        return self.with_values(model={modules[name]: False for name in modules if name in off}) if off else self

    def reading(self, kinds: Collection[str]) -> tuple[Recipe, list[str]]:
        """The recipe without the modules that need a stream beyond ``kinds``, and the names of those modules.

        Systems without modules read what is there.
        """
        off = [
            name
            for name, field_ in modules_of(self.system).items()
            if self.model.get(field_, True) and not set(MODULE_STREAMS[name]) <= set(kinds)
        ]
        return self.leaving_out(off), off

    def read(self, streams: Mapping[Kind, str]) -> dict[Kind, str]:
        """Those of ``streams`` that the model reads: no objects without module B, no sound without module A.

        Raises:
            UsageError: there is no appearance stream.
            PluginError: see ``captioner``.
        """
        if "appearance" not in streams:
            raise UsageError("the captioner needs an appearance backbone", hint="name one with --appearance")
        dims = {f"{kind}_dim": 1 if kind in streams else None for kind in ("appearance", "motion", "object", "audio")}
        read = self.captioner(**dims, **_ANY_SIZES).streams
        return {kind: name for kind, name in streams.items() if kind in read}

    @property
    def without(self) -> tuple[str, ...]:
        """Names of the modules that are off."""
        return tuple(name for name, field_ in modules_of(self.system).items() if not self.model.get(field_, True))

    def to_toml(self) -> str:
        """All values, as ``--print-config`` shows and ``--recipe`` reads them."""
        return to_toml(self.system, whole_tables(self.system, self.train, self.model, self.loss))


def builtin_recipes() -> list[str]:
    """Names that ``--recipe`` knows without a file."""
    folder = files("evcap_cli.training").joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str, system: str | None = None) -> Recipe:
    """Read a recipe: the name of a built-in one, or a TOML file.

    Args:
        name: of it.
        system: to train; None: the one that the recipe names, else the paper's.

    Returns:
        The system's own defaults with what the recipe changes.

    Raises:
        UsageError: no such recipe, not TOML, an unknown table or field, a value that is not allowed, another system's.
        PluginError: no such system.
    """
    path = Path(name)
    if name in builtin_recipes():
        path = Path(str(files("evcap_cli.training").joinpath(f"recipes/{name}.toml")))
    elif not os.path.exists(path):  # noqa: PTH110  a name too long for a file is not there
        raise UsageError(
            "cannot read this recipe (no such file)",
            path=name,
            hint=f"give a TOML file, or one of: {', '.join(builtin_recipes())}",
        )
    hint = "see `evcap train --print-config` for all fields"
    tables = read_toml(dict[str, Any], path, error=UsageError, hint=hint)
    try:
        named = tables.pop("system", None)
        if named is not None:
            check_value("system", named, Name)
        if system is not None and named not in (None, system):
            raise UsageError(
                f"is a recipe of {named}, not of {system}",
                path=name,
                hint=f"give another --recipe, or one of {system}",
            )
        return _recipe(tables, Path(name).stem, system or named or FUSION)
    except (ValueError, TypeError) as problem:
        raise UsageError(f"not a recipe: {problem}", path=name, hint=hint) from problem
    except PluginError as problem:
        if problem.path is None and system is None:  # the recipe named it
            raise PluginError(problem.cause, path=name, hint=problem.hint) from problem
        raise


def _recipe(tables: Mapping[str, Any], name: str, system: str) -> Recipe:
    defaults, config = system_defaults(system), config_kind(system)
    kinds = {"train": TrainConfig, "model": config, "loss": loss_kind(config)}
    try:
        check_tables(defaults, kinds)
    except ValueError as problem:
        raise PluginError(f"the recipe of system {system!r}: {problem}", hint="update the plugin") from problem
    given = for_system(tables, system)
    check_tables(given, kinds)
    values = {table: {**defaults[table], **given[table]} for table in kinds}
    return Recipe(TrainConfig(**values["train"]), values["model"], values["loss"], name, system)
