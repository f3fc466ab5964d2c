"""The caption decoder (section 1.5): phrases aligned with moments, additive attention, an LSTM, the next word.

Two ways through the same equations. ``teacher_forced`` takes whole captions: everything that the LSTM state does not
enter is computed for all words at once, and so is the product with the vocabulary. ``start`` and ``step`` go word by
word, carry what causal phrases let them keep, and serve the search. The two give the same numbers.

Notation: B distinct clips, R rows (captions or beams), N moments, T words with the start mark, t words so far, d model
width, c = 2d (3d with ``decoder_audio``), a inner width of an attention, h LSTM width, W vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evcap_cli.data.special_tokens import PAD
from evcap_cli.network.batch import Encoded
from evcap_cli.network.config import FusionConfig
from evcap_cli.network.decoder_state import ContentRows, DecoderMemory, DecoderState, WordAttention, WordsSoFar
from evcap_cli.network.layers import autocast_to, dense, emit_word, lstm_cell, precise
from evcap_cli.network.object_attention import ObjectAttention
from evcap_cli.network.packing import LongestFirst, WordScores, all_steps
from evcap_cli.network.phrases import PhraseEncoder
from evcap_cli.network.shared_energies import SharedEnergies
from evcap_cli.network.shared_gradients import SharedMap, SharedRows, per_row
from evcap_cli.network.tanh_energies import DoubledKeys, alignment_energies, attention_energies

EMBEDDING_SPREAD = 0.4
"""Standard deviation of random word vectors: that of GloVe's 300 dimensions, so that positions weigh alike in both."""


