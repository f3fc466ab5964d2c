"""DCGN: EPAN whose emotion evolves with every word, by a dynamic emotion module (DEM).

"Dual-path Collaborative Generation Network for Emotional Video Captioning" (Ye et al., 2024); widths and habits are
those of kyrieye/MM-2024 as far as its description goes, everything else is EPAN's. The evolving emotion belongs to the
hypothesis: it is part of the search's state and goes with it wherever the hypothesis goes.

E_t = DEM(E_{t-1}, P_t, V) with
    F = softmax(C W_a)' (C W_c), C = [W P; V], P = P_t pooled to N rows                     aggregation: S slots
    Ê = tanh(w'[E; r]) E, s = mean over rows of E F', r = s F                              element routing
    T_i = tanh(A_i U_i) Ê, A_i = softmax(Q_i K_i' / sqrt(D)), U_i = F W_u, heads d / h_i wide   subspace routing
    E_t = E_{t-1} + sum_i softmax(rho)_i T_i, rho_i = mean over rows of A_i F W_r.
With ``as_published`` A_i U_i counts one fifth: the released code repeats the keys for each of five subspaces under one
softmax and masks the values.
All maps of F are linear in C, so the share of V is computed once per clip and that of a phrase once per word; a step
only mixes them. C_t = [l E_t; T_t; V] with l = sigmoid(mean over features of the alignment of E_t with the words).

Notation: B distinct clips, R rows (captions or hypotheses), N moments, t words so far, d model width, S slots, h_i
heads of subspace i of width d_i = d / h_i, D the sum of these widths, a inner width of attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evcap_cli.network.config import SystemConfig
from evcap_cli.network.decoder_state import WordsSoFar
from evcap_cli.network.layers import dense, masked_mean, precise
from evcap_cli.network.shared_gradients import SharedRows, per_row
from evcap_cli.network.tanh_energies import DoubledKeys, attention_energies
from evcap_cli.reading.ranges import Rows
from evcap_cli.systems.aligned_decoder import AlignedDecoder
from evcap_cli.systems.aligned_tensors import AlignedMemory, EncodedClips
from evcap_cli.systems.attention import AdditiveEnergies, attention_weights
from evcap_cli.systems.epan import Epan, EpanConfig

SUBSPACES: Final = (2, 3, 5, 6, 10)
"""h_i: into how many heads each subspace cuts the emotion."""


@dataclass(frozen=True)
class DcgnConfig(EpanConfig):
    """Every number of DCGN: EPAN's and one more."""

    slots: Rows = 100
    """S: rows to which words and moments are aggregated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for heads in SUBSPACES:
            if self.width % heads:
                raise ValueError(f"width {self.width} must be divisible by {heads} heads")
        if self.word_hidden != self.width:
            raise ValueError(f"word_hidden {self.word_hidden} must be the width {self.width}: the emotion is routed")


def pooling(rows: int, words: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights of adaptive average pooling: row i averages words floor(i t / N) to ceil((i + 1) t / N).

    Returns:
        (rows, words), each row sums to one.
    """
    eye = torch.eye(words, dtype=dtype).unsqueeze(0)
    return F.adaptive_avg_pool1d(eye, rows)[0].T


@dataclass
class Slots:
    """F and its maps, [F, F K_i ..., F [U_i, R_i] ...], as a sum that is never built: of moments, and of words.

    Args:
        moments: each (R, S, x), or of B clips as in ``per_row``.
        taken: what each slot takes of each word, (R, S, t).
        words: each (R, t, x).
    """

    moments: tuple[Tensor, ...]
    taken: Tensor
    words: tuple[Tensor, ...]

    def energies(self, rows: Tensor, part: int) -> Tensor:
        """Rows (R, n, x) times part', (R, n, S)."""
        of_words = rows @ self.words[part].transpose(1, 2) @ self.taken.transpose(1, 2)
        return per_row(rows, self.moments[part].transpose(1, 2)) + of_words

    def average(self, weights: Tensor, part: int) -> Tensor:
        """Weights (R, n, S) times part, (R, n, x)."""
        return per_row(weights, self.moments[part]) + weights @ self.taken @ self.words[part]


