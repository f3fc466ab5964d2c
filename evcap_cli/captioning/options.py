"""What describes a caption run: the options of its features, and those of its captioner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge

from evcap_cli.features.options import FeatureKeywords, FeatureOptions
from evcap_cli.search.rerank import Rerank
from evcap_cli.systems.clip_captioner import Style


@dataclass(frozen=True, kw_only=True)
class CaptionOptions(FeatureOptions):
    """What decides the captions of a run. None: as the checkpoint has it.

    Args:
        checkpoint: "demo", a folder, or "hf-hub:org/name[@revision]".
        beam_size: beams of the search.
        max_words: longest caption.
        length_penalty: power of the length normalisation.
        rerank: how to choose among the beam's best captions.
        drop_audio: caption as if no video had sound: for experiments.
        style: of the prompt of a ready-made captioner: "emotional", "emotional-lexicon" or "factual".
        prompt: a text of your own in its place.
        emotion: whether a ready-made captioner predicts probabilities of emotions.

    The other arguments are those of ``FeatureOptions``. Backbones need no naming: the checkpoint names its own.

    Raises:
        UsageError: a value is not of its type, or out of its range.
    """

    checkpoint: str = field(default="demo", kw_only=False)
    beam_size: Annotated[int, Ge(1)] | None = None
    max_words: Annotated[int, Ge(1)] | None = None
    length_penalty: Annotated[float, Ge(0)] | None = None
    rerank: Rerank | None = None
    drop_audio: bool = False
    style: Style | None = None
    prompt: str | None = None
    emotion: bool = True


class CaptionKeywords(FeatureKeywords, total=False):
    """The fields of ``CaptionOptions`` besides ``checkpoint``, as keyword arguments of functions that make one."""

    beam_size: int | None
    max_words: int | None
    length_penalty: float | None
    rerank: Rerank | None
    drop_audio: bool
    style: Style | None
    prompt: str | None
    emotion: bool
