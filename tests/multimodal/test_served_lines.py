"""What a user reads when a server fails: exit code and standard error of ``evcap caption``, key never in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evcap_multimodal import server

from evcap_cli.app import run
from tests.features.films import make_film
from tests.multimodal.served_model import Model, serving

Answer = tuple[int, dict[str, str], bytes]
KEY = "a-secret-key"
GOES_ON = "see that it runs; the same command goes on"
LOG = "see the log of the server"
NO_ANSWER = "error: {}: the server gives no answer"


@pytest.fixture
def caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    """``evcap caption`` of two videos through a server: exit code and lines."""
    for name, value in (("FIRST_PAUSE_SECONDS", 0.01), ("LONGEST_PAUSE_SECONDS", 0.02), ("REQUEST_SECONDS", 0.5)):
        monkeypatch.setattr(server, name, value)
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for number in range(2):
        make_film(Path("videos", f"{number}.mp4"), frames=4, fps=2, sound=False, seed=number)

    def called(model: Model, address: str = "{}#tiny", *more: str) -> tuple[int, list[str]]:
        with serving(model):
            call = ["caption", "videos", "-c", address.format(model.address), "-o", "out.jsonl", "--batch-size", "1"]
            code = run([*call, *more])
        err = capfd.readouterr().err
        assert KEY not in err
        return code, err.replace(model.address, "{}").splitlines()

    return called


def always(*answer: Any) -> Callable[[int, dict[str, Any]], Any]:
    return lambda number, request: answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((429, {"Retry-After": "0"}, b"busy"), "status 429: busy"),
        ((500, {}, b'{"error": {"message": "CUDA error"}}'), "status 500: CUDA error"),
        ((200, {}, b"<html>"), "an answer that is not JSON: <html>"),
    ],
)
def test_an_answer_that_is_none_names_its_video(
    answer: Answer, cause: str, caption: Callable[..., tuple[int, list[str]]]
) -> None:
    assert caption(Model(fail=always(*answer))) == (
        1,
        [f"error: videos/{number}.mp4: the server answered with {cause}; {LOG}" for number in range(2)]
        + ["captioned 0 of 2 videos, 2 failed: out.jsonl"],
    )


@pytest.mark.slow
def test_one_segment_without_an_answer_is_named_by_its_time(caption: Callable[..., tuple[int, list[str]]]) -> None:
    def fail(number: int, request: dict[str, Any]) -> Answer | None:
        return (400, {}, b"no") if number == 2 else None

    assert caption(Model(fail=fail), "{}#tiny", "--segment", "fixed:1", "--no-emotion") == (
        3,
        [
            f"error: videos/1.mp4: 0.00 s to 1.00 s: the server answered with status 400: no; {LOG}",
            "captioned 1 of 2 videos, 1 failed: out.jsonl",
        ],
    )


@pytest.mark.slow
def test_a_server_that_is_silent_or_cuts_connections_ends_the_run(
    caption: Callable[..., tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TRIES", 2)
    assert caption(Model(fail=always(-1, {}, b""))) == (1, [f"{NO_ANSWER} within 0.5 s; {GOES_ON}"])
    code, (line,) = caption(Model(fail=always(0, {}, b"")))
    assert code == 1
    assert line.startswith(f"{NO_ANSWER} (")
    assert line.endswith(GOES_ON)
    assert not Path("out.jsonl").exists()


@pytest.mark.slow
def test_a_key_that_is_refused(caption: Callable[..., tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"(status 401); set {server.KEY_VARIABLE}"
    monkeypatch.delenv(server.KEY_VARIABLE, raising=False)
    for more in ([], ["--dry-run"]):
        assert caption(Model(key=KEY), "{}#tiny", *more) == (
            2,
            [f"error: {{}}: the server refuses requests without a key {said}"],
        )
    monkeypatch.setenv(server.KEY_VARIABLE, f"{KEY}-of-yesterday")
    refused = f"error: {{}}: the server refuses the key in {server.KEY_VARIABLE} {said}"
    assert caption(Model(key=KEY)) == (2, [refused])
    # withdrawn during the run: what is finished stays for the next one
    monkeypatch.setenv(server.KEY_VARIABLE, KEY)
    withdrawn = Model(key=KEY, fail=lambda number, request: (401, {}, b"no") if number == 2 else None)
    assert caption(withdrawn) == (3, [refused])
    assert not Path("out.jsonl").exists()
    assert Path("out.jsonl.partial").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "line"),
    [
        (
            "{}#huge",
            "error: {}: has no model 'huge' (status 404: no model huge); check the part after #; it lists tiny",
        ),
        ("http://127.0.0.1:9/v1#tiny", "error: http://127.0.0.1:9/v1: the server gives no answer (All connection"),
        ("http://me:password@127.0.0.1:9/v1#tiny", "error: the address of a server holds a password or a query: http"),
    ],
)
def test_a_wrong_address_or_model_is_seen_before_any_work(
    address: str, line: str, caption: Callable[..., tuple[int, list[str]]]
) -> None:
    for more in ([], ["--dry-run"]):
        code, (found,) = caption(Model(), address, *more)
        assert code == 2
        assert found.startswith(line)
        assert "me:password" not in found
    assert not list(Path().glob("out.jsonl*"))
