"""What a loaded backbone computes: the declared shape, finite numbers, and rows that stand for themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evcap_cli.backbones.contract import AudioInput
from evcap_cli.conformance.candidate import ROWS, described, picture_size, rows_of, sample_sound
from evcap_cli.conformance.checks import Broken, Check, NotApplicable, check
from evcap_cli.conformance.comparing import (
    BATCH_TOLERANCE,
    HALF_TOLERANCE,
    NEIGHBOUR_TOLERANCE,
    REPEAT_TOLERANCE,
    difference,
    norm_difference,
)
from evcap_cli.console import counted
from evcap_cli.features.audio_chunks import MIN_SOUND_SECONDS

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.conformance.candidate import Candidate

CHECKS: Final[list[Check[Candidate]]] = []

STEPS_OFF: Final = 2
"""Steps that may be missing or over in a chunk: a model may pad, or have a window a little longer than its hop."""
BOX_MARGIN: Final = 0.01
"""Pixels that a box may reach beyond the picture by rounding."""


@check(CHECKS, "loading", "loads, says what it read and leaves torch's settings alone", needs=("declaration",))
def _loading(candidate: Candidate) -> None:
    import torch

    before = torch_settings()
    declared = candidate.build().spec
    backbone = candidate.backbone
    changed = [name for name, value in torch_settings().items() if value != before[name]]
    if changed:
        raise Broken(f"load changed torch's {', '.join(changed)} for the whole program")
    if backbone.spec != declared:
        raise Broken(f"load changed the spec from {declared} to {backbone.spec}")
    name = str(backbone.dtype).removeprefix("torch.")
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise Broken(f"dtype is {backbone.dtype!r} after load, not a number format of torch")
    has_weights = candidate.weights or backbone.spec.weights or backbone.weights_source()
    if has_weights and not backbone.weights_digest:
        raise Broken("load read weights and did not set weights_digest: the cache cannot tell them from others")


def torch_settings() -> dict[str, object]:
    """What loading a model must not change for the whole program."""
    import torch

    return {
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "number of threads": torch.get_num_threads(),
        "deterministic mode": torch.are_deterministic_algorithms_enabled(),
    }


@check(CHECKS, "shape", "returns what its kind and dim say", needs=("loading",))
def _shape(candidate: Candidate) -> str:
    rows_of(candidate.spec, candidate.together, ROWS)
    return described(candidate.together)


@check(CHECKS, "number-format", "returns floating point")
def _number_format(candidate: Candidate) -> None:
    for row in rows_of(candidate.spec, candidate.together, ROWS):
        strange = next((part.dtype for part in row if not part.is_floating_point()), None)
        if strange is not None:
            raise Broken(f"returned {strange}, not floating point")


@check(CHECKS, "finite", "returns finite numbers, for flat pictures and silence too")
def _finite(candidate: Candidate) -> None:
    outputs = (
        ("a picture or sound with something in it", candidate.together),
        ("a flat one", candidate.with_flat_rows),
    )
    for what, output in outputs:
        for row in rows_of(candidate.spec, output, ROWS):
            if not all(bool(part.isfinite().all()) for part in row):
                raise Broken(f"returned a value that is not a finite number for {what}")


@check(CHECKS, "repeatable", "gives the same features for the same batch")
def _repeatable(candidate: Candidate) -> str:
    again = candidate.extract(candidate.backbone, candidate.rows)
    return _same(candidate, again, REPEAT_TOLERANCE, "call eval() in load, draw nothing in extract")


@check(CHECKS, "fresh-instance", "gives the same features in a new instance", needs=("repeatable",))
def _fresh_instance(candidate: Candidate) -> str:
    other = candidate.loaded()
    if other.weights_digest != candidate.backbone.weights_digest:
        raise Broken("two instances with the same weights have different weights_digest")
    output = candidate.extract(other, candidate.rows)
    return _same(candidate, output, REPEAT_TOLERANCE, "read all weights in load, or draw them from the seed there")


@check(CHECKS, "neighbours", "a row does not depend on the rows next to it", needs=("repeatable",))
def _neighbours(candidate: Candidate) -> str:
    """The first row with others, in a batch of the same size."""
    hint = "no row may depend on the others: batch norm in eval mode, no statistics over the batch"
    return _same_row(candidate, candidate.with_flat_rows, NEIGHBOUR_TOLERANCE, hint, place=0, count=ROWS)


@check(CHECKS, "batch-size", "a row does not depend on the size of its batch or its place", needs=("repeatable",))
def _batch_size(candidate: Candidate) -> str:
    """The first row at another place of a batch of another size."""
    output = candidate.extract(candidate.backbone, [candidate.rows[2], candidate.rows[0]])
    return _same_row(candidate, output, BATCH_TOLERANCE, "no row may depend on the others", place=1, count=2)


@check(CHECKS, "one-row", "takes a batch of one row", needs=("repeatable",))
def _one_row(candidate: Candidate) -> str:
    output = candidate.extract(candidate.backbone, candidate.rows[:1])
    return _same_row(candidate, output, BATCH_TOLERANCE, "no row may depend on the others", place=0, count=1)


@check(CHECKS, "no-rows", "takes a batch of no rows")
def _no_rows(candidate: Candidate) -> None:
    rows_of(candidate.spec, candidate.extract(candidate.backbone, candidate.rows[:1], count=0), 0)


def _same(candidate: Candidate, output: object, tolerance: float, hint: str) -> str:
    """``output`` is ``candidate.together`` again, row by row."""
    first, again = rows_of(candidate.spec, candidate.together, ROWS), rows_of(candidate.spec, output, ROWS)
    return _within(max(map(difference, first, again)), tolerance, hint)


def _same_row(candidate: Candidate, output: object, tolerance: float, hint: str, *, place: int, count: int) -> str:
    """Row ``place`` of ``output``, which has ``count``, is the first row of ``candidate.together`` again."""
    first, again = rows_of(candidate.spec, candidate.together, ROWS)[0], rows_of(candidate.spec, output, count)[place]
    return _within(difference(first, again), tolerance, hint)


def _within(found: float, tolerance: float, hint: str) -> str:
    if not found <= tolerance:
        raise Broken(f"differs by {found:.1e} of the largest value, at most {tolerance:.0e} is allowed; {hint}")
    return f"differs by {found:.0e}" if found else "to the bit"


@check(CHECKS, "half-precision", "works in bfloat16, or says that it does not", needs=("one-row", "fresh-instance"))
def _half_precision(candidate: Candidate) -> str:
    """Loaded in bfloat16: takes such batches, or says that it computes in another format."""
    import torch

    backbone = candidate.loaded(torch.bfloat16)
    kept = str(backbone.dtype).removeprefix("torch.")
    if kept == "float32":
        return "it computes in float32 whatever is requested"
    try:
        output = candidate.extract(backbone, candidate.rows[:1])
    except (RuntimeError, NotImplementedError) as problem:
        if "not implemented for 'BFloat16'" in str(problem):
            raise NotApplicable(f"this CPU or build of torch cannot: {problem}") from problem
        raise
    found = rows_of(backbone.spec, output, 1)[0]
    if not all(bool(part.isfinite().all()) for part in found):
        raise Broken("returned a value that is not a finite number in bfloat16")
    if backbone.spec.kind == "object":
        return "finite, of the declared shape"  # which boxes are found may change with the digits
    reference = rows_of(candidate.spec, candidate.together, ROWS)[0]
    off = norm_difference(found[0], reference[0]) if found[0].shape == reference[0].shape else float("inf")
    if not off <= HALF_TOLERANCE:
        raise Broken(f"is {off:.2f} off from float32 (norm of the difference), at most {HALF_TOLERANCE} is allowed")
    return f"{off:.0e} off from float32"


@check(CHECKS, "boxes", "boxes lie in the picture, the most confident first")
def _boxes(candidate: Candidate) -> str:
    if candidate.spec.kind != "object":
        raise NotApplicable("for object backbones")
    height, width = picture_size(candidate.spec)
    outputs = (candidate.together, candidate.with_flat_rows)
    found = [row for output in outputs for row in rows_of(candidate.spec, output, ROWS) if len(row[1])]
    if not found:
        raise NotApplicable("it found no object in any sample picture; lower its threshold by an option to check boxes")
    for corners, scores, _ in found:
        _check_corners(corners, height, width)
        if bool((scores[1:] > scores[:-1]).any()):
            raise Broken("scores do not fall: sort detections by score, the most confident first")
    if max(float(corners.max()) for corners, _, _ in found) <= 1 < min(height, width):
        raise Broken("all boxes lie within 0..1: give them in pixels of the input, not as fractions of it")
    return f"{sum(len(row[1]) for row in found)} boxes"


def _check_corners(corners: Tensor, height: int, width: int) -> None:
    if bool((corners[:, 2:] < corners[:, :2]).any()):
        raise Broken("a box ends before it begins: boxes are x1, y1, x2, y2")
    outside = corners.new_tensor([width, height, width, height]) + BOX_MARGIN
    if bool((corners < -BOX_MARGIN).any()) or bool((corners > outside).any()):
        raise Broken(f"a box reaches beyond its picture of {height} x {width}: clip boxes, give them in its pixels")


@check(CHECKS, "steps", "has the steps that hop_seconds says")
def _steps(candidate: Candidate) -> str:
    """A chunk has as many steps as ``hop_seconds`` says."""
    audio = _audio(candidate)
    count = len(rows_of(candidate.spec, candidate.together, ROWS)[0][0])
    return _check_steps(count, audio.chunk_seconds, audio)


@check(CHECKS, "short-sound", "takes sound shorter than a chunk")
def _short_sound(candidate: Candidate) -> None:
    """Sound shorter than a chunk is passed as it is: half a chunk, and the shortest that ever comes."""
    audio = _audio(candidate)
    for seconds in (audio.chunk_seconds / 2, min(MIN_SOUND_SECONDS, audio.chunk_seconds)):
        output = candidate.extract(candidate.backbone, [sample_sound(audio, seconds, seed=0)])
        row = rows_of(candidate.spec, output, 1)[0][0]
        if not len(row):
            raise Broken(f"{seconds:g} s of sound have no step; evcap passes sound from {MIN_SOUND_SECONDS} s on")
        if not bool(row.isfinite().all()):
            raise Broken(f"returned a value that is not a finite number for {seconds:g} s of sound")
        _check_steps(len(row), seconds, audio)


def _audio(candidate: Candidate) -> AudioInput:
    if not isinstance(candidate.spec.input, AudioInput):
        raise NotApplicable("for audio backbones")
    return candidate.spec.input


def _check_steps(count: int, seconds: float, audio: AudioInput) -> str:
    window = audio.hop_seconds if audio.window_seconds is None else audio.window_seconds
    expected = (seconds - window) / audio.hop_seconds + 1
    if abs(count - expected) > STEPS_OFF:
        raise Broken(f"{seconds:g} s have {count} steps; with hop_seconds={audio.hop_seconds:g} it is {expected:.0f}")
    return f"{counted(count, 'step')} in {seconds:g} s"
