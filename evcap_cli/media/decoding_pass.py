"""One pass over an open file, inside the decoding process: requested frames, sound in step with them, and a report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from evcap_cli.media import ffmpeg_log
from evcap_cli.media.audio import sound
from evcap_cli.media.decode_plan import AudioChunk, DecodedFrame
from evcap_cli.media.decode_report import DecodeReport
from evcap_cli.media.frames import Fitter, requested_frames
from evcap_cli.media.packets import Skipped

if TYPE_CHECKING:
    from evcap_cli.media.decode_plan import DecodePlan
    from evcap_cli.media.media_file import MediaFile
    from evcap_cli.media.scan import OpenVideo


class PassServer(Protocol):
    """Where a pass sends what it decodes."""

    def alive(self) -> None:
        """Work goes on."""

    def send_frame(self, frame: DecodedFrame) -> None:
        """Send a frame; waits for its reader."""

    def send_sound(self, chunk: AudioChunk) -> None:
        """Send samples; waits for their reader."""

    def second_file(self) -> MediaFile:
        """The open file once more, to read its sound from."""
        ...


class DecodingPass:
    """One pass: its pictures, its sound, and how they went."""

    def __init__(self, opened: OpenVideo, plan: DecodePlan, server: PassServer) -> None:
        self.server, self.opened, self.plan = server, opened, plan
        self.seen, self.patched, self.decoded_sound = 0, False, 0.0
        self.missing: list[int] = []
        self.lost_pictures, self.lost_sound = Skipped(), Skipped()
        self._sound = self._chunks()
        self._chunk: AudioChunk | None = None
        self._began = False
        self.pixel_seconds = 0.0

    @property
    def report(self) -> DecodeReport:
        """How it went so far."""
        return DecodeReport(
            self.seen,
            tuple(self.missing),
            self.lost_pictures.packets,
            self.lost_sound.packets,
            self.patched,
            self.decoded_sound,
            round(float(self.lost_pictures.lost), 3),
            round(float(self.lost_sound.lost), 3),
        )

    def pictures(self) -> Iterator[float]:
        """Send all requested frames; yields the time of each, seconds, before it is sent."""
        requests = {key: np.asarray(r.ordinals, dtype=np.int64) for key, r in self.plan.frames.items()}
        everything = np.unique(np.concatenate([*requests.values(), np.zeros(0, np.int64)]))
        info, colours = self.opened.timeline.info, self.opened.colours
        fitters = {key: Fitter(request.geometry, info, colours) for key, request in self.plan.frames.items()}
        place = 0
        for ordinal, frame in requested_frames(self.opened, everything.tolist(), self.lost_pictures, self.server.alive):
            self._note_damage()
            at = int(np.searchsorted(everything, ordinal))
            self.missing += everything[place:at].tolist()
            place, self.seen = at + 1, self.seen + 1
            yield float(self.opened.timeline.seconds(ordinal))
            for key, ordinals in requests.items():
                where = int(np.searchsorted(ordinals, ordinal))
                if where < len(ordinals) and ordinals[where] == ordinal:
                    begun = time.perf_counter()
                    pixels = fitters[key](frame)
                    self.pixel_seconds += time.perf_counter() - begun
                    self.server.send_frame(DecodedFrame(ordinal, key, pixels))
        self.missing += everything[place:].tolist()
        self._note_damage()

    def _note_damage(self) -> None:
        self.patched = bool(ffmpeg_log.take()) or self.patched

    def sound_until(self, seconds: float) -> None:
        """Send the sound that begins at ``seconds`` or before."""
        if not self._began:
            self._began, self._chunk = True, next(self._sound, None)
        while self._chunk is not None and self._chunk.start <= seconds:
            self.server.send_sound(self._chunk)
            self._chunk = next(self._sound, None)
        ffmpeg_log.take()  # only lines about the picture are counted

    def _chunks(self) -> Iterator[AudioChunk]:
        """The sound; where it goes in step, first where it begins, with no samples."""
        request, opened = self.plan.audio, self.opened
        if request is None or opened.file.audio is None:
            return
        if self.plan.in_step:
            opened = replace(opened, file=self.server.second_file())
        start, samples = float(request.start), np.zeros(0, np.float32)
        rate, alive = request.rate, self.server.alive
        for following, more in sound(opened, rate, request.start, request.end, self.lost_sound, alive):
            self.decoded_sound += len(more) / rate
            if len(samples) or self.plan.in_step:
                yield AudioChunk(start, samples, following)
            start, samples = following, more
        if len(samples) or self.plan.in_step:
            yield AudioChunk(start, samples, math.inf)
