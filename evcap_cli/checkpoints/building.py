"""From a configuration and a file of weights to a captioner, without trusting either.

The file's header says which tensors it holds. What the configuration implies is drawn up on torch's meta device, where
nothing has a size, and compared with the header first; only then is memory taken.

Notation: N_c categories, N_w emotion words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from evcap_cli import plugins
from evcap_cli.backbones.shapes_only import shapes_only
from evcap_cli.checkpoints.checkpoint_files import COPY_AGAIN, WEIGHTS, ConfigFile
from evcap_cli.checkpoints.hub import CONFIG
from evcap_cli.errors import CheckpointError, PluginError, reason_of
from evcap_cli.reading.regular import open_regular

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.data.vocabulary import Vocabulary
    from evcap_cli.systems.contract import CaptionModel

MOST_HEADER_BYTES: Final = 1 << 24
MOST_PARAMETERS: Final = 1 << 30
"""Of a model that is trained: a hundred times the paper's."""
_LENGTH_BYTES: Final = 8
_LONGEST_NAME: Final = 200
_OTHER_PARTS: Final = 1000
"""Parts of a model that have no tensor of their own: dropout, lists, groups of layers."""
_FLOATS: Final = frozenset(("F16", "BF16", "F32", "F64"))
_OTHERS: Final[Mapping[torch.dtype, str]] = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, by its header."""

    shape: tuple[int, ...]
    dtype: str


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file that is whole; no value is read.

    Raises:
        CheckpointError: it cannot be read, is damaged, or its header is too long.
        OSError: it is not there.
    """
    from safetensors import SafetensorError, safe_open

    with open_regular(path, error=CheckpointError) as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > MOST_HEADER_BYTES:
        raise CheckpointError("is damaged, or no safetensors file (its header is too long)", path=path)
    try:
        with safe_open(path, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  not a mapping
            return {name: StoredTensor(tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except SafetensorError as problem:
        raise CheckpointError(f"is damaged ({_shown(str(problem))})", path=path) from problem


def build_model(
    config: ConfigFile, lexicon: Lexicon, vocabulary: Vocabulary, folder: Path, stored: Mapping[str, StoredTensor]
) -> CaptionModel:
    """The model that config.json describes, with random weights; its tensors are those of the file.

    Raises:
        CheckpointError: they are not; found out before memory is taken for them.
    """
    path = folder / CONFIG
    try:
        kind = plugins.system(config.model, config.distribution).load()
    except PluginError as problem:
        cause = f"holds a {config.model!r} model, which is not usable here: {problem.cause}"
        raise CheckpointError(cause, path=folder, hint=problem.hint) from problem
    try:
        architecture = kind.Config.from_dict(config.architecture)
    except Exception as problem:  # a system of others may raise anything
        raise CheckpointError(f"architecture: {reason_of(problem)}", path=path, hint=COPY_AGAIN) from problem
    sizes = (architecture.vocabulary, architecture.categories, architecture.words)
    found = (len(vocabulary), len(lexicon.categories), len(lexicon.words))
    if sizes != found:
        raise CheckpointError(
            f"config.json names {sizes} words, categories and emotion words, the files hold {found}", path=folder
        )
    for stream, dim in architecture.streams.items():
        if stream not in config.backbones:
            raise CheckpointError(f"backbones.{stream}: is missing", path=path, hint=COPY_AGAIN)
        given = config.backbones[stream]["dim"]
        if given != dim:
            cause = f"backbones.{stream}.dim is {given}, the architecture reads {dim}"
            raise CheckpointError(cause, path=path, hint=COPY_AGAIN)
    try:
        check_fits(lambda mask: kind(architecture, mask), (found[1], found[2]), stored, folder / WEIGHTS)
        return kind(architecture, torch.from_numpy(lexicon.mask()))
    except CheckpointError:
        raise
    except Exception as problem:
        raise CheckpointError(f"architecture: {reason_of(problem)}", path=path, hint=COPY_AGAIN) from problem


def check_fits(
    build: Callable[[torch.Tensor], CaptionModel],
    mask_shape: tuple[int, int],
    stored: Mapping[str, StoredTensor],
    path: Path,
) -> None:
    """See that a file holds exactly the tensors of a model, before any memory is taken for it.

    Args:
        build: makes the model of a lexicon's mask.
        mask_shape: (N_c, N_w).
        stored: the file's tensors.
        path: what errors name.

    Raises:
        CheckpointError: naming the first tensor that is missing, unknown, or of another shape or kind.
        ValueError, TypeError, ...: whatever ``build`` finds wrong with its configuration.
    """
    try:
        with _bounded(2 * len(stored) + _OTHER_PARTS), shapes_only():
            expected = build(torch.zeros(mask_shape, dtype=torch.bool)).state_dict()
    except _TooMany:
        raise CheckpointError(f"holds {len(stored)} tensors, config.json describes many more", path=path) from None
    except RuntimeError:  # a system that reads its tensors while it is built
        return
    check_tensors(expected, stored, path)


def check_size(build: Callable[[torch.Tensor], CaptionModel], mask_shape: tuple[int, int]) -> None:
    """See that a model is no larger than a machine may hold, before memory is taken for it; see ``check_fits``.

    Raises:
        ValueError: it is; or whatever ``build`` finds wrong with its configuration.
    """
    try:
        with shapes_only():
            model = build(torch.zeros(mask_shape, dtype=torch.bool))
    except RuntimeError:
        return
    numbers = sum(parameter.numel() for parameter in model.parameters())
    if numbers > MOST_PARAMETERS:
        raise ValueError(f"it would have {numbers:,} parameters, {MOST_PARAMETERS:,} at most: take smaller widths")


def check_tensors(expected: Mapping[str, torch.Tensor], stored: Mapping[str, StoredTensor], path: Path) -> None:
    """Compare a model's tensors with those of a file.

    Raises:
        CheckpointError: see ``check_fits``.
    """
    for name in sorted(expected.keys() | stored.keys()):
        if name not in stored or name not in expected:
            raise CheckpointError(
                f"{'lacks' if name not in stored else 'holds an unknown'} tensor {_shown(name)}", path=path
            )
        needed, found = expected[name], stored[name]
        if found.shape != tuple(needed.shape):
            raise CheckpointError(
                f"tensor {_shown(name)} has shape {found.shape}, expected {tuple(needed.shape)}", path=path
            )
        if found.dtype not in (_FLOATS if needed.is_floating_point() else {_OTHERS.get(needed.dtype, "")}):
            raise CheckpointError(f"tensor {_shown(name)} holds {found.dtype}, expected {needed.dtype}", path=path)


def load_values(model: CaptionModel, weights: bytes, path: Path) -> None:
    """Copy the values of a file into a model.

    Raises:
        CheckpointError: the file is damaged, does not fit, or holds a number that is not finite.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        tensors = safetensors.torch.load(weights)
    except SafetensorError as problem:
        raise CheckpointError(f"is damaged ({_shown(str(problem))})", path=path) from problem
    expected = model.state_dict()
    stored = {name: StoredTensor(tuple(tensor.shape), _dtype_name(tensor)) for name, tensor in tensors.items()}
    check_tensors(expected, stored, path)
    values = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    for name in sorted(values):
        if not bool(torch.isfinite(values[name]).all()):
            raise CheckpointError(
                f"tensor {name} holds a value that is not a finite number", path=path, hint="copy or train it again"
            )
    model.load_state_dict(values, strict=True)


def _shown(name: str) -> str:
    return name if name.isprintable() and len(name) < _LONGEST_NAME else f"{name!r:.{_LONGEST_NAME}}"


def _dtype_name(tensor: torch.Tensor) -> str:
    if tensor.is_floating_point():
        return {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}.get(
            tensor.dtype, str(tensor.dtype)
        )
    return _OTHERS.get(tensor.dtype, str(tensor.dtype))


class _TooMany(BaseException):
    """More parts than a file can have; no Exception, since a system may catch those."""


@contextmanager
def _bounded(most: int) -> Iterator[None]:
    """Stop a model from registering more than ``most`` parameters and modules: a million layers take hours."""
    from torch.nn.modules import module

    count = 0

    def note(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise _TooMany

    hooks = [
        module.register_module_parameter_registration_hook(note),
        module.register_module_module_registration_hook(note),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
