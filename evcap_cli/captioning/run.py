"""What makes a caption run safe: the journal, taking over what is finished, whole outputs."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, Unpack

from evcap_cli import plugins
from evcap_cli.captioning.captioner import Captioner
from evcap_cli.captioning.engine_captioner import open_captioner
from evcap_cli.captioning.finished_records import FinishedRecords, OldRecords
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.engines.options import EngineOptions
from evcap_cli.errors import UsageError, WriteError
from evcap_cli.files import check_writable
from evcap_cli.inputs import gather, nothing_found, take_shard, typed_paths
from evcap_cli.interrupts import check_interrupted
from evcap_cli.output.journal import Journal
from evcap_cli.output.output_plan import CaptionPlan, check_collisions, plan_outputs
from evcap_cli.output.records import Record, error_fields
from evcap_cli.output.rendering import FormatError, rendered, write_files
from evcap_cli.output.trees import Tree
from evcap_cli.profiling import timed
from evcap_cli.sources import some_of

if TYPE_CHECKING:
    from evcap_cli.captioning.options import CaptionKeywords
    from evcap_cli.inputs import Source

UNFINISHED = "unfinished"
"""In the journal's folder: features of the videos under way."""


@dataclass
class Summary:
    """How a run ended.

    Attributes:
        total: videos of the run.
        done: captioned. failed: not captioned; their records say why.
        skipped: of those, taken over from an earlier run of the same plan.
        damaged: captioned, but more than a tenth of the picture or of the audio was lost.
        unfamiliar: captioned, but unlike the videos that the checkpoint was trained on.
        unwritten: what went wrong with whole outputs; the others are written.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    damaged: int = 0
    unfamiliar: int = 0
    unwritten: list[WriteError] = field(default_factory=list)

    def count(self, record: Record) -> None:
        """One more video is finished."""
        if record.status == "ok":
            self.done += 1
            self.damaged += record.lost_much
            self.unfamiliar += bool(record.unfamiliar)
        else:
            self.failed += 1

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some failed, 1 nothing done."""
        if self.failed == 0 and self.done == self.total > 0 and not self.unwritten:
            return 0
        return 3 if self.done else 1


def caption_videos(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    outputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    checkpoint: str | os.PathLike[str] = "demo",
    captioner: Captioner | None = None,
    engine: EngineOptions | None = None,
    tree_format: str = "srt",
    shard: str | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    fail_fast: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
    **options: Unpack[CaptionKeywords],
) -> Summary:
    """Caption videos into files: the safe run of ``evcap caption``.

    Outputs appear whole or not at all. A journal next to the first one (``OUT.partial/``) keeps what is finished: the
    same call after a kill, a full disk or an exception goes on there and ends with the same bytes.

    Args:
        inputs: videos, folders (recursive), patterns, "@list.txt".
        outputs: files by suffix (.jsonl, .srt, .vtt, .tsv, .html, and those of plugins), or "folder/" to mirror the
            inputs into.
        checkpoint: what to caption with, see ``load_captioner``.
        captioner: one that is loaded already, in place of ``checkpoint``, ``options`` and ``engine``.
        engine: where the work is done, as ``EngineOptions(engine="ray")``; None: in this process, or where ``device``
            names several ("cuda:0,cuda:1") in a process for each. Workers are started for this call and end with it.
        tree_format: of the files in a mirrored folder, such as "srt".
        shard: "i/n" takes the i-th of n parts, "slurm" that of the array task.
        limit: take the first videos only.
        retry_failed: read the old JSONL output and caption only what failed or is new.
        overwrite: caption again what is finished.
        fail_fast: stop at the first video that fails; whole outputs are not written then.
        on_record: called with each record made now; in sorted input order where this process makes them.
        options: fields of ``CaptionOptions``.

    Returns:
        How many videos were captioned, failed or taken over, and which outputs could not be written. A failed video
        does not raise: it has a record with an error in the JSONL output.

    Raises:
        UsageError: inputs or outputs that cannot be used, or outputs of another run in the way; and its subclasses, as
            in ``load_captioner``.
        WriteError: the journal or a mirrored folder cannot be written; what was finished stays.
        WorkersGone: there has been no worker for ``engine.wait_seconds``; what was finished stays.
        EvcapError: there is no video.

    Example:
        ```python
        import evcap_cli as evcap

        summary = evcap.caption_videos(
            ["videos/"], outputs=["out.srt", "out.jsonl"], segment="scenes", workers=4, timeout=60
        )
        print(f"{summary.done} of {summary.total} captioned, {summary.failed} failed")
        for problem in summary.unwritten:
            print(problem)
        ```
    """
    given = [*options, *(["engine"] if engine is not None else [])]
    if captioner is not None and given:
        raise UsageError(f"{given[0]} is given with a captioner, which has its own options")
    plan = plan_captions(typed_paths(inputs), typed_paths(outputs), tree_format=tree_format, shard=shard, limit=limit)
    if plan.outputs.stdout:
        raise UsageError("'-' as output is for `evcap caption`", hint="name a file, or use Captioner.caption_many")
    with ExitStack() as own:
        if captioner is None:
            chosen = CaptionOptions(os.fspath(checkpoint), **options)
            captioner = own.enter_context(closing(open_captioner(chosen, engine or EngineOptions())))
        return caption_plan(
            plan,
            captioner,
            retry_failed=retry_failed,
            overwrite=overwrite,
            fail_fast=fail_fast,
            on_record=on_record,
        )


