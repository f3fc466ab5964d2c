"""Features for training from published HDF5 files, in the layout that ``features_layout.py`` knows.

Files that ``evcap extract -o`` wrote have further attributes, which other programs ignore: what backbone they are
from, and the times of their rows. Here the rows are read, ``output/features_hdf5.py`` writes them; nothing is kept in
memory but the keys.

Notation: n rows of a video, D width of a stream.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from typing_extensions import TypedDict

from evcap_cli import console
from evcap_cli.backbones.contract import Kind
from evcap_cli.backbones.records import BackboneRecord
from evcap_cli.console import counted
from evcap_cli.data.features_layout import (
    DAMAGED,
    GET_AGAIN,
    SPLITS,
    SUFFIXES,
    entries,
    feature_files,
    key_of,
    opened,
    own_item,
    stream_name,
)
from evcap_cli.data.video_files import bare
from evcap_cli.errors import DataError, reason_of
from evcap_cli.features.sampling import MOMENTS, SAMPLINGS, spread
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.reading.ranges import Name
from evcap_cli.reading.typed import from_json

__all__ = ["ABOUT", "DURATION", "SPLITS", "SUFFIXES", "TIMES", "FeatureFiles", "feature_files", "key_of"]

ABOUT: Final = "evcap"
"""Attribute of a file: JSON with the stream's ``kind``, its ``backbone`` (as a checkpoint has it), the ``sampling``."""
TIMES: Final = "times"
"""Attribute of a data set: (n,) float32, seconds of the rows."""
DURATION: Final = "duration"
"""Attribute of a data set: seconds of the video."""
FOREIGN_VERSION: Final = "hdf5"
"""Version of a backbone of which nothing is known but the name of its file."""
NOMINAL_SECONDS: Final = 1.0
"""Length of a video whose rows have no times: only their order counts then."""
_MOST_SECONDS: Final = 1e7
"""Of a video."""
NAMED: Final = 5
"""Videos without features that are named one by one."""
_PICTURES: Final = ("appearance", "motion")
PUBLISHED_SAMPLING: Final = "epan"
"""How the frames of published features were chosen (``features/sampling.py``)."""


@dataclass(frozen=True)
class _Place:
    """Where the rows of one video are."""

    path: Path
    key: str


