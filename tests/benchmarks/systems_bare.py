"""The bare tensor work of each system's search: products, tanh, softmax and gathering of its sizes on ready buffers.

Rows and steps are those of the search. What words add to later steps is ready before the clock starts: no phrase
encoder, no keys that grow with the words. In this manner ``beam_search.BareWork`` serves the paper's system.

Notation: B clips, R rows, N moments, t words so far, d model width, h LSTM width, a inner width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evcap_cli.network.tanh_energies import alignment_energies
from evcap_cli.systems.dcgn import SUBSPACES, DynamicEmotion, pooling
from tests.benchmarks.beam_search import BEAM


class BareSearch:
    """One system's; called, it does the work of a whole search.

    Args:
        name: of the system.
        config: its sizes.
        clips: B.
    """

    def __init__(self, name: str, config: Any, clips: int) -> None:
        self.name, self.config, self.clips = name, config, clips
        R, self.steps, c = clips * BEAM.size, BEAM.max_words + 1, config
        self.hidden, self.inner, self.moments = c.lstm_width, c.attention_width, c.moments
        self.aligned = name != "sa-lstm"
        self.width = getattr(c, "width", sum(c.streams.values()))
        self.content = torch.randn(clips, self.moments, 2 * self.width if name == "epan" else self.width)
        self.keys = torch.randn(clips, self.moments, self.inner)
        contexts = {"epan": 3, "dcgn": 3, "canet": 3, "sa-lstm": 1}[name] * self.width
        self.vector = torch.randn(self.inner) * 0.05
        self.query = torch.randn(self.hidden, self.inner) * 0.05
        self.gates = torch.randn(c.word_width + contexts + self.hidden, 4 * self.hidden) * 0.03
        self.vocabulary, self.bias = torch.randn(self.hidden, c.vocabulary) * 0.1, torch.zeros(c.vocabulary)
        self.embedding = torch.randn(c.vocabulary, c.word_width)
        self.logits, self.log_p = torch.empty(R, c.vocabulary), torch.empty(R, c.vocabulary)
        if self.aligned:
            self.word = torch.randn(c.word_width, c.alignment_width) * 0.05
            self.alignment_keys = torch.randn(clips, self.moments, c.alignment_width)
            self.alignment_vector = torch.randn(c.alignment_width) * 0.05
            self.phrases = torch.randn(R, self.steps, self.width)
            self.told = torch.randn(R, self.steps, self.inner)
            self.energies = torch.randn(R, self.moments, self.steps)
        if name == "dcgn":
            self._prepare_dynamics(R)

    def _prepare_dynamics(self, R: int) -> None:
        c = self.config
        self.dynamics = DynamicEmotion(c).eval()
        self.of_moments = [torch.randn(self.clips, c.slots, size) * 0.1 for size in self.dynamics.sizes]
        self.of_words = [torch.randn(R, self.steps, size) * 0.1 for size in self.dynamics.sizes]
        self.assigned = torch.randn(R, self.steps, c.slots)
        self.pools = [pooling(c.moments, t + 1) for t in range(self.steps)]
        self.to_intensity = torch.randn(self.width, c.alignment_width) * 0.05
        self.to_attention = torch.randn(self.width, self.inner) * 0.05

    @torch.no_grad()
    def __call__(self) -> None:
        beams, B = 1, self.clips
        hidden = cell = torch.zeros(B, self.hidden)
        words = torch.zeros(B, dtype=torch.long)
        emotion = torch.randn(B, self.moments, self.width) if self.name == "dcgn" else None
        for t in range(self.steps):
            clips = torch.arange(B).repeat_interleave(beams)
            embedded = self.embedding[words]
            if self.aligned:
                asked = (embedded @ self.word)[:, None]
                self.energies[: len(words), :, t] = alignment_energies(
                    self.alignment_keys, asked, self.alignment_vector, clips
                )[:, :, 0]
            found, emotion = self._look(t, clips, hidden, emotion)
            take, keep, new, show = (torch.cat([embedded, *found, hidden], 1) @ self.gates).chunk(4, 1)
            cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
            R = len(words)
            torch.addmm(self.bias, hidden, self.vocabulary, out=self.logits[:R])
            torch.log_softmax(self.logits[:R], 1, out=self.log_p[:R])
            _, chosen = self.log_p[:R].view(B, -1).topk(BEAM.size)
            words = (chosen % self.config.vocabulary).flatten()
            rows = (torch.arange(B)[:, None] * beams + chosen // self.config.vocabulary).flatten()
            hidden, cell, beams = hidden[rows], cell[rows], BEAM.size
            emotion = None if emotion is None else emotion[rows]
            if self.aligned:
                self.phrases[:, : t + 1] = self.phrases[rows, : t + 1]
                self.energies[:, :, : t + 1] = self.energies[rows, :, : t + 1]

    def _look(
        self, t: int, clips: Tensor, hidden: Tensor, emotion: Tensor | None
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        R, every = len(clips), torch.arange(len(clips))
        asked = (hidden @ self.query)[:, None]
        if emotion is not None:
            return self._look_dcgn(t, asked, emotion)
        attention = alignment_energies(self.keys, asked, self.vector, clips)[:, :, 0].softmax(1)
        found = [torch.bmm(attention.view(self.clips, -1, self.moments), self.content).view(R, -1)]
        if not self.aligned:
            return found, None
        weights, phrases = self.energies[:R, :, : t + 1].softmax(2), self.phrases[:R, : t + 1]
        if self.name == "canet":
            of_words = alignment_energies(self.told[:R, : t + 1], asked, self.vector, every)[:, :, 0].softmax(1)
            found.append(torch.bmm(of_words[:, None], phrases)[:, 0])
            keys = torch.bmm(weights, self.told[:R, : t + 1])
            attention = alignment_energies(keys, asked, self.vector, every)[:, :, 0].softmax(1)
        found.append(torch.bmm(torch.bmm(attention[:, None], weights), phrases)[:, 0])
        return found, None

    def _look_dcgn(self, t: int, asked: Tensor, emotion: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        dynamics, B, R, N = self.dynamics, self.clips, len(asked), self.moments
        words, told = [each[:R, : t + 1] for each in self.of_words], self.told[:R, : t + 1]
        weights, phrases, every = self.energies[:R, :, : t + 1].softmax(2), self.phrases[:R, : t + 1], torch.arange(R)
        taken = (self.pools[t] @ self.assigned[:R, : t + 1]).softmax(2).mT @ self.pools[t]

        def of_clips(values: Tensor, part: Tensor) -> Tensor:
            return (values.reshape(B, -1, values.shape[-1]) @ part).view(R, values.shape[1], -1)

        def energy(query: Tensor, part: int) -> Tensor:
            return of_clips(query, self.of_moments[part].mT) + query @ words[part].mT @ taken.mT

        def average(given: Tensor, part: int) -> Tensor:
            return of_clips(given, self.of_moments[part]) + given @ taken @ words[part]

        relevant = average(energy(emotion.mean(dim=1, keepdim=True), 0), 0)
        element = dynamics.element.weight[0]
        routed = torch.tanh(emotion @ element[: self.width] + relevant @ element[self.width :])[..., None] * emotion
        queries, count = torch.split(dynamics.query(routed), dynamics.widths, dim=-1), len(SUBSPACES)
        factors = [average(energy(q, i).softmax(2), count + i)[..., :-1].tanh() for i, q in enumerate(queries, start=1)]
        emotion = emotion + routed * (torch.cat(factors, dim=-1) @ dynamics.spread)
        intensity = alignment_energies(emotion @ self.to_intensity, told, self.alignment_vector, every).softmax(2)
        felt = intensity.mean(2, keepdim=True).sigmoid() * emotion
        keys = torch.baddbmm(felt @ self.to_attention, weights, told)
        attention = alignment_energies(keys, asked, self.vector, every)[:, :, 0].softmax(1)
        seen = torch.bmm(attention.view(B, -1, N), self.content).view(R, -1)
        spoken = torch.bmm(torch.bmm(attention[:, None], weights), phrases)[:, 0]
        return (seen, torch.bmm(attention[:, None], felt)[:, 0], spoken), emotion
