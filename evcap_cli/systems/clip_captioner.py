"""The contract of captioners: what turns clips into captions, from backbone features or from frames and audio.

A captioner declares what it reads (``Reads``); evcap decodes that in its one pass over a video and hands over batches
of ``Clip``. Importing this module loads no torch: only ``load`` and ``caption`` may use it.

Notation: T frames of a clip, H x W pixels, S audio samples, N_c categories of the lexicon.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, get_args

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.errors import VideoError
    from evcap_cli.features.streams import ClipFeatures

Style = Literal["emotional", "emotional-lexicon", "factual"]
STYLES: Final[tuple[Style, ...]] = get_args(Style)
OWN_PROMPT: Final[Literal["file"]] = "file"
"""The style that a record names where the user gave a prompt."""
CLIPS_A_BATCH: Final = 8


@dataclass(frozen=True)
class FrameRequest:
    """Frames of a clip, evenly spread over its time.

    Args:
        count: at most so many; a clip that has fewer gives those it has, each once.
        longest_side: pixels; larger frames are scaled down to it, keeping the aspect ratio. Smaller ones stay.
    """

    count: int = 16
    longest_side: int = 768

    def __post_init__(self) -> None:
        if self.count < 1 or self.longest_side < 1:
            raise ValueError(f"count and longest_side must be at least 1, got {self.count} and {self.longest_side}")

    def moments(self, start: Fraction, end: Fraction) -> tuple[Fraction, ...]:
        """The middles of ``count`` equal parts of [start, end), in seconds: the frames on screen then are requested."""
        return tuple(start + (end - start) * Fraction(2 * i + 1, 2 * self.count) for i in range(self.count))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a frame of that size as it is handed over, at least one pixel each."""
        longest = max(height, width)
        if longest <= self.longest_side:
            return height, width
        return (
            max(1, round(height * self.longest_side / longest)),
            max(1, round(width * self.longest_side / longest)),
        )


@dataclass(frozen=True)
class WaveformRequest:
    """Mono audio of a clip from its start on.

    Args:
        rate: samples a second.
        longest_seconds: what comes later is left out.
    """

    rate: int = 16_000
    longest_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.rate < 1 or self.longest_seconds <= 0:
            raise ValueError(f"rate {self.rate} Hz and longest_seconds {self.longest_seconds} s must be positive")


@dataclass(frozen=True)
class Reads:
    """What a captioner reads: ``frames``, and a ``waveform`` where the clip has audio, or features of ``backbones``."""

    frames: FrameRequest | None = None
    waveform: WaveformRequest | None = None
    backbones: Mapping[Kind, str] = field(default_factory=dict)
    """Address of the backbone of each kind, such as {"appearance": "clip"}; set on the class, --weights, --option and
    --sampling are taken."""

    def __post_init__(self) -> None:
        if self.frames is None and self.waveform is None and not self.backbones:
            raise ValueError("a captioner must read frames, a waveform or features of backbones")
        if self.backbones and (self.frames is not None or self.waveform is not None):
            raise ValueError("a captioner reads features of backbones, or frames and a waveform, not both")


@dataclass(frozen=True)
class Clip:
    """One clip as a captioner gets it: what it requested, and nothing else.

    Args:
        duration: seconds.
        frames: (T, 3, H, W) uint8 RGB on the CPU, upright, in presentation order, T >= 1; None where not requested.
        times: (T,) exact presentation times of the frames in seconds from the start of the clip, rising.
        waveform: (S,) float32 in -1..1 on the CPU; None where none is requested or the clip has no audio.
        features: of the requested backbones.
    """

    duration: float
    frames: Tensor | None = None
    times: tuple[float, ...] = ()
    waveform: Tensor | None = None
    features: ClipFeatures | None = None

    def __post_init__(self) -> None:
        if self.frames is not None and len(self.frames) != len(self.times):
            raise ValueError(f"{len(self.frames)} frames have {len(self.times)} times")


@dataclass(frozen=True)
class ClipCaption:
    """What a captioner says of a clip.

    Args:
        text: one sentence without markup.
        score: mean log-probability of the answer's tokens; None where the captioner knows none.
        emotion: probability of each category of the lexicon, in its order, which sum to 1; None where the captioner
            predicts none.
        raw: the answer before anything was removed from it.
    """

    text: str
    score: float | None = None
    emotion: Mapping[str, float] | None = None
    raw: str = ""


@dataclass(frozen=True)
class CaptionerOptions:
    """What a user chooses.

    Args:
        style: of the prompt; without effect where ``prompt`` is given.
        prompt: the user's own instruction.
        max_words: of a caption.
        beam_size: of the search.
        emotion: whether to predict a distribution over the categories of ``lexicon``.
        lexicon: None: the general one.
        batch_size: most clips in one call of the model; None: the captioner's choice.
        frames: to read; None: as the captioner has it.
    """

    style: Style = "emotional"
    prompt: str | None = None
    max_words: int = 15
    beam_size: int = 1
    emotion: bool = True
    lexicon: Lexicon | None = None
    batch_size: int | None = None
    frames: FrameRequest | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, got {self.style!r}")
        if self.max_words < 1 or self.beam_size < 1:
            raise ValueError(f"max_words and beam_size must be at least 1, got {self.max_words} and {self.beam_size}")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")

    @property
    def style_name(self) -> str:
        """As records name it."""
        return self.style if self.prompt is None else OWN_PROMPT


