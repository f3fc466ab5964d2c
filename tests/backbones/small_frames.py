"""The bundled detector on frames that a test can wait for; apart from the tests, because declaring imports no torch."""

from __future__ import annotations

from dataclasses import replace

from evcap_backbones.fasterrcnn import FasterRCNN

SIZE = (160, 128)
"""(width, height), both divided by 32: what torchvision pads is then nothing, unless frames differ."""


class SmallFrames(FasterRCNN):
    """The same network, smaller pictures."""

    spec = replace(FasterRCNN.spec, input=replace(FasterRCNN.spec.input, short_side=SIZE[1], max_side=SIZE[0]))
