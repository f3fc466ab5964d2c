"""How a decoding pass went: what decoded, what did not, and what a user should know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from evcap_cli.console import counted

LOST_SECONDS: Final = 0.05
"""Less than that is not worth a word."""
SHARE_DECIMALS: Final = 4
SERIOUS_SHARE: Final = 0.1
"""A video that lost more of its frames or its sound than this is counted in a run's last line."""


@dataclass(frozen=True)
class Loss:
    """What damage took of the requested frames and sound."""

    frames_share: float = 0.0
    audio_seconds: float = 0.0
    audio_share: float = 0.0

    @property
    def serious(self) -> bool:
        """More than a tenth of one of the two."""
        return max(self.frames_share, self.audio_share) > SERIOUS_SHARE


@dataclass(frozen=True)
class DecodeReport:
    """How a pass went, in numbers, so that those of several passes over one file can be joined; the last item of it.

    Args:
        seen: requested frames that decoded. missing: those that did not.
        skipped_pictures, skipped_sound: packets that did not decode.
        patched: FFmpeg complained about the picture without dropping any of it.
        decoded_sound: seconds of sound. lost_pictures, lost_sound: seconds that did not, of what was passed.
    """

    seen: int = 0
    missing: tuple[int, ...] = ()
    skipped_pictures: int = 0
    skipped_sound: int = 0
    patched: bool = False
    decoded_sound: float = 0.0
    lost_pictures: float = 0.0
    lost_sound: float = 0.0

    @property
    def skipped_packets(self) -> int:
        """Packets of picture and sound that did not decode."""
        return self.skipped_pictures + self.skipped_sound

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know."""
        said = []
        if self.missing:
            said.append(f"{len(self.missing)} of {len(self.missing) + self.seen} wanted frames do not decode")
        if self.skipped_pictures:
            packets = counted(self.skipped_pictures, "damaged packet was", "damaged packets were")
            said.append(f"{packets} skipped{_lost(self.lost_pictures)}")
        elif self.patched:
            said.append("the picture is damaged: some frames are patched up")
        if self.skipped_sound and not self.decoded_sound:
            said.append("its sound does not decode: captioned without sound")
        elif self.skipped_sound:
            packets = counted(self.skipped_sound, "damaged sound packet was", "damaged sound packets were")
            said.append(f"{packets} skipped{_lost(self.lost_sound)}")
        elif self.lost_sound > LOST_SECONDS:
            said.append(f"the sound has gaps where the file is damaged{_lost(self.lost_sound)}")
        return tuple(said)

    @property
    def loss(self) -> Loss:
        """What is missing, as a record says it."""
        return Loss(
            frames_share=round(len(self.missing) / max(len(self.missing) + self.seen, 1), SHARE_DECIMALS),
            audio_seconds=round(self.lost_sound, 3),
            audio_share=round(self.lost_sound / max(self.lost_sound + self.decoded_sound, 1e-9), SHARE_DECIMALS),
        )

    def joined(self, later: DecodeReport) -> DecodeReport:
        """The report of this pass and a later one over the same file."""
        return DecodeReport(
            self.seen + later.seen,
            self.missing + later.missing,
            self.skipped_pictures + later.skipped_pictures,
            self.skipped_sound + later.skipped_sound,
            self.patched or later.patched,
            self.decoded_sound + later.decoded_sound,
            self.lost_pictures + later.lost_pictures,
            self.lost_sound + later.lost_sound,
        )

    def to_plain(self) -> dict[str, Any]:
        """Values that JSON knows."""
        return {**asdict(self), "missing": list(self.missing)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> DecodeReport | None:
        """The inverse of ``to_plain``; None for values of another version or of a wrong type."""
        try:
            report = cls(**{f.name: values[f.name] for f in fields(cls)} | {"missing": tuple(values["missing"])})
        except (KeyError, TypeError):
            return None
        counts = (report.seen, report.skipped_pictures, report.skipped_sound, *report.missing)
        whole = all(type(count) is int and count >= 0 for count in counts)
        times = (report.decoded_sound, report.lost_pictures, report.lost_sound)
        whole = whole and all(type(time) is float and 0 <= time < float("inf") for time in times)
        return report if whole and type(report.patched) is bool else None


def _lost(seconds: float) -> str:
    return f": {seconds:.1f} s are lost" if seconds >= LOST_SECONDS else ""