class FeatureFiles:
    """A source of features for training: HDF5 files, of one or several splits a stream.

    Rows of ours keep their number and times. Others become thirty rows by EPAN's ``linspace``, appearance and motion
    alike, so that row i of both is the same part of the video. A video without appearance or motion is left out; one
    without a data set for objects or sound, or with an empty one, has none of those.

    Args:
        files: kind -> files; where two hold a video, the first counts.
        aliases: video -> another key it may have (MSVD's clip names).
        dims: kind -> the expected width; None: any, the same in all files of a stream.

    ``sampling`` is how the rows' frames were chosen: what our files say, ``epan`` where a picture stream is published.

    Raises:
        DataError: a file that is missing, truncated or damaged, of another layout, of another width, or our own with
            another sampling than the others.
    """

    def __init__(
        self,
        files: Mapping[Kind, Sequence[Path]],
        *,
        aliases: Mapping[str, str] | None = None,
        dims: Mapping[Kind, int] | None = None,
    ) -> None:
        self.files = {kind: [Path(path) for path in paths] for kind, paths in files.items() if paths}
        self.aliases = dict(aliases or {})
        self.places: dict[Kind, dict[str, _Place]] = {}
        self._samplings: dict[str, Path] = {}
        records: dict[Kind, Mapping[str, Any]] = {}
        for kind, paths in self.files.items():
            self.places[kind] = {}
            for path in paths:
                record = self._index(kind, path, (dims or {}).get(kind) or records.get(kind, {}).get("dim"))
                first = records.setdefault(kind, record)
                known = FOREIGN_VERSION not in (record["version"], first["version"])
                if known and record != first:
                    raise DataError(
                        f"is of another {kind} backbone than {paths[0].name}, or of other weights or options",
                        path=path,
                        hint="extract both with the same backbone",
                    )
        self.backbones: Mapping[Kind, Mapping[str, Any]] = records
        published = any(records[kind]["version"] == FOREIGN_VERSION for kind in records if kind in _PICTURES)
        self.sampling: str = PUBLISHED_SAMPLING if published else next(iter(self._samplings), "moments")

    def has(self, video: str) -> bool:
        """Whether there are picture features of ``video``; not whether they can be used."""
        keys = self._keys(video)
        return all(any(key in self.places[kind] for key in keys) for kind in self.places if kind in _PICTURES)

    def _index(self, kind: Kind, path: Path, dim: int | None) -> dict[str, Any]:
        """Note where each video of a file is; the record of its backbone."""
        found = self.places[kind]
        with opened(path) as file:
            about = _about(file, path)
            if about and about["kind"] != kind:
                raise DataError(f"holds {about['kind']} features, not {kind}", path=path, hint="check the call")
            if about and kind != "audio":
                self._same_sampling(path, about["sampling"])
            for entry in entries(file, path, dim):
                dim = entry.width
                found.setdefault(bare(entry.key), _Place(path, entry.key))
        if dim is None:
            raise DataError("holds no video", path=path, hint="check the file")
        if about:
            return {**about["backbone"], "dim": dim}
        return {"name": stream_name(path), "options": {}, "version": FOREIGN_VERSION, "dim": dim, "weights_digest": ""}

    def _same_sampling(self, path: Path, sampling: str) -> None:
        self._samplings.setdefault(sampling, path)
        if len(self._samplings) > 1:
            first, other = next(iter(self._samplings.items()))
            raise DataError(
                f"its frames were chosen by --sampling {sampling}, those of {other.name} by {first}",
                path=path,
                hint="extract both in the same way",
            )

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """Features of ``videos`` in their order; one that has none is left out, with a warning.

        Raises:
            DataError: a file went away, or is not what it was.
        """
        missing = 0
        with ExitStack() as stack:
            files: dict[Path, Any] = {}
            for path in {path for paths in self.files.values() for path in paths}:
                files[path] = stack.enter_context(opened(path))
            for video in videos:
                try:
                    clip = self._clip(video, files)
                except DataError as problem:
                    missing += 1
                    # one cause can hit every video: a warning each would bury it
                    (console.warn if missing <= NAMED else console.detail)(f"{video}: {problem}; left out")
                else:
                    yield video, clip
        if missing > NAMED:
            console.warn(
                f"{counted(missing, 'video has', 'videos have')} no features,"
                f" {NAMED} of them are named above; -v names all"
            )

    def _clip(self, video: str, files: Mapping[Path, Any]) -> ClipFeatures:
        import torch

        rows: dict[Kind, tuple[Any, Any]] = {}
        duration = None
        for kind, places in self.places.items():
            place = next((places[key] for key in self._keys(video) if key in places), None)
            if place is None:
                if kind in _PICTURES or not self._known(video):
                    raise DataError(f"no {kind} features", path=self.files[kind][0])
                rows[kind] = np.zeros((0, self.backbones[kind]["dim"]), np.float32), np.zeros(0, np.float32)
                continue
            values, times, seconds = _rows(files[place.path], place)
            if not len(values) and kind in _PICTURES:
                raise DataError(f"its {kind} features have no row", path=place.path, hint="extract them again")
            if not np.isfinite(values).all():
                raise DataError(f"its {kind} features hold a value that is not a number", path=place.path)
            rows[kind], duration = (values, times), duration or seconds
        duration = duration or NOMINAL_SECONDS
        pictures = [kind for kind in rows if kind in _PICTURES]
        ours = all(rows[kind][1] is not None for kind in pictures)
        if not ours or len({len(rows[kind][0]) for kind in pictures}) > 1:
            for kind in pictures:
                values, times = rows[kind]
                shown = spread(len(values), MOMENTS)
                times = _spread_times(len(values), duration) if times is None else times
                rows[kind] = values[shown], times[shown]
        return ClipFeatures(
            {
                kind: StreamFeatures(
                    torch.from_numpy(values),
                    torch.from_numpy(_spread_times(len(values), duration) if times is None else times),
                )
                for kind, (values, times) in rows.items()
            },
            duration,
        )

    def _keys(self, video: str) -> list[str]:
        return [bare(name) for name in (video, self.aliases.get(video)) if name is not None]

    def _known(self, video: str) -> bool:
        return any(key in places for key in self._keys(video) for places in self.places.values())


