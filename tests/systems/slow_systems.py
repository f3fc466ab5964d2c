"""The compared systems once more, from their descriptions: one clip, one caption, one step, one row at a time.

No tensor program, no mask, no cache: the words so far are encoded anew at every step, C_t and F are built as written.
Shares nothing with the systems but the names of their weights.
"""

from __future__ import annotations

import math

import numpy as np

from evcap_cli.features.streams import ClipFeatures
from evcap_cli.systems.contract import CaptionModel
from tests.network.slow_reference import Slow, mean, positions, softmax

SUBSPACES = (2, 3, 5, 6, 10)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class SlowSystem(Slow):
    """What all of them share: features, phrases, alignment, additive attention, LSTM."""

    def __init__(self, model: CaptionModel, features: ClipFeatures) -> None:
        super().__init__(model)
        self.model, self.config = model, model.config
        streams = [features.streams[kind].values.double().numpy() for kind in self.config.streams]
        self.moments = [np.concatenate(rows) for rows in zip(*streams, strict=True)]

    def with_heads(self, heads):
        self.heads = heads
        return self

    def standardised(self, name):
        rows = [(row - self.w[f"{name}.mean"]) * self.w[f"{name}.scale"] for row in self.moments]
        return [np.clip(row, -10, 10) for row in rows]

    def energy(self, name, query, key):
        inner = self.linear(f"{name}.query", query) + self.linear(f"{name}.key", key)
        return float(self.w[f"{name}.vector"] @ np.tanh(inner))

    def attend(self, name, query, rows):
        """Att(q; K)."""
        weights = softmax([self.energy(name, query, row) for row in rows])
        return sum(w * row for w, row in zip(weights, rows, strict=True))

    def lstm(self, name, entering, state):
        hidden, cell = state
        gates = self.linear(name, np.concatenate([entering, hidden])) + self.w.get("decoder.recurrent_bias", 0.0)
        take, keep, new, show = np.split(gates, 4)
        cell = sigmoid(keep) * cell + sigmoid(take) * np.tanh(new)
        return sigmoid(show) * np.tanh(cell), cell

    def seen(self):
        """V."""
        rows = [
            self.linear("encoder.visual.projection.linear", row)
            for row in self.standardised("encoder.visual.projection")
        ]
        return self.with_heads(self.config.encoder_heads).stack("encoder.visual.encoder", rows)

    def embedded(self, token):
        return self.w["decoder.embedding.weight"][token]

    def phrases(self, tokens):
        """P_t: causal, so that word j is encoded with the words before it; as published all with all, from place 1."""
        released = getattr(self.config, "as_published", False)
        if released:
            tokens = tokens[1:] or tokens
        self.with_heads(self.config.phrase_heads)
        entering = [self.embedded(token) for token in tokens]
        if "decoder.word_projection.weight" in self.w:
            entering = [self.linear("decoder.word_projection", row) for row in entering]
        places = positions(len(tokens) + 1, self.config.width)[1 if released else 0 :]
        entering = [row + place for row, place in zip(entering, places, strict=False)]
        if released:
            return self.layer("decoder.phrases.layer", entering, entering)
        return [self.layer("decoder.phrases.layer", [row], entering[: j + 1])[0] for j, row in enumerate(entering)]

    def aligned(self, name, asking, phrases):
        """T_t: each asking row's mean of phrases."""
        found = []
        for row in asking:
            weights = softmax([self.energy(name, phrase, row) for phrase in phrases])
            found.append(sum(w * phrase for w, phrase in zip(weights, phrases, strict=True)))
        return found

    def scores(self, tokens):
        """Logits behind every prefix."""
        self.begin()
        state = (np.zeros(self.config.lstm_width), np.zeros(self.config.lstm_width))
        prefix = self.prefix
        logits = []
        for t in range(1, len(tokens) + 1):
            found = self.look(tokens[:t], state[0])
            state = self.lstm(
                f"{prefix}gates", np.concatenate([self.w[f"{prefix}embedding.weight"][tokens[t - 1]], *found]), state
            )
            logits.append(self.linear(f"{prefix}output", state[0]))
        return np.stack(logits)


class SlowSaLstm(SlowSystem):
    prefix = ""

    def begin(self):
        self.frames = self.standardised("frames")

    def look(self, tokens, hidden):
        return [self.attend("attention", hidden, self.frames)]


class SlowCanet(SlowSystem):
    prefix = "decoder."

    def begin(self):
        self.visual = self.seen()

    def look(self, tokens, hidden):
        phrases = self.phrases(tokens)
        told = self.aligned("decoder.alignment", self.visual, phrases)
        rows = {"of_visual": self.visual, "of_words": phrases, "of_aligned": told}
        return [self.attend(f"decoder.{name}", hidden, of) for name, of in rows.items()]


