"""Packets of an open file, and the frames in them: reading and decoding that survive damage, within bounds.

Runs inside the decoding process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from av.error import FFmpegError, InvalidDataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

GIVE_UP_SECONDS: Final = 120
"""A stream that yields nothing for so long (of the film, not of waiting) is given up."""
MOST_BAD_PACKETS: Final = 20_000
"""The same where packets do not say how long they are."""
BAD_PACKET_SECONDS: Final = (0.001, 1.0)
"""The least and the most that a bad packet can claim to last."""
UNKNOWN_PACKET_SECONDS: Final = 0.04
MOST_DAMAGE_IN_A_ROW: Final = 4096
"""Places where reading fails, without a packet between; a transport stream has one every 64 KiB of rubbish."""
MOST_ERRORS_IN_A_ROW: Final = 8
"""The same for errors of the disk, of which each may take long."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key frame's packet: its time stamps in ticks of its stream, its bytes."""

    pts: int
    dts: int | None
    size: int


@dataclass
class Skipped:
    """What did not decode of one stream."""

    packets: int = 0
    seconds: float = 0.0
    """How long those packets are, together."""
    lost: Fraction = Fraction(0)
    """Seconds of picture or sound that were requested, or passed on the way, and are missing."""
    gave_up: bool = False
    """The stream was left before its end."""
    reached: int | None = None
    """Presentation time of the last packet that was tried, ticks."""


def read_packets(container: InputContainer, *streams: Any) -> Iterator[Packet[Any]]:
    """Packets of the streams (all, where none is named); reading goes on after errors, within bounds.

    The flushing packets of PyAV come last.
    """
    damage = errors = 0
    while damage < MOST_DAMAGE_IN_A_ROW and errors < MOST_ERRORS_IN_A_ROW:
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    damage = errors = 0
                yield packet
            return
        except IndexError:
            # PyAV at the end of a file whose damage looks like streams that were not there at its start
            return
        except MemoryError:
            raise
        except (InvalidDataError, BlockingIOError):
            # the second is what the demuxer of transport streams says of rubbish
            damage += 1
        except (FFmpegError, OSError):
            errors += 1


def decoded(packets: Iterator[Packet[Any]], skipped: Skipped, alive: Callable[[], None]) -> Iterator[Any]:
    """Frames of one stream's ``packets``; bad ones are counted, and decoding goes on with the next that is good.

    Only a stream without one frame in a long time is given up.
    """
    row, seconds = 0, 0.0
    last: Packet[Any] | None = None
    for packet in packets:
        alive()
        last = packet
        if packet.pts is not None:
            skipped.reached = packet.pts
        try:
            found = packet.decode()
        except MemoryError:  # an FFmpegError as well: not the packet's fault
            raise
        except (FFmpegError, ValueError):
            row += 1
            length = _seconds(packet)
            seconds += length
            skipped.packets += 1
            skipped.seconds += length
            if seconds > GIVE_UP_SECONDS or row > MOST_BAD_PACKETS:
                skipped.gave_up = True
                return
            continue
        if found:
            row, seconds = 0, 0.0
        yield from found
    if last is not None and last.size:
        # reading broke off before the packet that flushes the decoder
        skipped.gave_up = True
        with suppress(FFmpegError, ValueError):
            yield from last.stream.decode(None)


def _seconds(packet: Packet[Any]) -> float:
    if not packet.duration or not packet.time_base:
        return UNKNOWN_PACKET_SECONDS
    least, most = BAD_PACKET_SECONDS
    return min(max(float(packet.duration * packet.time_base), least), most)
