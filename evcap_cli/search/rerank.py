"""The weights of re-ranking, without torch: what options, recipes and checkpoints say of ``reranking.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from evcap_cli.reading.ranges import Weight, check_fields

MOST_CANDIDATES: Final = 100
"""Hypotheses of a clip that are compared pair by pair, at most."""


@dataclass(frozen=True)
class Rerank:
    """How the finished hypotheses of a search are put in order (``reranking.py``); off unless a weight is given.

    Args:
        consensus: weight of a hypothesis's likeness to the others.
        emotion: weight of its agreement with the emotion that the system perceived.
        candidates: hypotheses of each clip that are compared.
    """

    consensus: Weight = 0.0
    emotion: Weight = 0.0
    candidates: int = 10

    def __post_init__(self) -> None:
        check_fields(self, "rerank.")
        if not 2 <= self.candidates <= MOST_CANDIDATES:
            raise ValueError(f"re-ranking takes 2 to {MOST_CANDIDATES} candidates, got {self.candidates}")

    @property
    def on(self) -> bool:
        """Whether it can change anything."""
        return bool(self.consensus or self.emotion)

    @classmethod
    def parse(cls, text: str) -> Rerank:
        """``off``, or such as ``consensus=0.5,emotion=0.2,candidates=20``; a weight that is not named is 0.

        Raises:
            ValueError: any other text, or a number out of range.
        """
        if text == "off":
            return cls()
        kinds = {"consensus": float, "emotion": float, "candidates": int}
        values: dict[str, Any] = {}
        for part in text.split(","):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in kinds or name in values:
                raise ValueError(f"{part.strip()!r} is not one of {', '.join(f'{each}=NUMBER' for each in kinds)}")
            try:
                values[name] = kinds[name](value)
            except ValueError:
                raise ValueError(f"{name} must be a number, got {value!r}") from None
        if values.keys() == {"candidates"}:
            raise ValueError("candidates alone changes nothing: give a weight to consensus or emotion")
        return cls(**values)
