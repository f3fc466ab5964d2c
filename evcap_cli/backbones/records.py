"""What checkpoints and feature files say of a backbone, as a type that their readers check."""

from __future__ import annotations

from typing import Annotated, NotRequired

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import TypedDict

_Name = Annotated[str, MaxLen(300)]


class BackboneRecord(TypedDict):
    """See ``checkpoints/checkpoint.py``: enough to load the same backbone and to notice another."""

    name: Annotated[str, MinLen(1), MaxLen(300)]
    options: dict[_Name, _Name]
    version: _Name
    dim: Annotated[int, Ge(1), Le(1 << 16)]
    weights_digest: _Name
    distribution: NotRequired[_Name | None]
