"""METEOR 1.5 (``-l en -norm``) of any number of segments by one Java process, and its corpus score from statistics.

A segment is a caption with its references. METEOR answers with 23 counts for it, of the best reference; segment and
corpus scores are functions of these counts and of their sums over segments (Denkowski and Lavie 2014, parameters of the
task "rank"), so any resampling of segments has its exact score without asking METEOR again.

The jar is pycocoevalcap's, run as it is, with its paraphrase table cut to the texts at hand (``paraphrases.py``).

Notation: S segments, ``...`` any leading shape.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli.scoring import java
from evcap_cli.scoring.paraphrases import can_cut, cut_table

if TYPE_CHECKING:
    import numpy.typing as npt

Segment = tuple[str, Sequence[str]]
"""A caption and its references, normalised."""
STATISTICS: Final = 23
"""Length of test and reference, function words of both; for each of the four modules content words matched in test and
reference, function words the same; chunks; words matched in test and reference."""
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MODULE_WEIGHTS: Final = (1.0, 0.6, 0.8, 0.6)
"""Exact, stem, synonym, paraphrase."""
SILENCE_SECONDS = 120.0
"""Until a METEOR that answers nothing is stopped: it answers hundreds of captions a second once it has its tables."""
POLL_SECONDS = 1.0
_CHUNKS, _TEST_MATCHES, _REFERENCE_MATCHES = 20, 21, 22
_PIPES: Final = Path("/dev/fd")
_FLAGS: Final = (
    "-Xmx2G",  # the whole table needs it
    # a run of seconds: the second compiler and a parallel collector cost more than they gain
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
)


def meteor_statistics(segments: Sequence[Segment], *, whole_table: bool = False) -> npt.NDArray[np.float64]:
    """What METEOR counts for each segment, (S, 23).

    Args:
        segments: captions with their references.
        whole_table: do not cut the paraphrase table: the same counts, more slowly.

    Raises:
        JavaFailed: METEOR failed twice. JavaError: there is no Java.
    """
    if not segments:
        return np.zeros((0, STATISTICS))
    program = java.find_java()
    jar = Path(str(files("pycocoevalcap.meteor").joinpath("meteor-1.5.jar")))
    captions = [caption for caption, _ in segments]
    references = [text for _, texts in segments for text in texts]
    table = None
    if not whole_table and can_cut(captions) and can_cut(references):
        table = partial(cut_table, jar.parent / "data" / "paraphrase-en.gz", captions, references)
    inputs = "".join(
        " ||| ".join(["SCORE", *(_field(text) for text in (*texts, caption))]) + "\n" for caption, texts in segments
    )
    command = [program, *_FLAGS, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    try:
        return _statistics(command, inputs, table, len(segments))
    except java.JavaFailed:  # a kill, or memory that was short for a moment, need not happen twice
        return _statistics(command, inputs, table, len(segments))


def _statistics(
    command: Sequence[str], inputs: str, table: Callable[[], bytes] | None, count: int
) -> npt.NDArray[np.float64]:
    """One try.

    Raises:
        JavaFailed: METEOR died, was silent for too long, or gave other answers than a row of counts a caption.
    """
    answered, said = _ask(command, inputs, table)
    try:
        found = np.array([line.split() for line in answered.splitlines()], dtype=np.float64)
    except ValueError as problem:
        raise java.JavaFailed("METEOR gave an answer that is no row of counts") from problem
    if found.shape != (count, STATISTICS):
        why = said.strip().splitlines()[-1:] or ["no message"]
        raise java.JavaFailed(f"METEOR answered {len(found)} of {count} captions ({why[0]})")
    return found


def _ask(command: Sequence[str], inputs: str, table: Callable[[], bytes] | None) -> tuple[str, str]:
    """What METEOR answers to ``inputs``, and what it says besides, with the paraphrases that ``table`` makes.

    Where the system has /dev/fd the table goes through a pipe, so that Java starts while the table is being made.

    Raises:
        JavaFailed: METEOR cannot be started, is silent for too long, or its own table is damaged.
    """
    try:
        if table is None:
            return _talk(command, inputs)
        if _PIPES.is_dir():
            reading, writing = os.pipe()
            with os.fdopen(reading, "rb") as theirs:
                return _talk([*command, "-a", str(_PIPES / str(reading))], inputs, _Feed(theirs, writing, table))
        with tempfile.TemporaryDirectory(prefix="evcap-meteor-", ignore_cleanup_errors=True) as folder:
            place = Path(folder) / "paraphrases.gz"
            place.write_bytes(table())
            return _talk([*command, "-a", str(place)], inputs)
    except (OSError, zlib.error) as problem:
        raise java.JavaFailed(f"METEOR stopped ({problem})") from problem


@dataclass
class _Feed:
    """A table on its way to METEOR through a pipe, by a thread that METEOR may keep waiting for ever.

    Args:
        theirs: the end to read, closed here once METEOR has it. ours: the other one's number, closed by the thread.
        table: makes the table; METEOR must not go on with half of it.
    """

    theirs: IO[bytes]
    ours: int
    table: Callable[[], bytes]
    made: threading.Event = field(default_factory=threading.Event)
    failures: list[Exception] = field(default_factory=list)

    def start(self, process: subprocess.Popen[bytes]) -> None:
        self.theirs.close()
        threading.Thread(target=self._run, args=(process,), name="evcap-meteor", daemon=True).start()

    def _run(self, process: subprocess.Popen[bytes]) -> None:
        try:
            with contextlib.suppress(BrokenPipeError), os.fdopen(self.ours, "wb") as pipe:
                rows = self.table()
                self.made.set()
                pipe.write(rows)
        except (OSError, zlib.error) as problem:
            self.failures.append(problem)
            process.kill()
        finally:
            self.made.set()


def _talk(command: Sequence[str], inputs: str, feed: _Feed | None = None) -> tuple[str, str]:
    """Run METEOR once."""
    # files, not pipes: a program that METEOR started may keep a pipe open after it has died
    with (
        tempfile.TemporaryFile() as questions,
        tempfile.TemporaryFile() as answers,
        tempfile.TemporaryFile() as complaints,
    ):
        questions.write(inputs.encode(errors="replace"))
        questions.seek(0)
        handed = () if feed is None else (feed.theirs.fileno(),)
        try:
            process = subprocess.Popen(command, stdin=questions, stdout=answers, stderr=complaints, pass_fds=handed)
        except OSError:
            if feed is not None:
                os.close(feed.ours)
            raise
        with process:
            try:
                if feed is not None:
                    feed.start(process)
                _wait(process, answers, feed)
            finally:
                process.kill()
        if feed is not None and feed.failures:
            raise feed.failures[0]
        answers.seek(0)
        complaints.seek(0)
        return answers.read().decode(errors="replace"), complaints.read().decode(errors="replace")


def _wait(process: subprocess.Popen[bytes], answers: IO[bytes], feed: _Feed | None) -> None:
    """Wait for METEOR's end, as long as it answers.

    Raises:
        JavaFailed: it does not.
    """
    since, size = time.monotonic(), 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
            return
        now = os.fstat(answers.fileno()).st_size
        if now > size or (feed is not None and not feed.made.is_set()):
            since, size = time.monotonic(), now
        elif time.monotonic() - since > SILENCE_SECONDS:
            raise java.JavaFailed(f"METEOR gave no answer for {SILENCE_SECONDS:g} seconds and was stopped")


def _field(text: str) -> str:
    """One line without the field mark: text must not be able to change the conversation."""
    return " ".join(text.replace("|||", " ").split())


def additive(statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Counts as METEOR adds them up, (..., 23): a segment that matches completely in one chunk adds no chunk."""
    out = statistics.copy()
    out[_complete(statistics), _CHUNKS] = 0
    return out


