"""``evcap extract``: fill the feature cache ahead of time, and write features as HDF5 for other research code."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console
from evcap_cli.commands import options as shared
from evcap_cli.commands.caption import lost_much
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_NOTHING_DONE, EXIT_SOME_FAILED, EvcapError, UsageError, WriteError
from evcap_cli.inputs import gather, take_shard
from evcap_cli.paths import same_file_groups

if TYPE_CHECKING:
    from evcap_cli.features.pipeline import FeaturePipeline
    from evcap_cli.output.features_hdf5 import ExportPlan, FeatureExport

DRY_RUN_LINES = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(extract)


def extract(
    inputs: shared.Inputs,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Write the features too: x.hdf5 (of several streams x_<kind>.hdf5), or a folder/ for <backbone>.hdf5.",
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Preset of backbones: lite, resnet, clip, ...", show_default="lite")
    ] = None,
    appearance: shared.Appearance = None,
    motion: shared.Motion = None,
    object_: shared.Object = None,
    audio: shared.Audio = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    segment: shared.Segment = "whole",
    sampling: shared.Sampling = "moments",
    audio_track: shared.AudioTrack = 0,
    device: shared.Device = "auto",
    dtype: shared.Dtype = "auto",
    batch_size: shared.BatchSize = "auto",
    workers: shared.Workers = 2,
    timeout: shared.Timeout = 120.0,
    decoder_memory: shared.DecoderMemory = shared.DECODER_MEMORY,
    cache_dir: shared.CacheDir = None,
    shard: shared.Shard = None,
    limit: shared.Limit = None,
    dry_run: shared.DryRun = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first video that fails.")] = False,
    config: shared.Config = None,
    quiet: shared.Quiet = False,  # noqa: ARG001  read by its callback
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Compute the features of videos and keep them in the cache; with -o, write them as HDF5 as well.

    Without --backbone and single backbones, the preset lite is used; with single ones only, just those.

    Example: evcap extract videos/ --backbone lite

    Example: evcap extract videos/ --appearance clip --sampling epan -o features/clip_train.hdf5
    """
    from evcap_cli.backbones.loading import load_backbones, make_backbones
    from evcap_cli.backbones.presets import backbone_addresses
    from evcap_cli.files import cause_of
    from evcap_cli.output.features_hdf5 import plan_export

    chosen = take_shard(gather(inputs), shard)[:limit]
    overrides = shared.overrides(appearance, motion, object_, audio)
    settings = shared.backbone_settings(config, weights, option)
    addresses = backbone_addresses(backbone or (None if overrides else "lite"), overrides, settings.presets)
    plan = None if output is None else plan_export(output, addresses, chosen, segment)
    if dry_run:
        make_backbones(addresses, settings.weights, settings.options, settings.spare)
        for source in chosen[:DRY_RUN_LINES]:
            console.answer(source.given)
        if len(chosen) > DRY_RUN_LINES:
            console.answer(f"... and {len(chosen) - DRY_RUN_LINES} more")
        console.answer(
            f"{counted(len(chosen), 'video')}: {', '.join(f'{kind} {name}' for kind, name in addresses.items())}"
        )
        for path in plan.files.values() if plan else ():
            console.answer(f"-> {path}")
        if not chosen:
            raise UsageError("nothing to do", hint="check the inputs")
        return
    if not chosen:
        raise EvcapError(
            "no video found", path=", ".join(inputs), hint="check the folder, or name the files themselves"
        )

    from evcap_cli.devices import choose_device, choose_dtype
    from evcap_cli.features.cache import FeatureCache
    from evcap_cli.features.pipeline import FeaturePipeline, VideoDone

    cache = FeatureCache(cache_dir)
    cache.check_writable()
    if plan is not None:
        plan.check_writable()
    where = choose_device(device)
    pipeline = FeaturePipeline(
        load_backbones(
            addresses,
            weights=settings.weights,
            options=settings.options,
            spare=settings.spare,
            device=where,
            dtype=choose_dtype(dtype, where),
        ),
        cache=cache,
        segmentation=segment,
        sampling=sampling,
        workers=workers,
        batch_size=shared.batch_rows(batch_size),
        device=where,
        timeout=timeout,
        decoder_memory=shared.decoder_memory(decoder_memory),
        audio_track=audio_track,
    )
    done = failed = known = damaged = 0
    with ExitStack() as stack:
        export = stack.enter_context(_export(plan, pipeline)) if plan else None
        bar = stack.enter_context(console.progress(len(chosen), "extracting"))
        features = None
        groups = same_file_groups((number, source.path) for number, source in enumerate(chosen))
        for event in pipeline.run([chosen[group[0]].path for group in groups]):
            if not isinstance(event, VideoDone):
                features = event.features
                continue
            for number in groups[event.video]:  # several where links name one file: it is decoded once
                given = chosen[number].given
                for text in event.warnings:
                    console.warn(f"{given}: {text}")
                if event.error is None:
                    done, known, damaged = done + 1, known + event.from_cache, damaged + event.loss.serious
                    if export is not None and features is not None:
                        export.add(number, features)
                else:
                    failed += 1
                    console.error(f"{given}: {event.error.message}")
                bar.advance(note=given)
            features = None
            if fail_fast and failed:
                break
        whole = done and not (fail_fast and failed)
        if export is not None and whole:
            export.commit()
    for kind, path in plan.files.items() if plan else ():
        console.info(f"{path}: {kind} features of {counted(done, 'video')}" if whole else f"{path} was not written")
    if cache.failure is not None:
        raise WriteError(
            f"not all features could be kept ({cause_of(cache.failure)})",
            path=cache.root,
            hint="free space or choose another --cache-dir, then run the same command again: it goes on from there",
        )
    text = f"features of {done} of {counted(len(chosen), 'video')} are in {cache.root}"
    text += f" ({known} were there before)" if known else ""
    console.info(text + (f", {failed} failed" if failed else "") + lost_much(damaged))
    if failed:
        raise typer.Exit(EXIT_SOME_FAILED if done else EXIT_NOTHING_DONE)


def _export(plan: ExportPlan, pipeline: FeaturePipeline) -> FeatureExport:
    from evcap_cli.checkpoints.checkpoint import backbone_record
    from evcap_cli.output.features_hdf5 import FeatureExport

    records = {kind: backbone_record(backbone) for kind, backbone in pipeline.backbones.items()}
    return FeatureExport(plan, records, pipeline.plan.sampling)
