"""``evcap caption``: parse, plan, call the library, say how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console, plugins
from evcap_cli.commands import options as shared
from evcap_cli.console import counted
from evcap_cli.errors import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, EXIT_SOME_FAILED, WriteError
from evcap_cli.inputs import Plan, check_collisions, gather, plan_outputs, take_shard
from evcap_cli.standard_streams import check_output

if TYPE_CHECKING:
    from evcap_cli.captioning.run import Summary
    from evcap_cli.inputs import Outputs
    from evcap_cli.output.records import Record

DRY_RUN_LINES = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(caption)


def caption(
    inputs: shared.Inputs,
    output: Annotated[
        list[str],
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A .srt, .vtt, .jsonl, .tsv or .html file, a folder/ to mirror the inputs into, or - for JSONL on "
            "standard output; may be given several times.",
        ),
    ],
    checkpoint: shared.Checkpoint = "demo",
    format_: Annotated[str, typer.Option("--format", help="Format of the files in a mirrored folder.")] = "srt",
    backbone: shared.Preset = None,
    appearance: shared.Appearance = None,
    motion: shared.Motion = None,
    object_: shared.Object = None,
    audio: shared.Audio = None,
    weights: shared.Weights = None,
    option: shared.Option = None,
    segment: shared.Segment = "whole",
    sampling: Annotated[
        str | None, typer.Option(help="Which frames: moments or epan.", show_default="as the checkpoint was trained")
    ] = None,
    audio_track: shared.AudioTrack = 0,
    beam_size: Annotated[int | None, typer.Option(min=1, help="Beams; 5 in the paper.", show_default="5")] = None,
    max_words: Annotated[int | None, typer.Option(min=1, help="Longest caption.", show_default="15")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=0, help="Power of the length normalisation.", show_default="1.6")
    ] = None,
    rerank: shared.RerankText = None,
    device: shared.Device = "auto",
    dtype: shared.Dtype = "auto",
    batch_size: shared.BatchSize = "auto",
    workers: shared.Workers = 2,
    timeout: shared.Timeout = 120.0,
    decoder_memory: shared.DecoderMemory = shared.DECODER_MEMORY,
    cache_dir: shared.CacheDir = None,
    no_cache: shared.NoCache = False,
    shard: shared.Shard = None,
    limit: shared.Limit = None,
    dry_run: shared.DryRun = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first video that fails.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Read the old JSONL, caption only what failed or is new.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do finished files of a mirrored folder again.")
    ] = False,
    config: shared.Config = None,
    quiet: shared.Quiet = False,  # noqa: ARG001  read by its callback
    verbose: shared.Verbose = False,  # noqa: ARG001
) -> None:
    """Caption videos: what happens, and what it feels like.

    Example: evcap caption videos/ -o out.srt -o out.jsonl
    """
    from evcap_cli.captioning.backbones import check_backbones
    from evcap_cli.captioning.engine import Captioning
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.captioning.run import Summary, caption_plan, nothing_found

    outputs = plan_outputs(output, format_, plugins.writers())
    if outputs.stdout:
        check_output()
    plan = Plan(take_shard(gather(inputs), shard)[:limit], outputs)
    check_collisions(plan)
    if not plan.sources:
        raise nothing_found(inputs, shard)
    settings = shared.backbone_settings(config, weights, option)
    choice = shared.rerank_choice(rerank)
    options = CaptionOptions(
        checkpoint=checkpoint,
        preset=backbone,
        backbones=shared.overrides(appearance, motion, object_, audio),
        presets=settings.presets,
        weights=settings.weights,
        backbone_options=settings.options,
        spare=settings.spare,
        device=device,
        dtype=dtype,
        batch_size=shared.batch_rows(batch_size),
        workers=workers,
        beam_size=beam_size,
        max_words=max_words,
        length_penalty=length_penalty,
        rerank=choice,
        segment=segment,
        sampling=sampling,
        audio_track=audio_track,
        cache=not no_cache,
        cache_dir=cache_dir,
        timeout=timeout,
        decoder_memory=shared.decoder_memory(decoder_memory),
    )
    if dry_run:
        if backbone or options.backbones or weights or option:  # reading the checkpoint takes its time
            check_backbones(options)
        _show(plan)
        return
    engine = Captioning(options)
    shared.note_demo(checkpoint)
    summary = Summary()
    stream = outputs.stdout and outputs.journal is None
    with console.progress(len(plan.sources), "captioning") as bar:

        def announce(record: Record) -> None:
            if stream:
                console.data(record.to_line() + "\n")
            bar.advance(note=record.path)
            tell(record)

        try:
            records, _ = caption_plan(
                plan,
                engine,
                retry_failed=retry_failed,
                overwrite=overwrite,
                fail_fast=fail_fast,
                on_record=announce,
                summary=summary,
            )
        except WriteError as problem:
            console.error(problem)
            raise typer.Exit(EXIT_SOME_FAILED if summary.done else EXIT_NOTHING_DONE) from None
        except KeyboardInterrupt:
            console.notice(interrupted(summary, outputs))
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if outputs.stdout and not stream:
        console.data("".join(record.to_line() + "\n" for record in records))
    for lost in summary.unwritten:
        console.error(lost)
    console.info(sentence(summary, outputs, stopped=fail_fast))
    raise typer.Exit(summary.exit_code)


def tell(record: Record) -> None:
    """Warnings and the error of one video, a line each."""
    for text in record.warnings:
        console.warn(f"{record.path}: {text}")
    if record.error is not None:
        console.error(f"{record.path}: {record.error['message']}")


def sentence(summary: Summary, outputs: Outputs, *, stopped: bool = False) -> str:
    """The last line of a run."""
    text = f"captioned {summary.done} of {counted(summary.total, 'video')}"
    if summary.skipped:
        text += f" ({summary.skipped} from an earlier run)"
    if summary.failed:
        text += f", {summary.failed} failed"
        if stopped:
            return f"{text}: stopped by --fail-fast; run again without it to go on"
    text += lost_much(summary.damaged)
    lost = {problem.path for problem in summary.unwritten}
    names = [str(path) for path, _ in outputs.files if str(path) not in lost] + [
        f"{root}/" for root, _ in outputs.trees
    ]
    names += ["standard output"] * outputs.stdout
    text += f": {', '.join(names)}" if names else ""
    return f"{text}; not all is written, {outputs.journal} keeps the captions for the next run" if lost else text


def lost_much(count: int) -> str:
    """What a last line says of videos that damage took much of."""
    whose = "its" if count == 1 else "their"
    return f", {counted(count, 'video')} lost more than a tenth of {whose} picture or sound" if count else ""


def interrupted(summary: Summary, outputs: Outputs) -> str:
    """The one line after Ctrl-C."""
    finished = summary.done + summary.failed
    if outputs.journal is None or not finished:
        return "interrupted"
    where = f"{outputs.trees[0][0]}/" if outputs.trees and not outputs.files else outputs.journal
    return f"interrupted: {counted(finished, 'video')} finished, kept in {where}; run the same command to go on"


def _show(plan: Plan) -> None:
    """What ``--dry-run`` prints: the plan, on standard output."""
    outputs = plan.outputs
    lines = []
    for source in plan.sources[:DRY_RUN_LINES]:
        targets = [str(target) for target, _ in outputs.tree_targets(source)]
        lines.append(" -> ".join([source.given, ", ".join(targets)]) if targets else source.given)
    if len(plan.sources) > DRY_RUN_LINES:
        lines.append(f"... and {len(plan.sources) - DRY_RUN_LINES} more")
    files = [str(path) for path, _ in outputs.files] + ["standard output"] * outputs.stdout
    lines.append(counted(len(plan.sources), "video") + (f" -> {', '.join(files)}" if files else ""))
    for line in lines:
        console.answer(line)
