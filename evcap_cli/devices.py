"""Which device and number format models run with: ``--device auto``, ``--dtype auto`` and their explicit values."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal

from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Dtype = Literal["auto", "bf16", "fp16", "fp32"]
"""Number formats that ``--dtype`` offers."""
NO_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""How torch's backends say it where they raise a plain RuntimeError."""


def choose_device(text: str) -> torch.device:
    """``auto``: the first CUDA device, else Apple's, else the CPU.

    Raises:
        UsageError: not a device, or one that this machine lacks.
    """
    import torch

    if text == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if "," in text:
        raise UsageError(
            f"--device {text}: one device is used here", hint="name one; several serve captions and features"
        )
    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        reason = str(problem).splitlines()[0]
        raise UsageError(f"--device {text}: {reason}", hint="use auto, cpu, cuda or cuda:N") from problem
    return device


def check_present(names: Sequence[str], given: str) -> None:
    """See that this machine has devices that others are going to use: nothing is put on any of them.

    Args:
        names: of single devices.
        given: ``--device`` as it was typed.

    Raises:
        UsageError: naming the first that it lacks.
    """
    import torch

    for name in names:
        try:
            device = torch.device(name)
            count = torch.get_device_module(device).device_count()
        except (AttributeError, RuntimeError) as problem:
            raise UsageError(f"--device {given}: {name} is no device", hint="name cpu, cuda:0, ...") from problem
        if device.type != "cpu" and (device.index or 0) >= count:
            there = f"has {count}, numbered from 0" if count else "has none of this kind"
            raise UsageError(f"--device {given}: there is no {name} (this machine {there})", hint="leave it out")


def choose_dtype(text: str, device: torch.device) -> torch.dtype:
    """``auto``: bfloat16 on CUDA devices that have it, else float32.

    Raises:
        UsageError: an unknown name.
    """
    import torch

    if text == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    known = _dtypes()
    for name, dtype in known.items():
        if name == text:
            return dtype
    raise UsageError(f"unknown --dtype {text!r}", hint=f"one of auto, {', '.join(known)}")


def name_of(dtype: torch.dtype) -> Dtype:
    """The ``--dtype`` that ``choose_dtype`` takes for ``dtype``."""
    return next(name for name, known in _dtypes().items() if known == dtype)


def _dtypes() -> dict[Dtype, torch.dtype]:
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def out_of_memory(problem: BaseException | None) -> bool:
    """Whether ``problem`` says that the memory of host or device ran out."""
    torch = sys.modules.get("torch")  # what nobody has loaded has raised nothing
    if isinstance(problem, MemoryError) or (torch is not None and isinstance(problem, torch.OutOfMemoryError)):
        return True
    text = str(problem).lower()
    return isinstance(problem, RuntimeError) and any(words in text for words in NO_MEMORY)