def _complete(statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    modules = statistics[..., 4:_CHUNKS]
    matched_test = modules[..., 0::4].sum(-1) + modules[..., 2::4].sum(-1)
    matched_reference = modules[..., 1::4].sum(-1) + modules[..., 3::4].sum(-1)
    return np.asarray(
        (matched_test == statistics[..., 0])
        & (matched_reference == statistics[..., 1])
        & (statistics[..., _CHUNKS] == 1)
    )


def meteor_scores(statistics: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """METEOR of counts or of sums of ``additive`` counts, (..., 23) -> (...), 0 to 1."""
    modules = statistics[..., 4:_CHUNKS].reshape(*statistics.shape[:-1], len(MODULE_WEIGHTS), 4)
    weights: npt.NDArray[Any] = np.array(MODULE_WEIGHTS)
    function = statistics[..., 2:4]
    lengths = DELTA * (statistics[..., 0:2] - function) + (1 - DELTA) * function
    matches = (modules[..., 0:2] * weights[:, None] * DELTA).sum(-2) + (
        modules[..., 2:4] * weights[:, None] * (1 - DELTA)
    ).sum(-2)
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing matched: METEOR calls that 0
        precision, recall = np.moveaxis(matches / lengths, -1, 0)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        words = (statistics[..., _TEST_MATCHES] + statistics[..., _REFERENCE_MATCHES]) / 2
        fragments = np.where(_complete(statistics), 0.0, statistics[..., _CHUNKS] / words)
        scores = mean * (1 - GAMMA * fragments**BETA)
    return np.asarray(np.where(np.isnan(scores), 0.0, np.maximum(scores, 0.0)))
