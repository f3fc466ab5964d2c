"""``evcap demo``: a small world with unseen clips, captioned by the bundled checkpoint and scored against its truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli import plugins
from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.captioning.run import Summary, caption_plan
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.inputs import gather
from evcap_cli.output.output_plan import CaptionPlan, plan_outputs
from evcap_cli.scoring.score_texts import Scores, score_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from evcap_cli.output.records import Record

DEMO_SEED: Final = 7_000_003
"""Training never saw this world: the model card names another seed."""
DEMO_CLIPS: Final = 12
OUTPUTS: Final = ("out.srt", "out.jsonl", "report.html")


@dataclass(frozen=True)
class DemoResult:
    """What a demo made."""

    records: list[Record]
    references: dict[str, list[str]]
    scores: Scores
    summary: Summary


def run_demo(
    folder: Path,
    *,
    clips: int = DEMO_CLIPS,
    seed: int = DEMO_SEED,
    on_record: Callable[[Record], None] = lambda _: None,
) -> DemoResult:
    """Render ``clips`` clips into ``folder``/videos, caption them into ``OUTPUTS`` and score the captions.

    Raises:
        WriteError: the folder cannot be written. CheckpointError: the bundled checkpoint is not there.
    """
    engine = CheckpointCaptioner(CaptionOptions())
    facts = make_facts(clips, seed)
    write_world(folder, facts, test_share=1.0)
    names = {f"{clip.id}.mp4" for clip in facts}
    sources = [source for source in gather([str(folder / "videos")]) if source.path.name in names]
    outputs = plan_outputs([str(folder / name) for name in OUTPUTS], "srt", plugins.writers())
    records: list[Record] = []
    summary = caption_plan(CaptionPlan(sources, outputs), engine, on_record=on_record, on_finished=records.extend)
    references = {clip.id: write_captions(clip) for clip in facts}
    said = {record.id: record.captions[0].text for record in records if record.captions}
    scores = score_texts(said, {name: references[name] for name in said}, engine.checkpoint.lexicon)
    return DemoResult(records, references, scores, summary)