class DynamicEmotion(nn.Module):
    """The DEM."""

    spread: Tensor

    def __init__(self, config: DcgnConfig) -> None:
        super().__init__()
        d = config.width
        self.rows, self.slots = config.moments, config.slots
        self.widths = [d // heads for heads in SUBSPACES]
        factors = [heads + 1 for heads in SUBSPACES]
        self.copies = len(SUBSPACES) if config.as_published else 1
        """How often the released code repeats the slots under one softmax."""
        self.drop = nn.Dropout(config.dropout if config.as_published else 0.0)
        self.sizes = [d, *self.widths, *factors]
        """Widths of F, of each K_i, and of each U_i with its column of F W_r."""
        self.word = dense(d, d)
        self.assign = dense(d, config.slots)
        self.value = dense(d, d)
        self.element = dense(2 * d, 1)
        self.query = dense(d, sum(self.widths))
        # Of K_i a bias would shift all energies of a query alike; that of U_i and R_i is added to their averages.
        self.of_slots = dense(d, sum(self.widths) + sum(factors), bias=False)
        self.factor_bias = nn.Parameter(torch.zeros(sum(factors)))
        # One row a head of any subspace: its factor is repeated over the columns of the emotion that are the head's.
        spread = torch.cat([torch.eye(heads).repeat_interleave(d // heads, dim=1) for heads in SUBSPACES])
        self.register_buffer("spread", spread, persistent=False)

    @property
    def described(self) -> int:
        """Width of what ``describe`` gives."""
        return self.slots + sum(self.sizes)

    def describe(self, rows: Tensor) -> Tensor:
        """What aggregation needs of rows of C: [C W_a, C W_c, C W_c of_slots], (..., d) -> (..., described)."""
        values = self.value(rows)
        return torch.cat([self.assign(rows), values, self.of_slots(values)], dim=-1)

    def aggregate_moments(self, visual: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The share of V, (B, N, d), in ``Slots``, each (B, S, x)."""
        logits, values = self.describe(visual).tensor_split([self.slots], dim=-1)
        assigned = logits.softmax(dim=-1).masked_fill(~mask.unsqueeze(-1), 0.0)
        return torch.split(assigned.transpose(1, 2) @ values, self.sizes, dim=-1)

    def aggregate(self, words: Tensor, of_moments: tuple[Tensor, ...]) -> Slots:
        """Both shares; values are linear in the words, so a slot takes of a word what its pooled rows take."""
        logits, values = words.tensor_split([self.slots], dim=-1)
        pool = pooling(self.rows, words.shape[1], torch.promote_types(words.dtype, torch.float32)).to(words)
        taken = (pool @ logits).softmax(dim=-1).transpose(1, 2) @ pool
        return Slots(of_moments, taken, torch.split(values, self.sizes, dim=-1))

    def forward(self, emotion: Tensor, mask: Tensor, words: Tensor, of_moments: tuple[Tensor, ...]) -> Tensor:
        """E_t.

        Args:
            emotion: E_{t-1}, (R, N, d).
            mask: (R, N), True where a moment is real.
            words: ``describe`` of W P, (R, t, described).
            of_moments: of ``aggregate_moments``, for R rows or as in ``per_row``.
        """
        slots = self.aggregate(words, of_moments)
        similarity = slots.energies(masked_mean(emotion, mask).unsqueeze(1), 0)
        relevant = slots.average(similarity, 0).expand_as(emotion)
        routed = torch.tanh(self.element(torch.cat([emotion, relevant], dim=-1))) * emotion

        count, scale = len(SUBSPACES), sum(self.widths) ** -0.5
        factors, shares = [], []
        queries = torch.split(self.query(routed), self.widths, dim=-1)
        biases = torch.split(self.factor_bias, self.sizes[1 + count :])
        for number, (query, bias) in enumerate(zip(queries, biases, strict=True), start=1):
            attention = precise(slots.energies(query, number) * scale).softmax(dim=-1).to(query.dtype)
            factor, share = self._average(slots, attention, count + number, bias)
            factors.append(torch.tanh(factor / self.copies))
            shares.append(masked_mean(share, mask))
        weights = torch.cat(shares, dim=1).softmax(dim=1)
        weighted = torch.cat([weights[:, None, i, None] * factor for i, factor in enumerate(factors)], dim=-1)
        return emotion + routed * (weighted @ self.spread.to(weighted))

    def _average(self, slots: Slots, attention: Tensor, part: int, bias: Tensor) -> tuple[Tensor, Tensor]:
        """A_i U_i, (R, N, h_i), and A_i F W_r, (R, N, 1)."""
        if not (self.training and self.drop.p):
            found = slots.average(attention, part) + bias
            return found[..., :-1], found[..., -1:]
        # as released: values keep one copy of the slots, shares all of them, and each copy is dropped from by itself
        kept = self.drop(attention), torch.stack([self.drop(attention) for _ in range(self.copies)]).mean(dim=0)
        values, shares = (slots.average(each, part) + each.sum(dim=-1, keepdim=True) * bias for each in kept)
        return values[..., :-1], shares[..., -1:]


@dataclass
class DcgnMemory(AlignedMemory):
    """Adds E_0, (B, N, d), the keys of V in C_t, (B, N, a), and what the DEM aggregates of V, (B, S, ...)."""

    emotion: Tensor
    keys: Tensor
    of_moments: tuple[Tensor, ...]


class DcgnDecoder(AlignedDecoder[DcgnMemory]):
    """C_t = [l E_t; T_t; V], Z_t = Att(h_{t-1}; C_t), LSTM([Z_t; y_t])."""

    def __init__(self, config: DcgnConfig) -> None:
        d, a = config.width, config.attention_width
        dynamics = DynamicEmotion(config)
        self.split = [a, config.alignment_width, 1, dynamics.described]
        super().__init__(
            config,
            context=3 * d,
            kept=sum(self.split),
            head_width=config.head_width,
            dropout=config.decoder_dropout,
            as_published=config.as_published,
        )
        self.dynamics = dynamics
        self.intensity = AdditiveEnergies(d, d, config.alignment_width)
        self.attention = AdditiveEnergies(config.lstm_width, d, a)
        self.attention_told = dense(d, a, bias=False)
        self.attention_felt = dense(d, a, bias=False)

    def prepare(self, encoded: EncodedClips) -> DcgnMemory:
        """What no step changes."""
        return DcgnMemory(
            encoded.visual,
            DoubledKeys.of(self.alignment.key(encoded.visual)),
            encoded.mask,
            encoded.emotion,
            self.attention.key(encoded.visual),
            self.dynamics.aggregate_moments(encoded.visual, encoded.mask),
        )

    def begin(self, memory: DcgnMemory, clips: Tensor) -> Tensor:
        """E_0, (R, N, d)."""
        return memory.emotion[clips]

    def word_keys(self, phrases: Tensor) -> Tensor:
        """Of a phrase: its key in C_t, its query for the intensity, the mean of its features, and its ``describe``."""
        return torch.cat(
            [
                self.attention_told(phrases),
                self.intensity.query(phrases),
                phrases.mean(dim=-1, keepdim=True),
                self.dynamics.describe(self.dynamics.word(phrases)),
            ],
            dim=-1,
        )

    def content(self, memory: DcgnMemory) -> tuple[Tensor, ...]:
        """V, and what the DEM aggregates of it."""
        return (memory.visual, *memory.of_moments)

    def attend(
        self,
        memory: DcgnMemory,
        views: Tensor | SharedRows,
        others: tuple[Tensor, ...],
        clips: Tensor,
        hidden: Tensor,
        so_far: WordsSoFar,
        carried: Tensor | None,
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        """Z_t, the shares of V, of l E_t and of T_t, and E_t to carry on."""
        if carried is None:
            raise ValueError("the emotion of the step before is missing")
        real, every = memory.mask[clips], torch.arange(len(hidden), device=hidden.device)
        of_words, of_intensity, means, described = torch.split(so_far.keys, self.split, dim=-1)
        emotion = self.dynamics(carried, real, described, others)
        energies = self.intensity(self.intensity.key(emotion), of_intensity, every)
        intense = torch.sigmoid(energies.softmax(dim=-1) @ means) * emotion
        keys = memory.keys[clips] + self.attention_felt(intense)
        energies = attention_energies(
            keys, so_far.weights, of_words, self.attention.query(hidden), self.attention.vector, every
        )
        attention = attention_weights(energies, real)[:, None]
        of_phrases = per_row(attention @ so_far.weights, so_far.phrases)
        found = (per_row(attention, views)[:, 0], (attention @ intense)[:, 0], of_phrases[:, 0])
        return found, emotion


class Dcgn(Epan):
    """The whole system."""

    Config: ClassVar[type[SystemConfig]] = DcgnConfig
    config: DcgnConfig

    @staticmethod
    def _decoder(config: Any) -> AlignedDecoder[Any]:
        return DcgnDecoder(config)
