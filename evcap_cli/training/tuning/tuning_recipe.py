"""Every number of the training of an adapter, and the TOML recipes that set them.

Tables: ``[train]`` (``TuneConfig``), ``[adapter]`` (``AdapterShape``) and ``[input]`` (``InputConfig``). What is not
marked otherwise is our decision: there is no common set-up in the field.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Le

from evcap_cli.data.learnable import VALIDATION_SHARE
from evcap_cli.errors import UsageError
from evcap_cli.reading.ranges import (
    Beams,
    CaptionWords,
    Count,
    Number,
    Positive,
    Rows,
    Seed,
    Share,
    Weight,
    check_fields,
)
from evcap_cli.reading.typed import read_toml
from evcap_cli.systems.clip_captioner import Style
from evcap_cli.systems.tunable_captioner import MULTIMODAL, AdapterOptions
from evcap_cli.training.recipe_tables import check_tables, to_toml

DEFAULT: Final = "lora"
"""What a run is called that no recipe changes."""
Rank = Annotated[int, Ge(1), Le(1 << 12)]


@dataclass(frozen=True)
class TuneConfig:
    """How to train."""

    epochs: Count = 3
    batch_size: Rows = 16
    """Captions a step."""
    accumulate: Rows = 4
    """Parts that the captions of a step are divided into, whose gradients are added; doubled where memory ends."""
    learning_rate: Positive = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    """``cosine`` falls to a hundredth of the rate at the last step."""
    warmup: Share = 0.03
    """Share of all steps over which the rate rises linearly."""
    weight_decay: Weight = 0.0
    clip_norm: Positive = 1.0
    seed: Seed = 0
    val_share: Share = VALIDATION_SHARE
    """Share of the training videos held out to choose the epoch."""
    select: Literal["cfs", "loss", "last"] = "cfs"
    """The epoch is chosen by CFS on the held-out videos (``loss``: by their cross entropy)."""
    early_stop: Count = 0
    """Stop after so many epochs without a better one; 0: never."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the base's weights; those of the adapter are single precision. ``auto``: bf16 on CUDA, fp32 elsewhere."""
    checkpointing: bool = True
    """Keep the activations of layers' borders only: less memory, a forward pass more."""
    beam_size: Beams = 1
    """Of captions of held-out and test videos, and of the checkpoint."""
    max_words: CaptionWords = 15

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share must lie in [0, 1), got {self.val_share}")


@dataclass(frozen=True)
class AdapterShape:
    """The weights that are added; see ``AdapterOptions``."""

    rank: Rank = 16
    alpha: Positive = 32.0
    dropout: Share = 0.0
    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dropout >= 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not isinstance(self.targets, (list, tuple)) or not all(
            isinstance(target, str) and target for target in self.targets
        ):
            raise ValueError(f"targets must be a list of names, got {self.targets!r:.100}")
        object.__setattr__(self, "targets", tuple(self.targets))


@dataclass(frozen=True)
class InputConfig:
    """What the model gets of a clip."""

    frames: Rows | None = None
    """Of a clip, evenly spread; None: as the captioner has it."""
    frame_size: Number | None = None
    """Pixels of the longer side to which larger frames are scaled down; None: as the captioner has it."""
    style: Style = "emotional"
    """Of the prompt."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class TuningRecipe:
    """A training run of an adapter without its base and data."""

    train: TuneConfig = field(default_factory=TuneConfig)
    adapter: AdapterShape = field(default_factory=AdapterShape)
    input: InputConfig = field(default_factory=InputConfig)
    name: str = DEFAULT

    def with_values(self, **tables: Mapping[str, Any]) -> TuningRecipe:
        """The recipe with what the command line gives, by table; None leaves a value as it is.

        Raises:
            UsageError: a value that is not allowed.
        """
        try:
            changed: dict[str, Any] = {}
            for table, given in tables.items():
                values = {key: value for key, value in given.items() if value is not None}
                changed[table] = replace(getattr(self, table), **values)
            return replace(self, **changed)
        except (ValueError, TypeError) as problem:
            raise UsageError(str(problem), hint="see `evcap train --help`") from problem

    def adapter_options(self) -> AdapterOptions:
        """What the captioner adds to its model."""
        shape = self.adapter
        return AdapterOptions(
            rank=shape.rank,
            alpha=shape.alpha,
            dropout=shape.dropout,
            targets=shape.targets,
            seed=self.train.seed,
            checkpointing=self.train.checkpointing,
        )

    def to_toml(self) -> str:
        """All values, as ``--print-config`` shows and ``--recipe`` reads them."""
        tables = {"train": asdict(self.train), "adapter": asdict(self.adapter), "input": asdict(self.input)}
        known = {
            name: {key: value for key, value in table.items() if value is not None} for name, table in tables.items()
        }
        return to_toml(MULTIMODAL, known)


def tuning_recipes() -> list[str]:
    """Names of the recipes of adapters that ``--recipe`` knows without a file."""
    folder = files("evcap_cli.training").joinpath(f"recipes/{MULTIMODAL}")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def is_tuning(name: str | None) -> bool:
    """Whether a recipe is one of adapters; a file that cannot be read is not: whoever reads it says why."""
    if name is None or name in tuning_recipes():
        return name is not None
    if not os.path.isfile(name):  # noqa: PTH113  a name too long for a file is not there
        return False
    try:
        return read_toml(dict[str, Any], Path(name), error=UsageError).get("system") == MULTIMODAL
    except UsageError:
        return False


def load_tuning_recipe(name: str | None) -> TuningRecipe:
    """Read a recipe of adapters: the name of a built-in one, or a TOML file; None: the defaults.

    Raises:
        UsageError: no such recipe, not TOML, an unknown table or field, a value that is not allowed, another system's.
    """
    if name is None:
        return TuningRecipe()
    path = Path(name)
    if name in tuning_recipes():
        path = Path(str(files("evcap_cli.training").joinpath(f"recipes/{MULTIMODAL}/{name}.toml")))
    elif not os.path.exists(path):  # noqa: PTH110  a name too long for a file is not there
        raise UsageError(
            f"cannot read this recipe of --model {MULTIMODAL} (no such file)",
            path=name,
            hint=f"give a TOML file, or one of: {', '.join(tuning_recipes())}",
        )
    hint = f"see `evcap train --model {MULTIMODAL} --print-config` for all fields"
    tables = read_toml(dict[str, Any], path, error=UsageError, hint=hint)
    system = tables.pop("system", None)
    if system != MULTIMODAL:
        raise UsageError(
            f"is a recipe of {system or 'other systems'}, not of {MULTIMODAL}",
            path=name,
            hint=f'give one that begins with system = "{MULTIMODAL}"',
        )
    kinds: dict[str, Any] = {"train": TuneConfig, "adapter": AdapterShape, "input": InputConfig}
    try:
        unknown = sorted(tables.keys() - kinds.keys())
        if unknown:
            raise ValueError(f"unknown table [{unknown[0]:.100}]; known: {', '.join(kinds)}")
        check_tables(tables, kinds)
        made = {table: kind(**tables.get(table, {})) for table, kind in kinds.items()}
    except (ValueError, TypeError, AttributeError) as problem:
        raise UsageError(f"not a recipe: {problem}", path=name, hint=hint) from problem
    return TuningRecipe(**made, name=Path(name).stem)
