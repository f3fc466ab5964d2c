"""The backbone contract: what a plugin declares (``BackboneSpec`` and its input) and what it computes (``Backbone``).

Notation: N rows of a batch, H x W pixels, T frames of a window, k objects of a frame, D = ``spec.dim``.
Importing this module loads no torch: declaring a backbone must stay cheap, only ``load`` and ``extract`` may use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Kind = Literal["appearance", "motion", "object", "audio"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Fit = Literal["stretch", "crop", "keep"]
Interpolation = Literal["bilinear", "bicubic", "area"]
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class FrameInput:
    """Pictures as a backbone wants them: (N, 3, H, W) float RGB, 0..1 and then ``(x - mean) / std``.

    Either ``size`` (height, width) or ``short_side`` is given. ``fit``: ``stretch`` resizes to ``size`` ignoring the
    aspect ratio; ``crop`` resizes so that the frame covers ``size`` (or brings the short side to ``short_side``, when
    given as well) and takes the centre; ``keep`` brings the short side to ``short_side``, limits the long side to
    ``max_side`` and keeps the aspect ratio, so batches hold frames of one size only.
    """

    size: tuple[int, int] | None = None
    short_side: int | None = None
    max_side: int | None = None
    fit: Fit = "stretch"
    interpolation: Interpolation = "bilinear"
    mean: Channels = (0.0, 0.0, 0.0)
    std: Channels = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.fit == "keep" and (self.size is not None or self.short_side is None):
            raise ValueError("fit 'keep' takes short_side (and max_side), not size")
        if self.fit != "keep" and self.size is None:
            raise ValueError(f"fit {self.fit!r} needs size=(height, width)")
        for name, value in (("short_side", self.short_side), ("max_side", self.max_side), *self._sides()):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 pixel, got {value}")

    def _sides(self) -> tuple[tuple[str, int], ...]:
        return () if self.size is None else (("height", self.size[0]), ("width", self.size[1]))


@dataclass(frozen=True)
class ClipInput(FrameInput):
    """Windows of consecutive frames: (N, 3, T, H, W), centred on a moment, edges repeated, ``stride`` frames apart.

    Motion backbones take windows. An object backbone may declare one too (``frames=3``): it then sees the neighbours
    of the frame in the middle and answers for that one.
    """

    frames: int = 16
    stride: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"frames and stride must be at least 1, got {self.frames} and {self.stride}")


@dataclass(frozen=True)
class AudioInput:
    """Mono samples, float -1..1, in chunks of one length: (N, samples) -> (N, steps, D).

    A chunk is ``chunk_seconds`` long and starts ``chunk_seconds - overlap_seconds`` after the one before; of each
    chunk the centre is kept. The last chunk is shifted back to end with the sound, never padded; sound shorter than
    one chunk is passed as it is, alone. ``hop_seconds`` is the time between two steps that ``extract`` returns.

    ``window_seconds`` is the sound that a step is made of, for networks whose steps are windows without padding. It is
    where a step's time is measured from (the window's middle), and every chunk then starts a whole number of hops
    after the first, so that its steps are those of the whole sound: the last one ends up to a hop before the sound.
    """

    rate: int = 16000
    chunk_seconds: float = 10.0
    overlap_seconds: float = 0.0
    hop_seconds: float = 0.02
    window_seconds: float | None = None
    """None: a step stands for its hop, and chunks start anywhere."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_seconds < self.chunk_seconds:
            raise ValueError(f"overlap {self.overlap_seconds} s must be shorter than the chunk {self.chunk_seconds} s")
        if self.hop_seconds <= 0 or self.rate < 1:
            raise ValueError(f"hop {self.hop_seconds} s and rate {self.rate} Hz must be positive")
        if self.window_seconds is not None:
            if self.window_seconds <= 0:
                raise ValueError(f"window {self.window_seconds} s must be positive")
            step, hop = (
                round(seconds * self.rate) for seconds in (self.chunk_seconds - self.overlap_seconds, self.hop_seconds)
            )
            if hop < 1 or step % hop:
                raise ValueError(f"chunk less overlap must be whole hops: {step} samples, hops of {hop}")