def plan_captions(
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    tree_format: str = "srt",
    shard: str | None = None,
    limit: int | None = None,
) -> CaptionPlan:
    """Which videos a run captions, and into what; the arguments are those of ``caption_videos``.

    Raises:
        UsageError: something in it cannot work. EvcapError: there is no video.
    """
    targets = plan_outputs(outputs, tree_format, plugins.writers())
    plan = CaptionPlan(take_shard(gather(inputs), shard)[:limit], targets)
    check_collisions(plan)
    if not plan.sources:
        raise nothing_found(inputs, shard)
    return plan


def caption_plan(
    plan: CaptionPlan,
    captioner: Captioner,
    *,
    retry_failed: bool = False,
    overwrite: bool = False,
    fail_fast: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
    on_finished: Callable[[Iterable[Record]], object] = lambda _: None,
    summary: Summary | None = None,
) -> Summary:
    """Caption ``plan`` into its outputs; what an interrupted run finished is taken over.

    Args:
        plan: what to caption, and where to.
        captioner: the checkpoint with its backbones.
        retry_failed: take over what went well in the JSONL that is there.
        overwrite: take nothing over, and replace mirrored files of other settings.
        fail_fast: stop at the first video that fails; whole outputs are not written then.
        on_record: called with each record made now; in the plan's order where there is one worker, or no journal.
        on_finished: called with all records in the plan's order (fewer after ``fail_fast``), once the files are
            written; they are read from the journal as they are iterated. Not for trees and standard output alone.
        summary: counted up on the way, so that a caller knows how far a run came that ended with an error.

    Raises:
        UsageError: outputs of another run are in the way, or ``retry_failed`` finds no old records.
        WriteError: the journal or a tree cannot be written; what was finished stays there. Whole outputs that cannot
            be written are in the summary: the others are written, and the journal stays for the next run.
    """
    outputs = plan.outputs
    summary = Summary() if summary is None else summary
    summary.total = len(plan.sources)
    run = CaptionRun(plan, captioner, summary, fail_fast, on_record)
    old = _old_records(plan, captioner) if retry_failed else None
    for path, _ in outputs.files:
        check_writable(path)
    if outputs.journal is None:
        run.announced(plan.sources)
        return summary
    with _Trees(plan, captioner.settings, overwrite=overwrite) as trees:
        if not outputs.files and not outputs.stdout:
            run.into_trees(trees)
            return summary
        with Journal(outputs.journal, captioner.settings) as journal:
            records = run.journaled(journal, old, take_over=not overwrite, only_good=retry_failed or fail_fast)
            stopped = fail_fast and summary.failed > 0
            if not stopped:
                with timed("outputs"):
                    summary.unwritten += write_files(outputs.files, records)
                for source in plan.sources if trees.trees else ():
                    record = records.of(source.given, source.id)
                    summary.unwritten += [] if record is None else trees.write(source, record)
            on_finished(records)
            if not stopped and not summary.unwritten:
                journal.finish()
    return summary


