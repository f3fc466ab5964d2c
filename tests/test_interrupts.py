"""SIGTERM and SIGHUP end a command as Ctrl-C does, with 143; what does not end by itself is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evcap_cli import console, interrupts
from evcap_cli.errors import EvcapError
from tests.commands.small import ROOT

RUN = """
import ctypes, os, sys, time
from evcap_cli import console, interrupts
interrupts.END_SECONDS = float(sys.argv[2])
def ready(): print("ready", flush=True)
def rest():
    while True: time.sleep(0.05)  # a signal that comes just before a long sleep would be noticed after it
def sleeping():
    try: ready(); rest()
    finally: print("cleaned up", flush=True)
def in_c():
    ready()
    ctypes.CDLL(None).sleep(600)  # the interpreter runs no handler meanwhile
def slow_to_clean_up():
    try: sleeping()
    finally:
        try: print("cleaning up", flush=True); rest()
        except KeyboardInterrupt: rest()
def disguised():
    try: sleeping()
    except KeyboardInterrupt: raise OSError(9, "Bad file descriptor")
os._exit(console.run(globals()[sys.argv[1]]))
"""


@contextmanager
def running(what: str, end_seconds: float = 600, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process whose command is at work in ``what``."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, what, str(end_seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 143), (signal.SIGINT, 130)],
    ids=str,
)
@pytest.mark.parametrize("what", ["sleeping", "disguised"])
@pytest.mark.slow
def test_each_signal_lets_the_command_clean_up(what: str, number: signal.Signals, code: int) -> None:
    with running(what) as process:
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (code, "cleaned up\n", "interrupted\n")


@pytest.mark.parametrize("what", ["in_c", "slow_to_clean_up"])
def test_a_command_that_does_not_end_is_ended(what: str) -> None:
    with running(what, end_seconds=0.3) as process:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
    assert (process.returncode, err) == (143, "interrupted\n")


def test_ten_seconds_are_kept() -> None:
    assert interrupts.END_SECONDS < 10


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(number: signal.Signals, code: int) -> None:
    with running("slow_to_clean_up") as process:
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaned up\n"
        assert process.stdout.readline() == "cleaning up\n"
        while process.poll() is None:  # one that comes too soon counts as the first
            process.send_signal(number)
            try:
                process.wait(interrupts.REPEAT_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    assert process.returncode == code


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    """As timeout(1) sends it: to the process, then to its group."""
    with running("sleeping") as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (143, "cleaned up\n", "interrupted\n")


def test_what_is_ignored_stays_ignored() -> None:
    """As under nohup(1)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running("sleeping") as process:
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (process.returncode, out) == (143, "cleaned up\n")


def test_a_command_leaves_no_thread_and_no_handler() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    handlers = [signal.getsignal(number) for number in interrupts.SIGNALS]
    assert console.run(lambda: None) == 0
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == handlers
    assert "evcap-signals" not in [thread.name for thread in threading.enumerate()]
    assert descriptors() <= before


def test_an_error_without_a_signal_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        raise EvcapError("is wrong", path="x")

    assert console.run(wrong) == 1
    assert capfd.readouterr().err == "error: x: is wrong\n"
