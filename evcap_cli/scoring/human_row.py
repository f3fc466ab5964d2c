"""How well people agree: a reference of each video scored against the video's other references.

A person's caption is then judged by one reference fewer than a system's, and most metrics rise with the number of
references (the best of them counts, and each may add an emotion). The system is therefore scored against the same
reduced sets as well; the two rows may be compared with each other, not with the system's usual row.

A single draw of one reference a video is noisy, so ``ROUNDS`` draws are averaged, each taking other references.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

ROUNDS: Final = 5


@dataclass(frozen=True)
class Round:
    """One draw: the person's caption of each video, the system's, and the references left for both."""

    person: dict[str, str]
    system: dict[str, str]
    references: dict[str, list[str]]


@dataclass(frozen=True)
class HumanRow:
    """Means over the rounds, x 100.

    Args:
        person: people against the other references. system: the system against the same.
        videos: those with at least two references.
        rounds: how many draws were averaged.
    """

    person: dict[str, float | None]
    system: dict[str, float | None]
    videos: int
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "human": self.person,
            "system_against_the_same_references": self.system,
            "videos": self.videos,
            "rounds": self.rounds,
        }


def leave_one_out(hypotheses: Mapping[str, str], references: Mapping[str, Sequence[str]], seed: int = 0) -> list[Round]:
    """The rounds, of the videos with at least two references; no more rounds than some video has references.

    A video with fewer references than rounds gives some of them twice. Empty: no video has two references.
    """
    videos = [video for video in hypotheses if len(references[video]) > 1]
    if not videos:
        return []
    draw = random.Random(seed)
    orders = {video: draw.sample(range(len(references[video])), len(references[video])) for video in videos}
    rounds: list[Round] = []
    for number in range(min(ROUNDS, max(map(len, orders.values())))):
        taken = {video: order[number % len(order)] for video, order in orders.items()}
        rounds.append(
            Round(
                person={video: references[video][place] for video, place in taken.items()},
                system={video: hypotheses[video] for video in videos},
                references={
                    video: [text for other, text in enumerate(references[video]) if other != place]
                    for video, place in taken.items()
                },
            )
        )
    return rounds


def mean_row(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Mean of each metric over the rounds; None where one of them is missing."""
    out: dict[str, float | None] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        known = [value for value in values if value is not None]
        out[name] = sum(known) / len(known) if len(known) == len(values) else None
    return out
