"""A tiny backbone of each kind, exact and independent of its batch: what the pipeline's tests run on."""

from __future__ import annotations

from dataclasses import replace

import torch

from evcap_cli.backbones.contract import AudioInput, Backbone, BackboneSpec, ClipInput, Detections, FrameInput


class TinyAppearance(Backbone):
    """Mean colour of each quarter."""

    spec = BackboneSpec("tiny-appearance", "appearance", 12, "1", FrameInput(size=(8, 8)), batch_size=7)

    def load(self, weights, device, dtype):
        pass

    def extract(self, batch):
        return torch.nn.functional.avg_pool2d(batch, 4).flatten(1)


class TinyMotion(TinyAppearance):
    """Mean colour of each frame of the window."""

    spec = BackboneSpec("tiny-motion", "motion", 48, "1", ClipInput(size=(4, 6), frames=16), batch_size=5)

    def extract(self, batch):
        return batch.mean((3, 4)).flatten(1)


class TinyObject(TinyAppearance):
    """The brightest pixel and a fixed box, described by the frame and its neighbours."""

    spec = BackboneSpec("tiny-object", "object", 9, "1", ClipInput(size=(12, 16), frames=3), batch_size=4)

    def extract(self, batch):
        found = []
        for window in batch:
            middle = window[:, 1].mean(0)
            at = int(middle.flatten().argmax())
            y, x = divmod(at, 16)
            boxes = torch.tensor([[x, y, x + 4, y + 4], [0, 0, 16, 12]], dtype=batch.dtype)
            scores = torch.stack([middle.max(), middle.mean()])
            found.append(Detections(boxes, scores, window.mean((2, 3)).flatten().repeat(2, 1)))
        return found


class TinyAudio(TinyAppearance):
    """Loudness and mean of every 20 ms."""

    spec = BackboneSpec(
        "tiny-audio", "audio", 2, "1", AudioInput(rate=16000, chunk_seconds=2.0, overlap_seconds=0.5), batch_size=3
    )

    def extract(self, batch):
        steps = batch[:, : batch.shape[1] // 320 * 320].unflatten(1, (-1, 320))
        return torch.stack([steps.square().mean(2), steps.mean(2)], dim=2)


TINY = {"appearance": TinyAppearance, "motion": TinyMotion, "object": TinyObject, "audio": TinyAudio}


def tiny_backbones(*kinds):
    """One of each kind, or of ``kinds``, loaded."""
    made = {kind: TINY[kind]() for kind in kinds or TINY}
    for backbone in made.values():
        backbone.load(None, torch.device("cpu"), torch.float32)
    return made


def changed(kind, **fields):
    """A tiny backbone with another spec."""
    backbone = tiny_backbones(kind)[kind]
    backbone.spec = replace(backbone.spec, **fields)
    return backbone
