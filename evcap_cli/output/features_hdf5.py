"""``evcap extract -o``: features in the layout that other research code reads (``data/features_hdf5.py`` says how).

One file a stream; each grows under a temporary name, a video at a time, and appears whole at the end. The same features
give the same bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from evcap_cli.data.features_hdf5 import ABOUT, DURATION, SUFFIXES, TIMES, key_of
from evcap_cli.data.features_layout import NO_LOCK, WITHOUT_LOCKS, file_name
from evcap_cli.errors import UsageError, WriteError
from evcap_cli.files import NEXT_STEP, WholeFile, check_writable, write_error
from evcap_cli.inputs import Source
from evcap_cli.paths import check_output_name, is_folder

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.features.streams import ClipFeatures


@dataclass(frozen=True)
class ExportPlan:
    """Which files an export writes.

    Args:
        files: one a stream. keys: of each video of the run, in its order.
    """

    files: Mapping[Kind, Path]
    keys: Sequence[str]

    def check_writable(self) -> None:
        """Find out before any work whether the files can be written.

        Raises:
            WriteError: they cannot.
        """
        for path in self.files.values():
            check_writable(path)


def plan_export(
    output: str, addresses: Mapping[Kind, str], sources: Sequence[Source], segmentation: str = "whole"
) -> ExportPlan:
    """What ``-o OUTPUT`` stands for.

    ``x.hdf5`` is the file of a single stream; of several, each gets its own: ``x_appearance.hdf5``, ``x_motion.hdf5``,
    ... A folder (a trailing slash, or one that is there) gets ``<backbone>.hdf5`` of each stream.

    Raises:
        UsageError: another suffix, segments, two streams or two videos of one name.
    """
    if segmentation != "whole":
        raise UsageError(
            f"-o {output} takes one clip a video", hint=f"leave out --segment {segmentation}, or the -o option"
        )
    path = Path(output)
    check_output_name(path)
    files: dict[Kind, Path]
    if output.endswith(("/", "\\")) or is_folder(path):
        files = {kind: path / f"{file_name(address)}.hdf5" for kind, address in addresses.items()}
    elif path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"unknown suffix {path.suffix!r}" if path.suffix else "no suffix",
            path=output,
            hint="features go to a .hdf5 file, or to a folder: end its name with /",
        )
    elif len(addresses) == 1:
        files = dict.fromkeys(addresses, path)
    else:
        files = {kind: path.with_name(f"{path.stem}_{kind}{path.suffix}") for kind in addresses}
    if len(set(files.values())) < len(files):
        raise UsageError("two streams would get the same file", path=output, hint="name a .hdf5 file instead")
    keys: dict[str, Source] = {}
    for source in sources:
        key = key_of(source.path.stem.encode("utf-8", "backslashreplace").decode())
        if key in (".", ".."):
            raise UsageError("this name cannot be a key in HDF5", path=source.given, hint="rename the video")
        if key in keys:
            raise UsageError(
                f"has the same key as {keys[key].given}: {key}", path=source.given, hint="extract them into two files"
            )
        keys[key] = source
    return ExportPlan(files, list(keys))


class FeatureExport:
    """The files of one export, open for writing; without ``commit`` nothing of them stays.

    Args:
        plan: where to.
        backbones: kind -> record, as a checkpoint has it.
        sampling: how moments were chosen.
        notes: further attributes of each file, in words.

    Raises:
        WriteError: no permission, a full disk.
    """

    def __init__(
        self,
        plan: ExportPlan,
        backbones: Mapping[Kind, Mapping[str, Any]],
        sampling: str,
        *,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        self.plan, self.notes = plan, dict(notes or {})
        self.wholes = {kind: WholeFile(path) for kind, path in plan.files.items()}
        self.opened: dict[Kind, Any] = {}
        self.backbones, self.sampling = backbones, sampling

    def __enter__(self) -> Self:
        import h5py

        try:
            for kind, whole in self.wholes.items():
                with _telling(whole.path):
                    # without HDF5's own lock: the temporary file has ours, and not every disk knows locks
                    self.opened[kind] = h5py.File(whole.temporary, "w", locking=False)
                    about = {"kind": kind, "backbone": dict(self.backbones[kind]), "sampling": self.sampling}
                    self.opened[kind].attrs[ABOUT] = json.dumps(about, sort_keys=True)
                    for name, text in self.notes.items():
                        self.opened[kind].attrs[name] = text
        except BaseException:
            self._discard()
            raise
        return self

    def add(self, video: int, features: ClipFeatures) -> None:
        """Write one video; ``video`` is its number in the plan.

        Raises:
            WriteError: a full disk.
        """
        for kind, file in self.opened.items():
            stream = features.streams[kind]
            with _telling(self.plan.files[kind]):
                # no time stamps: the same features give the same bytes
                item = file.create_dataset(self.plan.keys[video], data=stream.values.numpy(), track_times=False)
                item.attrs[TIMES] = stream.times.numpy()
                item.attrs[DURATION] = np.float64(features.duration)

    def commit(self) -> None:
        """Put the files where they belong, each in one step.

        Raises:
            WriteError: a full disk; files that were there before are untouched, or whole new ones.
        """
        for kind, whole in self.wholes.items():
            with _telling(whole.path):
                self.opened.pop(kind).close()
        for whole in self.wholes.values():
            whole.commit()

    def _discard(self) -> None:
        for file in self.opened.values():
            with contextlib.suppress(OSError, RuntimeError):
                file.close()
        for whole in self.wholes.values():
            whole.discard()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turn what h5py raises into the line a user sees."""
    try:
        yield
    except (OSError, RuntimeError) as problem:
        if NO_LOCK in str(problem):
            cause = "cannot be locked: its file system has no locks"
            raise WriteError(cause, path=path, hint=WITHOUT_LOCKS) from problem
        if isinstance(problem, OSError) and problem.strerror:
            raise write_error(path, problem) from problem
        raise WriteError(f"cannot write ({problem})", path=path, hint=NEXT_STEP) from problem
