"""What a decoding pass found out about a file, kept with the features: a warm run must not open the file again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from evcap_cli.media.probe import MediaInfo
from evcap_cli.media.segments import Segment


@dataclass(frozen=True)
class Outcome:
    """The part of a video's result that is not features; the same whether it was decoded or came from the cache."""

    info: MediaInfo
    segments: tuple[Segment, ...]
    warnings: tuple[str, ...] = ()
    skipped_packets: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON knows; fractions as "n/d"."""
        return {
            "info": {f.name: _plain(getattr(self.info, f.name)) for f in fields(self.info)},
            "segments": [[s.index, str(s.start), str(s.end)] for s in self.segments],
            "warnings": list(self.warnings),
            "skipped_packets": self.skipped_packets,
        }

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Outcome | None:
        """The inverse of ``to_plain``; None for values of another version."""
        try:
            info = MediaInfo(**{name: _rich(value) for name, value in values["info"].items()})
            segments = tuple(Segment(int(i), Fraction(start), Fraction(end)) for i, start, end in values["segments"])
            return cls(info, segments, tuple(values["warnings"]), int(values["skipped_packets"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None


def _plain(value: Any) -> Any:
    return {"fraction": str(value)} if isinstance(value, Fraction) else value


def _rich(value: Any) -> Any:
    return Fraction(value["fraction"]) if isinstance(value, dict) else value
