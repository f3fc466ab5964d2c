"""What is the same for all videos of a run, and with it the cache keys of everything found out about a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evcap_cli.backbones.contract import AudioInput, BackboneSpec, FrameInput, Kind
from evcap_cli.backbones.identity import BackboneIdentity, digest_of
from evcap_cli.features.cache import FORMAT
from evcap_cli.media.frames import Geometry
from evcap_cli.media.segments import Segment, Segmentation


@dataclass(frozen=True)
class FeaturePlan:
    """What is the same for all videos of a run, or of one video, where a data root lists its segments.

    Args:
        chosen: the segmentation. segmentation: what keys call it.
    """

    specs: Mapping[Kind, BackboneSpec]
    identities: Mapping[Kind, BackboneIdentity]
    segmentation: str
    sampling: str
    audio_track: int
    chosen: Segmentation

    def of(self, video: Path) -> FeaturePlan:
        """The plan of one video: keys depend on its own segments, not on those of others in the same list."""
        if self.chosen.listed is None:
            return self
        clips = [(clip.id, str(clip.start), str(clip.end)) for clip in self.chosen.listed.of(video)]
        return replace(self, segmentation=f"from:{digest_of(clips)}" if clips else "whole")

    @property
    def geometries(self) -> dict[Kind, Geometry]:
        """How the frames of each picture stream are resized; equal ones are fetched once."""
        return {
            kind: Geometry(
                size=i.size, short_side=i.short_side, max_side=i.max_side, fit=i.fit, interpolation=i.interpolation
            )
            for kind, i in ((kind, spec.input) for kind, spec in self.specs.items())
            if isinstance(i, FrameInput)
        }

    @property
    def audio(self) -> AudioInput | None:
        """The input of the audio backbone, if there is one."""
        declared = self.specs["audio"].input if "audio" in self.specs else None
        return declared if isinstance(declared, AudioInput) else None

    def facts_key(self, digest: str) -> str:
        """Key of what decoding finds out; covers everything the choice of frames depends on."""
        return self._key_of_finding("outcome", digest)

    def report_key(self, digest: str, stretch: int) -> str:
        """Key of what the pass over one stretch finds out."""
        return self._key_of_finding("report", digest, stretch)

    def segments_key(self, digest: str) -> str:
        """Key of the segments where finding them takes a pass."""
        return digest_of([FORMAT, "segments", digest, self.segmentation])

    def _key_of_finding(self, name: str, digest: str, *more: int) -> str:
        inputs = {kind: {"class": type(s.input).__name__, **asdict(s.input)} for kind, s in self.specs.items()}
        return digest_of([FORMAT, name, digest, self.segmentation, self.sampling, self.audio_track, inputs, *more])

    def stream_key(self, digest: str, segment: Segment, kind: Kind) -> str:
        """Key of one stream of one segment."""
        track = self.audio_track if kind == "audio" else None
        # a segment in the middle is decoded from where its stretch begins, which the segments before it decide
        place = [str(segment.start), str(segment.end), track, self.segmentation if segment.start else ""]
        return digest_of([FORMAT, "stream", digest, place, self.sampling, self.identities[kind].cache_identity])
