"""The names of EmVidCap's parts and splits; options are declared with them, so nothing heavy is imported here."""

from __future__ import annotations

from typing import Final, Literal, get_args

Subset = Literal["L", "S", "both"]
Part = Literal["L", "S"]
Split = Literal["train", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
