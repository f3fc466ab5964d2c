"""A captioner that keeps every promise: it reads frames and audio and follows all options. It imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evcap_cli import (
    CaptionerIdentity,
    CaptionerOptions,
    CaptionerSpec,
    CheckpointError,
    Clip,
    ClipCaption,
    ClipCaptioner,
    FrameRequest,
    Reads,
    VideoError,
    WaveformRequest,
    hookimpl,
)

ADDRESS = "kept://model"


class KeepingCaptioner(ClipCaptioner):
    """Says how bright and how loud a clip is."""

    reads = Reads(frames=FrameRequest(4, 64), waveform=WaveformRequest(8000, 5.0))
    takes_instructions = True
    clips_a_batch = 2

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        super().__init__(address, options)
        if address != ADDRESS:
            raise CheckpointError("no such model", path=address, hint=f"the only one is {ADDRESS}")

    @property
    def identity(self) -> CaptionerIdentity:
        prompt = self.options.prompt or f"Say {self.options.style}."
        return CaptionerIdentity("kept", "1", style=self.options.style_name, prompt_digest=prompt)

    def load(self, device: Any, dtype: Any) -> None:
        self.gain = 1.0

    def caption(self, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> ClipCaption | VideoError:
        assert clip.frames is not None
        light = self.gain * float(clip.frames.float().mean()) / 255
        loud = 0.0 if clip.waveform is None else float(clip.waveform.abs().mean())
        words = ["bright" if light > 0.5 else "dark", "and", "loud" if loud > 0.1 else "silent"]
        emotion = None
        if self.options.emotion and self.options.lexicon is not None:
            first, *others = self.options.lexicon.categories
            emotion = {first: light} | dict.fromkeys(others, (1 - light) / len(others))
        return ClipCaption(" ".join(words[: self.options.max_words]), -light - loud, emotion)


SPEC = CaptionerSpec(
    "kept",
    "says how bright and loud a clip is",
    f"{__name__}:KeepingCaptioner",
    address=ADDRESS,
    download="1 kB",
    license="MIT",
    takes_audio=True,
    schemes=("kept://",),
)


@hookimpl
def register_captioners(register: Callable[[CaptionerSpec], None]) -> None:
    register(SPEC)