@dataclass(frozen=True)
class Several:
    """How many captions of a clip are requested.

    Args:
        count: captions of a clip at most, all different.
        seed: of what is drawn at random.
    """

    count: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ValueError(f"count must be at least 1 and seed at least 0, got {self.count} and {self.seed}")


@dataclass(frozen=True)
class CaptionerIdentity:
    """What a record says of the captioner; two that differ here may give other captions.

    Args:
        name: what was loaded, such as "hf-hub:org/name"; for a folder its name alone.
        revision: the commit, where there is one.
        digest: xxh3_128 of the model's files, or of whatever else decides the captions.
        style: of the prompt; None where the captioner takes no instruction.
        prompt_digest: xxh3_128 of the instruction.
        base: what the model was tuned from, such as "hf-hub:org/name"; None for models as they are published.
        labels_by: what wrote the captions that it was tuned on, where people did not.
    """

    name: str
    digest: str
    revision: str | None = None
    style: str | None = None
    prompt_digest: str | None = None
    base: str | None = None
    labels_by: str | None = None

    def record_fields(self) -> dict[str, Any]:
        """``checkpoint`` of a record: name and digest, then what else is known."""
        known = {
            "revision": self.revision,
            "style": self.style,
            "prompt": self.prompt_digest,
            "base": self.base,
            "labels_by": self.labels_by,
        }
        found = {key: value for key, value in known.items() if value is not None}
        return {"name": self.name, "digest": self.digest, **found}


class ClipCaptioner(ABC):
    """Turns clips into captions. Subclasses set ``reads`` and define ``load``, ``identity`` and ``caption``.

    ``__init__`` finds and checks what it can without loading weights: a user should learn of a mistake before any work.
    """

    clips_a_batch: ClassVar[int] = CLIPS_A_BATCH
    """So many clips are handed over at once at most; it bounds the memory that frames take."""
    reads: Reads
    """Known after ``__init__``."""
    takes_instructions: bool = False
    """Whether it follows ``style`` and ``prompt`` of its options; where not, evcap refuses --style and --prompt."""

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        self.address = address
        self.options = options

    @classmethod
    def check(cls, address: str, options: CaptionerOptions) -> None:
        """See for ``evcap caption --dry-run`` what is wrong with an address; a download is never part of it.

        Override it where the constructor downloads something.

        Raises:
            CheckpointError, PluginError, UsageError: as the constructor does.
        """
        cls(address, options)

    @classmethod
    def defaults(cls, address: str) -> CaptionerOptions:  # noqa: ARG003  for captioners that remember some
        """What applies where the user chooses nothing.

        Raises:
            CheckpointError: the address holds nothing that could say so.
        """
        return CaptionerOptions()

    @classmethod
    def local_copy(cls, address: str) -> Path | None:  # noqa: ARG003  for captioners that download
        """The downloaded files of a model, where all of them are on this machine; None: not, or nothing is downloaded.

        No request is sent.
        """
        return None

    @classmethod
    def fetch(cls, address: str) -> Path:
        """Download a model, unless it is here: what ``evcap weights fetch NAME`` does. Optional.

        Returns:
            Its files; from now on ``local_copy`` gives them, and captioning needs no network.

        Raises:
            EvcapError: it cannot be had; one line with the cause and the next step.
        """
        raise NotImplementedError(f"{cls.__name__} downloads nothing ahead of time, which {address} would need")

    @property
    @abstractmethod
    def identity(self) -> CaptionerIdentity:
        """For records, journals and trees; known after ``load``."""

    @abstractmethod
    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Read the weights and move them to the device.

        Raises:
            CheckpointError, UsageError: it cannot; one line with the cause and the next step.
        """

    @abstractmethod
    def caption(self, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        """One result a clip, in order; a failure concerns that clip alone.

        A result must not depend on the other clips of the batch.

        Raises:
            EvcapError: the captioner cannot go on; the run ends.
        """


class SeveralCaptioner(ClipCaptioner):
    """A captioner that can write several captions of a clip, which ``evcap label`` makes use of. This is optional: any
    other ``ClipCaptioner`` writes one.
    """

    @abstractmethod
    def caption_several(self, clips: Sequence[Clip], several: Several) -> list[list[ClipCaption] | VideoError]:
        """For each clip, in order, 1 to ``several.count`` captions; a failure concerns that clip alone.

        The first caption is the one that ``caption`` gives, the others follow as the captioner likes; they may repeat
        each other. They depend on the clip, the count and the seed, not on the other clips of the batch.

        Raises:
            EvcapError: the captioner cannot go on; the run ends.
        """
