"""Weights: drawing, reading, checking and naming them by content; ``downloading.py`` fetches them.

Backbones call these from ``load`` and ``check_state``; every failure is one ``WeightsError`` that names the file and
the next step. Nothing in a file is executed: safetensors hold numbers only, and a legacy pickle is read with
``weights_only``. Importing this module loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import xxhash

from evcap_cli.errors import WeightsError, reason_of
from evcap_cli.reading.regular import open_regular

if TYPE_CHECKING:
    from torch import Tensor, nn

    M = TypeVar("M", bound=nn.Module)

RANDOM: Final = "random:"
"""``--weights NAME=random:SEED``: freshly drawn weights, for tests and benchmarks; marked in every record."""
HUB: Final = "hf-hub:"
"""A ``WeightsSource.location`` on huggingface.co."""
IMPORT_HINT: Final = "turn it into safetensors: evcap weights import NAME {file} -o {stem}.safetensors"

_SEED_LIMIT: Final = 2**63
_PICKLES: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of what ``torch.save`` writes: a zip archive today, a pickle before torch 1.6."""
_LFS: Final = b"version https://git-lfs"
COUNTER: Final = "num_batches_tracked"
"""Batches a normalisation layer has seen: no part of what it computes, and older than torch 0.4.1 files lack it."""


def random_seed(weights: str | None) -> int | None:
    """The seed of "random:SEED"; None for anything else.

    Raises:
        WeightsError: what follows "random:" is not a whole number from 0 to 2**63 - 1.
    """
    if weights is None or not weights.startswith(RANDOM):
        return None
    text = weights.removeprefix(RANDOM)
    if not re.fullmatch("[0-9]{1,19}", text) or int(text) >= _SEED_LIMIT:
        raise WeightsError("is not random:SEED", path=weights, hint="SEED is a whole number, such as random:0")
    return int(text)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a CPU generator that starts at ``seed``; afterwards it is where it was before."""
    import torch

    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would move the generators of GPUs, too
        torch.default_generator.manual_seed(seed)
        yield


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, on the CPU.

    Raises:
        WeightsError: it is missing, cannot be read, is damaged, or is a pickle.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path)
    start = _first_bytes(file)
    if start.startswith(_PICKLES):
        hint = IMPORT_HINT.format(file=file, stem=file.with_suffix(""))
        raise WeightsError("is a pickle, which could run code, where safetensors is expected", path=file, hint=hint)
    try:
        return load_file(file)
    except SafetensorError as problem:
        raise WeightsError(
            f"is not a whole safetensors file ({_first_sentence(problem)})", path=file, hint="copy or download it again"
        ) from problem
    except OSError as problem:
        raise _unreadable(file, problem) from problem


def read_legacy(path: str | Path) -> dict[str, Tensor]:
    """The tensors of what ``torch.save`` wrote, on the CPU: a state dict, alone or under "state_dict".

    Read with ``weights_only``: a file that needs more than tensors and plain values is refused, not executed.

    Raises:
        WeightsError: it is missing, damaged, holds no tensors, or more than plain values.
    """
    import pickle
    import warnings

    import torch

    file = Path(path)
    _first_bytes(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on old formats; what matters is raised
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        reason = _refused(problem)
        raise WeightsError(
            f"cannot be read without executing what is in it, or is damaged ({reason})",
            path=file,
            hint="save its state_dict() alone where you trust the file, or get it again",
        ) from problem
    except OSError as problem:
        raise _unreadable(file, problem) from problem
    except Exception as problem:  # RuntimeError, EOFError, KeyError, UnicodeDecodeError, ...: torch promises no type
        torchscript = "TorchScript" in str(problem)
        raise WeightsError(
            "is a TorchScript archive, a program rather than weights"
            if torchscript
            else f"is not a whole PyTorch file ({_first_sentence(problem)})",
            path=file,
            hint="get the weights as a state dict or as safetensors" if torchscript else "copy or download it again",
        ) from problem
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    tensors = {str(name): tensor for name, tensor in state.items()} if isinstance(state, Mapping) else {}
    strange = next((name for name, tensor in tensors.items() if not isinstance(tensor, torch.Tensor)), None)
    if not tensors or strange is not None:
        what = "holds no tensors" if strange is None else f"holds {strange!r}, which is not a tensor"
        raise WeightsError(what, path=file, hint='expected a state dict, alone or under the key "state_dict"')
    return tensors


def filled(build: Callable[[], M], tensors: Mapping[str, Tensor], *, source: str) -> M:
    """The model of ``build``, whose tensors are all in its ``state_dict``, loaded as ``load_strictly`` does.

    No values are drawn first, and no memory is taken where the tensors do not fit.

    Raises:
        WeightsError: see ``load_strictly``.
    """
    from evcap_cli.backbones.shapes_only import shapes_only

    with shapes_only(), seeded(0):  # some networks draw on the CPU all the same
        model = build()
    check_strictly(model, tensors, source=source)
    model = model.to_empty(device="cpu")
    load_strictly(model, tensors, source=source)
    return model


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy ``tensors`` into ``model``: each parameter and buffer must be there, fit and be known.

    Args:
        model: keeps its own number format and device.
        tensors: by the names of ``model.state_dict()``; counters of seen batches may be missing.
        source: the file or address they come from, named in the error.

    Raises:
        WeightsError: naming the first tensor that is missing, unknown or of another shape, and how many more are; or
            the first with a value that is not a finite number.
    """
    check_strictly(model, tensors, source=source)
    floating = (name for name, parameter in model.named_parameters() if parameter.is_floating_point())
    check_finite({name: tensors[name] for name in floating if name in tensors}, source=source)
    # a plain dict carries no version, so that torch itself fills in counters that are missing
    model.load_state_dict(dict(tensors), strict=True)


