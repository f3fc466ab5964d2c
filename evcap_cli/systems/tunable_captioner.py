"""The contract of captioners that can be tuned: ``evcap train --model multimodal --base ADDRESS`` trains an adapter.

A captioner that supports it derives from ``TunableCaptioner`` as well. evcap decodes clips, splits them, forms batches,
steps the optimiser, chooses the epoch and writes the run; the captioner adds the weights that are trained, and gives
the loss of captions of clips. Importing this module loads no torch.

Notation: L tokens of an answer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from evcap_cli.systems.clip_captioner import ClipCaptioner

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from evcap_cli.systems.clip_captioner import Clip

MULTIMODAL: Final = "multimodal"
"""``--model multimodal``: the captioner that ``--base`` names is tuned."""
Prepared = TypeVar("Prepared")
"""A clip as the captioner's model takes it."""


@dataclass(frozen=True)
class AdapterOptions:
    """The weights that are added to a captioner's model (LoRA, Hu et al. 2021).

    Args:
        rank: r of the two factors of each change of a layer.
        alpha: changes are scaled by alpha / rank.
        dropout: of the inputs of the added weights, while training.
        targets: names of the linear layers that get an adapter, whole or their last parts; empty: as the captioner
            knows them.
        seed: of the first weights.
        checkpointing: keep the activations of layers' borders only and compute the others again for the gradient.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    seed: int = 0
    checkpointing: bool = True


class TunableCaptioner(ClipCaptioner, Generic[Prepared]):
    """A captioner whose model can be given an adapter. The rest of its weights never changes."""

    adapter_key: ClassVar[str]
    """The key of config.json by which checkpoints of its adapters are known: the ``config_key`` of what opens them."""

    @property
    @abstractmethod
    def prompt_text(self) -> str | None:
        """The whole instruction that the model gets; None where it takes none."""

    @abstractmethod
    def check_adapter(self, adapter: AdapterOptions) -> None:
        """See before weights are loaded that there are layers to adapt.

        Raises:
            UsageError: there are none; the line lists the linear layers of the model.
        """

    @abstractmethod
    def add_adapter(self, adapter: AdapterOptions) -> dict[str, Parameter]:
        """Freeze the loaded model and add trainable weights, which change nothing yet.

        Returns:
            They, by the names that ``adapter_files`` gives them.
        """

    @abstractmethod
    def set_training(self, training: bool) -> None:
        """Switch between training (dropout, recomputed activations) and captioning."""

    @abstractmethod
    def prepare_clip(self, clip: Clip) -> Prepared:
        """A clip as the model takes it, prompt included; exactly what ``caption`` would give the model.

        It runs in a thread of its own while the model computes.

        Raises:
            Exception: this clip cannot be prepared; it is left out.
        """

    @abstractmethod
    def answer(self, text: str) -> Sequence[int]:
        """The L tokens of a caption as the model would write it after the prompt, its end included."""

    @abstractmethod
    def alike(self, prepared: Prepared) -> object:
        """Clips with equal values of this can share a call of ``answer_loss``."""

    @property
    @abstractmethod
    def rows_at_once(self) -> int | None:
        """Most captions in a call of ``answer_loss``; None: as many as fit into memory."""

    @abstractmethod
    def answer_loss(self, clips: Sequence[Prepared], answers: Sequence[Sequence[int]]) -> Tensor:
        """The sum of the negative log-probabilities of all tokens of the answers, in nats; prompts count nothing.

        Args:
            clips: alike, one for each answer.
            answers: see ``answer``.
        """

    @abstractmethod
    def adapter_files(self, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
        """The adapter with these values as files, name -> content, in a form that other programs read too."""
