"""What wrote the captions of a file, as its records say: a checkpoint, or a ready-made captioner and its prompt.

Scores of a ready-made captioner depend on its prompt as much as on the model (only exact words of the lexicon count as
emotions), so every row that shows them names both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

OWN_PROMPT: Final = "file"
"""The style that records name where the user gave a prompt."""
DIGITS: Final = 12
"""Of a digest or a commit in a title: enough to distinguish two."""


@dataclass(frozen=True)
class CaptionedBy:
    """One captioner.

    Args:
        name: of the checkpoint, model or server.
        ready_made: whether it reads frames itself, so that evcap did not train it.
        revision: the commit of a model.
        style: of the prompt; None where the captioner takes none.
        prompt: digest of the prompt.
    """

    name: str
    ready_made: bool = False
    revision: str | None = None
    style: str | None = None
    prompt: str | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> CaptionedBy | None:
        """What a record names; None for lines of other programs."""
        given = record.get("checkpoint")
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            return None
        texts = {key: given.get(key) for key in ("revision", "style", "prompt")}
        known = {key: value for key, value in texts.items() if isinstance(value, str)}
        # an adapter that evcap trained reads frames too
        ready_made = record.get("backbones") == {} and "base" not in given
        return cls(given["name"], ready_made=ready_made, **known)

    @property
    def row(self) -> str:
        """Short, for a column of names: "zero-shot MODEL, emotional prompt"."""
        if not self.ready_made:
            return self.name
        model = self.name.rpartition("#")[2].rstrip("/").rpartition("/")[2]
        return f"zero-shot {model or self.name}, {self._prompt}"

    @property
    def title(self) -> str:
        """Everything that distinguishes it: where the model is from, its commit and the digest of the prompt."""
        if not self.ready_made:
            return self.name
        name = self.name if self.revision is None else f"{self.name}@{self.revision[:DIGITS]}"
        return f"zero-shot {name}, {self._prompt}" + ("" if self.prompt is None else f" {self.prompt[:DIGITS]}")

    @property
    def _prompt(self) -> str:
        if self.style is None:
            return "no prompt"
        return "own prompt" if self.style == OWN_PROMPT else f"{self.style} prompt"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        known = {"revision": self.revision, "style": self.style, "prompt": self.prompt}
        return {"name": self.name, "zero_shot": self.ready_made, **known}
