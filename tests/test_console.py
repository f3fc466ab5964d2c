"""Ctrl-C ends a run with one line and 130, also where Python loses or disguises its exception."""

from __future__ import annotations

import os
import signal

import pytest

from evcap_cli import console
from evcap_cli.errors import UsageError


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Interrupted:
    def __del__(self) -> None:
        interrupt()


def lost_in_a_destructor() -> None:
    Interrupted()
    with console.progress(3, "working") as bar:
        bar.advance()
    raise AssertionError("the run went on")


def lost_in_a_destructor_of_a_quiet_run() -> None:
    console.set_verbosity(quiet=True)
    lost_in_a_destructor()


def disguised() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("cannot join thread before it is started") from None


@pytest.mark.parametrize(
    "main", [interrupt, lost_in_a_destructor, lost_in_a_destructor_of_a_quiet_run, disguised], ids=lambda f: f.__name__
)
def test_ctrl_c_is_never_lost(main, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        assert console.run(main) == 130
    finally:
        console.set_verbosity()
    assert capfd.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_earlier_ctrl_c_does_not_end_the_next_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert console.run(interrupt) == 130

    def wrong() -> None:
        raise UsageError("is wrong", path="x", hint="do better")

    assert console.run(wrong) == 2
    assert console.run(lambda: console.check_interrupted()) == 0


def test_a_caller_with_a_handler_of_its_own_keeps_it() -> None:
    received = []
    before = signal.signal(signal.SIGINT, lambda *_: received.append(1))
    try:
        assert console.run(interrupt) == 0
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [1]


@pytest.mark.parametrize(("count", "text"), [(0, "0 videos"), (1, "1 video"), (2, "2 videos"), (1000, "1000 videos")])
def test_one_is_counted_as_one(count: int, text: str) -> None:
    assert console.counted(count, "video") == text


def test_nouns_and_verbs_follow_their_number() -> None:
    assert [console.counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
    assert [console.noun(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize(("total", "text"), [(1, "captioning: 1/1 video in "), (2, "captioning: 1/2 videos in ")])
def test_progress_counts_one_as_one(total: int, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    console.set_verbosity()
    with console.progress(total, "captioning") as bar:
        bar.show()  # type: ignore[attr-defined]
        bar.advance()
    assert capfd.readouterr().err.splitlines()[-1].startswith(text)


@pytest.mark.parametrize(("most", "shown"), [(2, "a, b, ..."), (3, "a, b, c"), (None, "a, b, c")])
def test_a_list_of_names_ends_where_it_would_be_long(most: int | None, shown: str) -> None:
    assert console.listed(["a", "b", "c"], most) == shown
