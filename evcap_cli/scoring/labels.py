"""What the eleven metrics are called, in the order of the field's tables."""

from __future__ import annotations

from typing import Final

LABELS: Final = {
    "acc_sw": "Acc_sw",
    "acc_c": "Acc_c",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
    "bfs": "BFS",
    "cfs": "CFS",
}
"""Metrics as the tables of the field call them."""
