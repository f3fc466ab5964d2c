"""Decoded clips kept in the cache as compressed images, so that an epoch of training decodes no video.

The images are PNG, which loses nothing: training sees the pixels that captioning sees. An entry holds all frames of a
clip, their times and its waveform, and is named by the digest of the video, the span and what is read of it. One that
is missing or damaged is decoded again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli import console
from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.console import counted
from evcap_cli.errors import DecodeFailed, VideoError
from evcap_cli.features.cache import FORMAT
from evcap_cli.features.raw_clips import RawClip
from evcap_cli.media.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evcap_cli.errors import EvcapError
    from evcap_cli.features.cache import FeatureCache
    from evcap_cli.features.cache_entries import Arrays
    from evcap_cli.features.raw_clips import RawClips
    from evcap_cli.media.listed_segments import ListedClip

NAME: Final = "frames"
"""What ``evcap cache info`` calls these entries."""
COMPRESSION: Final = 3
"""Of zlib: higher levels take longer than they save on disk."""
NAMED: Final = 5
"""Failed videos that are named one by one."""


class KeptClips:
    """Clips of videos, by name.

    Args:
        clips: what decodes; its segmentation is "whole", or that of the data root where it lists clips.
        cache: where they are kept.
        videos: clip -> its file.
        listed: the clips that are segments of a file.
    """

    def __init__(
        self,
        clips: RawClips,
        cache: FeatureCache,
        videos: Mapping[str, Path],
        listed: Mapping[str, ListedClip] | None = None,
    ) -> None:
        self.clips, self.cache, self.videos, self.listed = clips, cache, videos, listed or {}
        self._digests: dict[Path, str] = {}

    def fill(self, names: Sequence[str]) -> list[str]:
        """Decode those of ``names`` that are not kept yet; a video that fails is named with its reason.

        Returns:
            Those that ``read`` gives, in the order of ``names``.
        """
        there = {name for name in names if name in self.videos and self.cache.path_of(self._key(name)).exists()}
        missing = [name for name in names if name in self.videos and name not in there]
        files = list(dict.fromkeys(self.videos[name] for name in missing))
        failed = 0
        with console.progress(len(files), "frames") as bar:
            for file, found, error in self._decoded(files):
                for name in self._names(file, missing):
                    raw = found.get(name, found.get(""))
                    if raw is not None:
                        self.cache.write(self._key(name), *_packed(raw))
                        there.add(name)
                if error is not None:
                    failed += 1
                    # one cause can hit every file: a warning each would bury it
                    (console.warn if failed <= NAMED else console.detail)(f"{error}; left out")
                bar.advance()
        if failed > NAMED:
            console.warn(f"{counted(failed, 'video')} failed, {NAMED} of them are named above; -v names all")
        return [name for name in names if name in there]

    def read(self, name: str) -> RawClip:
        """One clip, decoded again where its entry does not verify.

        Raises:
            VideoError: there is no entry, and the file cannot be decoded.
        """
        key = self._key(name)
        entry = self.cache.read(key)
        if entry is not None:
            return _unpacked(*entry)
        file = self.videos[name]
        for _, found, error in self._decoded([file]):
            raw = found.get(name, found.get(""))
            if raw is not None:
                self.cache.write(key, *_packed(raw))
                return raw
            if error is not None:
                raise error
        raise DecodeFailed("holds no frame of this clip any more", path=file, hint="check that it plays")

    def middles(self, names: Sequence[str]) -> dict[str, tuple[Path, float]]:
        """The file of each of these clips, and the middle of the clip in seconds; of those that can be read."""
        found: dict[str, tuple[Path, float]] = {}
        for name in names:
            with suppress(VideoError):
                segment = self.read(name).segment
                found[name] = (self.videos[name], float(segment.start + segment.end) / 2)
        return found

    def digest(self, name: str) -> str:
        """xxh3_128 of a clip's file."""
        file = self.videos[name]
        if file not in self._digests:
            self._digests[file] = file_digest(file)
        return self._digests[file]

    def _key(self, name: str) -> str:
        clip = self.listed.get(name)
        span = None if clip is None or clip.start is None else [str(clip.start), str(clip.end)]
        parts = [NAME, FORMAT, self.digest(name), span, asdict(self.clips.request), self.clips.audio_track]
        return digest_of(parts)

    def _names(self, file: Path, names: Sequence[str]) -> list[str]:
        return [name for name in names if self.videos[name] == file]

    def _decoded(self, files: Sequence[Path]) -> Iterator[tuple[Path, dict[str, RawClip], EvcapError | None]]:
        """Each file with its clips by the name of their segment, "" for a whole file, or why it has none."""
        found: dict[str, RawClip] = {}
        with closing(self.clips.run(files)) as events:
            for event in events:
                if isinstance(event, RawClip):
                    found[event.segment.id] = event
                    continue
                for warning in event.warnings:
                    console.detail(f"{event.path}: {warning}")
                yield event.path, {} if event.error is not None else found, event.error
                found = {}


def _packed(raw: RawClip) -> tuple[dict[str, Any], Arrays]:
    from PIL import Image

    about = {"backbone": NAME, "start": str(raw.segment.start), "end": str(raw.segment.end), "id": raw.segment.id}
    arrays: Arrays = {"times": np.array(raw.times, np.float64)}
    if raw.frames is not None:
        images: list[bytes] = []
        for pixels in raw.frames:
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG", compress_level=COMPRESSION)
            images.append(file.getvalue())
        arrays["images"] = np.frombuffer(b"".join(images), np.uint8)
        arrays["ends"] = np.cumsum([len(image) for image in images])
    if raw.waveform is not None:
        arrays["waveform"] = raw.waveform
    return about, arrays


def _unpacked(about: Mapping[str, Any], arrays: Arrays) -> RawClip:
    """The inverse of ``_packed``; the cache has verified that nothing was changed."""
    from PIL import Image

    frames = None
    if "images" in arrays:
        data, ends = arrays["images"].tobytes(), arrays["ends"].tolist()
        parts = zip([0, *ends[:-1]], ends, strict=True)
        images = [Image.open(io.BytesIO(data[begin:end]), formats=["PNG"]) for begin, end in parts]
        frames = np.stack([np.asarray(image) for image in images])
    segment = Segment(0, Fraction(about["start"]), Fraction(about["end"]), about["id"])
    return RawClip(0, segment, frames, tuple(arrays["times"].tolist()), arrays.get("waveform"))