class Decoder(nn.Module):
    """Section 1.5 with its word embeddings."""

    def __init__(self, config: FusionConfig) -> None:
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
        self.object_look = ObjectAttention(d, h) if config.decoder_objects else None
        context = content + d + (d if config.decoder_objects else 0)
        # One map for all that enters the LSTM, [y_t; Z_t; h]: a step is one product, teacher forcing takes y_t out.
        self.gates = nn.Linear(config.word_width + context + h, 4 * h)
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
            keys=DoubledKeys.of(self.attention_content(content)),
            alignment_keys=DoubledKeys.of(self.alignment_visual(encoded.visual)),
            mask=encoded.mask,
            objects=objects,
        )

    def teacher_forced(
        self, memory: DecoderMemory, tokens: Tensor, clips: Tensor, lengths: Sequence[int] | None = None
    ) -> WordScores:
        """Next-word scores after every prefix of given captions (Eq. 9).

        Args:
            memory: of B clips.
            tokens: captions with the start mark first, then padding, (R, T) with T at most max_words + 1.
            clips: the clip of each caption, (R,).
            lengths: real steps of each caption, 1 to T; None: all T. Nothing is computed for the others.
        """
        packing = LongestFirst(all_steps(tokens) if lengths is None else lengths, tokens.device)
        states = [hidden for hidden, _ in self._states(memory, packing.sort(tokens), packing.sort(clips), packing)]
        return WordScores(self.output(self.dropout(packing.pack(states))), packing.lengths)

    def with_attention(
        self, memory: DecoderMemory, tokens: Tensor, clips: Tensor
    ) -> tuple[WordScores, list[WordAttention]]:
        """``teacher_forced`` without ``lengths``, and the attention before each of its T words."""
        packing = LongestFirst(all_steps(tokens), tokens.device)
        states, attention = zip(*self._states(memory, tokens, clips, packing), strict=True)
        return WordScores(self.output(self.dropout(packing.pack(states))), packing.lengths), list(attention)

    def _states(
        self, memory: DecoderMemory, tokens: Tensor, clips: Tensor, packing: LongestFirst
    ) -> Iterator[tuple[Tensor, WordAttention]]:
        """The LSTM state, (n, h), and the attention of each step; captions come in the order of ``packing``."""
        embedded = self.embedding(tokens)
        words = self.dropout(embedded)
        phrases = autocast_to(self.phrases(self.word_projection(embedded)))  # once, not at each step
        energies = alignment_energies(
            memory.alignment_keys, self.alignment_phrase(phrases), self.alignment_vector, clips, packing.falling
        )
        keys = self.attention_phrase(phrases)
        of_words, of_rest = autocast_to(self.gates.weight).tensor_split([self.config.word_width], dim=1)
        gates = F.linear(words, of_words, self.gates.bias).unbind(dim=1)
        objects = None if memory.objects is None else memory.objects.of_rows(clips)
        content = ContentRows(SharedRows(autocast_to(memory.content)[clips]), ~memory.mask[clips], objects)
        shared = SharedRows(phrases), SharedEnergies(memory.keys, keys, self.attention_vector, clips)
        enter = SharedMap(of_rest)
        object_queries = None if self.object_look is None else self.object_look.of_phrase(phrases)
        hidden = cell = precise(phrases.new_zeros(len(tokens), self.config.lstm_width))
        for t, n in packing.running():
            if n < len(hidden):
                content, hidden, cell = content.first(n), hidden[:n], cell[:n]
            weights = energies[:n, :, : t + 1].softmax(dim=-1)
            so_far = WordsSoFar(shared[0], weights, keys, shared[1])
            object_query = None if object_queries is None else object_queries[:n, t]
            attention = self._attend(memory.keys, content, clips[:n], so_far, hidden, object_query)
            hidden, cell = lstm_cell(enter(*attention.found, hidden, added=gates[t][:n]), cell)
            yield hidden, attention

    @torch.no_grad()
    def start(self, memory: DecoderMemory) -> DecoderState:
        """The state before the start mark, one row a clip."""
        B, N = memory.mask.shape
        d, steps = self.config.width, self.config.max_words + 1
        zero = memory.keys.values.new_zeros(B, self.config.lstm_width)
        return DecoderState(
            clips=torch.arange(B, device=zero.device),
            hidden=zero,
            cell=zero,
            words=0,
            history=zero.new_empty(steps, B, 3 * d + self.config.attention_width),
            energies=zero.new_empty(steps, B, N),
        )

    @torch.no_grad()
    def step(self, memory: DecoderMemory, state: DecoderState, tokens: Tensor) -> tuple[Tensor, DecoderState]:
        """Add one word to every row.

        Args:
            memory: of B clips.
            state: of R rows; consumed.
            tokens: (R,).

        Returns:
            Logits of the next word, (R, W), and the state after the word.

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
            memory.alignment_keys, self.alignment_phrase(phrase)[:, None], self.alignment_vector, None
        )[:, :, 0]
        weights = state.energies[: t + 1].softmax(dim=0).permute(1, 2, 0)
        so_far = WordsSoFar(phrases.transpose(0, 1), weights, phrase_keys.transpose(0, 1))
        content = ContentRows(memory.content, ~memory.mask[state.clips], memory.objects)
        object_query = None if self.object_look is None else self.object_look.of_phrase(phrase)
        found = self._attend(memory.keys, content, None, so_far, state.hidden, object_query).found
        inputs = torch.cat([embedded, *found, state.hidden], dim=-1)
        logits, hidden, cell, buffers = emit_word(self.gates, self.output, inputs, state.cell, state.buffers)
        return logits, DecoderState(
            state.clips, hidden, cell, t + 1, state.history, state.energies, buffers, state.room
        )

    def _attend(
        self,
        keys: DoubledKeys,
        content: ContentRows,
        clips: Tensor | None,
        so_far: WordsSoFar,
        hidden: Tensor,
        object_query: Tensor | None,
    ) -> WordAttention:
        """Z_t: [V; E; T_t] averaged with the attention's weights, and the mean object. T_t is never built.

        Args:
            keys: of [V; E].
            content: of R rows.
            clips: as in ``attention_energies``.
            so_far: the words of each row.
            hidden: h_{t-1}, (R, h).
            object_query: ``of_phrase`` of the newest word, (R, d), with ``decoder_objects``.
        """
        query = self.attention_state(hidden)
        if so_far.energies is None:
            energies = attention_energies(keys, so_far.weights, so_far.keys, query, self.attention_vector, clips)
        else:
            energies = so_far.energies(so_far.weights, query)
        attention = energies.masked_fill(content.blocked, float("-inf")).softmax(dim=-1)[:, None]
        of_words = per_row(torch.bmm(attention, so_far.weights), so_far.phrases)[:, 0]
        of_content = per_row(attention, content.values)[:, 0]
        if self.object_look is None or content.objects is None or object_query is None:
            return WordAttention(attention[:, 0], (of_content, of_words))
        thing, weights = self.object_look(content.objects, object_query, hidden)
        return WordAttention(attention[:, 0], (of_content, of_words, thing), weights)
