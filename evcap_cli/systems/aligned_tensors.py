"""What encoder, decoder, search and losses of EPAN, CANet and DCGN pass to each other.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, T words with the start mark, d model width, a
inner width of the alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from evcap_cli.network.decoder_state import ClipRows, DecoderState
from evcap_cli.network.emotion import Perceived
from evcap_cli.network.packing import WordScores
from evcap_cli.network.tanh_energies import DoubledKeys


@dataclass
class EncodedClips:
    """What an encoder makes of B clips.

    Args:
        visual: V, (B, N, d), zeros where a moment is not real.
        mask: (B, N), True where a moment is real.
        emotion: E, (B, N, width of its own), zeros likewise; of no columns in a system without an emotion branch.
        perceived: the two distributions that E comes from; None without an emotion branch.
    """

    visual: Tensor
    mask: Tensor
    emotion: Tensor
    perceived: Perceived | None = None


@dataclass
class AlignedMemory(ClipRows):
    """What no step changes, once per clip; a system adds its own.

    Args:
        visual: V, (B, N, d), zeros where a moment is not real.
        alignment_keys: of U v_i + b.
        mask: (B, N), True where a moment is real.
    """

    visual: Tensor
    alignment_keys: DoubledKeys
    mask: Tensor


@dataclass
class AlignedState(DecoderState):
    """``DecoderState`` and what the hypothesis itself carries from step to step, (R, ...), if anything."""

    carried: Tensor | None = None

    def reorder(self, rows: Tensor) -> AlignedState:
        """As in ``DecoderState``."""
        carried = None if self.carried is None else self.carried[rows]
        return AlignedState(**vars(super().reorder(rows)), carried=carried)


@dataclass
class AlignedOutput(WordScores):
    """Word scores, and what the other losses need. The alignment is that of all T steps, padding included.

    Args:
        energies: e_ij of each word, (R, N, T); where the words so far are encoded together at each step, the sum over
            the words so far of each step.
        queries: each word's side of these energies, (R, T, a); or those of the words so far of each step, T of them.
        memory: of the decoder.
        tokens: the words, (R, T).
        perceived: of the encoder.
    """

    energies: Tensor
    queries: Tensor | Sequence[Tensor]
    memory: AlignedMemory
    tokens: Tensor
    perceived: Perceived | None = None