@dataclass
class CaptionRun:
    """One run over a plan: counts and announces what comes out."""

    plan: CaptionPlan
    captioner: Captioner
    summary: Summary
    fail_fast: bool = False
    on_record: Callable[[Record], None] = lambda _: None

    def journaled(
        self, journal: Journal, old: OldRecords | None = None, *, take_over: bool = True, only_good: bool = False
    ) -> FinishedRecords:
        """All records of the plan, in its order: ``old`` ones, those that the journal has, and new ones.

        Args:
            journal: open; each new record is in it at once.
            old: of an earlier output.
            take_over: what the journal has of videos that have not changed.
            only_good: leave out records of videos that failed.
        """
        self.captioner.keep_unfinished(journal.folder / UNFINISHED)
        todo = array("q")
        with timed("reading"):
            for number, source in enumerate(self.plan.sources):
                check_interrupted()
                finished = journal.get(source.given, source.path)
                record = None if old is None else old.get(source.given)
                record = finished if record is None and take_over else record
                if record is not None and (record.status == "ok" or not only_good):
                    self.summary.skipped += 1
                    self.summary.count(record)
                else:
                    journal.forget(source.given)
                    todo.append(number)
        for source, record in self._made(some_of(self.plan.sources, todo)):
            with timed("journal"):
                journal.add(source.given, source.path, record)
            self.captioner.drop_unfinished(record)
            self._announce(record)
        return FinishedRecords(self.plan.sources, journal, old)

    def announced(self, sources: Sequence[Source]) -> None:
        """Announce the records of ``sources``, which nobody keeps."""
        for _, record in self._made(sources, in_order=True):
            self._announce(record)

    def into_trees(self, trees: _Trees) -> None:
        """Write each video's files as soon as its record is there: the tree itself is the journal."""
        numbered = enumerate(self.plan.sources)
        todo = array("q", (number for number, source in numbered if not trees.finished(source)))
        self.summary.skipped = self.summary.done = len(self.plan.sources) - len(todo)
        for source, record in self._made(some_of(self.plan.sources, todo)):
            problems = trees.write(source, record)
            made = (
                replace(record, status="failed", captions=(), error=error_fields(problems[0])) if problems else record
            )
            self._announce(made)

    def _made(self, todo: Sequence[Source], *, in_order: bool = False) -> Iterator[tuple[Source, Record]]:
        """New records, each as soon as it is finished, in any order unless ``in_order``."""
        with closing(self.captioner.finished(todo, in_order=in_order)) as made:
            for source, record in made:
                yield source, record
                if self.fail_fast and record.status == "failed":
                    return

    def _announce(self, record: Record) -> None:
        self.summary.count(record)
        self.on_record(record)


class _Trees:
    """The mirrored trees of a plan, open for one run; a video that failed has no file in any."""

    def __init__(self, plan: CaptionPlan, settings: Mapping[str, Any], *, overwrite: bool) -> None:
        self.trees = [
            (Tree(root, writer.suffix, settings, plan.sources, overwrite=overwrite), writer)
            for root, writer in plan.outputs.trees
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            for tree, _ in self.trees:
                stack.enter_context(tree)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *problem: Any) -> None:
        self._stack.__exit__(*problem)

    def finished(self, source: Source) -> bool:
        """Whether every tree has the file of ``source``."""
        return all(tree.finished(source) for tree, _ in self.trees)

    def write(self, source: Source, record: Record) -> list[FormatError]:
        """The files of one video; returns what writers failed with, after whose the other trees have theirs.

        Raises:
            WriteError: a file cannot be written.
        """
        problems: list[FormatError] = []
        for tree, writer in self.trees:
            text = None
            if record.status == "ok":
                try:
                    text = "".join(rendered(tree.place(source), writer, [record]))
                except FormatError as problem:
                    problems.append(problem)
            tree.write(source, text)
        return problems


def _old_records(plan: CaptionPlan, captioner: Captioner) -> OldRecords:
    """Records of the videos that went well in the run before, from the JSONL output."""
    path = next((path for path, writer in plan.outputs.files if writer.suffix == ".jsonl"), None)
    if path is None:
        raise UsageError("--retry-failed reads the old JSONL", hint="name it with -o, for example -o out.jsonl")
    return OldRecords(path, captioner.digest)
