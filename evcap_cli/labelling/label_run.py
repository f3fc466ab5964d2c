"""``evcap label``: caption videos, keep all candidates in a journal, and write what is chosen of them as a data root.

The journal stays in the root, ``ROOT/candidates/``: the same call after a kill goes on there, and another filter, split
or number of captions needs no captioner's work again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli.captioning.run import CaptionRun, Summary
from evcap_cli.data.imports.video_names import VideoNames
from evcap_cli.data.root_files import check_lexicon, check_link, check_root
from evcap_cli.errors import EvcapError, UsageError
from evcap_cli.labelling.labelled_root import (
    MADE_BY,
    LabelPlan,
    Labels,
    common_folder,
    label_name,
    take_labels,
    write_labels,
)
from evcap_cli.output.journal import Journal
from evcap_cli.output.output_plan import CaptionPlan
from evcap_cli.systems.clip_captioner import Several

if TYPE_CHECKING:
    from evcap_cli.captioning.captioner import Captioner
    from evcap_cli.inputs import Source
    from evcap_cli.output.records import Record

CANDIDATES: Final = "candidates"


def check_labelling(sources: Sequence[Source], root: Path, *, overwrite: bool) -> VideoNames:
    """See that labels of ``sources`` can be written to ``root``; the folder that the videos lie in.

    Raises:
        UsageError, DataError: a data set is in the way, or the videos have no folder in common.
    """
    check_root(root, MADE_BY, overwrite=overwrite)
    folder = common_folder(sources)
    check_link(root, folder)
    return VideoNames(folder, allow_empty=True)  # the sources are videos, whatever their suffixes


def prepare_captioner(captioner: Captioner, plan: LabelPlan) -> None:
    """Let a captioner write the candidates of ``plan``.

    Raises:
        UsageError: it writes one caption, or says no familiarity, and the plan needs it.
        DataError: its lexicon cannot be files.
    """
    check_lexicon(captioner.lexicon, captioner.name)
    if plan.min_familiarity is not None and not captioner.knows_familiarity:
        raise UsageError(
            "has no summary of training videos: --min-familiarity has nothing to go by",
            path=captioner.name,
            hint="leave it out, or take a checkpoint that this version of evcap train wrote",
        )
    if plan.candidates > 1:
        try:
            captioner.write_several(Several(plan.candidates, plan.seed))
        except UsageError as problem:
            flags = ["--captions 1"] if plan.captions > 1 else []
            flags += [] if plan.min_agreement is None else ["no --min-agreement"]
            hint = f"give {' and '.join(flags)}, or {problem.hint}"
            raise UsageError(problem.cause, path=problem.path, hint=hint) from None


def label_videos(
    sources: Sequence[Source],
    videos: VideoNames,
    root: Path,
    captioner: Captioner,
    plan: LabelPlan,
    *,
    again: bool = False,
    on_record: Callable[[Record], None] = lambda _: None,
    summary: Summary | None = None,
) -> Labels:
    """Caption ``sources`` and write the root.

    Args:
        sources: the videos, checked by ``check_labelling``.
        videos: what that gave.
        root: folder to write.
        captioner: prepared by ``prepare_captioner``.
        plan: what becomes labels.
        again: caption those again that failed in an earlier run.
        on_record: called with each record made now, in the order of ``sources``.
        summary: counted up on the way.

    Raises:
        EvcapError: no caption is left; nothing is written, the candidates stay.
        UsageError, DataError, WriteError: see ``write_labels``; the candidates stay.
    """
    summary = Summary() if summary is None else summary
    summary.total = len(sources)
    run = CaptionRun(CaptionPlan(sources), captioner, summary, on_record=on_record)
    with Journal(root / CANDIDATES, captioner.settings) as journal:
        records = run.journaled(journal, only_good=again)
        segment = captioner.options.segment
        labels = take_labels(zip(sources, records, strict=True), videos, plan, label_name(captioner), segment=segment)
        if not labels.captions:
            raise _nothing(labels, root)
        write_labels(root, labels, videos, captioner, plan)
    return labels


def _nothing(labels: Labels, root: Path) -> EvcapError:
    first = labels.left_out[0]
    return EvcapError(
        f"no caption is left of any video: {first.video}: {first.text}",
        path=root,
        hint="mend the videos" if first.reason == "failed" else "lower --min-familiarity or --min-agreement",
    )
