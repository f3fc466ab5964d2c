"""The caption decoder (section 1.5): phrases aligned with moments, additive attention, an LSTM, the next word.

Two ways through the same equations. ``teacher_forced`` takes whole captions: everything that the LSTM state does not
enter is computed for all words at once, and so is the product with the vocabulary. ``start`` and ``step`` go word by
word, carry what causal phrases let them keep, and serve the search (``beam_search.py``). The two give the same numbers.

Notation: B distinct clips, R rows (captions or beams), N moments, T words with the start mark, t words so far, d model
width, c = 2d (3d with ``decoder_audio``), a inner width of an attention, h LSTM width, W vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evcap_cli.data.special_tokens import PAD
from evcap_cli.network.batch import Encoded
from evcap_cli.network.config import CaptionerConfig
from evcap_cli.network.layers import dense, lstm_cell
from evcap_cli.network.object_attention import ObjectLook, ObjectRows
from evcap_cli.network.phrases import PhraseEncoder
from evcap_cli.network.tanh_energies import alignment_energies, attention_energies

EMBEDDING_SPREAD = 0.4
"""Standard deviation of random word vectors: that of GloVe's 300 dimensions, so that positions weigh alike in both."""


@dataclass
class DecoderMemory:
    """What no step changes, computed once per clip.

    Args:
        content: [V; E] or [V; E; A], (B, N, c).
        keys: its share of the additive attention's keys, (B, N, a).
        alignment_keys: W v_i + b, (B, N, a).
        mask: (B, N), True where a moment is real.
        objects: of the clips, only with ``decoder_objects``.
    """

    content: Tensor
    keys: Tensor
    alignment_keys: Tensor
    mask: Tensor
    objects: ObjectRows | None = None

    @property
    def device(self) -> torch.device:
        """Where the decoder computes."""
        return self.content.device

    def __len__(self) -> int:
        return len(self.mask)


