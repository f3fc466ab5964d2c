"""The examination of a checkpoint on an unseen demo world: ``python -m evcap_experiments.exam WORLD [CHECKPOINT]``.

Captions every clip of the test split twice, with sound and (hidden clips) without, judges the captions against the
facts and prints the rates next to those of the constant and shuffled baselines, all with 95 % intervals.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evcap_cli import console
from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.demo.facts import ClipFacts
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.layout import TEST, read_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.demo.variant_wording import wording_of
from evcap_cli.errors import DataError
from evcap_cli.inputs import Source, gather
from evcap_cli.scoring.score_texts import Scores, score_texts
from evcap_experiments.baselines import constant, shuffled
from evcap_experiments.caption_judging import judge
from evcap_experiments.rates import Rate, evaluate, markdown_table, rates_table

BOOTSTRAP = 1000
CONSTANT_FROM_CLIPS = 200
"""Clips of another world whose most frequent caption is the constant baseline."""


@dataclass(frozen=True)
class Exam:
    """What came out: rates by question for the checkpoint and the two baselines, and the metrics of each."""

    rates: Mapping[str, Mapping[str, Rate]]
    scores: Mapping[str, Scores]
    captions: Mapping[str, str]

    def markdown(self) -> str:
        """Two tables, as docs/demo-world.md shows them."""
        metrics = next(iter(self.scores.values())).metrics
        rows = {metric: [_shown(scores, metric) for scores in self.scores.values()] for metric in metrics}
        return f"{rates_table(self.rates)}\n\n{markdown_table('metric', list(self.rates), rows)}"


def _shown(scores: Scores, metric: str) -> str:
    value, interval = scores.metrics[metric], scores.intervals.get(metric)
    shown = "" if value is None else f"{value:.1f}"
    return shown if interval is None else f"{shown} ({interval[0]:.1f} to {interval[1]:.1f})"


def examine(world: Path, checkpoint: str = "demo") -> Exam:
    """Caption and judge the test split of ``world``.

    Raises:
        DataError: the world has no test split or lacks videos. Also the errors of ``Captioner``.
    """
    found = read_world(world)
    clips = found.of(TEST)
    if not clips:
        raise DataError("this world has no test split", path=world, hint="make one with --test-share 1")
    sources = gather([str(found.video(clip)) for clip in clips])
    captions = _captions(sources, checkpoint, drop_audio=False)
    hidden = {clip.id for clip in clips if clip.hidden}
    silent = _captions([source for source in sources if source.id in hidden], checkpoint, drop_audio=True)
    references = {clip.id: write_captions(clip) for clip in clips}
    variant = clips[0].variant
    other = [text for clip in make_facts(CONSTANT_FROM_CLIPS, 0, variant=variant) for text in write_captions(clip)]
    systems = {"checkpoint": captions, "constant": constant(clips, other), "shuffled": shuffled(captions)}
    lexicon = wording_of(variant=variant).lexicon
    return Exam(
        rates={name: evaluate(clips, of, silent if name == "checkpoint" else None) for name, of in systems.items()},
        scores={
            name: score_texts(of, references, lexicon, bootstrap=BOOTSTRAP, meteor=name == "checkpoint")
            for name, of in systems.items()
        },
        captions=captions,
    )


def _captions(sources: Sequence[Source], checkpoint: str, *, drop_audio: bool) -> dict[str, str]:
    engine = CheckpointCaptioner(CaptionOptions(checkpoint=checkpoint, drop_audio=drop_audio))
    label = "captioning without sound" if drop_audio else "captioning"
    captions: dict[str, str] = {}
    with console.progress(len(sources), label, "clip") as bar:
        for record in engine.run(sources):
            captions[record.id] = record.captions[0].text if record.captions else ""
            bar.advance()
    return captions


def wrong(exam: Exam, clips: Sequence[ClipFacts]) -> list[str]:
    """Captions that miss the action, its roles or the emotion, with the truth: to read, not to count."""
    lines = []
    for clip in clips:
        judged = judge(clip, exam.captions[clip.id])
        if not (judged.action_with_roles_right and judged.emotion_right):
            truth = f"{' > '.join(clip.subjects)} {clip.action} {clip.emotion}{' hidden' * clip.hidden}"
            lines.append(f"{clip.id} [{truth}] {exam.captions[clip.id]}")
    return lines


def main(arguments: Sequence[str]) -> None:
    """Print the tables on standard output, the misses on standard error."""
    world = Path(arguments[0])
    exam = examine(world, *arguments[1:2])
    console.data(exam.markdown() + "\n")
    for line in wrong(exam, read_world(world).of(TEST)):
        console.detail(line)


if __name__ == "__main__":
    sys.exit(console.run(lambda: main(sys.argv[1:])))
