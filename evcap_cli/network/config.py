"""Every number of the captioner, with its range and the paper section that it belongs to.

``docs/fidelity.md`` gives the reasons.

A field marked *Decision* fills a gap of the paper. The defaults are the paper's; the demo recipe overrides widths only.
Base classes hold what several captioning systems have in common: ``SystemConfig`` (what data decide),
``AlignedConfig`` (words aligned with moments) and ``EmotionConfig`` (emotion perception).
"""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from evcap_cli.reading.ranges import (
    CaptionWords,
    Categories,
    EmotionWords,
    FeatureWidth,
    Heads,
    Layers,
    Positive,
    Rows,
    Share,
    Tokens,
    Weight,
    Width,
    check_fields,
)

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind


@dataclass(frozen=True)
class LossConfig:
    """Section 1.6. The weights are a *Decision*: the print names one twice and gives three values for four."""

    emotion_word_weight: Weight = 0.2
    """beta: an emotion word weighs 1 + beta in L_ce (Eq. 10)."""
    cross_entropy: Weight = 1.0
    classification: Weight = 0.3
    contrast: Weight = 0.6
    alignment: Weight = 1.0
    """l_cos (Eq. 13)."""
    temperature: Positive = 0.07
    """T of L_nce (Eq. 12)."""
    nce_denominator: Literal["all", "negatives"] = "all"
    """*Decision*: InfoNCE; ``negatives`` is the print, which is unbounded below."""


@dataclass(frozen=True)
class SystemConfig:
    """What every captioning system is configured with: what it reads, and how much of it at once.

    A system's own configuration adds its widths and a field ``loss``, itself a frozen dataclass.

    Args:
        appearance_dim, motion_dim, object_dim, audio_dim: widths D of the backbones; None: the stream is not used.
        vocabulary: words the decoder can emit, specials included.
        categories: N_c of the lexicon (34 in EmVidCap). words: N_w of the lexicon (179).
    """

    appearance_dim: FeatureWidth
    motion_dim: FeatureWidth | None
    object_dim: FeatureWidth | None
    audio_dim: FeatureWidth | None
    vocabulary: Tokens
    categories: Categories = 34
    words: EmotionWords = 179

    word_width: Width = 300
    """Width of word and emotion embeddings (GloVe 300); projected to ``width`` where it differs (*Decision*)."""
    moments: Rows = 30
    """N_v."""
    objects: Rows = 16
    """N_o, at most (*Decision*)."""
    audio_steps: Rows = 60
    """N_a, at most (*Decision*)."""
    normalise_streams: bool = True
    """Standardise each feature dimension by training statistics before the projection (*Decision*; kept as buffers)."""
    feature_noise: Weight = 0.0
    """Standard deviation of noise on the standardised features, in training only (*Decision*; 0: none). Wide features
    of few videos can otherwise be memorised."""
    dropout: Share = 0.3
    max_words: CaptionWords = 15

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def streams(self) -> dict[Kind, int]:
        """Width of each stream that the system reads; appearance, and motion where there is one, unless overridden."""
        given: dict[Kind, int | None] = {"appearance": self.appearance_dim, "motion": self.motion_dim}
        return {kind: dim for kind, dim in given.items() if dim is not None}

    @property
    def longest_caption(self) -> int | None:
        """Words that no search may exceed; None: any number."""
        return None

    def check_search(self, max_words: int) -> None:
        """See that captions of ``max_words`` words can be searched for.

        Raises:
            ValueError: they cannot.
        """
        longest = self.longest_caption
        if longest is not None and max_words > longest:
            raise ValueError(f"max_words {max_words} is more than the {longest} that the model was built for")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for config.json."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``.

        Raises:
            ValueError: for a field this version does not know.
        """
        values = dict(values)
        known = {each.name: each for each in fields(cls)}
        nested: dict[str, Any] = {}
        if "loss" in known:
            # The field's default is made by its class: that is how a system says which losses it has.
            kind, nested["loss"] = cast("type[Any]", known["loss"].default_factory), values.pop("loss", {})
            if not isinstance(nested["loss"], dict):
                raise ValueError(f"loss: should be an object, got {reprlib.repr(nested['loss'])}")
            _refuse_unknown(nested["loss"], {each.name for each in fields(kind)})
            nested["loss"] = kind(**nested["loss"])
        _refuse_unknown(values, set(known))
        return cls(**values, **nested)


def _refuse_unknown(values: dict[str, Any], known: set[str]) -> None:
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"unknown field {reprlib.repr(min(unknown))} in the model's configuration")


@dataclass(frozen=True)
class AlignedConfig(SystemConfig):
    """A visual encoder (1.1), words so far aligned with moments, and an LSTM (1.5): EPAN and what descends from it."""

    width: Width = 300
    """d: model width; every stream is projected to it first (*Decision*)."""
    # 1.1
    encoder_layers: Layers = 1
    encoder_heads: Heads = 2
    feed_forward: Width = 512
    pre_norm: bool = False
    visual_positions: bool = True
    """Add sinusoid positions to appearance and motion before their encoders (*Decision*; the paper says neither)."""
    # 1.5
    lstm_width: Width = 512
    attention_width: Width = 512
    """Bottleneck of the additive attention that gives Z_t."""
    alignment_width: Width = 512
    """Bottleneck of the word-frame alignment energies e_ij."""
    phrase_heads: Heads = 1

    @property
    def longest_caption(self) -> int | None:
        """See ``SystemConfig``: words are attended to at their positions, which end there."""
        return self.max_words


@dataclass(frozen=True)
class EmotionConfig(AlignedConfig):
    """``AlignedConfig`` and emotion perception (section 1.4)."""

    emotion_layers: Layers = 2
    emotion_heads: Heads = 2
    emotion_top_k: Categories = 1
    """K: categories whose words the mask keeps; more than one ORs the masks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.emotion_top_k <= self.categories:
            raise ValueError(f"emotion_top_k {self.emotion_top_k} must lie between 1 and {self.categories} categories")