@dataclass(frozen=True)
class BackboneSpec:
    """What a backbone is, known without loading it; everything here is part of the cache key."""

    name: str
    kind: Kind
    dim: int
    version: str
    input: FrameInput | AudioInput
    license: str = ""
    weights: str | None = None
    """Default weights as the backbone's own ``load`` understands them; None: it needs none."""
    batch_size: int = 32
    """Rows a forward takes on a CPU; the shape is constant, short batches are filled."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.dim < 1 or self.batch_size < 1:
            raise ValueError(f"dim and batch_size must be at least 1, got {self.dim} and {self.batch_size}")
        if not self.name or not self.version:
            raise ValueError("a backbone needs a name and a version")
        if (self.kind == "audio") != isinstance(self.input, AudioInput):
            raise ValueError(f"a backbone of kind {self.kind!r} cannot take {type(self.input).__name__}")
        if self.kind == "motion" and not isinstance(self.input, ClipInput):
            raise ValueError("a motion backbone takes ClipInput")


@dataclass(frozen=True)
class WeightsSource:
    """Where default weights come from, for `evcap weights` and `evcap plugins`.

    Args:
        name: how upstream calls them, such as "torchvision ResNet101_Weights.IMAGENET1K_V2".
        location: a URL, or "hf-hub:org/name".
        license: of the weights, as short as SPDX allows; "unknown" where upstream says nothing.
        file: the file's name in the download folder; for a URL the last part of its path when empty.
    """

    name: str
    location: str
    license: str
    file: str = ""


@dataclass
class Detections:
    """Objects of one frame: boxes (k, 4) xyxy in pixels of the backbone's input, scores (k,), features (k, D)."""

    boxes: Tensor
    scores: Tensor
    features: Tensor


class Backbone(ABC):
    """A feature extractor. Subclasses set ``spec`` (or override ``spec_for``), ``load`` and ``extract``."""

    spec: BackboneSpec

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        self.variant = variant
        self.options: dict[str, str] = dict(options or {})
        self.spec = self.spec_for(variant, self.options)
        self.weights_digest: str = ""
        """xxh3_128 of the weights that ``load`` read; set by ``load``, empty where there are none."""
        self.dtype: torch.dtype | str = "float32"
        """The number format of batches (in the cache key): what ``load`` is given, unless ``load`` sets another."""

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``NAME:VARIANT`` with ``options``.

        Raises:
            ValueError: for a variant or an option this backbone does not know.
        """
        if variant is not None:
            raise ValueError(f"{cls.spec.name} has no variant {variant!r}")
        if options:
            raise ValueError(f"{cls.spec.name} has no option {next(iter(options))!r}")
        return cls.spec

    def weights_source(self) -> WeightsSource | None:
        """Where the default weights of this variant come from; None: it needs none.

        Must not touch the network; may import torch and the library that knows.
        """
        return None

    def fetch_weights(self) -> None:  # noqa: B027  a backbone without weights has nothing to do
        """Download the default weights ahead of time to where ``load(None, ...)`` finds them.

        Raises:
            WeightsError: no network, or no room; naming file, source and the option to pass a local copy.
        """

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give a legacy checkpoint's tensors the names that ``load`` reads.

        Raises:
            ValueError: they cannot be this backbone's.
        """
        return tensors

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: B027  nothing is known of a stranger's
        """See that ``load`` would take these tensors; used by `evcap weights import`.

        Raises:
            WeightsError: it would refuse them.
        """

    @abstractmethod
    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        """Read the weights (a path, a source this backbone knows, None for the default) and move to the device."""

    @abstractmethod
    def extract(self, batch: Tensor) -> Any:
        """Features of a batch; see the class of ``spec.input`` for the shape in, ``docs/plugins.md`` for all four.

        appearance (N, 3, H, W) -> (N, D); motion (N, 3, T, H, W) -> (N, D); audio (N, samples) -> (N, steps, D);
        object (N, 3, H, W) or (N, 3, T, H, W) -> N ``Detections``. A row must not depend on the others, and
        no rows give no rows.
        """


def split_address(address: str) -> tuple[str, str | None]:
    """NAME and VARIANT of ``NAME`` or ``NAME:VARIANT``, as presets, options and checkpoints write it."""
    name, _, variant = address.partition(":")
    return name, variant or None


def address_of(backbone: Backbone) -> str:
    """``NAME`` or ``NAME:VARIANT`` of a backbone."""
    return backbone.spec.name if backbone.variant is None else f"{backbone.spec.name}:{backbone.variant}"
