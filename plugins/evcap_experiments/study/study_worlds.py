"""The demo worlds of the study: one to train and test on, and one whose sound contradicts the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evcap_cli.console import counted
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.layout import TEST, World, write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.errors import DataError, UsageError

TRAIN_CLIPS, TEST_CLIPS, CONFLICT_CLIPS = 600, 240, 120
WORLD_SEED, CONFLICT_SEED = 41, 43
"""No other world of evcap (bundled checkpoint, its examinations, `evcap demo`) has these."""
MAIN, CONFLICT = "world", "conflict"
FEWEST_CLIPS: Final = 8
"""Of each part: one an emotion."""


@dataclass(frozen=True)
class Sizes:
    """Clips to train on, unseen clips to test on, and clips whose sound contradicts the picture.

    Raises:
        UsageError: one of them is below 8.
    """

    train: int = TRAIN_CLIPS
    test: int = TEST_CLIPS
    conflict: int = CONFLICT_CLIPS

    def __post_init__(self) -> None:
        for name, count in vars(self).items():
            if count < FEWEST_CLIPS:
                raise UsageError(
                    f"{counted(count, f'{name} clip is', f'{name} clips are')} too few",
                    hint=f"at least {FEWEST_CLIPS}, one an emotion",
                )


@dataclass(frozen=True)
class Worlds:
    """Both worlds: ``main`` with a training and a test split, ``conflict`` all test."""

    main: World
    conflict: World

    @property
    def unseen(self) -> list[ClipFacts]:
        """Clips of the test split."""
        return self.main.of(TEST)


def write_worlds(folder: Path, sizes: Sizes, *, render: bool = True, workers: int = 2) -> Worlds:
    """Both worlds under ``folder``; clips that are there are kept.

    Args:
        folder: of the study.
        sizes: of the worlds.
        render: False writes facts and captions only.
        workers: processes that draw.

    Raises:
        DataError: the folder holds worlds of other sizes. WriteError: no permission, a full disk.
    """
    both = sizes.train + sizes.test
    try:
        main = write_world(
            folder / MAIN,
            make_facts(both, WORLD_SEED),
            render=render,
            workers=workers,
            test_share=sizes.test / both,
        )
        conflict = write_world(
            folder / CONFLICT,
            make_facts(sizes.conflict, CONFLICT_SEED, conflict=1.0),
            render=render,
            workers=workers,
            test_share=1.0,
        )
    except DataError as problem:
        raise DataError(
            problem.cause, path=problem.path, hint="give another -o, or the sizes that this study began with"
        ) from problem
    return Worlds(main, conflict)
