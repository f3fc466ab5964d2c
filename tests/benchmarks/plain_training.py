"""Systems as a plain program trains them: nothing is shared, kept or packed. What evcap is measured against.

The video is encoded for each caption, the prefix anew at each word, C_t is built, the vocabulary's product is taken at
each step, padding is computed like words, all emotion words are asked behind a mask, dropout is torch's. The weights
are those of evcap's modules, so that loss and gradients must be evcap's too (to rounding, without dropout).
"""

from __future__ import annotations

import copy
import math
from dataclasses import fields
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evcap_cli.network.batch import ClipBatch, Encoded
from evcap_cli.network.decoder import Decoder
from evcap_cli.network.dropout import Dropout
from evcap_cli.network.emotion import EmotionPerception, Perceived
from evcap_cli.network.layers import MultiHeadCrossAttention, masked_mean
from evcap_cli.network.losses import FusionOutput, Targets
from evcap_cli.network.packing import WordScores
from evcap_cli.network.visual_encoder import Rows
from evcap_cli.systems.aligned_tensors import AlignedOutput
from evcap_cli.systems.epan import Epan
from evcap_cli.systems.fusion import Fusion

SystemT = TypeVar("SystemT", bound=nn.Module)


class PlainAttention(MultiHeadCrossAttention):
    """As the equation reads; rows that all clips look at are mapped to keys and values once, which costs no thought."""

    def forward(
        self, query: Tensor, memory: Tensor, mask: Tensor | None = None, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        assert chosen is None
        if memory.dim() == 2:
            memory = memory.unsqueeze(0)
        shape = (-1, self.heads, self.query.out_features // self.heads)
        asked, keys, values = (
            mapped.view(len(mapped), *shape).transpose(1, 2)
            for mapped in (self.query(query), self.key(memory), self.value(memory))
        )
        scores = asked @ keys.mT / math.sqrt(shape[-1])
        if mask is not None:
            blocked = ~(mask[:, None] if mask.dim() == 3 else mask[:, None, None])
            scores = scores.masked_fill(blocked, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        if mask is not None:
            weights = weights.masked_fill(blocked, 0.0)
        context = self.dropout(weights) @ values
        return self.join(context.transpose(1, 2).flatten(2)), weights.mean(dim=1)


class PlainPerception(EmotionPerception):
    """All emotion words are asked, those of other categories behind a mask."""

    def forward(self, stream: Rows, vectors: tuple[Tensor, Tensor], words_of: Tensor) -> Perceived:
        category_vectors, word_vectors = vectors
        categories = self.category_head(
            masked_mean(self.category_encoder(stream.values, category_vectors[0]), stream.mask)
        )
        allowed = words_of[categories.topk(self.top_k, dim=1).indices].any(dim=1)
        rows = self.word_encoder(stream.values, word_vectors[0], allowed)
        return Perceived(rows, categories, self.word_head(masked_mean(rows, stream.mask)), stream.present)


class PlainDropout(Dropout):
    """Torch's own."""

    def forward(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.rate, self.training)


_PLAIN = {
    MultiHeadCrossAttention: PlainAttention,
    EmotionPerception: PlainPerception,
    Dropout: PlainDropout,
}


def plain_copy(model: SystemT) -> SystemT:
    """A copy with the same weights whose encoder computes plainly."""
    made = copy.deepcopy(model)
    for module in made.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))
    return made


def plain_forward(model: Fusion, batch: ClipBatch, fed: Tensor, targets: Targets) -> tuple[FusionOutput, Targets]:
    """A forward pass that encodes for each caption; with the targets that say so.

    Args:
        model: as ``plain_copy`` leaves it.
        batch: of B clips.
        fed: what each step of the R captions is given, (R, T).
        targets: of the captions.
    """
    repeated, own = a_clip_a_caption(batch, targets)
    encoded, auxiliary = model.encode_with_aux(repeated)
    scores = WordScores.of(decoded_anew(model.decoder, encoded, fed))
    return FusionOutput(scores.logits, scores.lengths, auxiliary), own


def a_clip_a_caption(batch: ClipBatch, targets: Targets) -> tuple[ClipBatch, Targets]:
    """Clips repeated for each of their captions, and targets that say so."""
    clips = targets.clip_index
    given = {f.name: getattr(batch, f.name) for f in fields(ClipBatch)}
    repeated = ClipBatch(**{name: None if tensor is None else tensor[clips] for name, tensor in given.items()})
    return repeated, Targets(**{**vars(targets), "clip_index": torch.arange(len(clips)), "videos": clips})


def decoded_anew(decoder: Decoder, encoded: Encoded, fed: Tensor) -> Tensor:
    """Logits, (R, T, V): each word encodes its prefix anew and builds C_t of every caption.

    Args:
        decoder: with the weights.
        encoded: one row a caption.
        fed: (R, T).
    """
    R, T = fed.shape
    hidden = cell = torch.zeros(R, decoder.config.lstm_width)
    logits = []
    for t in range(1, T + 1):
        embedded = decoder.embedding(fed[:, :t])
        phrases = decoder.phrases(decoder.word_projection(embedded))
        inner = decoder.alignment_visual(encoded.visual)[:, :, None] + decoder.alignment_phrase(phrases)[:, None]
        told = torch.bmm((torch.tanh(inner) @ decoder.alignment_vector).softmax(-1), phrases)
        seen = torch.cat([encoded.visual, encoded.emotion], dim=-1)
        keys = decoder.attention_content(seen) + decoder.attention_phrase(told)
        keys = torch.tanh(keys + decoder.attention_state(hidden)[:, None])
        energies = (keys @ decoder.attention_vector).masked_fill(~encoded.mask, -math.inf)
        attention = energies.softmax(-1)[:, None]
        found = torch.bmm(attention, torch.cat([seen, told], dim=-1))[:, 0]
        word = decoder.dropout(embedded[:, -1])
        take, keep, new, show = decoder.gates(torch.cat([word, found, hidden], dim=-1)).chunk(4, -1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        hidden = show.sigmoid() * cell.tanh()
        logits.append(decoder.output(decoder.dropout(hidden)))
    return torch.stack(logits, dim=1)


def plain_epan(model: Epan, batch: ClipBatch, fed: Tensor, targets: Targets) -> tuple[AlignedOutput, Targets]:
    """The same of EPAN: C_t = [V; E; T_t] is built of every caption at each word, T_t from its prefix encoded again.

    Args:
        model: as ``plain_copy`` leaves it.
        batch, fed, targets: as ``plain_forward`` has them.
    """
    repeated, own = a_clip_a_caption(batch, targets)
    decoder, encoded = model.decoder, model.encoder(repeated)
    memory, attention, alignment = decoder.prepare(encoded), decoder.attention, decoder.alignment
    (R, T), logits = fed.shape, []
    hidden = cell = torch.zeros(R, model.config.lstm_width)
    views = torch.cat([encoded.visual, encoded.emotion], dim=-1)
    for t in range(1, T + 1):
        embedded = decoder.embedding(fed[:, :t])
        phrases = decoder.phrases(decoder.word_projection(embedded))
        queries = alignment.query(phrases)
        energies = torch.tanh(alignment.key(encoded.visual)[:, :, None] + queries[:, None]) @ alignment.vector
        told = torch.bmm(energies.softmax(-1), phrases)
        keys = attention.key(views) + decoder.attention_told(told) + attention.query(hidden)[:, None]
        weights = (torch.tanh(keys) @ attention.vector).masked_fill(~encoded.mask, -math.inf).softmax(-1)
        found = torch.bmm(weights[:, None], torch.cat([views, told], dim=-1))[:, 0]
        take, keep, new, show = decoder.gates(torch.cat([embedded[:, -1], found, hidden], dim=-1)).chunk(4, -1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        hidden = show.sigmoid() * cell.tanh()
        logits.append(decoder.output(hidden))
    scores = WordScores.of(torch.stack(logits, dim=1))
    output = AlignedOutput(scores.logits, scores.lengths, energies, queries, memory, fed, encoded.perceived)
    return output, own