@dataclass
class DecoderState:
    """Where R rows stand. Consumed by ``step`` and ``reorder``: only what these return may be used afterwards.

    Args:
        clips: the clip of each row, (R,).
        hidden, cell: of the LSTM, (R, h).
        words: how many words (the start mark included) were fed.
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
    room: tuple[Tensor, Tensor] | None = None
    """Where the next step writes gates and logits: fresh memory of that size costs half as much as the product."""

    def reorder(self, rows: Tensor) -> DecoderState:
        """The state whose row r continues row ``rows[r]`` of this one; any number of rows, repeats allowed."""
        history, energies, room, t = self.history, self.energies, self.room, self.words
        if history.shape[1] != len(rows):
            history, energies = (old.new_empty(len(old), len(rows), old.shape[2]) for old in (history, energies))
            room = None
        for old, new in ((self.history, history), (self.energies, energies)):
            for word in range(t):  # word by word, so that the gather may go back into its own buffer
                new[word] = old[word].index_select(0, rows)
        return DecoderState(self.clips[rows], self.hidden[rows], self.cell[rows], t, history, energies, room)


@dataclass
class Look:
    """What the decoder looked at before one word of R captions: for people (``explaining/``), nothing learns from it.

    Args:
        attention: weights of Z_t over the moments, (R, N), zeros where a moment is padding.
        found: Z_t, (R, c + d), and behind it the object that was seen, (R, d), with ``decoder_objects``.
        objects: weights of that object over the objects, (R, N_o).
    """

    attention: Tensor
    found: Tensor
    objects: Tensor | None = None


class Decoder(nn.Module):
    """Section 1.5 with its word embeddings."""

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        d, h, a = config.width, config.lstm_width, config.attention_width
        content = (3 if config.decoder_audio else 2) * d
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.word_width)
        self.word_projection = nn.Identity() if config.word_width == d else dense(config.word_width, d)
        self.phrases = PhraseEncoder(config)
        self.alignment_visual = dense(d, config.alignment_width)
        self.alignment_phrase = dense(d, config.alignment_width, bias=False)
        self.alignment_vector = nn.Parameter(torch.empty(config.alignment_width))
        self.attention_content = dense(content, a)
        self.attention_phrase = dense(d, a, bias=False)
        self.attention_state = dense(h, a, bias=False)
        self.attention_vector = nn.Parameter(torch.empty(a))
        self.object_look = ObjectLook(d, h) if config.decoder_objects else None
        looked = content + d + (d if config.decoder_objects else 0)
        # One map for all that enters the LSTM, [y_t; Z_t; h]: a step is one product, teacher forcing takes y_t out.
        self.gates = nn.Linear(config.word_width + looked + h, 4 * h)
        self.dropout = nn.Dropout(config.dropout)
        self.output = dense(h, config.vocabulary)
        self._initialise()

    def _initialise(self) -> None:
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, EMBEDDING_SPREAD)[PAD] = 0.0
            for vector in (self.alignment_vector, self.attention_vector):
                vector.uniform_(-1.0, 1.0).mul_((3.0 / len(vector)) ** 0.5)
            self.gates.weight.uniform_(-1.0, 1.0).mul_(self.config.lstm_width**-0.5)
            self.gates.bias.zero_()

    def prepare(self, encoded: Encoded) -> DecoderMemory:
        """Everything of the encoder's output that every step uses alike, once per clip.

        Raises:
            ValueError: when ``decoder_audio`` is set and the encoder gave no audio, or ``decoder_objects`` and it gave
                no objects.
        """
        parts = [encoded.visual, encoded.emotion]
        if self.config.decoder_audio:
            if encoded.audio is None:
                raise ValueError("decoder_audio is set, but the encoder hands over no audio")
            parts.append(encoded.audio)
        content, objects = torch.cat(parts, dim=-1), None
        if self.object_look is not None:
            if encoded.objects is None or encoded.object_mask is None:
                raise ValueError("decoder_objects is set, but the encoder hands over no objects")
            objects = self.object_look.prepare(encoded.objects, encoded.object_mask)
        return DecoderMemory(
            content=content,
            keys=self.attention_content(content),
            alignment_keys=self.alignment_visual(encoded.visual),
            mask=encoded.mask,
            objects=objects,
        )

    def teacher_forced(
        self, memory: DecoderMemory, tokens: Tensor, clips: Tensor, lengths: Sequence[int] | None = None
    ) -> Tensor:
        """Next-word scores behind every prefix of given captions (Eq. 9).

        Args:
            memory: of B clips.
            tokens: captions with the start mark first, padded behind their end, (R, T) with T at most max_words + 1.
            clips: the clip of each caption, (R,).
            lengths: steps of each caption that count, R of them, 1 to T: nothing is computed for the others, which
                are a third of a batch of real captions.

        Returns:
            Logits, (R, T, W): row j scores the word behind token j. With ``lengths`` (K, W), one caption after
            another, where K is their sum.
        """
        if lengths is None:
            states = torch.stack(self._states(memory, tokens, clips, [tokens.shape[1]] * len(tokens)), dim=1)
        else:
            order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
            rows = torch.tensor(order, device=tokens.device)
            by_step = self._states(memory, tokens[rows], clips[rows], [lengths[row] for row in order])
            place = torch.tensor(_places(order, lengths), device=tokens.device)
            states = torch.cat(by_step).index_select(0, place)
        logits: Tensor = self.output(self.dropout(states))
        return logits

    def watched(self, memory: DecoderMemory, tokens: Tensor, clips: Tensor) -> tuple[Tensor, list[Look]]:
        """``teacher_forced`` without ``lengths``, and what was looked at in each of its T steps."""
        looks: list[Look] = []
        states = self._states(memory, tokens, clips, [tokens.shape[1]] * len(tokens), looks)
        return self.output(self.dropout(torch.stack(states, dim=1))), looks

    def _states(
        self,
        memory: DecoderMemory,
        tokens: Tensor,
        clips: Tensor,
        lengths: Sequence[int],
        looks: list[Look] | None = None,
    ) -> list[Tensor]:
        """LSTM states of each step, (n, h), of the n captions that are as long; ``lengths`` must fall.

        Each step is added to ``looks`` where that is given.
        """
        embedded = self.embedding(tokens)
        words = self.dropout(embedded)
        phrases = self.phrases(self.word_projection(embedded))
        energies = alignment_energies(
            memory.alignment_keys, self.alignment_phrase(phrases), self.alignment_vector, clips, lengths
        )
        phrase_keys = self.attention_phrase(phrases)
        of_words, of_rest = self.gates.weight.tensor_split([self.config.word_width], dim=1)
        gates = F.linear(words, of_words, self.gates.bias).unbind(dim=1)
        content, blocked = memory.content[clips], ~memory.mask[clips]
        objects = None if memory.objects is None else memory.objects.of_rows(clips)
        asked = None if self.object_look is None else self.object_look.of_phrase(phrases)
        hidden = cell = phrases.new_zeros(len(tokens), self.config.lstm_width)
        states = []
        for t in range(lengths[0]):
            n = sum(length > t for length in lengths)
            if n < len(hidden):
                content, blocked, hidden, cell = content[:n], blocked[:n], hidden[:n], cell[:n]
                objects = None if objects is None else objects.first(n)
            weights = energies[:n, :, : t + 1].softmax(dim=-1)
            attention = attention_energies(
                memory.keys,
                weights,
                phrase_keys[:n, : t + 1],
                self.attention_state(hidden),
                self.attention_vector,
                clips[:n],
            )
            attended, *found = self._look(attention, blocked, content, weights, phrases[:n, : t + 1])
            seen = None
            if self.object_look is not None and objects is not None and asked is not None:
                thing, seen = self.object_look(objects, asked[:n, t], hidden)
                found.append(thing)
            if looks is not None:
                looks.append(Look(attended, torch.cat(found, dim=-1), seen))
            hidden, cell = lstm_cell(torch.addmm(gates[t][:n], torch.cat([*found, hidden], dim=-1), of_rest.t()), cell)
            states.append(hidden)
        return states

    @torch.no_grad()
    def start(self, memory: DecoderMemory, beams: int = 1) -> DecoderState:
        """The state before the start mark is fed, ``beams`` rows to a clip."""
        B, N = memory.mask.shape
        R, d, steps = B * beams, self.config.width, self.config.max_words + 1
        zero = memory.keys.new_zeros(R, self.config.lstm_width)
        return DecoderState(
            clips=torch.arange(B, device=zero.device).repeat_interleave(beams),
            hidden=zero,
            cell=zero,
            words=0,
            history=zero.new_empty(steps, R, 3 * d + self.config.attention_width),
            energies=zero.new_empty(steps, R, N),
        )

    @torch.no_grad()
    def step(self, memory: DecoderMemory, state: DecoderState, tokens: Tensor) -> tuple[Tensor, DecoderState]:
        """Feed one word to every row.

        Args:
            memory: of B clips.
            state: of R rows; consumed.
            tokens: (R,).

        Returns:
            Logits of the next word, (R, W), and the state behind the word.

        Raises:
            ValueError: when a row already has max_words words.
        """
        t, d = state.words, self.config.width
        if t > self.config.max_words:
            raise ValueError(f"a caption of max_words {self.config.max_words} words can only end")
        embedded = self.embedding(tokens)
        past = state.history[: t + 1]
        key, value, phrases, phrase_keys = torch.split(past, [d, d, d, self.config.attention_width], dim=-1)
        phrase = self.phrases.step(self.word_projection(embedded), key, value)
        phrases[t] = phrase
        phrase_keys[t] = self.attention_phrase(phrase)
        state.energies[t] = alignment_energies(
            memory.alignment_keys, self.alignment_phrase(phrase)[:, None], self.alignment_vector, state.clips
        )[:, :, 0]
        weights = state.energies[: t + 1].softmax(dim=0).permute(1, 2, 0)
        attention = attention_energies(
            memory.keys,
            weights,
            phrase_keys.transpose(0, 1),
            self.attention_state(state.hidden),
            self.attention_vector,
            state.clips,
        )
        blocked = ~memory.mask[state.clips]
        _, *found = self._look(attention, blocked, memory.content, weights, phrases.transpose(0, 1))
        if self.object_look is not None and memory.objects is not None:
            found.append(self.object_look(memory.objects, self.object_look.of_phrase(phrase), state.hidden)[0])
        inputs = torch.cat([embedded, *found, state.hidden], dim=-1)
        gates, logits = state.room or (
            inputs.new_empty(len(inputs), n) for n in (4 * state.hidden.shape[1], self.output.out_features)
        )
        torch.addmm(self.gates.bias, inputs, self.gates.weight.t(), out=gates)
        hidden, cell = lstm_cell(gates, state.cell)
        torch.addmm(self.output.bias, hidden, self.output.weight.t(), out=logits)
        return logits, DecoderState(state.clips, hidden, cell, t + 1, state.history, state.energies, (gates, logits))

    @staticmethod
    def _look(
        energies: Tensor, blocked: Tensor, content: Tensor, weights: Tensor, phrases: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Z_t: [V; E; T_t] averaged with the attention's weights; T_t is never built.

        Args:
            energies: of the moments, (R, N).
            blocked: True where a moment is padding, (R, N).
            content: [V; E], (R, N, c), or (B, N, c) where rows of one clip lie side by side, equally many each.
            weights: alignment, (R, N, t).
            phrases: (R, t, d).

        Returns:
            The attention's weights, (R, N), the share of [V; E], (R, c), and that of T_t, (R, d).
        """
        attention = energies.masked_fill(blocked, float("-inf")).softmax(dim=-1)[:, None].to(content.dtype)
        spoken = torch.bmm(torch.bmm(attention, weights.to(content.dtype)), phrases)
        seen = torch.bmm(attention.view(len(content), -1, content.shape[1]), content).view(len(attention), -1)
        return attention[:, 0], seen, spoken[:, 0]


def _places(order: Sequence[int], lengths: Sequence[int]) -> list[int]:
    """Where the steps of caption after caption stand among those of step after step, each of these in ``order``."""
    rank = {row: number for number, row in enumerate(order)}
    starts, total = [], 0
    for t in range(max(lengths)):
        starts.append(total)
        total += sum(length > t for length in lengths)
    return [starts[t] + rank[row] for row, length in enumerate(lengths) for t in range(length)]
