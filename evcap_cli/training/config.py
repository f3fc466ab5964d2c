"""Every number of a training run, and the TOML recipes that set them. The paper's set-up (section 2) is the default.

A recipe has up to three tables: ``[train]`` (``TrainConfig``), ``[model]`` (``CaptionerConfig``) and ``[loss]``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args, get_type_hints

from evcap_cli.captioner.config import CaptionerConfig, LossConfig
from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind

Select = Literal["cfs", "loss", "last", "oracle"]
ORACLE: Final = "oracle"
"""The published habit of choosing the epoch on the test split, to compare with printed tables; marked everywhere."""
MODULES: Final[Mapping[str, str]] = {"fine-grained": "fine_grained", "audio-visual": "audio_visual"}
"""``--without NAME`` -> field of the model."""
MODULE_STREAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "fine-grained": ("motion", "object"),
    "audio-visual": ("audio",),
}
_FROM_DATA = frozenset(
    ("appearance_dim", "motion_dim", "object_dim", "audio_dim", "vocabulary", "categories", "words", "loss")
)
"""Fields of the model that backbones and data decide."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. What the paper leaves open is marked *Decision*."""

    epochs: int = 30
    batch_size: int = 128
    """Captions a step."""
    captions_per_clip: int = 4
    """*Decision*: captions of one video that share a step, so that a video is encoded once for them."""
    learning_rate: float = 7e-4
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` falls to a hundredth of the rate at the last epoch, once an epoch."""
    warmup_epochs: int = 0
    """Epochs over which the rate rises linearly, step by step."""
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    """EPAN's gradient clip."""
    seed: int = 0
    val_share: float = 0.1
    """*Decision*: share of the training videos held out to choose the epoch; EmVidCap has no validation split."""
    select: Select = "cfs"
    """*Decision*: the epoch is chosen by CFS on the held-out videos (``loss``: by their cross entropy; ``oracle``: by
    CFS on the test split)."""
    early_stop: int = 0
    """Stop after so many epochs without a better one; 0: never."""
    min_count: int = 1
    """Rarer words become unknown."""
    labels: Literal["caption", "video"] = "caption"
    """Emotion labels of a caption: of its own words, or of all training captions of its video."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """``auto``: bf16 on CUDA, fp32 elsewhere."""
    beam_size: int = 5
    max_words: int = 15
    length_penalty: float = 1.6
    store: Literal["float32", "float16"] = "float32"
    """Number format of the weights in the checkpoint."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            _check_type(name, getattr(self, name), kind)
        for name in ("batch_size", "captions_per_clip", "min_count", "beam_size", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("epochs", "warmup_epochs", "weight_decay", "early_stop", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.learning_rate <= 0 or self.clip_norm <= 0:
            raise ValueError(f"learning_rate {self.learning_rate} and clip_norm {self.clip_norm} must be positive")
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share must lie in [0, 1), got {self.val_share}")


@dataclass(frozen=True)
class Recipe:
    """A training run without its data.

    Args:
        train: how to train.
        model: fields of ``CaptionerConfig`` that differ from its defaults.
        loss: fields of ``LossConfig`` that differ from its defaults.
        name: of the recipe, for the model card.
    """

    train: TrainConfig = field(default_factory=TrainConfig)
    model: dict[str, Any] = field(default_factory=dict)
    loss: dict[str, Any] = field(default_factory=dict)
    name: str = "paper"

    def captioner(self, **from_data: Any) -> CaptionerConfig:
        """The model's configuration, with what backbones and data decide.

        Raises:
            UsageError: numbers that do not go together.
        """
        try:
            return CaptionerConfig(**{**self.model, **from_data}, loss=LossConfig(**self.loss))
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

    def reading(self, kinds: Collection[str]) -> tuple[Recipe, list[str]]:
        """The recipe without the modules that need a stream beyond ``kinds``, and the names of those modules."""
        off = [
            name
            for name, field_ in MODULES.items()
            if self.model.get(field_, True) and not set(MODULE_STREAMS[name]) <= set(kinds)
        ]
        return self.with_values(model={MODULES[name]: False for name in off}), off

    def read(self, streams: Mapping[Kind, str]) -> dict[Kind, str]:
        """Those of ``streams`` that the model reads: no objects without module B, no sound without module A."""
        unread = {"object": "fine_grained", "audio": "audio_visual"}
        return {kind: name for kind, name in streams.items() if self.model.get(unread.get(kind, ""), True)}

    @property
    def without(self) -> tuple[str, ...]:
        """Names of the modules that are off."""
        return tuple(name for name, field_ in MODULES.items() if not self.model.get(field_, True))

    def to_toml(self) -> str:
        """All values, as ``--print-config`` shows and ``--recipe`` reads them."""
        model = {f.name: self.model.get(f.name, f.default) for f in fields(CaptionerConfig) if f.name not in _FROM_DATA}
        tables = {"train": asdict(self.train), "model": model, "loss": asdict(LossConfig(**self.loss))}
        return "\n".join(
            f"[{table}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
            for table, values in tables.items()
        )


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _check_type(name: str, value: Any, kind: Any) -> None:
    """Recipes are written by people: a wrong type must be named here, not fail an hour later."""
    choices = get_args(kind)
    if choices:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    elif isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {value!r}")


def builtin_recipes() -> list[str]:
    """Names that ``--recipe`` knows without a file."""
    folder = files("evcap_cli.training").joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe: the name of a built-in one, or a TOML file.

    Raises:
        UsageError: no such recipe, not TOML, an unknown table or field, a value that is not allowed.
    """
    if name in builtin_recipes():
        text = files("evcap_cli.training").joinpath(f"recipes/{name}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            hint = f"give a TOML file, or one of: {', '.join(builtin_recipes())}"
            raise UsageError("cannot read this recipe", path=name, hint=hint) from problem
    try:
        return _recipe(tomllib.loads(text), Path(name).stem)
    except (tomllib.TOMLDecodeError, ValueError, TypeError) as problem:
        hint = "see `evcap train --print-config` for all fields"
        raise UsageError(f"not a recipe: {problem}", path=name, hint=hint) from problem


def _recipe(tables: Mapping[str, Any], name: str) -> Recipe:
    model_fields = {f.name for f in fields(CaptionerConfig)} - _FROM_DATA
    known = {
        "train": {f.name for f in fields(TrainConfig)},
        "model": model_fields,
        "loss": {f.name for f in fields(LossConfig)},
    }
    kinds = {"train": TrainConfig, "model": CaptionerConfig, "loss": LossConfig}
    for table, values in tables.items():
        if table not in known or not isinstance(values, dict):
            raise ValueError(f"unknown table [{table}]; known: {', '.join(known)}")
        unknown = sorted(set(values) - known[table])
        if unknown:
            raise ValueError(f"[{table}] has no field {unknown[0]!r}")
        types = get_type_hints(kinds[table])
        for key, value in values.items():
            _check_type(key, value, types[key])
    return Recipe(
        train=TrainConfig(**tables.get("train", {})),
        model=dict(tables.get("model", {})),
        loss=dict(tables.get("loss", {})),
        name=name,
    )
