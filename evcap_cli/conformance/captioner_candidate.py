"""The captioner under examination: its instances, sample clips for it, its captions, and what it printed.

Clips are what a run hands over: frames of the size and number that the captioner reads, with rising times, and audio
where it reads a waveform; or random features as wide as those of the backbones that it reads. Everything happens on the
CPU in float32.

Notation: T frames of H x W pixels, S samples, rows n of features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.loading import make_backbones
from evcap_cli.conformance.candidate import described, sample_frames, sample_tone
from evcap_cli.conformance.checks import Broken
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import VideoError
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.standard_streams import captured
from evcap_cli.systems.clip_captioner import CaptionerOptions, Clip, ClipCaption, ClipCaptioner

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.backbones.contract import Kind
    from evcap_cli.systems.captioner_spec import CaptionerSpec

CLIPS: Final = 3
"""Clips of the sample batch: enough for a clip to have neighbours."""
SIZE: Final = (72, 96)
"""Height and width of the pictures of sample clips, where the captioner reads no smaller ones."""
SECONDS: Final = 2.0
ROWS: Final[Mapping[Kind, int]] = {"appearance": 30, "motion": 30, "object": 16, "audio": 60}
"""Of features of a clip, at most."""
FEW_WORDS: Final = 2
OWN_PROMPT: Final = "Say what happens."


class CaptionerCandidate:
    """One registered captioner with the address and options it is examined with.

    Args:
        spec: as it is registered.
        address: as ``-c`` would give it; None: the name.
        options: what a user chooses; None: the defaults.
        folder: an empty folder for files that checks need.
    """

    def __init__(
        self, spec: CaptionerSpec, address: str | None, options: CaptionerOptions | None, folder: Path
    ) -> None:
        self.spec, self.folder = spec, folder
        given = options or CaptionerOptions()
        self.options = replace(given, lexicon=given.lexicon or Lexicon.general())
        self.address = spec.address or spec.name if address is None or address == spec.name else address
        self.printed: list[str] = []

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Keep what the block prints on standard output."""
        texts: list[str] = []
        try:
            with captured() as texts:
                yield
        finally:
            self.printed += [text for text in texts if text]

    def open(self, address: str | None = None, **changes: Any) -> ClipCaptioner:
        """A new instance without its model; ``changes`` are fields of the options."""
        with self.calling():
            return self.spec.open(self.address if address is None else address, replace(self.options, **changes))

    def loaded(self, **changes: Any) -> ClipCaptioner:
        """A new instance, loaded as a run would load it."""
        import torch

        captioner = self.open(**changes)
        with self.calling():
            captioner.load(torch.device("cpu"), torch.float32)
        return captioner

    @cached_property
    def captioner(self) -> ClipCaptioner:
        """The instance that most checks use."""
        return self.loaded()

    @cached_property
    def together(self) -> list[ClipCaption]:
        """Captions of the sample clips in one batch."""
        return self.caption(self.captioner, self.clips())

    @cached_property
    def limited(self) -> tuple[ClipCaptioner, list[ClipCaption]]:
        """Another instance, with few words, no emotions and a prompt where it takes one; its captions of the clips."""
        prompt = {"prompt": OWN_PROMPT} if self.captioner.takes_instructions else {}
        other = self.loaded(max_words=FEW_WORDS, emotion=False, **prompt)
        return other, self.caption(other, self.clips())

    def clips(self) -> list[Clip]:
        """``CLIPS`` different clips of full length, with audio where it is read."""
        return [self.clip(seed) for seed in range(CLIPS)]

    def clip(
        self, seed: int, *, frames: int | None = None, size: tuple[int, int] = SIZE, audio_seconds: float = SECONDS
    ) -> Clip:
        """A clip as a run hands it over.

        Args:
            seed: other pictures and another tone.
            frames: fewer than the captioner reads; so many rows of features.
            size: height and width of the video.
            audio_seconds: 0: the video has no audio.
        """
        import torch

        reads = self.captioner.reads
        pictures: Tensor | None = None
        waveform: Tensor | None = None
        times: tuple[float, ...] = ()
        if reads.frames is not None:
            count = min(frames or reads.frames.count, reads.frames.count)
            drawn = sample_frames(count, reads.frames.size(*size), seed)
            if seed % 2:  # a dark clip has bright neighbours
                drawn = 255 - drawn
            pictures = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
            times = tuple(SECONDS * (2 * number + 1) / (2 * count) for number in range(count))
        if reads.waveform is not None and audio_seconds:
            seconds = min(audio_seconds, reads.waveform.longest_seconds)
            waveform = torch.from_numpy(sample_tone(reads.waveform.rate, seconds, seed))
        features = self._features(seed, frames, audio_seconds) if reads.backbones else None
        return Clip(SECONDS, pictures, times, waveform, features)

    @property
    def reads_audio(self) -> bool:
        """Whether captions may depend on the audio."""
        reads = self.captioner.reads
        return reads.waveform is not None or "audio" in reads.backbones

    @cached_property
    def dims(self) -> dict[Kind, int]:
        """Kind -> width of the features that the captioner reads; no weights are loaded for it."""
        made = make_backbones(self.captioner.reads.backbones, {}, {}, ())
        return {kind: one.spec.dim for kind, one in made.items()}

    def _features(self, seed: int, rows: int | None, audio_seconds: float) -> ClipFeatures:
        """Random rows of each stream; ``audio_seconds`` as in ``clip``."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        streams: dict[Kind, StreamFeatures] = {}
        for kind, dim in self.dims.items():
            count = min(rows or ROWS[kind], ROWS[kind])
            if kind == "audio":
                count = math.ceil(count * min(audio_seconds / SECONDS, 1))
            times = torch.linspace(0, SECONDS, count)
            streams[kind] = StreamFeatures(torch.randn(count, dim, generator=generator), times)
        return ClipFeatures(streams, SECONDS)

    def caption(self, captioner: ClipCaptioner, clips: Sequence[Clip]) -> list[ClipCaption]:
        """Its captions of ``clips``.

        Raises:
            Broken: it gives another number of results, something else, or an error.
        """
        captions = []
        for result in self.results(captioner, clips):
            if isinstance(result, VideoError):
                raise Broken(f"gave no caption: {result.message}")
            captions.append(result)
        return captions

    def results(self, captioner: ClipCaptioner, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        """A caption or an error for each of ``clips``.

        Raises:
            Broken: it gives another number of results, or something else.
        """
        with self.calling():
            results = captioner.caption(clips)
        if not isinstance(results, Sequence) or len(results) != len(clips):
            raise Broken(f"caption() returns a list of {len(clips)} results for {len(clips)} clips, {_shown(results)}")
        other = next((result for result in results if not isinstance(result, ClipCaption | VideoError)), None)
        if other is not None:
            raise Broken(f"a result is a ClipCaption or a CaptionerError, this is {described(other)}")
        return list(results)


def _shown(results: object) -> str:
    return f"these are {len(results)}" if isinstance(results, Sequence) else f"this is {described(results)}"
