"""What a decoder keeps: of a clip for all steps, of a row between two steps, and of the words so far within one.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, N_o objects, t words so far, d model width,
c = 2d (3d with ``decoder_audio``), a inner width of an attention, h LSTM width, k width of a phrase's keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from evcap_cli.network.layers import WordBuffers
from evcap_cli.network.object_attention import ObjectRows
from evcap_cli.network.shared_energies import SharedEnergies
from evcap_cli.network.shared_gradients import SharedRows
from evcap_cli.network.tanh_energies import DoubledKeys

MOST_ROOM: Final = 2**27
"""A history of more bytes has no second buffer: its words are gathered one by one, back into its own."""


class ClipRows:
    """What a decoder keeps of B clips, with their ``mask``, (B, N): the search reads its length and device."""

    mask: Tensor

    @property
    def device(self) -> torch.device:
        """Where the decoder computes."""
        return self.mask.device

    def __len__(self) -> int:
        return len(self.mask)


@dataclass
class DecoderMemory(ClipRows):
    """What no step changes, computed once per clip.

    Args:
        content: [V; E] or [V; E; A], (B, N, c).
        keys: its share of the additive attention's keys.
        alignment_keys: of W v_i + b.
        mask: (B, N), True where a moment is real.
        objects: of the clips, only with ``decoder_objects``.
    """

    content: Tensor
    keys: DoubledKeys
    alignment_keys: DoubledKeys
    mask: Tensor
    objects: ObjectRows | None = None


@dataclass
class DecoderState:
    """Where R rows stand. Consumed by ``step`` and ``reorder``: only what these return may be used afterwards.

    Args:
        clips: the clip of each row, (R,).
        hidden, cell: of the LSTM, (R, h).
        words: how many words, the start mark included, each row has.
        history: of each word its phrase's key and value of the phrase encoder, the phrase, and its key of the additive
            attention, side by side so that one gather moves them, (max_words + 1, R, 3d + a).
        energies: e_ij of each word, (max_words + 1, R, N).
    """

    clips: Tensor
    hidden: Tensor
    cell: Tensor
    words: int
    history: Tensor
    energies: Tensor
    buffers: WordBuffers | None = None
    """Of ``emit_word``, for the next step."""
    room: tuple[Tensor, Tensor] | None = None
    """History and energies of the step before, which the next ones are written over."""

    def reorder(self, rows: Tensor) -> DecoderState:
        """The state whose row r continues row ``rows[r]`` of this one; any number of rows, repeats allowed."""
        kept, room, buffers, t = (self.history, self.energies), self.room, self.buffers, self.words
        if self.history.shape[1] != len(rows):
            room = buffers = None
        elif self.history.nbytes > MOST_ROOM:
            room = kept
        history, energies = room or (old.new_empty(len(old), len(rows), old.shape[2]) for old in kept)
        for old, new in zip(kept, (history, energies), strict=True):
            if new is old:
                for word in range(t):
                    new[word] = old[word].index_select(0, rows)
            else:
                torch.index_select(old[:t], 1, rows, out=new[:t])
        room = kept if self.history.shape[1] == len(rows) else None
        return DecoderState(self.clips[rows], self.hidden[rows], self.cell[rows], t, history, energies, buffers, room)


@dataclass
class WordsSoFar:
    """The words so far of R rows.

    Args:
        phrases: P_t, (R, t, d); with teacher forcing those of all words of all captions, shared by all steps.
        weights: alignment of each moment over the words, (R, N, t); T_t = weights x phrases.
        keys: of each phrase, for what attends to it, (R, t, k).
        energies: with teacher forcing, what makes ``attention_energies`` at every step; ``keys`` are then those of all
            words of all captions, which nothing reads.
    """

    phrases: Tensor | SharedRows
    weights: Tensor
    keys: Tensor
    energies: SharedEnergies | None = None


@dataclass
class ContentRows:
    """What R rows attend to.

    Args:
        values: [V; E] of B clips whose rows are neighbours, equally many each, (B, N, c), or shared by all steps.
        blocked: (R, N), True where a moment is padding.
        objects: likewise, only with ``decoder_objects``.
    """

    values: Tensor | SharedRows
    blocked: Tensor
    objects: ObjectRows | None = None

    def first(self, count: int) -> ContentRows:
        """That of the first ``count`` rows; of what is shared, a step's rows are the first."""
        objects = None if self.objects is None else self.objects.first(count)
        return ContentRows(self.values, self.blocked[:count], objects)


@dataclass
class WordAttention:
    """What the decoder attended to before one word of R rows.

    Args:
        moments: weights of Z_t over the moments, (R, N), zeros where a moment is padding.
        found: Z_t in two parts, (R, c) of [V; E] and (R, d) of T_t, then the mean object, (R, d), with
            ``decoder_objects``.
        objects: weights over the objects, (R, N_o).
    """

    moments: Tensor
    found: tuple[Tensor, ...]
    objects: Tensor | None = None
