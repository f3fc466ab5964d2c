"""The encoder's equations once more, in numpy, one clip at a time, one row at a time, on real rows only.

No tensor program, no mask: a row that is not real is simply not there. Written from the paper's formulas; it shares
nothing with the model but the names of its weights.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn


class Slow:
    """Weights of a module by name, with the formulas that use them."""

    def __init__(self, module: nn.Module, *, heads: int = 2, pre_norm: bool = False) -> None:
        self.w = {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}
        self.heads = heads
        self.pre_norm = pre_norm

    def linear(self, name, row):
        weight = self.w[f"{name}.weight"]
        bias = self.w.get(f"{name}.bias", np.zeros(len(weight)))
        return np.array([sum(weight[o, i] * row[i] for i in range(len(row))) + bias[o] for o in range(len(weight))])

    def norm(self, name, row):
        mean = sum(row) / len(row)
        variance = sum((x - mean) ** 2 for x in row) / len(row)
        return (row - mean) / math.sqrt(variance + 1e-5) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def mlp(self, name, row):
        return self.linear(f"{name}.outer", np.array([max(x, 0.0) for x in self.linear(f"{name}.inner", row)]))

    def mhca(self, name, queries, memory):
        """Rows and head-averaged weights."""
        part = len(self.w[f"{name}.query.weight"]) // self.heads
        keys = [self.linear(f"{name}.key", row) for row in memory]
        values = [self.linear(f"{name}.value", row) for row in memory]
        rows, averages = [], []
        for query in queries:
            asked = self.linear(f"{name}.query", query)
            joined, average = [], np.zeros(len(memory))
            for head in range(self.heads):
                here = slice(head * part, (head + 1) * part)
                energies = [float(asked[here] @ key[here]) / math.sqrt(part) for key in keys]
                exponents = [math.exp(e) for e in energies]
                weights = np.array([e / sum(exponents) for e in exponents])
                joined.append(sum((w * v[here] for w, v in zip(weights, values, strict=True)), np.zeros(part)))
                average += weights / self.heads
            rows.append(self.linear(f"{name}.join", np.concatenate(joined)))
            averages.append(average)
        return rows, averages

    def layer(self, name, queries, memory):
        if self.pre_norm:
            asked = [self.norm(f"{name}.attention_norm", row) for row in queries]
            looked_at = [self.norm(f"{name}.attention_norm", row) for row in memory]
            rows = [q + f for q, f in zip(queries, self.mhca(f"{name}.attention", asked, looked_at)[0], strict=True)]
            return [r + self.mlp(f"{name}.feed_forward", self.norm(f"{name}.feed_forward_norm", r)) for r in rows]
        found, _ = self.mhca(f"{name}.attention", queries, memory)
        rows = [self.norm(f"{name}.attention_norm", q + f) for q, f in zip(queries, found, strict=True)]
        return [self.norm(f"{name}.feed_forward_norm", r + self.mlp(f"{name}.feed_forward", r)) for r in rows]

    def stack(self, name, queries, memory=None):
        rows, number = list(queries), 0
        while f"{name}.layers.{number}.attention.query.weight" in self.w:
            rows = self.layer(f"{name}.layers.{number}", rows, rows if memory is None else memory)
            number += 1
        return [self.norm(f"{name}.norm", row) for row in rows] if self.pre_norm else rows


def softmax(energies):
    exponents = [math.exp(e - max(energies)) for e in energies]
    return np.array([e / sum(exponents) for e in exponents])


def mean(rows):
    return sum(rows, np.zeros(len(rows[0]))) / len(rows)


def cosine(a, b):
    return float(a @ b) / math.sqrt(float(a @ a)) / math.sqrt(float(b @ b))


def positions(count, width):
    return [
        np.array([(math.sin, math.cos)[c % 2](p / 10000 ** ((c - c % 2) / width)) for c in range(width)])
        for p in range(count)
    ]
