"""The contract of captioning systems: what training, search, checkpoints and captioning use of one.

A system is one module that turns clips and the words so far into next-word scores, and brings its losses.

Notation: B distinct clips, R rows (captions or hypotheses), T steps, V vocabulary, N_c categories, N_w emotion words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import SystemConfig
from evcap_cli.network.losses import Targets
from evcap_cli.network.packing import WordScores

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon


class LossTerms(Protocol):
    """The losses of a training step."""

    @property
    def total(self) -> Tensor:
        """The scalar whose gradient is taken."""
        ...

    def values(self) -> dict[str, float]:
        """Plain numbers for the log: ``total``, ``cross_entropy`` of the words, other terms before their weights."""
        ...


@dataclass
class WeightedTerms:
    """Loss terms that are scalars, and their weighted sum."""

    total: Tensor
    terms: Mapping[str, Tensor]

    @classmethod
    def sum(cls, **terms: tuple[float, Tensor]) -> WeightedTerms:
        """Terms by name, each with its weight."""
        weighted = [weight * term for weight, term in terms.values()]
        return cls(torch.stack(weighted).sum(), {name: term for name, (_, term) in terms.items()})

    def values(self) -> dict[str, float]:
        """``total`` and the terms before their weights, as plain numbers."""
        return {name: float(term.detach()) for name, term in {"total": self.total, **self.terms}.items()}


@dataclass
class PreparedClips:
    """B clips as the search takes them.

    Args:
        memory: what no step changes; it has a length B and a ``device`` (see ``ClipMemory``).
        categories: probabilities of the emotion categories, (B, N_c); None: the system perceives no emotion.
    """

    memory: Any
    categories: Tensor | None = None


class CaptionModel(nn.Module, ABC):
    """A captioning system. Everything random in it comes from torch's generator, so that a seed repeats a run.

    Args:
        config: of the class ``Config``.
        lexicon_mask: (N_c, N_w) bool, True where an emotion word belongs to a category (the first one that lists it).
    """

    Config: ClassVar[type[SystemConfig]]
    PARTS: ClassVar[Mapping[str, Sequence[str]]] = {}
    """Part -> its modules, by their dotted names, for ``parts``; a module inside another one counts for itself."""
    config: Any

    def __init__(self, config: Any, lexicon_mask: Tensor) -> None:
        super().__init__()
        expected = (config.categories, config.words)
        if tuple(lexicon_mask.shape) != expected:
            raise ValueError(f"the lexicon's mask must be {expected}, got {tuple(lexicon_mask.shape)}")
        self.config = config

    @abstractmethod
    def forward(
        self, batch: ClipBatch, tokens: Tensor, clip_index: Tensor, lengths: Sequence[int] | None = None
    ) -> WordScores:
        """Teacher-forced next-word scores of R captions of B distinct clips.

        Args:
            batch: the clips.
            tokens: the words that the steps start from, (R, T), the start mark first; padding after the last word.
            clip_index: the clip of each caption, (R,).
            lengths: real steps of each caption, R numbers from 1 to T, on the host; None: all T are real.

        Returns:
            Scores of the real steps, caption by caption. A system that computes all steps packs them at its end
            (``WordScores.of``); one that leaves padding out saves its cost.
        """

    @abstractmethod
    def losses(self, output: Any, targets: Targets) -> LossTerms:
        """The losses of a training step.

        Args:
            output: of ``forward``; it may be overwritten.
            targets: of the same captions.
        """

    @abstractmethod
    def prepare(self, batch: ClipBatch) -> PreparedClips:
        """Everything that is computed once per clip before the first word."""

    @abstractmethod
    def start(self, memory: Any) -> Any:
        """The state before the start mark, one row a clip; it has ``reorder`` (see ``SearchState``)."""

    @abstractmethod
    def step(self, memory: Any, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        """Add one word to every row.

        Args:
            memory: of ``prepare``.
            state: of R rows; consumed.
            tokens: (R,).

        Returns:
            Logits of the next word, (R, V), which the search overwrites, and the state after the word. They are those
            of ``forward``.
        """

    def fit_normalisation(self, clips: Iterable[ClipFeatures]) -> None:
        """Take statistics of the features from training clips; nothing, unless a system overrides it.

        Args:
            clips: read once, in order; the same clips in the same order give the same numbers.
        """

    def fit_lexicon(self, lexicon: Lexicon) -> None:
        """Take what the mask does not say, once before training; nothing, unless a system overrides it.

        Args:
            lexicon: with the categories and words of the mask.
        """

    def parts(self) -> dict[str, list[str]]:
        """What ``evcap train --freeze`` can name: part -> names of its parameters.

        By ``PARTS``; of a system without any, the modules at its top. A part without parameters is left out.
        """
        modules = self.PARTS or {name: (name,) for name, _ in self.named_children()}
        owners = {module: part for part, several in modules.items() for module in several}
        found: dict[str, list[str]] = {part: [] for part in modules}
        for name, _ in self.named_parameters():
            around = [module for module in owners if name.startswith(f"{module}.")]
            if around:
                found[owners[max(around, key=len)]].append(name)
        return {part: names for part, names in found.items() if names}

    def word_tables(self) -> dict[str, Tensor]:
        """Tables that word vectors of width ``config.word_width`` can fill.

        Returns:
            Any of ``vocabulary`` (V, d_w), ``categories`` (N_c, d_w) and ``words`` (N_w, d_w).
        """
        return {}

    @torch.no_grad()
    def load_word_vectors(self, **given: Tensor) -> None:
        """Start the word tables from given vectors, such as GloVe's. A row of NaN keeps its random start.

        Args:
            given: any of ``vocabulary``, ``categories`` and ``words``; other names are left out.

        Raises:
            ValueError: for vectors of another shape than their table.
        """
        for name, table in self.word_tables().items():
            if name not in given:
                continue
            vectors = given[name]
            if vectors.shape != table.shape:
                raise ValueError(f"vectors of {name} must be {tuple(table.shape)}, got {tuple(vectors.shape)}")
            vectors = vectors.to(table)
            table.copy_(torch.where(vectors.isnan(), table, vectors))
