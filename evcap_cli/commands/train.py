"""``evcap train``: from a data root and its videos to a checkpoint. A rerun of the same command goes on."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.training.config import Recipe

MODULES = {"fine-grained": "fine_grained", "audio-visual": "audio_visual"}
BOOTSTRAP = 1000
STALE = ("state", "tensorboard", "log.jsonl", "test.json", "test.jsonl")
"""What --overwrite removes of an earlier run; the checkpoint's files are replaced whole at the end."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    backbone: Annotated[str | None, typer.Option("--backbone", help="Preset of backbones: lite, resnet, clip.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", envvar="EVCAP_DATA", metavar="ROOT", help="EmVidCap data root.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of the videos.", show_default="ROOT/videos")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="RUN", help="Run folder.", show_default="runs/MODEL-BACKBONE-DATE"),
    ] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="paper, paper-literal, demo, or a TOML file.")] = "paper",
    model: Annotated[str, typer.Option("--model", help="The system to train.")] = "fusion",
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Leave a module out: fine-grained or audio-visual.")
    ] = None,
    subset: Annotated[str, typer.Option("--subset", help="Part of EmVidCap: L, S or both.")] = "L",
    glove: Annotated[
        Path | None, typer.Option("--glove", metavar="FILE", help="glove.6B.300d.txt or GloVe_300.json to start from.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=0, show_default="30")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Captions a step.", show_default="128")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Learning rate.", show_default="7e-4")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, show_default="0")] = None,
    select: Annotated[
        str | None, typer.Option("--select", help="What chooses the epoch: cfs, loss or last.", show_default="cfs")
    ] = None,
    early_stop: Annotated[
        int | None, typer.Option("--early-stop", min=0, help="Stop after N epochs without a better one.")
    ] = None,
    appearance: shared.Appearance = None,
    motion: shared.Motion = None,
    object_: shared.Object = None,
    audio: shared.Audio = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    sampling: shared.Sampling = "moments",
    audio_track: shared.AudioTrack = 0,
    device: shared.Device = "auto",
    dtype: shared.Dtype = "auto",
    workers: shared.Workers = 2,
    timeout: shared.Timeout = 120.0,
    cache_dir: shared.CacheDir = None,
    no_cache: shared.NoCache = False,
    test: Annotated[bool, typer.Option("--test/--no-test", help="Score the test split once, at the end.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew instead of going on.")] = False,
    print_config: Annotated[bool, typer.Option("--print-config", help="Print the recipe with all values.")] = False,
    config: shared.Config = None,
    quiet: shared.Quiet = False,  # noqa: ARG001  read by its callback
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Train the captioner on EmVidCap, or on a data set in its layout.

    A rerun of the same command goes on after the last finished epoch.

    Example: evcap train --backbone lite --data demo-data -o runs/demo --recipe demo
    """
    from evcap_cli.training.config import load_recipe

    if model != "fusion":
        raise UsageError(f"unknown --model {model!r}", hint="this version trains: fusion")
    unknown = [name for name in without or [] if name not in MODULES]
    if unknown:
        raise UsageError(f"unknown --without {unknown[0]!r}", hint=f"one of: {', '.join(MODULES)}")
    chosen = load_recipe(recipe).with_values(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        select=select,
        early_stop=early_stop,
        precision=None if dtype == "auto" else dtype,
        model={MODULES[name]: False for name in without or []},
    )
    if print_config:
        typer.echo(chosen.to_toml(), nl=False)
        return

    from evcap_cli.backbones.presets import backbone_addresses

    overrides = shared.overrides(appearance, motion, object_, audio)
    settings = shared.backbone_settings(config, weights, option)
    addresses = backbone_addresses(backbone, overrides, settings.presets)
    if not addresses:
        raise UsageError("no backbone is named", hint="give --backbone lite, which needs no download, resnet or clip")
    root = _open(data, subset)
    run = output or Path("runs") / f"{model}-{backbone or 'own'}-{date.today().isoformat()}"
    _prepare_folder(run, overwrite)
    found = root.videos(videos or root.root / "videos")
    _tell(root, found)
    pipeline = _pipeline(
        addresses,
        settings=settings,
        device=device,
        dtype=dtype,
        sampling=sampling,
        audio_track=audio_track,
        workers=workers,
        timeout=timeout,
        cache_dir=cache_dir,
        cache=not no_cache,
    )
    _train(chosen, root, pipeline, found, run, device, glove, sampling, test)


def _open(data: Path | None, subset: str) -> DataRoot:
    from evcap_cli.data.emvidcap import HOW_TO_GET, SUBSETS, DataRoot

    if subset not in SUBSETS:
        raise UsageError(f"--subset {subset!r} is not one of {', '.join(SUBSETS)}")
    if data is None:
        raise UsageError("no data set to train on", hint=HOW_TO_GET)
    root = DataRoot.open(data, cast("Any", subset))
    if not root.train:
        raise DataError("holds test captions only: nothing to train on", path=data, hint=HOW_TO_GET)
    for warning in root.warnings:
        console.warn(warning)
    return root


def _prepare_folder(run: Path, overwrite: bool) -> None:
    import shutil

    from evcap_cli.output.atomic import check_writable
    from evcap_cli.training.log import FILE

    check_writable(run / FILE)
    if overwrite:
        for name in STALE:
            path = run / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _tell(root: DataRoot, found: dict[str, Path]) -> None:
    captions = sum(len(several) for several in root.train.values())
    console.info(
        f"{root.root}: {len(root.train)} videos with {captions} captions to train on, {len(root.test)} to test on"
    )
    missing = [video for video in [*root.train, *root.test] if video not in found]
    if len(missing) == len({*root.train, *root.test}):
        raise UsageError("none of the videos was found", path=root.root, hint="give their folder with --videos")
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        console.warn(f"{len(missing)} videos were not found and are left out: {names}")


def _pipeline(
    addresses: dict[Kind, str],
    *,
    settings: shared.BackboneSettings,
    device: str,
    dtype: str,
    sampling: str,
    audio_track: int,
    workers: int,
    timeout: float,
    cache_dir: Path | None,
    cache: bool,
) -> FeaturePipeline:
    from evcap_cli.backbones.loading import load_backbones
    from evcap_cli.devices import choose_device, choose_dtype
    from evcap_cli.features.cache import FeatureCache
    from evcap_cli.features.pipeline import FeaturePipeline

    where = choose_device(device)
    loaded = load_backbones(
        addresses,
        weights=settings.weights,
        options=settings.options,
        spare=settings.spare,
        device=where,
        dtype=choose_dtype(dtype, where),
    )
    return FeaturePipeline(
        loaded,
        cache=FeatureCache(cache_dir) if cache else None,
        sampling=sampling,
        workers=workers,
        device=where,
        timeout=timeout,
        audio_track=audio_track,
    )


def _train(
    recipe: Recipe,
    root: DataRoot,
    pipeline: FeaturePipeline,
    videos: dict[str, Path],
    run: Path,
    device: str,
    glove: Path | None,
    sampling: str,
    test: bool,
) -> None:
    from evcap_cli.devices import choose_device
    from evcap_cli.training.sources import PipelineSource
    from evcap_cli.training.trainer import Trainer

    source = PipelineSource(pipeline, videos)
    trainer = Trainer(
        recipe,
        root.train,
        root.lexicon,
        source,
        run,
        device=choose_device(device).type,
        glove=glove,
        sampling=sampling,
        command=shlex.join(["evcap", *sys.argv[1:]]),
    )
    result = trainer.fit()
    if not trainer.accelerator.is_main_process:
        return
    if test and root.test and any(video in videos for video in root.test):
        _test(trainer, root)
    chosen = f"epoch {result.best_epoch} of {len(result.history)}" if result.history else "untrained"
    console.info(f"{run}: checkpoint written ({chosen}); use it with `evcap caption VIDEOS -c {run} -o out.srt`")


def _test(trainer: Any, root: DataRoot) -> None:
    """One evaluation on the test split, after the epoch was chosen without it."""
    from evcap_cli.output.atomic import write_whole
    from evcap_cli.scoring.report import table

    captions, scores = trainer.test(root.test, bootstrap=BOOTSTRAP)
    lines = (json.dumps({"video_id": video, "caption": text}) + "\n" for video, text in captions.items())
    write_whole(trainer.run / "test.jsonl", "".join(lines))
    write_whole(trainer.run / "test.json", json.dumps(scores.to_dict(), indent=1) + "\n")
    for note in scores.notes:
        console.warn(note)
    console.info("test split:")
    for line in table(scores).splitlines():
        console.info(f"  {line}")
