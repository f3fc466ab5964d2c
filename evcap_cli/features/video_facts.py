"""What a decoding pass found out about a file, kept with the features: a warm run must not open the file again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from types import UnionType
from typing import Any, Final, get_type_hints

from evcap_cli.media.decode_report import Loss
from evcap_cli.media.probe import MediaInfo
from evcap_cli.media.segments import Segment

_FRACTION: Final = re.compile(r"-?[0-9]{1,40}(/[0-9]{1,40})?")
"""``Fraction`` itself would write "1e999999999" out."""


@dataclass(frozen=True)
class VideoFacts:
    """The part of a video's result that is not features; the same whether it was decoded or came from the cache."""

    info: MediaInfo
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...] = ()
    skipped_packets: int = 0
    loss: Loss = field(default_factory=Loss)

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON knows; fractions as "n/d"."""
        return {
            "info": {f.name: _plain(getattr(self.info, f.name)) for f in fields(self.info)},
            "segments": segments_to_plain(self.segments),
            "warnings": list(self.warnings),
            "skipped_packets": self.skipped_packets,
            "loss": asdict(self.loss),
        }

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> VideoFacts | None:
        """The inverse of ``to_plain``; None for values of another version, and for what no pass finds out."""
        try:
            info = MediaInfo(**{name: _rich(value) for name, value in values["info"].items()})
            segments = segments_from_plain(values["segments"])
            if segments is None or not isinstance(values["warnings"], list):
                return None
            found = cls(info, segments, tuple(values["warnings"]), values["skipped_packets"], Loss(**values["loss"]))
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
            return None
        return found if found._plausible() else None

    def _plausible(self) -> bool:
        hints = get_type_hints(MediaInfo)
        facts = [(getattr(self.info, f.name), hints[f.name]) for f in fields(self.info)]
        return (
            all(_is_a(value, kind) and (isinstance(value, str) or value is None or value >= 0) for value, kind in facts)
            and all(isinstance(warning, str) for warning in self.warnings)
            and _is_a(self.skipped_packets, int)
            and self.skipped_packets >= 0
            and all(type(value) is float and 0 <= value < float("inf") for value in asdict(self.loss).values())
        )


def segments_to_plain(segments: Sequence[Segment]) -> list[list[Any]]:
    """Segments as values that JSON knows."""
    return [[s.index, str(s.start), str(s.end), *([s.id] if s.id else [])] for s in segments]


def segments_from_plain(values: Any) -> tuple[Segment, ...] | None:
    """The inverse of ``segments_to_plain``; None for other values and where there is no segment."""
    try:
        segments = tuple(Segment(i, _fraction(start), _fraction(end), *name) for i, start, end, *name in values)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError):
        return None
    numbered = [s.index for s in segments] == list(range(len(segments)))
    ordered = all(type(s.index) is int and 0 <= s.start <= s.end and isinstance(s.id, str) for s in segments)
    return segments if segments and numbered and ordered else None


def _plain(value: Any) -> Any:
    return {"fraction": str(value)} if isinstance(value, Fraction) else value


def _rich(value: Any) -> Any:
    return _fraction(value["fraction"]) if isinstance(value, dict) else value


def _fraction(text: str) -> Fraction:
    if not _FRACTION.fullmatch(text):
        raise ValueError(text)
    return Fraction(text)


def _is_a(value: object, kind: Any) -> bool:
    """Whether a value is of a plain type or union; of others nothing is known."""
    if not isinstance(kind, type | UnionType):
        return True
    return isinstance(value, kind) and (kind is not int or type(value) is int)