class SlowEpan(SlowSystem):
    prefix = "decoder."

    def begin(self):
        self.visual = self.seen()
        self.emotion, self.categories, self.words = self.perceived()

    def perceived(self):
        self.with_heads(self.config.emotion_heads)
        tables = {}
        for name in ("categories", "words"):
            if f"encoder.vectors.{name}" in self.w:
                rows = list(self.w[f"encoder.vectors.{name}"])
            else:
                rows = [self.w["encoder.vectors.words"][int(word)] for word in self.w["encoder.vectors.names"]]
            projected = "encoder.vectors.project.weight" in self.w
            tables[name] = [self.linear("encoder.vectors.project", row) for row in rows] if projected else rows
        name = "encoder.perception."
        rows = self.stack(f"{name}category_encoder", self.visual, tables["categories"])
        inner = [self.linear(f"{name}category_head.0", row) for row in rows]
        categories = self.linear(f"{name}category_head.1", mean(inner))
        kept = self.w["encoder.words_of"][int(np.argmax(categories))] > 0
        rows = self.stack_of(
            f"{name}word_encoder", self.visual, [row for row, keep in zip(tables["words"], kept, strict=True) if keep]
        )
        emotion = [self.linear(f"{name}word_head.0", row) for row in rows]
        return emotion, categories, self.linear(f"{name}word_head.1", mean(emotion))

    def stack_of(self, name, queries, memory):
        """Like ``stack``; where the category has no word, attention finds nothing at all."""
        if memory:
            return self.stack(name, queries, memory)
        rows, number = list(queries), 0
        while f"{name}.layers.{number}.attention.query.weight" in self.w:
            layer = f"{name}.layers.{number}"
            found = self.w[f"{layer}.attention.join.bias"]
            rows = [self.norm(f"{layer}.attention_norm", row + found) for row in rows]
            rows = [
                self.norm(f"{layer}.feed_forward_norm", row + self.mlp(f"{layer}.feed_forward", row)) for row in rows
            ]
            number += 1
        return rows

    def context(self, hidden, emotion, told):
        """Z_t of [V; E] and T_t, from C_t row by row."""
        content = [np.concatenate(parts) for parts in zip(self.visual, emotion, told, strict=True)]
        energies = []
        for view, spoken in zip(content, told, strict=True):
            key = self.linear("decoder.attention.key", view[: -len(spoken)]) + self.linear(
                "decoder.attention_told", spoken
            )
            energies.append(
                float(
                    self.w["decoder.attention.vector"] @ np.tanh(key + self.linear("decoder.attention.query", hidden))
                )
            )
        return sum(w * row for w, row in zip(softmax(energies), content, strict=True))

    def look(self, tokens, hidden):
        told = self.aligned("decoder.alignment", self.visual, self.phrases(tokens))
        return [self.context(hidden, self.emotion, told)]


class SlowDcgn(SlowEpan):
    """Emotion that evolves: E_t = DEM(E_{t-1}, P_t, V)."""

    def pooled(self, phrases):
        count, rows = len(phrases), self.config.moments
        spans = [(i * count // rows, -(-((i + 1) * count) // rows)) for i in range(rows)]
        return [mean(phrases[start:end]) for start, end in spans]

    def evolved(self, emotion, phrases):
        name, config = "decoder.dynamics.", self.config
        C = [self.linear(f"{name}word", row) for row in self.pooled(phrases)] + list(self.visual)
        A = [softmax(self.linear(f"{name}assign", row)) for row in C]
        values = [self.linear(f"{name}value", row) for row in C]
        F = [sum(a[slot] * value for a, value in zip(A, values, strict=True)) for slot in range(config.slots)]

        s = [mean([np.array([float(e @ f)]) for e in emotion])[0] for f in F]
        r = sum(weight * f for weight, f in zip(s, F, strict=True))
        routed = [np.tanh(self.linear(f"{name}element", np.concatenate([e, r]))) * e for e in emotion]

        d_sum = sum(config.width // heads for heads in SUBSPACES)
        maps = [self.linear(f"{name}of_slots", f) for f in F]
        queries = [self.linear(f"{name}query", row) for row in routed]
        rho, T = [], []
        at, to = 0, d_sum
        for heads in SUBSPACES:
            d = config.width // heads
            bias = self.w[f"{name}factor_bias"][to - d_sum : to - d_sum + heads + 1]
            U = [row[to : to + heads + 1] + bias for row in maps]
            changed, shares = [], []
            for row, query in zip(routed, queries, strict=True):
                weights = softmax([float(query[at : at + d] @ k[at : at + d]) / math.sqrt(d_sum) for k in maps])
                found = sum(w * u for w, u in zip(weights, U, strict=True))
                copies = len(SUBSPACES) if config.as_published else 1
                factor, share = np.tanh(found[:heads] / copies), found[heads]
                changed.append(np.concatenate([row.reshape(heads, d)[h] * factor[h] for h in range(heads)]))
                shares.append(share)
            T.append(changed)
            rho.append(sum(shares) / len(shares))
            at, to = at + d, to + heads + 1
        return [e + sum(weight * T[i][n] for i, weight in enumerate(softmax(rho))) for n, e in enumerate(emotion)]

    def look(self, tokens, hidden):
        phrases = self.phrases(tokens)
        told = self.aligned("decoder.alignment", self.visual, phrases)
        self.emotion = self.evolved(self.emotion, phrases)
        intensity = [sigmoid(float(np.mean(row))) for row in self.aligned("decoder.intensity", self.emotion, phrases)]
        felt = [much * e for much, e in zip(intensity, self.emotion, strict=True)]
        energies = []
        for v, e, p in zip(self.visual, felt, told, strict=True):
            key = self.linear("decoder.attention.key", v) + self.linear("decoder.attention_told", p)
            key += self.linear("decoder.attention_felt", e) + self.linear("decoder.attention.query", hidden)
            energies.append(float(self.w["decoder.attention.vector"] @ np.tanh(key)))
        weights = softmax(energies)
        return [sum(w * row for w, row in zip(weights, rows, strict=True)) for rows in (self.visual, felt, told)]
