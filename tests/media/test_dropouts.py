"""Dropouts: decoding goes on at the next packet that is good, and says how much was lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from evcap_cli.media import packets
from evcap_cli.media.decoder import Decoder
from evcap_cli.media.frames import requested_frames
from evcap_cli.media.packets import Skipped
from evcap_cli.media.scan import open_video
from tests.media.clips import make_clip, number_in
from tests.media.dropouts import impossible, overwritten, rubbish
from tests.media.reading import run

SECONDS = 16


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(timeout=120) as one:
        yield one


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        suffix: make_clip(folder / f"w.{suffix}", seconds=SECONDS, size=(96, 64), gop=25) for suffix in ("mkv", "ts")
    }


def dice(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.slow
@pytest.mark.parametrize("make", [impossible, dice])
def test_sound_goes_on_after_a_dropout(
    make: Callable[[int], bytes], whole: dict[str, Path], tmp_path: Path, decoder: Decoder
) -> None:
    path = rubbish(whole["mkv"], tmp_path / "d.mkv", "audio", 4, 6, make)
    timeline = decoder.open(path)
    heard = run(decoder, [0], sound=(0, float(timeline.end)))
    assert len(heard.samples) / 16_000 == pytest.approx(SECONDS - 2, abs=0.4)
    # what follows the dropout is heard when it sounds
    starts = np.array([start for start, _ in heard.chunks])
    assert not ((starts > 4.3) & (starts < 5.7)).any()
    assert heard.chunks[-1][0] + len(heard.chunks[-1][1]) / 16_000 == pytest.approx(SECONDS, abs=0.2)
    assert heard.report is not None
    loss = heard.report.loss
    assert loss.audio_seconds == pytest.approx(2, abs=0.4)
    assert loss.audio_share == pytest.approx(loss.audio_seconds / SECONDS, abs=0.01)
    assert loss.serious
    assert f"{loss.audio_seconds:.1f} s are lost" in heard.report.warnings[-1]


def test_a_short_dropout_is_no_serious_loss(whole: dict[str, Path], tmp_path: Path, decoder: Decoder) -> None:
    path = rubbish(whole["mkv"], tmp_path / "d.mkv", "audio", 4, 4.3, impossible)
    timeline = decoder.open(path)
    heard = run(decoder, [0], sound=(0, float(timeline.end)))
    assert heard.report is not None
    assert heard.report.loss.audio_seconds == pytest.approx(0.3, abs=0.1)
    assert not heard.report.loss.serious
    assert heard.report.loss.frames_share == 0


@pytest.mark.parametrize("wanted", [range(8, 400, 17), range(400)])
def test_the_picture_goes_on_at_the_next_key_frame(
    wanted: range, whole: dict[str, Path], tmp_path: Path, decoder: Decoder
) -> None:
    # two and a half seconds; the next key frame comes half a second later
    path = rubbish(whole["mkv"], tmp_path / "d.mkv", "video", 3.5, 6, impossible)
    decoder.open(path)
    with av.open(str(path)) as plain:
        keys = [round(packet.pts * packet.time_base * 25) for packet in plain.demux(video=0) if packet.is_keyframe]
    resumed = min(key for key in keys if key >= 150)
    heard = run(decoder, wanted)
    assert heard.report is not None
    assert {number for number in wanted if 87 <= number < 150} <= set(heard.report.missing)
    assert set(heard.report.missing) <= set(range(84, resumed))
    # frames between the damage and the key frame may be patched up
    sound = {n: number_in(pixels) for n, pixels in heard.frames.items() if n < 84 or n >= resumed}
    assert sound == {n: n for n in wanted if n < 84 or n >= resumed}
    assert heard.report.loss.frames_share == pytest.approx(len(heard.report.missing) / len(wanted), abs=1e-3)
    if len(wanted) == 400:
        assert f"{len(heard.report.missing) / 25:.1f} s are lost" in heard.report.warnings[1]


def test_a_damaged_key_frame_does_not_make_the_index_a_lie(whole: dict[str, Path], tmp_path: Path) -> None:
    path = rubbish(whole["mkv"], tmp_path / "d.mkv", "video", 8, 8.5, impossible)
    opened = open_video(path)
    try:
        skipped = Skipped()
        seen = [number for number, _ in requested_frames(opened, [0, 205, 300, 390], skipped, lambda: None)]
        assert seen == [0, 300, 390]
        assert opened.file.seeks
    finally:
        opened.file.close()


def test_what_lies_behind_a_long_dead_stretch_is_found_by_seeking(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "GIVE_UP_SECONDS", 2)
    path = rubbish(whole["mkv"], tmp_path / "d.mkv", "video", 3, 11, impossible)
    opened = open_video(path)
    try:
        skipped = Skipped()
        wanted = [10, 60, 100, 150, 200, 240, 290, 350, 399]
        seen = [number for number, _ in requested_frames(opened, wanted, skipped, lambda: None)]
        assert seen == [10, 60, 290, 350, 399]
    finally:
        opened.file.close()


def test_a_stream_without_a_good_packet_ends_soon(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packets, "GIVE_UP_SECONDS", 3)
    path = rubbish(whole["mkv"], tmp_path / "d.mkv", "video", 1, 99, impossible)
    opened = open_video(path)
    try:
        skipped = Skipped()
        assert [number for number, _ in requested_frames(opened, range(400), skipped, lambda: None)][-1] < 25
        # every dead key frame is tried, none for longer than it takes to reach the next
        assert skipped.packets <= 400
    finally:
        opened.file.close()


def test_rubbish_between_the_packets_of_a_transport_stream_is_passed(
    whole: dict[str, Path], tmp_path: Path, decoder: Decoder
) -> None:
    data = whole["ts"].read_bytes()
    half = len(data) // 2 // 188 * 188
    path = tmp_path / "d.ts"
    # FFmpeg reports an error for every 64 KiB without a packet
    path.write_bytes(data[:half] + b"\0" * (16 * 65536) + data[half:])
    timeline = decoder.open(path)
    assert len(timeline.times) >= 395
    heard = run(decoder, range(8, 392, 17), sound=(0, SECONDS))
    assert len(heard.frames) >= 21
    assert len(heard.samples) / 16_000 > SECONDS - 1


def test_what_is_missing_between_packets_of_a_damaged_file_is_lost(
    whole: dict[str, Path], tmp_path: Path, decoder: Decoder
) -> None:
    data = bytearray(whole["ts"].read_bytes())
    first, last = (len(data) * share // 8 // 188 * 188 for share in (2, 4))
    data[first:last] = bytes(last - first)
    path = tmp_path / "d.ts"
    path.write_bytes(bytes(data))
    timeline = decoder.open(path)
    heard = run(decoder, [0], sound=(0, float(timeline.end)))
    assert heard.report is not None
    assert heard.report.loss.audio_seconds == pytest.approx(SECONDS - len(heard.samples) / 16_000, abs=0.3)
    assert heard.report.loss.serious


def test_a_pause_between_joined_recordings_is_no_loss(tmp_path: Path, decoder: Decoder) -> None:
    parts = [make_clip(tmp_path / f"{at}.ts", seconds=1, size=(96, 64), start_offset=at) for at in (0, 500)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    timeline = decoder.open(both)
    heard = run(decoder, [0], sound=(0, float(timeline.end)))
    assert heard.report is not None
    assert heard.report.loss.audio_seconds == 0


@pytest.mark.slow
def test_sound_of_a_joined_recording_keeps_its_place_after_a_dropout(
    whole: dict[str, Path], tmp_path: Path, decoder: Decoder
) -> None:
    damaged = rubbish(whole["ts"], tmp_path / "d.ts", "audio", 4, 6, impossible)
    both = tmp_path / "both.ts"
    both.write_bytes(damaged.read_bytes() + whole["ts"].read_bytes())
    timeline = decoder.open(both)
    assert "time stamps" in timeline.warnings[0]
    heard = run(decoder, [0], sound=(0, 2 * SECONDS))
    last = heard.chunks[-1][0] + len(heard.chunks[-1][1]) / 16_000
    assert last == pytest.approx(2 * SECONDS, abs=0.6)
    assert heard.report is not None
    assert heard.report.loss.audio_seconds == pytest.approx(2, abs=0.4)


@pytest.mark.parametrize(
    ("bad", "gop", "good_from"),
    [
        (range(30, 50), 25, 50),
        (range(80, 100), 25, 100),
        # after this hole packets give no frame and no error: the next key frame has its number again
        (range(30, 50), 250, 64),
    ],
)
def test_frames_without_time_stamps_keep_their_numbers_after_a_hole(
    bad: range, gop: int, good_from: int, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "w.avi", seconds=4, size=(96, 64), gop=gop, audio=False)
    opened = open_video(overwritten(clip, tmp_path / "d.avi", bad))
    try:
        assert opened.stamps is None
        skipped = Skipped()
        frames = requested_frames(opened, range(100), skipped, lambda: None)
        # the last frame before the hole lacks what it refers to
        numbers = {n: number_in(frame.to_ndarray(format="rgb24")) for n, frame in frames if n != bad[0] - 1}
    finally:
        opened.file.close()
    assert skipped.packets == len(bad)
    assert not set(bad) & set(numbers)
    good = [*range(bad[0] - 1), *range(good_from, 100)]
    assert {n: numbers.get(n) for n in good} == {n: n for n in good}
    assert float(skipped.lost) == pytest.approx((99 - len(numbers)) / 25, abs=0.05)