def origin(path: Path) -> tuple[Kind, str] | None:
    """Kind and backbone of a file that ``evcap extract`` wrote; None for any other, and for one that cannot be read."""
    try:
        with opened(path) as file:
            about = _about(file, path)
    except DataError:
        return None
    return (about["kind"], about["backbone"]["name"]) if about else None


class _About(TypedDict):
    kind: Kind
    backbone: BackboneRecord
    sampling: Name


def _about(file: Any, path: Path) -> _About | None:
    """What our own files say about themselves; nothing where others wrote them.

    Raises:
        DataError: it says something else.
    """
    place = f"attribute {ABOUT!r}"
    try:
        if ABOUT not in file.attrs:
            return None
        text = file.attrs[ABOUT]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as problem:
        raise DataError(f"{place} {DAMAGED} ({reason_of(problem)})", path=path, hint=GET_AGAIN) from problem
    if not isinstance(text, str | bytes):
        raise DataError(f"{place}: should be text, got {_shown(text)}", path=path, hint=GET_AGAIN)
    read = from_json(_About, text, path=path, place=place, hint=GET_AGAIN)
    if read["sampling"] not in SAMPLINGS:
        cause = f"{place}: sampling: should be one of {', '.join(SAMPLINGS)}, got {_shown(read['sampling'])}"
        raise DataError(cause, path=path, hint=GET_AGAIN)
    return read


def _rows(file: Any, place: _Place) -> tuple[Any, Any, float | None]:
    """Values (n, D) float32, times (n,) float32 and duration of one data set; None where it does not say."""
    try:
        item = own_item(file, place.key, place.path)
        values = np.ascontiguousarray(item[()], dtype=np.float32)
        times, seconds = item.attrs.get(TIMES), item.attrs.get(DURATION)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as problem:
        raise DataError(f"{place.key!r} {DAMAGED} ({reason_of(problem)})", path=place.path) from problem
    if values.ndim != 2:
        raise DataError(f"{place.key!r} is not a table of numbers", path=place.path)
    times, seconds = _numbers(times, TIMES, place), _numbers(seconds, DURATION, place)
    if seconds is not None and (seconds.size != 1 or seconds.item() > _MOST_SECONDS):
        cause = f"{place.key!r}: attribute {DURATION!r}: should be a time, got {_shown(seconds)}"
        raise DataError(cause, path=place.path, hint=GET_AGAIN)
    whole = times is not None and times.shape == (len(values),)
    return values, times.astype(np.float32) if whole else None, None if seconds is None else float(seconds.item())


def _numbers(value: Any, name: str, place: _Place) -> Any:
    """An attribute of seconds as float64; None where there is none.

    Raises:
        DataError: it is of another type, negative or not finite.
    """
    if value is None:
        return None
    found = np.asarray(value)
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all() or (found < 0).any():
        cause = f"{place.key!r}: attribute {name!r}: should be seconds, got {_shown(value)}"
        raise DataError(cause, path=place.path, hint=GET_AGAIN)
    return found.astype(np.float64)


def _shown(value: Any) -> str:
    return " ".join(reprlib.repr(value).split())


def _spread_times(count: int, duration: float) -> Any:
    """The middles of ``count`` equal parts of ``duration`` seconds, (count,) float32."""
    return ((np.arange(count) + 0.5) * (duration / max(count, 1))).astype(np.float32)