def check_strictly(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """See that ``load_strictly`` finds every tensor; the model may be on the meta device.

    Raises:
        WeightsError: see ``load_strictly``.
    """
    expected = model.state_dict()
    missing = sorted(name for name in expected.keys() - tensors.keys() if not name.endswith(COUNTER))
    unknown = sorted(tensors.keys() - expected.keys())
    both = sorted(expected.keys() & tensors.keys())
    wrong = [name for name in both if expected[name].shape != tensors[name].shape]
    kinds = [name for name in both if expected[name].is_floating_point() != tensors[name].is_floating_point()]
    shapes = [(name, tuple(tensors[name].shape), tuple(expected[name].shape)) for name in wrong]
    others = []
    if kinds:
        found_kind, needed_kind = tensors[kinds[0]].dtype, expected[kinds[0]].dtype
        others = [f"{kinds[0]} holds {found_kind}, not {needed_kind}{_more(kinds)}"]
    check_fit(missing, unknown, shapes, others, source=source)


def check_fit(
    missing: Sequence[str],
    unknown: Sequence[str],
    shapes: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]],
    others: Sequence[str] = (),
    *,
    source: str,
) -> None:
    """Refuse weights where anything is wrong with them.

    Args:
        missing: tensors that the network needs.
        unknown: tensors that it does not have.
        shapes: tensors of another shape: name, shape found, shape needed.
        others: what else is wrong, a clause each.
        source: the file or address they come from.

    Raises:
        WeightsError: naming the first of each kind, and how many more there are.
    """
    problems = []
    if missing:
        problems.append(f"lacks {missing[0]}{_more(missing)}")
    if unknown:
        problems.append(f"holds an unknown {unknown[0]}{_more(unknown)}")
    if shapes:
        name, found, needed = shapes[0]
        problems.append(f"{name} has shape {found}, not {needed}{_more(shapes)}")
    problems += others
    if problems:
        raise WeightsError(
            f"weights of another architecture: {', '.join(problems)}",
            path=source,
            hint="check --weights NAME=PATH and the variant in NAME:VARIANT",
        )


def check_finite(tensors: Mapping[str, Tensor], *, source: str) -> None:
    """See that all values are finite numbers.

    Raises:
        WeightsError: naming the first tensor with one that is not.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(
                f"tensor {name} holds a value that is not a finite number", path=source, hint="download it again"
            )


def state_digest(tensors: Mapping[str, Tensor]) -> str:
    """xxh3_128 over names, number formats, shapes and bytes, in the order of the names.

    Take it before a model moves to another number format: the same weights then have one digest everywhere.
    """
    import torch

    digest = xxhash.xxh3_128()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {kind} {'x'.join(map(str, tensor.shape))}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _first_bytes(file: Path) -> bytes:
    """The start of a file that is there and could be weights.

    Raises:
        WeightsError: it is not.
    """
    try:
        with open_regular(file, error=WeightsError, hint="name a file of weights") as opened:
            start = opened.read(64)
    except OSError as problem:
        raise _unreadable(file, problem) from problem
    if not start:
        raise WeightsError("these weights are empty", path=file, hint="copy or download the file again")
    if start.startswith(_LFS):
        raise WeightsError("is a Git LFS pointer, not the weights", path=file, hint="run `git lfs pull` in its folder")
    return start


def _unreadable(file: Path, problem: OSError) -> WeightsError:
    if isinstance(problem, FileNotFoundError):
        return WeightsError("these weights do not exist", path=file, hint="check --weights NAME=PATH")
    if isinstance(problem, IsADirectoryError):
        return WeightsError("is a folder where a file is expected", path=file, hint="name the .safetensors file in it")
    return WeightsError(f"cannot be read ({reason_of(problem)})", path=file, hint="check its permissions")


def _refused(problem: BaseException) -> str:
    """What torch would not unpickle, in a few words: its own message is a page on how to switch the check off."""
    text = str(problem)
    requested = re.search(r"GLOBAL ([\w.]+)", text)
    found = re.search(r"Unsupported operand \d+", text)
    return f"it asks for {requested.group(1)}" if requested else found.group(0).lower() if found else "no plain pickle"


def _more(names: Sequence[object]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _first_sentence(problem: BaseException) -> str:
    """What comes after it is torch guessing at reasons."""
    return reason_of(problem).partition(". ")[0]
