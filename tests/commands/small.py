"""A small untrained checkpoint on the real weights-free backbones, and how tests call evcap."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from evcap_cli.backbones.loading import load_backbones
from evcap_cli.checkpoints.checkpoint import Checkpoint, backbone_record
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.special_tokens import END
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.network.config import FusionConfig
from evcap_cli.systems.fusion import Fusion
from tests.forked import Forked

ROOT = Path(__file__).parents[2]
LEXICON = Lexicon({"joy": ["happily", "cheerful"], "sadness": ["sadly", "gloomy"], "fear": ["scared"]}, name="small")
WORDS = (
    *("a", "the", "man", "woman", "dog", "square", "walks", "runs", "jumps", "slowly"),
    *("happily", "cheerful", "sadly", "gloomy", "scared", "in", "park", "at", "night", "and"),
)
KINDS = ("appearance", "motion", "object", "audio")


def save_checkpoint(folder: Path, *, seed: int = 0, kinds: Sequence[str] = KINDS, **changes: object) -> Path:
    """Weights as drawn, but larger, so that captions differ from clip to clip and do not end at once."""
    backbones = load_backbones({kind: f"lite-{kind}" for kind in kinds})
    dims = {f"{kind}_dim": backbones[kind].spec.dim if kind in backbones else None for kind in KINDS}
    values = {
        **dims,
        "vocabulary": len(WORDS) + 4,
        "categories": len(LEXICON.categories),
        "words": len(LEXICON.words),
        "width": 16,
        "word_width": 12,
        "feed_forward": 16,
        "lstm_width": 24,
        "attention_width": 12,
        "alignment_width": 8,
        "emotion_layers": 1,
        "dual_layers": 1,
        "fine_grained": "object" in kinds,
        "audio_visual": "audio" in kinds,
    }
    torch.manual_seed(seed)
    model = Fusion(FusionConfig(**{**values, **changes}), torch.from_numpy(LEXICON.mask())).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
        out = next(layer for layer in model.decoder.modules() if getattr(layer, "out_features", 0) == len(WORDS) + 4)
        out.bias[END] -= 2.0
    checkpoint = Checkpoint(
        model,
        Vocabulary(WORDS),
        LEXICON,
        {kind: backbone_record(backbone) for kind, backbone in backbones.items()},
        training={"untrained": True},
        name="small",
    )
    checkpoint.save_pretrained(folder)
    return folder


def evcap(*arguments: object) -> int:
    """Call evcap in this process; returns its exit code."""
    from evcap_cli import app

    return app.run([str(argument) for argument in arguments])


def start_evcap(*arguments: object, **options: object) -> subprocess.Popen[str]:
    """Start evcap in a process and a process group of its own."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "plugins")))
    return subprocess.Popen(
        [sys.executable, "-c", "from evcap_cli.app import main; main()", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def fork_evcap(*arguments: object, first: Sequence[Path] = ()) -> Forked:
    """Like ``start_evcap``, but forked from this process: what is patched stays patched.

    Folders ``first`` come before all others where modules are looked for.
    """

    def call() -> None:
        from evcap_cli import app

        sys.argv[1:] = map(str, arguments)
        app.main()

    return Forked(call, path=first)


def records(path: Path) -> list[dict]:
    """The lines of a JSONL output."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def texts(path: Path) -> dict[str, list[str]]:
    """Captions by path."""
    return {record["path"]: [caption["text"] for caption in record["captions"]] for record in records(path)}
