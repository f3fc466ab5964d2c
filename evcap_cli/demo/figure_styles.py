"""What the six subjects of the demo world look like.

Colours of skin, hair, fur and clothes are drawn at random for every clip from wide palettes, the same for all
subjects as far as it makes sense, so that a colour does not tell who somebody is: form does (beard, long hair, cap,
pigtails, snout, whiskers), and forms are drawn by figures.py and heads.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .brush import Color

SKINS: tuple[Color, ...] = ((255, 222, 190), (240, 194, 150), (212, 158, 112), (180, 124, 84), (146, 98, 66))
HAIRS: tuple[Color, ...] = ((34, 26, 26), (84, 52, 30), (140, 84, 38), (206, 160, 70), (176, 66, 34), (120, 120, 128))
FURS: tuple[Color, ...] = (
    (176, 120, 66),
    (232, 200, 150),
    (240, 236, 226),
    (152, 148, 152),
    (142, 94, 60),
    (224, 148, 70),
)
CLOTHES: tuple[Color, ...] = (
    (214, 54, 50),
    (44, 96, 200),
    (40, 150, 90),
    (240, 190, 50),
    (134, 70, 170),
    (236, 120, 50),
    (40, 160, 176),
    (232, 110, 160),
    (90, 90, 104),
    (238, 236, 228),
)
COVERS = ("turned", "mask", "bag", "hood")
HEIGHTS = {"man": 1.0, "woman": 0.97, "boy": 0.84, "girl": 0.84, "dog": 0.84, "cat": 0.8}
ANIMALS = ("dog", "cat")


@dataclass(frozen=True)
class FigureStyle:
    """Form and colours of one figure through a whole clip.

    Args:
        subject: one of ``SUBJECTS``.
        cover: how the face is hidden, one of ``COVERS``; None where it shows.
        emotion: what the face shows; None where it is hidden.
        variant: of small forms (beard, tie, stripes, fringe), 0 to 1.
    """

    subject: str
    height: float
    skin: Color
    hair: Color
    top: Color
    bottom: Color
    accent: Color
    cover: str | None
    emotion: str | None
    variant: float
    phase: float


def make_figure_style(subject: str, emotion: str | None, rng: np.random.Generator) -> FigureStyle:
    """A style drawn at random; ``emotion`` None hides the face."""
    animal = subject in ANIMALS
    skin = _pick(FURS if animal else SKINS, rng)
    hairs = FURS if animal else HAIRS
    # Hair or spots that differ from the skin or fur next to them.
    hair = _pick(
        tuple(color for color in hairs if sum(abs(a - b) for a, b in zip(color, skin, strict=True)) > 130), rng
    )
    top, bottom, accent = (CLOTHES[i] for i in rng.permutation(len(CLOTHES))[:3])
    cover = COVERS[int(rng.integers(len(COVERS)))]
    height = HEIGHTS[subject] * float(rng.uniform(0.96, 1.04))
    variant, phase = float(rng.uniform()), float(rng.uniform())
    shown_cover = None if emotion else cover
    return FigureStyle(subject, height, skin, hair, top, bottom, accent, shown_cover, emotion, variant, phase)


def lighter(color: Color) -> Color:
    """Half way to white."""
    return color[0] + (255 - color[0]) // 2, color[1] + (255 - color[1]) // 2, color[2] + (255 - color[2]) // 2


def darker(color: Color) -> Color:
    """Two fifths darker."""
    return color[0] * 6 // 10, color[1] * 6 // 10, color[2] * 6 // 10


def _pick(colors: tuple[Color, ...], rng: np.random.Generator) -> Color:
    color = colors[int(rng.integers(len(colors)))]
    shift = rng.integers(-14, 15, 3)
    return tuple(int(min(255, max(0, c + s))) for c, s in zip(color, shift, strict=True))  # type: ignore[return-value]
