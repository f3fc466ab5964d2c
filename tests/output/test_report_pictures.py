"""Pictures of a report come from a decoder that may die: once changes nothing, more often is said."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evcap_cli.media.decoder import Decoder
from evcap_cli.output import html_report
from evcap_cli.output.html_report import all_pictures_at, render_report
from evcap_cli.output.records import Caption, Record
from tests.features.films import make_film
from tests.output.test_formats import a_record

SECONDS = [0.1, 0.5, 0.9, 1.3]
KILLED = "2 of 4 pictures, whose frames did not decode again"


@pytest.fixture
def record(tmp_path: Path) -> Record:
    film = make_film(tmp_path / "a.mp4", frames=40)
    return a_record(str(film), captions=tuple(Caption(at - 0.1, at + 0.1, "a dog runs") for at in SECONDS))


@pytest.mark.slow
def test_a_decoder_that_is_killed_once_changes_nothing(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = render_report([record])
    assert expected.count("data:image") == len(SECONDS)
    plain, requests = html_report.pictures_at, []

    def killed(decoder: Decoder, path: str, wanted: list[float], side: int) -> Iterator[Any]:
        requests.append(wanted)
        for number, item in enumerate(plain(decoder, path, wanted, side)):
            yield item
            if number == 1 and len(requests) == 1 and decoder.pid is not None:
                os.kill(decoder.pid, signal.SIGKILL)
                raise html_report.DecoderCrashed("the decoder died")

    monkeypatch.setattr(html_report, "pictures_at", killed)
    assert render_report([record]) == expected
    assert requests == [SECONDS, SECONDS[2:]]


@pytest.mark.slow
def test_pictures_that_are_missing_are_counted_on_the_page_and_in_a_warning(
    record: Record, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def dead(decoder: Decoder, path: str, wanted: list[float], side: int) -> Iterator[Any]:
        yield from list(plain(decoder, path, wanted, side))[:1]
        raise html_report.DecoderCrashed("the decoder died")

    plain = html_report.pictures_at
    monkeypatch.setattr(html_report, "pictures_at", dead)
    page = render_report([record])
    assert page.count("data:image") == 2
    assert f"Not shown: {KILLED}." in page
    assert capfd.readouterr().err == f"warning: the report lacks {KILLED}\n"


@pytest.mark.slow
def test_a_file_that_does_not_decode_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with Decoder() as decoder:
        assert all_pictures_at(decoder, tmp_path / "a.mp4", SECONDS) == {}
