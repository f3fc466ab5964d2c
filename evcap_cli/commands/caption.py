"""``evcap caption``: parse, plan, call the library, say how it ended."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Annotated

import typer

from evcap_cli import console, interrupts, profiling
from evcap_cli.commands import options as shared
from evcap_cli.commands.run_flags import CaptionFlags, takes
from evcap_cli.console import counted
from evcap_cli.errors import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING_DONE,
    EXIT_SOME_FAILED,
    CaptionerStopped,
    UsageError,
    WorkersGone,
    WriteError,
)
from evcap_cli.standard_streams import check_output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from evcap_cli.captioning.run import Summary
    from evcap_cli.inputs import Source
    from evcap_cli.output.output_plan import CaptionPlan, Outputs
    from evcap_cli.output.records import Record
    from evcap_cli.profiling import Profile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(takes()(caption))


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
    shard: shared.Shard = None,
    limit: shared.Limit = None,
    dry_run: shared.DryRun = False,
    fail_fast: shared.FailFast = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Read the old JSONL, caption only what failed or is new.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Do finished files of a mirrored folder again.")
    ] = False,
    log_json: shared.LogJson = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say at the end where the time went, and what bounds the run.")
    ] = False,
    *,
    flags: CaptionFlags,
) -> None:
    """Caption videos: what happens, and which emotion it conveys.

    Example: evcap caption videos/ -o out.srt -o out.jsonl
    """
    from evcap_cli.captioning.backbones import check_captioner
    from evcap_cli.captioning.engine_captioner import open_captioner
    from evcap_cli.captioning.run import Summary, caption_plan, plan_captions
    from evcap_cli.event_log import EventLog

    plan = plan_captions(inputs, output, tree_format=format_, shard=shard, limit=limit)
    outputs = plan.outputs
    if outputs.stdout:
        check_output()
    options, engine = flags.caption_options(checkpoint), flags.engine_options()
    if profile and engine.distributed(options.device):
        raise UsageError("--profile measures one process", hint="leave it out, or take one device and --engine local")
    if dry_run:
        named = options.backbone or options.backbones or flags.weights or flags.option
        check_captioner(options, with_backbones=bool(named))
        _show(plan)
        return
    with EventLog(log_json, "caption") as log, profiling.ended(), ExitStack() as shown:
        captioner = shown.enter_context(closing(open_captioner(options, engine)))
        shared.note_demo(checkpoint)
        log.begin(len(plan.sources), [*map(str, outputs.paths), *["-"] * outputs.stdout])
        measured = profiling.begin() if profile else None
        summary = Summary()
        stream = outputs.stdout and outputs.journal is None
        bar = shown.enter_context(console.progress(len(plan.sources), "captioning"))

        def announce(record: Record) -> None:
            if stream:
                console.data(record.to_line() + "\n")
            bar.take_over(summary.skipped)
            bar.advance(note=record.path, seconds=record.duration, failed=record.error is not None)
            report_problems(record)
            log.record(record, bar)

        def finish(records: Iterable[Record]) -> None:
            shown.close()  # data on a terminal does not share it with a bar
            for record in records if outputs.stdout else ():
                console.data(record.to_line() + "\n")

        try:
            caption_plan(
                plan,
                captioner,
                retry_failed=retry_failed,
                overwrite=overwrite,
                fail_fast=fail_fast,
                on_record=announce,
                on_finished=finish,
                summary=summary,
            )
        except (WriteError, CaptionerStopped, WorkersGone) as problem:
            console.error(problem)
            raise typer.Exit(EXIT_SOME_FAILED if summary.done else EXIT_NOTHING_DONE) from None
        except KeyboardInterrupt:
            console.notice(interrupted(summary, outputs))
            log.finish(interrupts.exit_code())
            raise typer.Exit(EXIT_INTERRUPTED) from None
        shown.close()
        for lost in summary.unwritten:
            console.error(lost)
        if summary.unfamiliar:
            console.warn(unfamiliar(summary, captioner.name))
        console.info(sentence(summary, outputs, stopped=fail_fast))
        if measured is not None:
            show_profile(measured, options.workers)
        bar.take_over(summary.skipped)
        log.progress(bar)
        log.finish(summary.exit_code, unwritten=[str(lost) for lost in summary.unwritten])
        raise typer.Exit(summary.exit_code)


def show_profile(measured: Profile, workers: int) -> None:
    """Where the time of a run went, on standard error."""
    rows = measured.rows(workers)
    wide = max(len(stage) for _, stage, _, _ in rows)
    for who, stage, seconds, share in rows:
        console.notice(f"{who:<9} {stage:<{wide}} {seconds:>9} s {share:>6}")
    console.notice(measured.bound_by(workers, os.cpu_count() or 1))


def report_problems(record: Record) -> None:
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
    text += shared.lost_much(summary.damaged)
    lost = {problem.path for problem in summary.unwritten}
    names = [str(path) for path, _ in outputs.files if str(path) not in lost] + [
        f"{root}/" for root, _ in outputs.trees
    ]
    names += ["standard output"] * outputs.stdout
    text += f": {', '.join(names)}" if names else ""
    return f"{text}; not all is written, {outputs.journal} keeps the captions for the next run" if lost else text


def unfamiliar(summary: Summary, checkpoint: str) -> str:
    """The one line on videos that the checkpoint was not made for."""
    return (
        f"{counted(summary.unfamiliar, 'video is', 'videos are')} unlike those that {checkpoint} was trained on: for"
        f" captions to trust use -c smolvlm2 (a 2 GB download), or train a checkpoint on your own videos (evcap train)"
    )


def interrupted(summary: Summary, outputs: Outputs) -> str:
    """The one line after Ctrl-C."""
    finished = summary.done + summary.failed
    if outputs.journal is None or not finished:
        return "interrupted"
    where = f"{outputs.trees[0][0]}/" if outputs.trees and not outputs.files else outputs.journal
    return f"interrupted: {counted(finished, 'video')} finished, kept in {where}; run the same command to go on"


def _show(plan: CaptionPlan) -> None:
    """What ``--dry-run`` prints: the plan, on standard output."""
    outputs = plan.outputs
    lines = (_shown(source, outputs) for source in plan.sources)
    shared.show_some(lines, len(plan.sources))
    files = [str(path) for path, _ in outputs.files] + ["standard output"] * outputs.stdout
    console.answer(counted(len(plan.sources), "video") + (f" -> {', '.join(files)}" if files else ""))


def _shown(source: Source, outputs: Outputs) -> str:
    targets = ", ".join(str(target) for target, _ in outputs.tree_targets(source))
    return f"{source.given} -> {targets}" if targets else source.given