@dataclass(frozen=True)
class FusionConfig(EmotionConfig):
    """Architecture of the fusion model (sections 1.1 to 1.5)."""

    # 1.1
    object_norm: bool = False
    """LayerNorm on the projected objects (*Decision*): appearance and motion leave an encoder that ends with one."""
    # 1.2, module B
    fine_grained: bool = True
    fusion_heads: Heads = 2
    # 1.3, module A
    audio_visual: bool = True
    dual_layers: Layers = 2
    """k of Eq. 5 and 6."""
    dual_heads: Heads = 2
    # 1.5
    decoder_audio: bool = False
    """*Decision*: join the interpolated audio to C_t as well."""
    sound_dropout: Share = 0.0
    """Not the paper's: share of the clips whose sound is taken away in a training step, so that the model trains on
    the picture, too."""
    decoder_objects: bool = False
    """Not the paper's: before each word the decoder attends to the objects too, each joined with the motion that it
    attends to (``object_attention.py``)."""

    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder_heads", "fusion_heads", "dual_heads", "emotion_heads", "phrase_heads"):
            heads = getattr(self, name)
            if self.width % heads:
                raise ValueError(f"width {self.width} must be divisible by {name} {heads}")
        if not 0 <= self.sound_dropout < 1:
            raise ValueError(f"sound_dropout must lie in [0, 1), got {self.sound_dropout}")

    @property
    def streams(self) -> dict[Kind, int]:
        """Width of each stream that the model reads; a module that is off leaves its own stream unread."""
        given: dict[Kind, int | None] = {
            "appearance": self.appearance_dim,
            "motion": self.motion_dim,
            "object": self.object_dim if self.fine_grained else None,
            "audio": self.audio_dim if self.audio_visual else None,
        }
        return {kind: dim for kind, dim in given.items() if dim is not None}
