"""Trains on the toy data to the scores at the end, a process for tests that kill it: ``DIR EPOCHS [SYSTEM]``."""

from __future__ import annotations

import sys
from pathlib import Path

from evcap_cli.scoring import score_texts
from evcap_cli.training.final_scores import score_test
from evcap_cli.training.trainer import Trainer
from tests.training import toy

QUICK = 3e-2
"""A rate at which captions have words after an epoch or two: scores of nothing would prove nothing."""


def main(folder: str, epochs: str, system: str = "fusion") -> None:
    recipe = toy.recipe(system, epochs=int(epochs), schedule="cosine", learning_rate=QUICK)
    trainer = Trainer(recipe, toy.captions(), toy.LEXICON, toy.source(24), Path(folder), tensorboard=False)
    result = trainer.fit()
    if trainer.accelerator.is_main_process:
        score_test(trainer, result, toy.unseen(), bootstrap=20)


if __name__ == "__main__":
    score_texts._meteor = toy.meteor
    main(*sys.argv[1:])
