"""The decoder that EPAN, CANet and DCGN have in common: words so far are encoded and aligned with the moments, the
system attends to what it needs, an LSTM emits the next word.

What a system attends to, ``attend``, stands in its own file. Two ways through the same equations, as in
``network/decoder.py``: ``teacher_forced`` takes whole captions, ``start`` and ``step`` go word by word and serve the
search.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, T words with the start mark, t words so far, n
rows that have a step t, d model width, k width of what a system keeps of a word, a inner width of the alignment, h LSTM
width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evcap_cli.data.special_tokens import END, PAD
from evcap_cli.network.config import AlignedConfig
from evcap_cli.network.decoder import EMBEDDING_SPREAD
from evcap_cli.network.decoder_state import WordsSoFar
from evcap_cli.network.layers import autocast_to, dense, emit_word, lstm_cell, precise
from evcap_cli.network.packing import LongestFirst, all_steps
from evcap_cli.network.phrases import PhraseEncoder
from evcap_cli.network.shared_energies import SharedEnergies
from evcap_cli.network.shared_gradients import SharedMap, SharedRows, SharedWords
from evcap_cli.systems.aligned_tensors import AlignedMemory, AlignedOutput, AlignedState, EncodedClips
from evcap_cli.systems.attention import AdditiveEnergies

MemoryT = TypeVar("MemoryT", bound=AlignedMemory)


@dataclass
class AlignedWords:
    """Words of R captions that were encoded together.

    Args:
        phrases: (R, t, d).
        energies: of their alignment with the moments, (R, N, t).
        keys: what ``word_keys`` makes of each phrase, (R, t, k).
        queries: the words' side of the energies, (R, t, a).
    """

    phrases: Tensor
    energies: Tensor
    keys: Tensor
    queries: Tensor

    def sort(self, packing: LongestFirst) -> AlignedWords:
        """The captions in the order of ``packing``."""
        return AlignedWords(*map(packing.sort, (self.phrases, self.energies, self.keys, self.queries)))

    def so_far(self, rows: int, words: int) -> WordsSoFar:
        """The first words of the first captions."""
        weights = self.energies[:rows, :, :words].softmax(dim=-1)
        return WordsSoFar(self.phrases[:rows, :words], weights, self.keys[:rows, :words])


class SharedAlignment:
    """Words that were encoded once, for all steps.

    Args:
        aligned: all words of R captions.
        energies: of what attends to them, where the system shares them.
    """

    def __init__(self, aligned: AlignedWords, energies: SharedEnergies | None) -> None:
        self.phrases, self.aligned, self.energies = SharedRows(aligned.phrases), aligned, energies
        self.keys = SharedWords(aligned.keys) if energies is None else None

    def so_far(self, rows: int, words: int) -> WordsSoFar:
        """The first words of the first captions."""
        weights = self.aligned.energies[:rows, :, :words].softmax(dim=-1)
        keys = self.aligned.keys if self.keys is None else self.keys.first(rows, words)
        return WordsSoFar(self.phrases, weights, keys, self.energies)


class AlignedDecoder(nn.Module, Generic[MemoryT], ABC):
    """Words, phrases, alignment, LSTM and vocabulary around a system's own ``attend``.

    Args:
        config: of the system.
        context: width of all that ``attend`` finds.
        kept: k.
        head_width: of the phrase encoder.
        dropout: on words and on the LSTM's output.
        as_published: as the released code of EPAN: at each step the words so far are encoded again, each attending to
            all of them; the start mark is one of them only until there is a word; gates have two biases.
    """

    def __init__(
        self,
        config: AlignedConfig,
        *,
        context: int,
        kept: int,
        head_width: int | None = None,
        dropout: float = 0.0,
        as_published: bool = False,
    ) -> None:
        super().__init__()
        d, h = config.width, config.lstm_width
        self.max_words, self.word_width, self.as_published = config.max_words, config.word_width, as_published
        self.embedding = nn.Embedding(config.vocabulary, config.word_width)
        self.word_projection = nn.Identity() if config.word_width == d else dense(config.word_width, d)
        self.phrases = PhraseEncoder(config, head_width=head_width)
        self.alignment = AdditiveEnergies(d, d, config.alignment_width)
        self.gates = nn.Linear(config.word_width + context + h, 4 * h)
        # Both biases of an LSTM get the same gradient: two of them learn twice as fast as one.
        self.recurrent_bias = nn.Parameter(torch.zeros(4 * h)) if as_published else None
        self.dropout = nn.Dropout(dropout)
        self.output = dense(h, config.vocabulary)
        kept_by_phrases = 2 * self.phrases.kept
        self.history = [d] if as_published else [kept_by_phrases // 2, kept_by_phrases // 2, d, kept]
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, EMBEDDING_SPREAD)[PAD] = 0.0
            self.gates.weight.uniform_(-1.0, 1.0).mul_(h**-0.5)
            self.gates.bias.zero_()

    @abstractmethod
    def prepare(self, encoded: EncodedClips) -> MemoryT:
        """What no step changes, once per clip."""

    @abstractmethod
    def word_keys(self, phrases: Tensor) -> Tensor:
        """Maps of a phrase that every later step uses again, joined: (..., d) -> (..., k)."""

    @abstractmethod
    def content(self, memory: MemoryT) -> tuple[Tensor, ...]:
        """What rows need of their clip at every step, each (B, ...): gathered once, or read where it is.

        The first is (B, N, y): what the attention over the moments averages.
        """

    @abstractmethod
    def attend(
        self,
        memory: MemoryT,
        views: Tensor | SharedRows,
        others: tuple[Tensor, ...],
        clips: Tensor,
        hidden: Tensor,
        so_far: WordsSoFar,
        carried: Tensor | None,
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        """What enters the LSTM next to a word, and what the row carries on.

        Args:
            memory: of B clips.
            views: the first of ``content``, as ``per_row`` takes it.
            others: the others, for R rows, or for B clips whose rows are neighbours, equally many each.
            clips: the clip of each row, (R,).
            hidden: h_{t-1}, (R, h).
            so_far: the words of each row, with ``word_keys``.
            carried: of the step before; ``begin`` before the first.
        """

    def share_energies(self, memory: MemoryT, keys: Tensor, clips: Tensor) -> SharedEnergies | None:  # noqa: ARG002
        """What attends to all words of captions at every step of teacher forcing; None: ``attend`` does by itself.

        Args:
            memory: of B clips.
            keys: ``word_keys`` of all words of R captions, (R, T, k).
            clips: the clip of each caption, (R,).
        """
        return None

    def begin(self, memory: MemoryT, clips: Tensor) -> Tensor | None:  # noqa: ARG002 - for systems that carry something
        """What a row carries before its first word, (R, ...)."""
        return None

    def teacher_forced(
        self, memory: MemoryT, tokens: Tensor, clips: Tensor, lengths: Sequence[int] | None = None
    ) -> AlignedOutput:
        """Next-word scores after every prefix of given captions.

        Args:
            memory: of B clips.
            tokens: captions with the start mark first, then padding, (R, T) with T at most max_words + 1.
            clips: the clip of each caption, (R,).
            lengths: real steps of each caption, 1 to T; None: all T. The LSTM, what it attends to and the vocabulary
                skip the others.
        """
        packing = LongestFirst(all_steps(tokens) if lengths is None else lengths, tokens.device)
        embedded = self.embedding(tokens)
        words = self.word_projection(embedded)
        of_words, of_rest = autocast_to(self.gates.weight).tensor_split([self.word_width], dim=1)
        gates = packing.sort(F.linear(self.dropout(embedded), of_words, self.gate_bias)).unbind(dim=1)
        aligned = self._align_all(memory, words, clips, tokens)
        queries, energies = _of_steps(aligned)
        aligned, clips = [each.sort(packing) for each in aligned], packing.sort(clips)
        enter = SharedMap(of_rest)
        content = (autocast_to(of_clips)[clips] for of_clips in self.content(memory))
        views, others = SharedRows(next(content)), tuple(content)
        energies_of = None if self.as_published else self.share_energies(memory, aligned[0].keys, clips)
        shared = None if self.as_published else SharedAlignment(aligned[0], energies_of)
        hidden = cell = precise(words.new_zeros(len(tokens), self.gates.out_features // 4))
        carried = self.begin(memory, clips)
        states = []
        for t, n in packing.running():
            if n < len(hidden):
                clips, hidden, cell, others = clips[:n], hidden[:n], cell[:n], tuple(part[:n] for part in others)
                carried = None if carried is None else carried[:n]
            so_far = aligned[t].so_far(n, max(t, 1)) if shared is None else shared.so_far(n, t + 1)
            found, carried = self.attend(memory, views, others, clips, hidden, so_far, carried)
            hidden, cell = lstm_cell(enter(*found, hidden, added=gates[t][:n]), cell)
            states.append(hidden)
        scores = self.output(self.dropout(packing.pack(states)))
        return AlignedOutput(scores, packing.lengths, energies, queries, memory, tokens)

    @property
    def gate_bias(self) -> Tensor:
        """Of the LSTM, (4h,)."""
        return self.gates.bias if self.recurrent_bias is None else self.gates.bias + self.recurrent_bias

    def _align_all(self, memory: MemoryT, words: Tensor, clips: Tensor, tokens: Tensor) -> list[AlignedWords]:
        """Words (R, T, d) aligned with the moments: all at once, or the words so far of each step."""
        if not self.as_published:
            return [self._align(memory, self.phrases(words), clips)]
        # A caption's padding is encoded too, as released; the mask matters only after the caption's end.
        real = tokens > END
        real[:, :2] = True
        first = self._align(memory, self.phrases.together(words[:, :1]), clips)
        spans = [slice(1, t + 1) for t in range(1, words.shape[1])]
        later = [self._align(memory, self.phrases.together(words[:, span], real[:, span]), clips) for span in spans]
        return [first, *later]

    def _align(self, memory: MemoryT, phrases: Tensor, clips: Tensor | None) -> AlignedWords:
        """Phrases (R, t, d) aligned with the moments."""
        phrases = autocast_to(phrases)  # once, not at each step
        queries = self.alignment.query(phrases)
        energies = self.alignment(memory.alignment_keys, queries, clips)
        return AlignedWords(phrases, energies, self.word_keys(phrases), queries)

    @torch.no_grad()
    def start(self, memory: MemoryT) -> AlignedState:
        """The state before the start mark, one row a clip."""
        B, N = memory.mask.shape
        clips, steps = torch.arange(B, device=memory.device), self.max_words + 1
        zero = precise(memory.alignment_keys.values.new_zeros(B, self.gates.out_features // 4))
        return AlignedState(
            clips=clips,
            hidden=zero,
            cell=zero,
            words=0,
            history=zero.new_empty(steps, B, sum(self.history)),
            energies=zero.new_empty(steps, B, 0 if self.as_published else N),
            carried=self.begin(memory, clips),
        )

    @torch.no_grad()
    def step(self, memory: MemoryT, state: AlignedState, tokens: Tensor) -> tuple[Tensor, AlignedState]:
        """Add one word to every row; see ``CaptionModel``.

        Raises:
            ValueError: when a row already has max_words words.
        """
        t = state.words
        if t > self.max_words:
            raise ValueError(f"a caption of max_words {self.max_words} words can only end")
        embedded = self.embedding(tokens)
        so_far = self._with_word(memory, state, self.word_projection(embedded))
        views, *others = self.content(memory)
        found, carried = self.attend(memory, views, tuple(others), state.clips, state.hidden, so_far, state.carried)
        inputs = torch.cat([embedded, *found, state.hidden], dim=-1)
        logits, hidden, cell, buffers = emit_word(
            self.gates, self.output, inputs, state.cell, state.buffers, self.gate_bias
        )
        return logits, AlignedState(
            state.clips, hidden, cell, t + 1, state.history, state.energies, buffers, state.room, carried
        )

    def _with_word(self, memory: MemoryT, state: AlignedState, word: Tensor) -> WordsSoFar:
        """The words so far and one more, (R, d), which is written into the state."""
        t = state.words
        past = state.history[: t + 1]
        if self.as_published:
            past[t] = word
            words = past[1 if t else 0 :].transpose(0, 1)
            return self._align(memory, self.phrases.together(words), None).so_far(len(word), words.shape[1])
        key, value, phrases, keys = torch.split(past, self.history, dim=-1)
        phrases[t] = self.phrases.step(word, key, value)
        keys[t] = self.word_keys(phrases[t])
        state.energies[t] = self.alignment(memory.alignment_keys, self.alignment.query(phrases[t]), None)
        weights = state.energies[: t + 1].softmax(dim=0).permute(1, 2, 0)
        return WordsSoFar(phrases.transpose(0, 1), weights, keys.transpose(0, 1))


def _of_steps(aligned: Sequence[AlignedWords]) -> tuple[Tensor | list[Tensor], Tensor]:
    """Queries and energies of ``AlignedOutput``."""
    if len(aligned) == 1:
        return aligned[0].queries, aligned[0].energies
    energies = torch.stack([each.energies.sum(dim=2) for each in aligned], dim=2)
    return [each.queries for each in aligned], energies
