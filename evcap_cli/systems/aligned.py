"""The decoder that EPAN, CANet and DCGN have in common: words so far are encoded and aligned with the moments, the
system looks at what it wants, an LSTM says the next word.

What a system looks at, ``look``, is its own file's. Two ways through the same equations, as in
``network/decoder.py``: ``teacher_forced`` takes whole captions, ``start`` and ``step`` go word by word and serve the
search.

Notation: B distinct clips, R rows (captions or hypotheses), N moments, T words with the start mark, t words so far, d
model width, k width of what a system keeps of a word, a inner width of the alignment, h LSTM width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evcap_cli.data.special_tokens import PAD
from evcap_cli.network.config import AlignedConfig
from evcap_cli.network.decoder import EMBEDDING_SPREAD
from evcap_cli.network.layers import dense, lstm_cell
from evcap_cli.network.phrases import PhraseEncoder
from evcap_cli.systems.attention import AdditiveEnergies
from evcap_cli.systems.narration import AlignedMemory, AlignedState, Narrated, SeenClips, Told

MemoryT = TypeVar("MemoryT", bound=AlignedMemory)


class AlignedDecoder(nn.Module, Generic[MemoryT], ABC):
    """Words, phrases, alignment, LSTM and vocabulary around a system's own ``look``.

    Args:
        config: of the system.
        context: width of all that ``look`` finds.
        kept: k.
        head_width: of the phrase encoder.
        dropout: on words and on the LSTM's output.
        reencode: encode the words so far anew at each step, every one looking at all (EPAN's published habit).
    """

    def __init__(
        self,
        config: AlignedConfig,
        *,
        context: int,
        kept: int,
        head_width: int | None = None,
        dropout: float = 0.0,
        reencode: bool = False,
    ) -> None:
        super().__init__()
        d, h = config.width, config.lstm_width
        self.max_words, self.word_width, self.reencode = config.max_words, config.word_width, reencode
        self.embedding = nn.Embedding(config.vocabulary, config.word_width)
        self.word_projection = nn.Identity() if config.word_width == d else dense(config.word_width, d)
        self.phrases = PhraseEncoder(config, head_width=head_width)
        self.alignment = AdditiveEnergies(d, d, config.alignment_width)
        self.gates = nn.Linear(config.word_width + context + h, 4 * h)
        self.dropout = nn.Dropout(dropout)
        self.output = dense(h, config.vocabulary)
        kept_by_phrases = 2 * self.phrases.kept
        self.history = [d] if reencode else [kept_by_phrases // 2, kept_by_phrases // 2, d, kept]
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, EMBEDDING_SPREAD)[PAD] = 0.0
            self.gates.weight.uniform_(-1.0, 1.0).mul_(h**-0.5)
            self.gates.bias.zero_()

    @abstractmethod
    def prepare(self, seen: SeenClips) -> MemoryT:
        """What no step changes, once per clip."""

    @abstractmethod
    def word_keys(self, phrases: Tensor) -> Tensor:
        """Maps of a phrase that every later step uses again, side by side: (..., d) -> (..., k)."""

    @abstractmethod
    def content(self, memory: MemoryT) -> tuple[Tensor, ...]:
        """What rows need of their clip at every step, each (B, ...): gathered once, or looked at where it is."""

    @abstractmethod
    def look(
        self,
        memory: MemoryT,
        content: tuple[Tensor, ...],
        clips: Tensor,
        hidden: Tensor,
        told: Told,
        carried: Tensor | None,
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        """What a step's word is said from, and what the row carries on.

        Args:
            memory: of B clips.
            content: of ``content``, for R rows, or for B clips whose rows lie side by side (see ``per_row``).
            clips: the clip of each row, (R,).
            hidden: h_{t-1}, (R, h).
            told: the words so far.
            carried: of the step before; ``begin`` before the first.
        """

    def begin(self, memory: MemoryT, clips: Tensor) -> Tensor | None:  # noqa: ARG002 - for systems that carry something
        """What a row carries before its first word, (R, ...)."""
        return None

    def teacher_forced(
        self, memory: MemoryT, tokens: Tensor, clips: Tensor, lengths: Sequence[int] | None = None
    ) -> Narrated:
        """Next-word scores behind every prefix of given captions.

        Args:
            memory: of B clips.
            tokens: captions with the start mark first, padded behind their end, (R, T) with T at most max_words + 1.
            clips: the clip of each caption, (R,).
            lengths: steps of each caption that count, R of them, 1 to T: the LSTM, what it looks at and the vocabulary
                skip the others, and the scores are those of the K steps that count, caption by caption, (K, V).
                ``reencode`` takes all steps.
        """
        if self.reencode:
            return self._reencoded(memory, tokens, clips)
        embedded = self.embedding(tokens)
        entering = self.word_projection(embedded)
        of_words, of_rest = self.gates.weight.tensor_split([self.word_width], dim=1)
        gates = F.linear(self.dropout(embedded), of_words, self.gates.bias)
        told, queries, energies = self._tell(memory, entering, clips)
        steps = list(lengths) if lengths is not None else [tokens.shape[1]] * len(tokens)
        order = sorted(range(len(steps)), key=lambda row: -steps[row])
        phrases, keys, of_moments = told.phrases, told.keys, energies
        if lengths is not None:  # the longest first, so that those that go on are always the first ones
            rows = torch.tensor(order, device=tokens.device)
            clips, phrases, keys, gates, of_moments = (x[rows] for x in (clips, phrases, keys, gates, of_moments))
        of_steps = gates.unbind(dim=1)
        content = tuple(of_clips[clips] for of_clips in self.content(memory))
        hidden = cell = entering.new_zeros(len(tokens), self.gates.out_features // 4)
        carried = self.begin(memory, clips)
        states = []
        for t in range(tokens.shape[1]):
            n = sum(step > t for step in steps)
            if n < len(hidden):
                clips, hidden, cell, content = clips[:n], hidden[:n], cell[:n], tuple(part[:n] for part in content)
                carried = None if carried is None else carried[:n]
            if n:
                weights = of_moments[:n, :, : t + 1].softmax(dim=-1)
                so_far = Told(phrases[:n, : t + 1], weights, keys[:n, : t + 1])
                found, carried = self.look(memory, content, clips, hidden, so_far, carried)
                entered = F.linear(torch.cat([*found, hidden], dim=-1), of_rest)
                hidden, cell = lstm_cell(of_steps[t][:n] + entered, cell)
            states.append(hidden if n == len(tokens) else F.pad(hidden, (0, 0, 0, len(tokens) - n)))
        whole = torch.stack(states, dim=1)
        if lengths is not None:
            whole = whole[torch.tensor(sorted(range(len(order)), key=order.__getitem__), device=tokens.device)]
        whole = self.dropout(whole)
        if lengths is not None:
            counted = torch.tensor(steps, device=tokens.device)[:, None]
            whole = whole[torch.arange(tokens.shape[1], device=tokens.device) < counted]
        return Narrated(self.output(whole), energies, queries)

    def _reencoded(self, memory: MemoryT, tokens: Tensor, clips: Tensor) -> Narrated:
        """``teacher_forced`` with the words so far encoded anew at each step."""
        embedded = self.embedding(tokens)
        entering = self.word_projection(embedded)
        of_words, of_rest = self.gates.weight.tensor_split([self.word_width], dim=1)
        gates = F.linear(self.dropout(embedded), of_words, self.gates.bias).unbind(dim=1)
        content = tuple(of_clips[clips] for of_clips in self.content(memory))
        hidden = cell = entering.new_zeros(len(tokens), self.gates.out_features // 4)
        carried = self.begin(memory, clips)
        states, queries, energies = [], [], []
        for t in range(tokens.shape[1]):
            so_far, asked, energy = self._tell(memory, entering[:, : t + 1], clips)
            queries.append(asked[:, -1])
            energies.append(energy[:, :, -1])
            found, carried = self.look(memory, content, clips, hidden, so_far, carried)
            hidden, cell = lstm_cell(gates[t] + F.linear(torch.cat([*found, hidden], dim=-1), of_rest), cell)
            states.append(hidden)
        scores = self.output(self.dropout(torch.stack(states, dim=1)))
        return Narrated(scores, torch.stack(energies, dim=2), torch.stack(queries, dim=1))

    def _tell(self, memory: MemoryT, entering: Tensor, clips: Tensor) -> tuple[Told, Tensor, Tensor]:
        """Words (R, T, d) encoded together; their queries (R, T, a) and energies (R, N, T)."""
        phrases = self.phrases(entering, causal=not self.reencode)
        queries = self.alignment.query(phrases)
        energies = self.alignment(memory.alignment_keys, queries, clips)
        return Told(phrases, energies.softmax(dim=-1), self.word_keys(phrases)), queries, energies

    @torch.no_grad()
    def start(self, memory: MemoryT) -> AlignedState:
        """The state before the start mark is fed, one row a clip."""
        B, N = memory.mask.shape
        clips, steps = torch.arange(B, device=memory.device), self.max_words + 1
        zero = memory.alignment_keys.new_zeros(B, self.gates.out_features // 4)
        return AlignedState(
            clips=clips,
            hidden=zero,
            cell=zero,
            words=0,
            history=zero.new_empty(steps, B, sum(self.history)),
            energies=zero.new_empty(steps, B, 0 if self.reencode else N),
            carried=self.begin(memory, clips),
        )

    @torch.no_grad()
    def step(self, memory: MemoryT, state: AlignedState, tokens: Tensor) -> tuple[Tensor, AlignedState]:
        """Feed one word to every row; see ``CaptionModel``.

        Raises:
            ValueError: when a row already has max_words words.
        """
        t = state.words
        if t > self.max_words:
            raise ValueError(f"a caption of max_words {self.max_words} words can only end")
        embedded = self.embedding(tokens)
        told = self._one_more(memory, state, self.word_projection(embedded))
        found, carried = self.look(memory, self.content(memory), state.clips, state.hidden, told, state.carried)
        entering = torch.cat([embedded, *found, state.hidden], dim=-1)
        gates, logits = state.room or (
            entering.new_empty(len(entering), width) for width in (self.gates.out_features, self.output.out_features)
        )
        torch.addmm(self.gates.bias, entering, self.gates.weight.t(), out=gates)
        hidden, cell = lstm_cell(gates, state.cell)
        torch.addmm(self.output.bias, hidden, self.output.weight.t(), out=logits)
        room = (gates, logits)
        return logits, AlignedState(state.clips, hidden, cell, t + 1, state.history, state.energies, room, carried)

    def _one_more(self, memory: MemoryT, state: AlignedState, word: Tensor) -> Told:
        """The words so far with one more, (R, d), whose share of the state is written."""
        t = state.words
        past = state.history[: t + 1]
        if self.reencode:
            past[t] = word
            return self._tell(memory, past.transpose(0, 1), state.clips)[0]
        key, value, phrases, keys = torch.split(past, self.history, dim=-1)
        phrases[t] = self.phrases.step(word, key, value)
        keys[t] = self.word_keys(phrases[t])
        state.energies[t] = self.alignment(memory.alignment_keys, self.alignment.query(phrases[t]), state.clips)
        weights = state.energies[: t + 1].softmax(dim=0).permute(1, 2, 0)
        return Told(phrases.transpose(0, 1), weights, keys.transpose(0, 1))
