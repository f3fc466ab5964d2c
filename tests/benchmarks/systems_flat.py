"""A training step of each system written flat: its products and tanh energies for all words at once.

Encoder, phrase encoder and losses are the system's own, and so are the kernels of the energies. Nothing waits for the
word before it: no recurrence, no softmax, no masks. A word looks back at half of the words instead of at those before
it. The numbers mean nothing, the sizes are right.

Notation: R captions, B clips, N moments, T words, t half of them, d model width, h LSTM width, a inner width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.losses import FusionOutput
from evcap_cli.network.packing import WordScores
from evcap_cli.network.shared_gradients import per_row
from evcap_cli.network.tanh_energies import alignment_energies
from evcap_cli.systems.aligned_tensors import AlignedOutput
from evcap_cli.systems.dcgn import SUBSPACES, pooling
from tests.benchmarks.training_step import flat_decoder

Attend = Callable[[Any, Any, Tensor, Tensor, Tensor, Tensor, Tensor], Sequence[Tensor]]


def flat_output(name: str, model: Any, batch: ClipBatch, fed: Tensor, clips: Tensor) -> Any:
    """What the ``losses`` of the system take."""
    if name == "fusion":
        encoded, auxiliary = model.encode_with_aux(batch)
        scores = WordScores.of(flat_decoder(model.decoder, encoded, fed, clips))
        return FusionOutput(scores.logits, scores.lengths, auxiliary)
    if name == "sa-lstm":
        memory, embedded = model.prepare(batch).memory, model.embedding(fed)
        hidden = _hidden(embedded, model.config.lstm_width)
        attention = _energies(model.attention, memory.keys, hidden, clips).mT
        found = [torch.bmm(attention, memory.frames[clips])]
        return WordScores.of(_emitted(model, embedded, found, hidden))
    decoder, encoded = model.decoder, model.encoder(batch)
    memory, embedded = decoder.prepare(encoded), decoder.embedding(fed)
    phrases = decoder.phrases(decoder.word_projection(embedded))
    queries = decoder.alignment.query(phrases)
    energies = alignment_energies(memory.alignment_keys, queries, decoder.alignment.vector, clips)
    hidden = _hidden(embedded, model.config.lstm_width)
    found = ATTEND[name](decoder, memory, decoder.word_keys(phrases), phrases, energies, hidden, clips)
    scores = WordScores.of(_emitted(decoder, embedded, found, hidden))
    return AlignedOutput(scores.logits, scores.lengths, energies, queries, memory, fed, encoded.perceived)


def _hidden(embedded: Tensor, width: int) -> Tensor:
    return embedded[..., :1].expand(-1, -1, width)


def _energies(attention: Any, keys: Tensor, hidden: Tensor, clips: Tensor) -> Tensor:
    """(R, N, T)."""
    return alignment_energies(keys, attention.query(hidden), attention.vector, clips)


def _emitted(decoder: Any, embedded: Tensor, found: Sequence[Tensor], hidden: Tensor) -> Tensor:
    gates = decoder.gates(torch.cat([embedded, *found, hidden], dim=-1).flatten(0, 1))
    # tanh, as of a hidden state: where logits are far apart, exp of the loss underflows and takes ten times as long
    logits: Tensor = decoder.output(gates[:, : hidden.shape[-1]].tanh())
    return logits.view(*embedded.shape[:2], -1)


def _epan(
    decoder: Any, memory: Any, keys: Tensor, phrases: Tensor, energies: Tensor, hidden: Tensor, clips: Tensor
) -> Sequence[Tensor]:
    attention = _energies(decoder.attention, memory.keys, hidden, clips).mT + keys.mean()
    return torch.bmm(attention, memory.views[clips]), torch.bmm(torch.bmm(attention, energies), phrases)


def _canet(
    decoder: Any, memory: Any, keys: Tensor, phrases: Tensor, energies: Tensor, hidden: Tensor, clips: Tensor
) -> Sequence[Tensor]:
    (R, T, _), N = phrases.shape, energies.shape[1]
    of_words, of_aligned = keys.chunk(2, dim=-1)
    visual = torch.bmm(_energies(decoder.of_visual, memory.keys, hidden, clips).mT, memory.visual[clips])
    half = _energies(decoder.of_words, of_words, hidden[:, : (T + 1) // 2], torch.arange(R))
    textual = torch.bmm(torch.bmm(half, half.mT), phrases)
    nothing, first = of_aligned.new_zeros(1, N, of_aligned.shape[-1]), torch.zeros(R, dtype=torch.long)
    attention = _energies(decoder.of_aligned, nothing, hidden, first).mT + of_aligned.mean()
    return visual, textual, torch.bmm(torch.bmm(attention, energies), phrases)


def _dcgn(
    decoder: Any, memory: Any, keys: Tensor, phrases: Tensor, energies: Tensor, hidden: Tensor, clips: Tensor
) -> Sequence[Tensor]:
    dynamics, (R, T, d) = decoder.dynamics, phrases.shape
    t, every = (T + 1) // 2, torch.arange(R * T)

    def rows(values: Tensor) -> Tensor:
        """(R, n, x) for every word, (R T, n, x)."""
        return values[:, None].expand(-1, T, -1, -1).reshape(R * T, *values.shape[1:])

    of_told, of_intensity, means, described = torch.split(rows(keys[:, :t]), decoder.split, dim=-1)
    logits, values = described.tensor_split([dynamics.slots], dim=-1)
    pool = pooling(dynamics.rows, t)
    taken = (pool @ logits).mT @ pool
    words, moments = torch.split(values, dynamics.sizes, dim=-1), memory.of_moments

    def energy(query: Tensor, part: int) -> Tensor:
        return per_row(query, moments[part].mT) + query @ words[part].mT @ taken.mT

    def average(weights: Tensor, part: int) -> Tensor:
        return per_row(weights, moments[part]) + weights @ taken @ words[part]

    emotion = rows(memory.emotion[clips])
    relevant = average(energy(emotion.mean(dim=1, keepdim=True), 0), 0)
    routed = (
        F.linear(emotion, dynamics.element.weight[:, :d]) + F.linear(relevant, dynamics.element.weight[:, d:])
    ) * emotion
    queries, count = torch.split(dynamics.query(routed), dynamics.widths, dim=-1), len(SUBSPACES)
    factors = [average(energy(query, i), count + i)[..., :-1] for i, query in enumerate(queries, start=1)]
    emotion = routed * (torch.cat(factors, dim=-1) @ dynamics.spread)
    intensity = alignment_energies(decoder.intensity.key(emotion), of_intensity, decoder.intensity.vector, every)
    felt = (intensity @ means) * emotion
    weights = rows(energies[:, :, :t])
    content = torch.baddbmm(decoder.attention_felt(felt), weights, of_told)
    query = decoder.attention.query(hidden).reshape(R * T, 1, -1)
    attention = alignment_energies(content, query, decoder.attention.vector, every).mT
    found = (per_row(attention, memory.visual), attention @ felt, attention @ weights @ rows(phrases[:, :t]))
    return [each.view(R, T, -1) for each in found]


ATTEND: dict[str, Attend] = {"epan": _epan, "canet": _canet, "dcgn": _dcgn}
