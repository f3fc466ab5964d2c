"""Copies of clips in which the packets of a stretch hold rubbish."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av


def rubbish(whole: Path, path: Path, kind: str, first: float, last: float, make: Callable[[int], bytes]) -> Path:
    """A copy in which the packets of one stream between two times hold something else."""
    with av.open(str(whole)) as plain, av.open(str(path), "w") as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in plain.streams}
        zero = 0 if plain.start_time is None else plain.start_time / av.time_base
        for packet in plain.demux():
            if not packet.size:
                continue
            kept: Any = packet
            if packet.stream.type == kind and first <= float(packet.pts * packet.time_base) - zero < last:
                kept = av.Packet(make(packet.size))
                kept.pts, kept.dts, kept.duration = packet.pts, packet.dts, packet.duration
                kept.time_base, kept.is_keyframe = packet.time_base, packet.is_keyframe
            kept.stream = streams[packet.stream.index]
            out.mux(kept)
    return path


def overwritten(whole: Path, path: Path, places: Iterable[int]) -> Path:
    """A copy in which the bytes of these packets of the picture are others; nothing else differs."""
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as plain:
        packets = [packet for packet in plain.demux(video=0) if packet.size]
    for place in places:
        at, size = packets[place].pos, packets[place].size
        data[at : at + size] = impossible(size)
    path.write_bytes(data)
    return path


def impossible(size: int) -> bytes:
    """No codec takes this for a packet of its own."""
    return b"\xff" * size
