"""From what a captioner reads to what is decoded, and back to a ``Clip``: the same for captioning and for training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from evcap_cli.systems.clip_captioner import Clip

if TYPE_CHECKING:
    from evcap_cli.features.raw_clips import RawClip, RawRequest
    from evcap_cli.systems.clip_captioner import Reads


def raw_request(reads: Reads, *, drop_audio: bool = False) -> RawRequest:
    """What is decoded of each segment for a captioner that reads frames, a waveform or both."""
    from evcap_cli.features.raw_clips import RawRequest

    request = RawRequest()
    if reads.frames is not None:
        request = replace(request, moments=reads.frames.count, longest_side=reads.frames.longest_side)
    if reads.waveform is not None and not drop_audio:
        request = replace(request, rate=reads.waveform.rate, longest_seconds=reads.waveform.longest_seconds)
    return request


def clip_of(raw: RawClip) -> Clip:
    """A clip as captioners take it: frames (T, 3, H, W) uint8, waveform (S,) float32."""
    import torch

    frames = None if raw.frames is None else torch.from_numpy(raw.frames).permute(0, 3, 1, 2).contiguous()
    waveform = None if raw.waveform is None else torch.from_numpy(raw.waveform)
    return Clip(raw.duration, frames, raw.times, waveform)
