"""Trains on the toy data in a process of its own, for a test that kills it: ``run_toy DIR EPOCHS``."""

from __future__ import annotations

import sys
from pathlib import Path

from evcap_cli.training.trainer import Trainer
from tests.training import toy


def main(folder: str, epochs: str) -> None:
    Trainer(
        toy.recipe(epochs=int(epochs), schedule="cosine"),
        toy.captions(),
        toy.LEXICON,
        toy.source(),
        Path(folder),
        tensorboard=False,
    ).fit()


if __name__ == "__main__":
    main(*sys.argv[1:])
