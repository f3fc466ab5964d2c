"""The README.md of a checkpoint: what it is, how it was made, how well it does, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evcap_cli import __version__

if TYPE_CHECKING:
    from evcap_cli.captioner.checkpoint import Checkpoint
    from evcap_cli.scoring.score import Scores

LABELS = {
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


def model_card(checkpoint: Checkpoint, test: Scores | None = None, *, about: str = "") -> str:
    """Markdown with the hub's front matter.

    Args:
        checkpoint: with what training noted in it.
        test: scores on the test split.
        about: what the data was, in a sentence or two.
    """
    training, config = checkpoint.training, checkpoint.model.config
    head = "---\nlibrary_name: evcap\npipeline_tag: video-text-to-text\ntags: [video-captioning, emotion, evcap]\n---\n"
    parts = [head, f"# {checkpoint.name or 'evcap checkpoint'}\n"]
    if checkpoint.untrained:
        parts.append("**Random weights: not trained. For tests and benchmarks only.**\n")
    parts.append(
        "A captioner for [evcap](https://pypi.org/project/evcap/): it says what happens in a video and what it feels"
        f" like. Made by evcap {__version__}.\n"
    )
    if about:
        parts.append(f"{about}\n")
    parts.append("```\nevcap caption VIDEOS -c THIS_FOLDER -o out.srt -o out.jsonl\n```\n")
    parts.append("## How it was made\n")
    if training.get("command"):
        parts.append(f"```\n{training['command']}\n```\n")
    size = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    modules = [
        name
        for name, on in (("fine-grained fusion", config.fine_grained), ("audio-visual fusion", config.audio_visual))
        if on
    ]
    facts = [
        f"recipe {training.get('recipe')}, seed {training.get('seed')}",
        f"epoch {training.get('epoch')} of {training.get('epochs')}, chosen by {training.get('select')} on held-out"
        " training videos; the test split took no part",
        f"{size / 1e6:.1f} million weights, width {config.width}, {len(checkpoint.vocabulary)} words;"
        f" {' and '.join(modules) or 'neither fusion module'}",
        f"lexicon {checkpoint.lexicon.name} ({checkpoint.lexicon.digest})",
        *(
            f"{kind}: {record['name']}, version {record['version']}"
            + (f", weights {record['weights_digest']}" if record.get("weights_digest") else "")
            for kind, record in checkpoint.backbones.items()
        ),
    ]
    parts.append("".join(f"- {fact}\n" for fact in facts))
    columns: list[tuple[str, Mapping[str, Any], Mapping[str, tuple[float, float]]]] = []
    if training.get("validation"):
        columns.append(("held-out videos", training["validation"], {}))
    if test is not None:
        columns.append((f"test split ({test.videos} videos)", test.metrics, test.intervals))
    if columns:
        parts.append("## Scores\n")
        parts.append(_table(columns))
        notes = [] if test is None else test.notes
        parts.append("".join(f"- {note}\n" for note in notes))
    return "\n".join(part for part in parts if part)


def _table(columns: list[tuple[str, Mapping[str, Any], Mapping[str, tuple[float, float]]]]) -> str:
    lines = ["| metric | " + " | ".join(title for title, _, _ in columns) + " |", "|---|" + "---|" * len(columns)]
    for name, label in LABELS.items():
        cells = []
        for _, values, intervals in columns:
            value = values.get(name)
            cell = "-" if value is None else f"{value:.1f}"
            if name in intervals:
                low, high = intervals[name]
                cell += f" ({low:.1f} to {high:.1f})"
            cells.append(cell)
        if any(cell != "-" for cell in cells):
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
