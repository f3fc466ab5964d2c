"""Where training gets features from: videos by way of the feature pipeline, HDF5 files, or a mapping in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from evcap_cli import console
from evcap_cli.checkpoints.checkpoint import backbone_record
from evcap_cli.console import counted, listed
from evcap_cli.data.features_layout import SURROGATE_NOTE, surrogate_kinds
from evcap_cli.errors import DataError, UsageError
from evcap_cli.training.recipe import ORACLE

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.errors import EvcapError
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.training.recipe import Recipe


NAMED: Final = 5
"""Failed videos that are named one by one."""
_NAMED_MISSING: Final = 3
"""Missing videos that a warning names."""


class FeatureSource(Protocol):
    """Features by video.

    ``backbones`` is what a checkpoint remembers of each stream (``checkpoints/checkpoint.py``); "dim" is its width.
    """

    @property
    def backbones(self) -> Mapping[Kind, Mapping[str, Any]]:
        """Kind -> record."""
        ...

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """Features of ``videos``; one that has none is left out, with a warning.

        They come in the order of ``videos``, or of their files, where several are segments of one.
        """
        ...


class MappingSource:
    """Features that are in memory already.

    Args:
        clips: video -> features.
        backbones: records; by default made up from the widths of the first clip, under the name ``memory``.
    """

    def __init__(
        self, clips: Mapping[str, ClipFeatures], backbones: Mapping[Kind, Mapping[str, Any]] | None = None
    ) -> None:
        self.clips = clips
        self.backbones: Mapping[Kind, Mapping[str, Any]] = backbones or _made_up(clips)

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """See ``FeatureSource``."""
        for video in videos:
            if video in self.clips:
                yield video, self.clips[video]
            else:
                console.warn(f"{video}: no features, left out")


def _made_up(clips: Mapping[str, ClipFeatures]) -> dict[Kind, dict[str, Any]]:
    first = next(iter(clips.values()))
    return {
        kind: {"name": "memory", "options": {}, "version": "1", "dim": stream.values.shape[1], "weights_digest": ""}
        for kind, stream in first.streams.items()
    }


class PipelineSource:
    """Features of video files, or of segments of them: decoded once, or read from the cache.

    Args:
        pipeline: with segmentation "whole", or with that of the data root where it lists clips.
        videos: video or clip -> its file.

    Attributes:
        middles: video or clip -> its file, and the middle of it in seconds; of those that were read.
        failed: files that are known to fail, which are left alone.
    """

    def __init__(self, pipeline: FeaturePipeline, videos: Mapping[str, Path]) -> None:
        self.pipeline = pipeline
        self.videos = videos
        self.middles: dict[str, tuple[Path, float]] = {}
        self.failed: dict[Path, EvcapError] = {}
        self.backbones: Mapping[Kind, Mapping[str, Any]] = {
            kind: backbone_record(backbone) for kind, backbone in pipeline.backbones.items()
        }

    def read(self, videos: Sequence[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """See ``FeatureSource``; a file that fails is named with its reason."""
        from evcap_cli.features.events import SegmentReady

        files: dict[Path, list[str]] = {}
        for video in videos:
            if video in self.videos:
                files.setdefault(self.videos[video], []).append(video)
        failed = 0
        for path in [path for path in files if path in self.failed]:
            del files[path]
            failed += 1
            _leave_out(self.failed[path], failed)
        requested = list(files.values())
        waiting: dict[str, SegmentReady] = {}
        with console.progress(len(files), "features") as bar:
            for event in self.pipeline.run(list(files)):
                if isinstance(event, SegmentReady):
                    waiting[event.segment.id] = event
                    continue
                for warning in event.warnings:
                    console.detail(f"{event.path}: {warning}")
                if event.error is not None:
                    failed += 1
                    _leave_out(event.error, failed)
                else:
                    for video in requested[event.video]:
                        # a file of one clip is not listed, and its segment has no id
                        ready = waiting.get(video, waiting.get(""))
                        if ready is not None:
                            middle = float(ready.segment.start + ready.segment.end) / 2
                            self.middles[video] = (event.path, middle)
                            yield video, ready.features
                waiting = {}
                bar.advance()
        if failed > NAMED:
            console.warn(f"{counted(failed, 'video')} failed, {NAMED} of them are named above; -v names all")

    def close(self) -> None:
        """Give back what the features are made with; what was read stays."""


def _leave_out(problem: EvcapError, number: int) -> None:
    """Say that a file is left out; one cause can hit every file, and a warning each would bury it."""
    (console.warn if number <= NAMED else console.detail)(f"{problem}; left out")


@dataclass(frozen=True)
class TrainingFeatures:
    """What a run reads.

    Args:
        source: of the features. sampling: how their moments were chosen.
        recipe: without the modules that the source does not serve.
        scored: whether the test split is to be scored and a video of it has features, or a file.
    """

    source: FeatureSource
    sampling: str
    recipe: Recipe
    scored: bool

    def close(self) -> None:
        """End what makes the features."""
        if isinstance(self.source, PipelineSource):
            self.source.close()


def features_of_folder(
    folder: Path,
    root: DataRoot,
    recipe: Recipe,
    options: FeatureOptions,
    *,
    test: bool = True,
    complete: bool = True,
) -> TrainingFeatures:
    """Features of HDF5 files; those that evcap wrote need no name, see ``feature_folder.py``.

    Args:
        folder: of the files, or a data root.
        root: of the captions.
        recipe: of the run.
        options: name a preset, or single streams.
        test: whether the test split is to be scored at the end.
        complete: take the streams that evcap wrote and ``options`` do not name as well.

    Raises:
        DataError: a stream that must be there is not, two files could serve as one stream, a file cannot be used, or no
            training video has features; or the choice of the epoch needs a test split and there is none.
    """
    from evcap_cli.training.feature_folder import FeatureFolder

    found, addresses = FeatureFolder(folder), options.addresses()
    if complete and options.backbone is None:
        addresses = found.completed(addresses, recipe)
    _warn_unread(addresses, recipe, options)
    files, missing = found.open(recipe.read(addresses), options.backbones, root.aliases)
    for kind, record in files.backbones.items():
        console.detail(f"{kind}: {record['name']}, {record['dim']} wide, {', '.join(map(str, files.files[kind]))}")
    if surrogate_kinds(files.backbones):
        console.warn(SURROGATE_NOTE)
    fitting, off = recipe.reading(files.backbones)
    if missing or off:
        parts = [f"no {' and no '.join(f'{kind} ({name})' for kind, name in missing.items())}"] if missing else []
        parts += [f"trained without {' and '.join(off)}"] if off else []
        console.warn(f"{folder}: {'; '.join(parts)}")
    there = set(filter(files.has, {**root.train, **root.test}))
    _report(root, there, folder)
    return TrainingFeatures(files, files.sampling, fitting, test and _testable(root, there, recipe))


def features_of_videos(
    folder: Path,
    root: DataRoot,
    recipe: Recipe,
    options: FeatureOptions,
    *,
    test: bool = True,
    engine: EngineOptions | None = None,
) -> TrainingFeatures:
    """Features by the pipeline, of the backbones that the recipe reads; weights and options may name the others too.

    Args:
        folder: of the videos.
        root: of the captions.
        recipe: of the run.
        options: name the backbones.
        test: whether the test split is to be scored at the end.
        engine: whose workers make the features; None, or one without workers: this process does.

    Raises:
        UsageError: no training video was found; or the engine cannot be used.
        DataError: no such folder; or the choice of the epoch needs a test split and there is none.
        PluginError, WeightsError: a backbone cannot be loaded.
        WriteError: the workers of an engine would have no cache.
    """
    from evcap_cli.features.building import backbones_of, build_pipeline

    addresses = options.addresses()
    _warn_unread(addresses, recipe, options)
    videos = root.videos(folder)
    _report(root, videos, None)
    scored = test and _testable(root, videos, recipe)
    unused = {name for address in addresses.values() for name in (address, address.partition(":")[0])}
    read = replace(
        options,
        backbone=None,
        backbones={str(kind): address for kind, address in recipe.read(addresses).items()},
        allow_unused=options.allow_unused | unused,
        segment=f"from:{root.root}" if root.clips else options.segment,
    )
    if engine is not None and engine.distributed(options.device):
        from evcap_cli.training.engine_features import EngineSource

        wanted = {video: videos[video] for video in {**root.train, **(root.test if scored else {})} if video in videos}
        source: PipelineSource = EngineSource(read, engine, wanted)
    else:
        source = PipelineSource(build_pipeline(read, backbones_of(read)), videos)
    return TrainingFeatures(source, options.sampling or "moments", recipe, scored)


def _warn_unread(addresses: Mapping[Kind, str], recipe: Recipe, options: FeatureOptions) -> None:
    for kind in options.backbones.keys() - recipe.read(addresses).keys():
        console.warn(f"{recipe.system} does not read the {kind} stream here: --{kind} is not used")


def _report(root: DataRoot, there: Collection[str], features: Path | None) -> None:
    """Say what there is to train on.

    Args:
        root: of the captions.
        there: videos that have a file or features.
        features: folder of the features; None: ``there`` have files.

    Raises:
        DataError: no video of the training split has features. UsageError: none has a file.
    """
    captions = sum(len(several) for several in root.train.values())
    console.info(
        f"{root.root}: {counted(len(root.train), 'video')} with {counted(captions, 'caption')} to train on,"
        f" {len(root.test)} to test on"
    )
    if not any(video in there for video in root.train):
        if features is None:
            cause = "none of the training videos was found"
            raise UsageError(cause, path=root.root, hint="give their folder with --videos")
        first = next(iter(root.train))
        raise DataError(
            f"none of the {counted(len(root.train), 'training video')} has features here (the first is {first})",
            path=features,
            hint="check --features, --data and --subset",
        )
    missing = [video for video in {**root.train, **root.test} if video not in there]
    if missing:
        if features is None:
            lacks = counted(len(missing), "video was not found and is", "videos were not found and are")
        else:
            lacks = counted(len(missing), "video has no features and is", "videos have no features and are")
        console.warn(f"{lacks} left out: {listed(missing, _NAMED_MISSING)}")


def _testable(root: DataRoot, there: Collection[str], recipe: Recipe) -> bool:
    """Whether the test split can be scored; a warning says at the start that it cannot.

    Raises:
        DataError: it cannot, and the choice of the epoch needs it.
    """
    if any(video in there for video in root.test):
        return True
    cause = "the data root has no test split" if not root.test else "no video of the test split is there"
    if recipe.train.select == ORACLE:
        raise DataError(f"{cause}, which --select oracle needs", path=root.root, hint="use --select cfs")
    console.warn(f"{cause}: nothing will be scored at the end")
    return False
