"""What encoder, decoder, search and losses of EPAN, CANet and DCGN hand each other.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, T words with the start mark, t words so far, d
model width, k width of what a system keeps of a word, a inner width of the alignment, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evcap_cli.network.decoder import DecoderState
from evcap_cli.network.emotion import Perceived


@dataclass
class SeenClips:
    """What an encoder makes of B clips.

    Args:
        visual: V, (B, N, d), zeros where a moment is not real.
        mask: (B, N), True where a moment is real.
        emotion: E, (B, N, width of its own), zeros likewise; None in a system without an emotion branch.
        perceived: the two distributions behind it.
    """

    visual: Tensor
    mask: Tensor
    emotion: Tensor | None = None
    perceived: Perceived | None = None

    @property
    def felt(self) -> Tensor:
        """E of a system that has one."""
        if self.emotion is None:
            raise ValueError("this decoder needs an encoder that perceives emotion")
        return self.emotion


@dataclass
class AlignedMemory:
    """What no step changes, once per clip; a system adds its own.

    Args:
        visual: V, (B, N, d), zeros where a moment is not real.
        alignment_keys: U v_i + b, (B, N, a).
        mask: (B, N), True where a moment is real.
    """

    visual: Tensor
    alignment_keys: Tensor
    mask: Tensor

    @property
    def device(self) -> torch.device:
        """Where the decoder computes."""
        return self.visual.device

    def __len__(self) -> int:
        return len(self.mask)


@dataclass
class Told:
    """The words so far of R rows.

    Args:
        phrases: P_t, (R, t, d).
        weights: alignment of each moment over the words, (R, N, t); T_t = weights x phrases.
        keys: what ``word_keys`` makes of each phrase, (R, t, k).
    """

    phrases: Tensor
    weights: Tensor
    keys: Tensor


@dataclass
class AlignedState(DecoderState):
    """``DecoderState`` and what the hypothesis itself carries from step to step, (R, ...), if anything."""

    carried: Tensor | None = None

    def reorder(self, rows: Tensor) -> AlignedState:
        """As in ``DecoderState``."""
        carried = None if self.carried is None else self.carried[rows]
        return AlignedState(**vars(super().reorder(rows)), carried=carried)


@dataclass
class Narrated:
    """Whole captions, teacher-forced.

    Args:
        logits: row j scores the word behind token j, (R, T, V); of the K steps that count only, (K, V),
            where lengths were given.
        energies: e_ij of each word when it was said, (R, N, T).
        queries: each word's side of these energies, (R, T, a).
    """

    logits: Tensor
    energies: Tensor
    queries: Tensor
