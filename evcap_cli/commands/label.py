"""``evcap label``: videos and a captioner to a data root that ``evcap train`` takes."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from evcap_cli import console, interrupts, profiling
from evcap_cli.commands import options as shared
from evcap_cli.commands.caption import report_problems
from evcap_cli.commands.run_flags import CaptionFlags, takes
from evcap_cli.console import counted
from evcap_cli.errors import (
    EXIT_INTERRUPTED,
    EXIT_NOTHING_DONE,
    EXIT_SOME_FAILED,
    CaptionerStopped,
    WorkersGone,
    WriteError,
)

if TYPE_CHECKING:
    from evcap_cli.captioning.captioner import Captioner
    from evcap_cli.captioning.run import Summary
    from evcap_cli.labelling.labelled_root import LabelPlan, Labels
    from evcap_cli.output.records import Record

DEFAULT_CAPTIONS: Final = 5
NAMED: Final = 3
"""Videos of one kind that are named one by one."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(takes(without=("no_emotion",))(label))


def label(
    inputs: shared.Inputs,
    checkpoint: shared.Checkpoint,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="ROOT", help="Folder of the data root.")],
    captions: Annotated[
        int | None,
        typer.Option(
            "--captions",
            min=1,
            max=50,
            metavar="N",
            help="Captions a video or segment at most: good ones that differ.",
            show_default="5; 1 of a captioner that writes one",
        ),
    ] = None,
    min_familiarity: Annotated[
        float | None,
        typer.Option(
            "--min-familiarity",
            min=0.0,
            max=1.0,
            help="Leave out videos less familiar to the checkpoint, such as 0.01.",
        ),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(
            "--min-agreement",
            min=0.0,
            max=1.0,
            help="Leave out captions that agree less with the captioner's others of the video, such as 0.3.",
        ),
    ] = None,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0.0, max=0.9, help="Share of the videos that becomes the test split.")
    ] = 0.2,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Another number: another split, and other captions where drawn.")
    ] = 0,
    limit: shared.Limit = None,
    dry_run: shared.DryRun = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the root of an earlier run; its candidates are used again.")
    ] = False,
    log_json: shared.LogJson = None,
    *,
    flags: CaptionFlags,
) -> None:
    """Write a captioner's captions as a data set to train on; all that descends from it says "labels by NAME".

    Videos are linked, not copied. ROOT/candidates keeps all captions: a run that was stopped goes on there, and one
    with --overwrite and other filters captions nothing again.

    Example: evcap label clips/ -c runs/teacher -o labelled --captions 5 --min-agreement 0.3
    """
    from evcap_cli.captioning.engine_captioner import open_captioner
    from evcap_cli.captioning.run import Summary
    from evcap_cli.event_log import EventLog
    from evcap_cli.inputs import gather, nothing_found
    from evcap_cli.labelling.label_run import CANDIDATES, check_labelling, label_videos
    from evcap_cli.labelling.labelled_root import LabelPlan, left_out_lines

    sources = gather(inputs)[:limit]
    if not sources:
        raise nothing_found(inputs)
    videos = check_labelling(sources, output, overwrite=overwrite)
    options, engine = flags.caption_options(checkpoint), flags.engine_options()
    if dry_run:
        shared.show_some((source.given for source in sources), len(sources))
        console.answer(f"{counted(len(sources), 'video')} -> {output}")
        return
    summary = Summary()
    with ExitStack() as shown:
        log = shown.enter_context(EventLog(log_json, "label"))
        shown.enter_context(profiling.ended())
        captioner = shown.enter_context(closing(open_captioner(options, engine, emotions=False)))
        shared.note_demo(checkpoint)
        plan = LabelPlan(captions or DEFAULT_CAPTIONS, test_share, seed, min_familiarity, min_agreement)
        plan = prepared(captioner, plan, least=captions)
        log.begin(len(sources), [str(output)])
        bar = shown.enter_context(console.progress(len(sources), "labelling"))

        def announce(record: Record) -> None:
            bar.take_over(summary.skipped)
            bar.advance(note=record.path, seconds=record.duration, failed=record.error is not None)
            report_problems(record)
            log.record(record, bar)

        try:
            labels = label_videos(
                sources, videos, output, captioner, plan, again=overwrite, on_record=announce, summary=summary
            )
        except (WriteError, CaptionerStopped, WorkersGone) as problem:
            console.error(problem)
            raise typer.Exit(EXIT_SOME_FAILED if summary.done else EXIT_NOTHING_DONE) from None
        except KeyboardInterrupt:
            console.notice(interrupted(summary, output / CANDIDATES))
            log.finish(interrupts.exit_code())
            raise typer.Exit(EXIT_INTERRUPTED) from None
        bar.take_over(summary.skipped)
        log.progress(bar)
        log.finish(summary.exit_code)
    for line in left_out_lines(labels, plan, most=None if flags.verbose else NAMED):
        console.info(line)
    if summary.unfamiliar and min_familiarity is None:
        unlike = counted(summary.unfamiliar, "video is", "videos are")
        console.warn(
            f"{unlike} unlike those that {captioner.name} was trained on: --overwrite --min-familiarity 0.01 leaves"
            " them out"
        )
    console.info(labels.sentence(output))
    say_next(labels, output, videos.folder, plan)
    raise typer.Exit(summary.exit_code)


def prepared(captioner: Captioner, plan: LabelPlan, *, least: int | None) -> LabelPlan:
    """``plan``, with a captioner that can serve it; where the user names no number of captions, one may be enough.

    Raises:
        UsageError: it cannot.
    """
    from dataclasses import replace

    from evcap_cli.errors import UsageError
    from evcap_cli.labelling.label_run import prepare_captioner

    try:
        prepare_captioner(captioner, plan)
    except UsageError as problem:
        alone = replace(plan, captions=1)
        if least is not None or alone.candidates > 1 or plan.candidates == 1:
            raise
        prepare_captioner(captioner, alone)
        console.info(f"{problem.path}: {problem.cause}")
        return alone
    return plan


def say_next(labels: Labels, root: Path, folder: Path, plan: LabelPlan) -> None:
    """What to know of the root, and what to do next."""
    short = labels.short_of(plan.captions)
    if short:
        console.info(f"{counted(short, 'clip has', 'clips have')} fewer than {plan.captions} captions that differ")
    videos = "" if labels.linked else f" --videos {folder}"
    if not labels.linked:
        console.warn(f"{root}/videos could not be linked to {folder}")
    console.info(f"see what it is worth, and how to train on it: evcap data check {root}{videos}")


def interrupted(summary: Summary, candidates: Path) -> str:
    """The one line after Ctrl-C."""
    finished = summary.done + summary.failed
    if not finished:
        return "interrupted"
    return f"interrupted: {counted(finished, 'video')} finished, kept in {candidates}; run the same command to go on"
