"""Frames whose time stamps cannot be used: numbered by the packets that they come from.

Decoders give frames in the order in which they are shown, so the next frame has the lowest number that is left. Numbers
of packets that do not decode are left out at once, those of packets that silently give no frame at the next key frame:
all packets before a key frame's are shown before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from av.codec.context import Flags

from evcap_cli.media import ffmpeg_log
from evcap_cli.media.packet_walk import FramePackets
from evcap_cli.media.packets import decoded

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

    from evcap_cli.media.packets import Skipped
    from evcap_cli.media.probe import Timeline
    from evcap_cli.media.scan import OpenVideo


class _Numbering:
    """Numbers for frames as they come out of the decoder; there are as many ``free`` ones as ``pending`` packets."""

    def __init__(self) -> None:
        self.packets = 0
        self.pending: list[int] = []
        """Packets whose frames have not come out, in the order of the file."""
        self.free: deque[int] = deque()

    def add(self) -> None:
        """The next packet that begins a frame."""
        self.pending.append(self.packets)
        self.free.append(self.packets)
        self.packets += 1

    def drop_last(self) -> None:
        """That packet did not decode."""
        self.pending.pop()
        self.free.pop()

    def number_of(self, frame: VideoFrame) -> int | None:
        """The number of the next frame; None for a second frame of one packet."""
        packet: Any = frame.opaque
        if packet is None and self.pending:
            packet = self.pending[0]  # a decoder that does not say which packet it was
        if packet not in self.pending:
            return None
        while frame.key_frame and self.pending[0] < packet:
            silent = self.pending.pop(0)
            if silent in self.free:
                self.free.remove(silent)
            else:
                self.free.popleft()  # a later frame has its number
        self.pending.remove(packet)
        return self.free.popleft()


def counted_frames(
    opened: OpenVideo, ordinals: Sequence[int], skipped: Skipped, alive: Callable[[], None]
) -> Iterator[tuple[int, VideoFrame]]:
    """See ``frames.requested_frames``."""
    packets = opened.file.from_start()
    opened.file.video.codec_context.flags |= Flags.copy_opaque
    frame_packets, numbering = FramePackets(opened.file.video), _Numbering()

    def marked() -> Iterator[Packet[Any]]:
        for packet in packets:
            begins = frame_packets.begins_frame(packet) and not packet.is_discard
            if begins:
                numbering.add()
            packet.opaque = numbering.packets - 1
            bad = skipped.packets
            yield packet
            if begins and skipped.packets > bad:
                numbering.drop_last()

    place = due = 0
    shown_frame: VideoFrame | None = None
    for frame in decoded(marked(), skipped, alive):
        number = numbering.number_of(frame)
        if number is None:
            continue
        if skipped.packets:
            skipped.lost += _shown_at(opened.timeline, number) - _shown_at(opened.timeline, due)
        due = number + 1
        while ordinals[place] < number:
            if shown_frame is not None and not (skipped.packets or ffmpeg_log.count()):
                # a packet of a sound stream that gives no frame of its own leaves the one before it on screen
                yield ordinals[place], shown_frame
            place += 1
            if place == len(ordinals):
                return
        shown_frame = frame
        if ordinals[place] == number:
            yield number, frame
            place += 1
        if place == len(ordinals):
            return
    if skipped.packets:
        skipped.lost += opened.timeline.end - _shown_at(opened.timeline, due)


def _shown_at(timeline: Timeline, number: int) -> Fraction:
    return timeline.seconds(number) if number < len(timeline.times) else timeline.end
