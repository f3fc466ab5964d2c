"""Which device and number format models run with: ``--device auto``, ``--dtype auto`` and their explicit values."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from evcap_cli import console
from evcap_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Dtype = Literal["auto", "bf16", "fp16", "fp32"]
"""Number formats that ``--dtype`` offers."""
BF16_UNITS: Final = ("amx_bf16", "avx512_bf16", "bf16")
"""As torch and Linux name them, the fastest first; Arm's flag is the last."""
BF16_PRODUCTS: Final = "4096"
"""Shapes of products that oneDNN keeps code for: training meets some 3,000 of them, in every epoch again, and its own
1,024 make a step take 1.5 times as long."""
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
            if name == "bf16" and device.type == "cpu":
                prepare_bf16()
            return dtype
    raise UsageError(f"unknown --dtype {text!r}", hint=f"one of auto, {', '.join(known)}")


def name_of(dtype: torch.dtype) -> Dtype:
    """The ``--dtype`` that ``choose_dtype`` takes for ``dtype``."""
    return next(name for name, known in _dtypes().items() if known == dtype)


def _dtypes() -> dict[Dtype, torch.dtype]:
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def bf16_units() -> str:
    """What this CPU multiplies matrices of bfloat16 with, one of ``BF16_UNITS``; "": nothing.

    Newer versions of torch say it; for older ones Linux does, in its list of the CPU's flags.
    """
    import torch

    found: set[str] = set()
    if hasattr(torch.cpu, "get_capabilities"):
        found.update(name for name, there in torch.cpu.get_capabilities().items() if there is True)
    else:
        with suppress(OSError):  # not Linux
            found.update(Path("/proc/cpuinfo").read_text(errors="replace").split())
    return next((name for name in BF16_UNITS if name in found), "")


@cache
def prepare_bf16() -> None:
    """Have oneDNN keep more of what it makes for bfloat16 on CPUs; say once that it costs time on this one, if so.

    To be called before the first product in bfloat16.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", BF16_PRODUCTS)
    if not bf16_units():
        console.warn("--dtype bf16: this CPU has no bf16 matrix units, so that it will be slower than fp32")


def mixed_precision(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """Where a trained captioner computes: on a CPU its products in bfloat16 if that is ``dtype``, else as it is.

    Weights stay in single precision, as do softmax, norms and the sums of the search, which converts the vocabulary's
    weights once for all words.
    """
    import torch

    if device.type == "cpu" and dtype == torch.bfloat16:
        return torch.autocast("cpu", dtype)
    return nullcontext()


def out_of_memory(problem: BaseException | None) -> bool:
    """Whether ``problem`` says that the memory of host or device ran out."""
    torch = sys.modules.get("torch")  # what nobody has loaded has raised nothing
    if isinstance(problem, MemoryError) or (torch is not None and isinstance(problem, torch.OutOfMemoryError)):
        return True
    text = str(problem).lower()
    return isinstance(problem, RuntimeError) and any(words in text for words in NO_MEMORY)
