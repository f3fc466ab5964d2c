"""``evcap extract``: fill the feature cache ahead of time, and write features as HDF5 for other research code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console, profiling
from evcap_cli.commands import options as shared
from evcap_cli.commands.run_flags import EngineFlags, takes
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_DONE, EXIT_NOTHING_DONE, EXIT_SOME_FAILED, UsageError
from evcap_cli.inputs import nothing_found

if TYPE_CHECKING:
    from evcap_cli.captioning.extracting import ExtractionPlan
    from evcap_cli.features.events import VideoDone
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.inputs import Source


@dataclass(frozen=True)
class ExtractFlags(EngineFlags):
    """Those of the feature stage, with a preset where nothing is named."""

    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", help="Preset of backbones: lite, resnet, clip, open, modern, ...", show_default="lite"
        ),
    ] = None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(takes(without=("no_cache",))(extract))


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
    shard: shared.Shard = None,
    limit: shared.Limit = None,
    dry_run: shared.DryRun = False,
    fail_fast: shared.FailFast = False,
    log_json: shared.LogJson = None,
    *,
    flags: ExtractFlags,
) -> None:
    """Compute the features of videos and keep them in the cache; with -o, write them as HDF5 as well.

    Without --backbone and single backbones, the preset lite is used; with single ones only, just those.

    Example: evcap extract videos/ --backbone lite

    Example: evcap extract videos/ --appearance clip --sampling epan -o features/clip_train.hdf5
    """
    from evcap_cli.captioning.extracting import Extraction, plan_extraction
    from evcap_cli.event_log import EventLog
    from evcap_cli.output.records import error_fields

    options, engine = flags.options(), flags.engine_options()
    plan = plan_extraction(inputs, options, output=output, shard=shard, limit=limit)
    files = {} if plan.export is None else plan.export.files
    if dry_run:
        _show(plan, options)
        return
    if not plan.sources:
        raise nothing_found(inputs)
    with EventLog(log_json, "extract") as log, profiling.ended():
        extraction = Extraction(plan, options, engine)
        log.begin(len(plan.sources), [str(path) for path in files.values()])
        with console.progress(len(plan.sources), "extracting") as bar:

            def announce(source: Source, video: VideoDone) -> None:
                for text in video.warnings:
                    console.warn(f"{source.given}: {text}")
                if video.error is not None:
                    console.error(f"{source.given}: {video.error.message}")
                seconds = 0.0 if video.info is None else float(video.info.duration or 0)
                bar.advance(note=source.given, seconds=seconds, failed=video.error is not None)
                error = None if video.error is None else error_fields(video.error)
                log.video(source.given, source.id, bar, seconds=seconds, error=error, warnings=video.warnings)

            summary = extraction.run(fail_fast=fail_fast, on_video=announce)
            log.progress(bar)
        for kind, path in files.items():
            written = f"{path}: {kind} features of {counted(summary.done, 'video')}"
            console.info(written if summary.exported else f"{path} was not written")
        extraction.check_cache()
        text = f"features of {summary.done} of {counted(len(plan.sources), 'video')} are in {extraction.cache.root}"
        text += f" ({summary.cached} were there before)" if summary.cached else ""
        text += f", {summary.failed} failed" if summary.failed else ""
        console.info(text + shared.lost_much(summary.damaged))
        if summary.failed:
            raise typer.Exit(EXIT_SOME_FAILED if summary.done else EXIT_NOTHING_DONE)
        log.finish(EXIT_DONE)


def _show(plan: ExtractionPlan, options: FeatureOptions) -> None:
    """What ``--dry-run`` prints: the plan, on standard output.

    Raises:
        UsageError, PluginError: a backbone cannot be used, or there is no video.
    """
    from evcap_cli.backbones.loading import make_backbones

    make_backbones(plan.addresses, options.weights, options.backbone_options, options.allow_unused)
    shared.show_some((source.given for source in plan.sources), len(plan.sources))
    names = ", ".join(f"{kind} {name}" for kind, name in plan.addresses.items())
    console.answer(f"{counted(len(plan.sources), 'video')}: {names}")
    for path in plan.export.files.values() if plan.export else ():
        console.answer(f"-> {path}")
    if not plan.sources:
        raise UsageError("nothing to do", hint="check the inputs")
