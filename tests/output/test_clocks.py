"""Times that people and players read: never 0:60, and as many hours as there are."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from evcap_cli import plugins
from evcap_cli.clocks import clock, elapsed, roughly, timestamp
from evcap_cli.output.records import Caption, Media, Record


@pytest.mark.slow
def test_a_clock_never_reads_sixty() -> None:
    expected = {
        0: "0:00.0",
        3.44: "0:03.4",
        59.94: "0:59.9",
        59.97: "1:00",
        59.999: "1:00",
        60: "1:00",
        119.99: "1:59",
        3599.99: "59:59",
        3723.9: "1:02:03",
        360000: "100:00:00",
    }
    assert {seconds: clock(seconds) for seconds in expected} == expected
    steps = [number / 100 for number in range(1_000_00)]
    for text in [format_(seconds) for format_ in (clock, elapsed, roughly) for seconds in steps]:
        assert ":60" not in text
        assert "60 s" not in text
        assert "60 min" not in text


def test_stamps_of_subtitles_take_any_number_of_hours() -> None:
    assert timestamp(3_723_004, ",") == "01:02:03,004"
    assert timestamp(359_999_999, ".") == "99:59:59.999"
    assert timestamp(360_000_000, ",") == "100:00:00,000"
    assert timestamp(-1, ",") == "00:00:00,000"


@pytest.mark.parametrize("suffix", [".srt", ".vtt"])
def test_cues_after_a_hundred_hours_are_where_they_belong(suffix: str, tmp_path: Path) -> None:
    day = 86400.5
    media = Media(day, "25/1", 64, 48, 0, has_audio=False)
    records = [Record(f"{n}.mp4", f"{n}", None, "ok", (Caption(0.0, day, f"day {n}"),), media) for n in range(6)]
    path = tmp_path / f"days{suffix}"
    path.write_text(plugins.writers()[suffix].render(records))
    with av.open(str(path)) as subtitles:  # FFmpeg's own readers
        packets = [packet for packet in subtitles.demux() if packet.size]
        starts = [float(packet.pts * packet.time_base) for packet in packets]
        ends = [float((packet.pts + packet.duration) * packet.time_base) for packet in packets]
    assert starts == [n * day for n in range(6)]
    assert ends == [(n + 1) * day for n in range(6)]
