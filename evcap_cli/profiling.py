"""Where the time of a run goes: each stage adds its seconds, and ``evcap caption --profile`` prints them.

Off unless a profile was begun, and then for the whole process. Stages of the thread that runs the models exclude those
inside them, so that they and what is left add up to the run; decoding processes report theirs at the end of each pass.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

Stage = Literal[
    "decoding", "pixels", "sending", "waiting", "copies", "forwards", "search", "journal", "outputs", "reading"
]
STAGES: Final[dict[Stage, str]] = {
    "decoding": "demuxing and decoding",
    "pixels": "frames to the sizes and colours that models take",
    "sending": "handing frames over, and waiting until they are taken",
    "waiting": "waiting for frames, sound or features of the cache",
    "copies": "batches to the device and results back",
    "forwards": "backbones",
    "search": "writing captions",
    "journal": "records to the journal, each to the disk",
    "reading": "what earlier runs have finished",
    "outputs": "rendering and writing outputs",
}
DECODERS: Final[tuple[Stage, ...]] = ("decoding", "pixels", "sending")
"""Stages of the decoding processes, which run side by side; the others are of the thread that runs the models."""


@dataclass
class Profile:
    """Seconds by stage."""

    begun: float = field(default_factory=lambda: time.perf_counter())
    seconds: dict[Stage, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _inside: threading.local = field(default_factory=threading.local)

    def add(self, stage: Stage, seconds: float) -> None:
        """A stage took so long."""
        with self._lock:
            self.seconds[stage] += seconds

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """The block is part of a stage; blocks of other stages in it are not."""
        outer = getattr(self._inside, "seconds", 0.0)
        self._inside.seconds = 0.0
        begun = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            self.add(stage, took - self._inside.seconds)
            self._inside.seconds = outer + took

    def rows(self, workers: int) -> list[tuple[str, str, str, str]]:
        """The table: who, which stage, seconds, share of the time of who."""
        whole = time.perf_counter() - self.begun
        here = [stage for stage in STAGES if stage not in DECODERS]
        rows = [_row("decoders", stage, self.seconds[stage], whole * workers) for stage in DECODERS]
        rows += [_row("models", stage, self.seconds[stage], whole) for stage in here]
        other = max(whole - sum(self.seconds[stage] for stage in here), 0.0)
        return [*rows, ("models", "all else", f"{other:.1f}", f"{100 * other / whole:.0f} %")]

    def bound_by(self, workers: int, cores: int) -> str:
        """What the run would have to do faster to end sooner, and what may help."""
        whole = time.perf_counter() - self.begun
        here: dict[Stage, float] = {stage: self.seconds[stage] for stage in STAGES if stage not in DECODERS}
        most = max(here, key=lambda stage: here[stage])
        share = f"{100 * here[most] / whole:.0f} % of the time"
        if most != "waiting":
            return f"bound by {most} ({STAGES[most]}): {share}"
        slow: Stage = "decoding" if self.seconds["decoding"] >= self.seconds["pixels"] else "pixels"
        if self.seconds[slow] < here["waiting"] / 4:
            return f"bound by reading files or the cache: the models waited {share}"
        more = f"--workers {cores} may help" if workers < cores else f"all {cores} cores decode already"
        return f"bound by {slow} ({STAGES[slow]}): the models waited {share}; {more}"


def _row(who: str, stage: Stage, seconds: float, of: float) -> tuple[str, str, str, str]:
    return who, f"{stage}: {STAGES[stage]}", f"{seconds:.1f}", f"{100 * seconds / of:.0f} %"


_current: Profile | None = None


def begin() -> Profile:
    """Begin a profile of this process; it replaces an earlier one."""
    global _current
    _current = Profile()
    return _current


@contextmanager
def ended() -> Iterator[None]:
    """After the block nothing is measured any more."""
    global _current
    try:
        yield
    finally:
        _current = None


def seconds() -> Mapping[Stage, float]:
    """What has been measured so far, of stages that took any time."""
    return {} if _current is None else dict(_current.seconds)


def add(stage: Stage, seconds: float) -> None:
    """A stage took so long, if anybody wants to know."""
    if _current is not None:
        _current.add(stage, seconds)


@contextmanager
def timed(stage: Stage) -> Iterator[None]:
    """The block is part of a stage; see ``Profile.timed``."""
    if _current is None:
        yield
    else:
        with _current.timed(stage):
            yield
