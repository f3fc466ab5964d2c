"""``report.html`` of a run, while it trains: what the page needs is kept after each epoch, and the page written again.

``shown_clips.py`` says what is kept, ``run_page.py`` makes the page from it. Nothing here may end a run: what fails is
said once, and training goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evcap_cli import console
from evcap_cli.console import counted
from evcap_cli.data.features_layout import SURROGATE_NOTE, surrogate_kinds
from evcap_cli.data.origins import labels_note
from evcap_cli.errors import EvcapError
from evcap_cli.output.html_report import Picture, missing_pictures
from evcap_cli.training.feature_sources import PipelineSource
from evcap_cli.training.run_page import FILE, write_page
from evcap_cli.training.shown_clips import (
    ShownCaption,
    ShownClips,
    chosen,
    pictures,
    read_captions,
    read_clips,
    shown_caption,
    shown_clip,
    write_captions,
    write_clips,
)

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.training.feature_sources import FeatureSource
    from evcap_cli.training.run_preparation import PreparedRun
    from evcap_cli.training.trained_checkpoint import RunFacts

NO_VIDEOS: Final = "pictures: the run was trained on features, without their videos"


@dataclass(frozen=True)
class Reported:
    """What a page needs to know of a run.

    Args:
        references: validation video -> raw captions.
        lexicon: of its emotions.
        seed: draws the clips of the page.
        facts: names and values, for the head of the page.
        places: gives of some videos the file and the middle in seconds; None: there are no videos.
    """

    references: Mapping[str, Sequence[str]]
    lexicon: Lexicon
    seed: int
    facts: Mapping[str, str]
    places: Callable[[Sequence[str]], Mapping[str, tuple[Path, float]]] | None = None


class RunReport:
    """Keeps what the page of a run shows, and writes the page.

    Args:
        run: the folder.
        reported: what it shows.
        epochs: finished before, by an earlier process; captions of later ones are dropped.
    """

    def __init__(self, run: Path, reported: Reported, epochs: int) -> None:
        self.run, self.reported = run, reported
        self._captions: list[ShownCaption] = []
        self._shown: ShownClips | None = None
        self._said = False
        with self._going_on():
            self._captions = [caption for caption in read_captions(run) if caption.epoch <= epochs]

    def keep(self, epoch: int, texts: Mapping[str, str]) -> None:
        """Keep the captions of ``epoch`` (from 1); to be called before its state is written.

        A run that is killed in between trains that epoch again, and its captions replace these.

        Args:
            epoch: from 1.
            texts: validation video -> caption.
        """
        with self._going_on():
            if not texts:
                return
            shown = self._clips()
            references, lexicon = self.reported.references, self.reported.lexicon
            self._captions += [
                shown_caption(epoch, clip.video_id, texts[clip.video_id], references[clip.video_id], lexicon)
                for clip in shown.clips
                if clip.video_id in texts
            ]
            write_captions(self.run, self._captions)

    def write(self) -> None:
        """Write the page from what the folder holds."""
        with self._going_on():
            write_page(self.run)

    def _clips(self) -> ShownClips:
        """The clips of the page, written once a run: an earlier process may have decoded their pictures."""
        if self._shown is None:
            fresh = self._fresh()
            kept = read_clips(self.run)
            if kept is None or _bare(kept) != fresh:
                kept = self._with_pictures(fresh)
                write_clips(self.run, kept)
            self._shown = kept
        return self._shown

    def _fresh(self) -> ShownClips:
        references = self.reported.references
        videos = chosen(list(references), self.reported.seed)
        clips = [shown_clip(video, references[video], self.reported.lexicon) for video in videos]
        return ShownClips(clips, len(references), dict(self.reported.facts))

    def _with_pictures(self, shown: ShownClips) -> ShownClips:
        if self.reported.places is None:
            return replace(shown, lost=NO_VIDEOS)
        videos = [clip.video_id for clip in shown.clips]
        found: dict[str, Picture] = pictures(self.reported.places(videos), videos)
        clips = [replace(clip, picture=found.get(clip.video_id)) for clip in shown.clips]
        return replace(shown, clips=clips, lost=missing_pictures(len(found), len(clips)))

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Whatever fails inside is said, once a run."""
        try:
            yield
        except Exception as problem:  # the page of a run is never worth the run
            if not self._said:
                _not_written(self.run, problem)
            self._said = True


def reported_run(prepared: PreparedRun, facts: RunFacts, source: FeatureSource) -> Reported:
    """What the page shows of the training of a system on features."""
    found: dict[str, str] = {kind: str(record["name"]) for kind, record in facts.backbones.items()}
    found["trained on"] = trained_on(len(prepared.train), len(prepared.train_captions), facts.data)
    if facts.init is not None:
        found["started from"] = str(facts.init["name"])
    if facts.labels_by:
        found["labels"] = labels_note(facts.labels_by)
    if surrogate_kinds(facts.backbones):
        found["features"] = SURROGATE_NOTE
    places = None
    if isinstance(source, PipelineSource):
        middles = source.middles
        places = lambda videos: middles  # noqa: ARG005, E731  all that were read
    return Reported(prepared.validation_captions, prepared.lexicon, facts.recipe.train.seed, found, places)


def trained_on(captions: int, clips: int, data: str) -> str:
    """How much of which data a run is trained on, in words."""
    return f"{counted(captions, 'caption')} of {counted(clips, 'clip')}{f' of {data}' if data else ''}"


def refresh_page(run: Path) -> None:
    """Write the page of a run from what its folder holds; one line says where it cannot be."""
    try:
        write_page(run)
    except Exception as problem:  # as above
        _not_written(run, problem)


def _not_written(run: Path, problem: Exception) -> None:
    cause = str(problem) if isinstance(problem, EvcapError) else f"{type(problem).__name__}: {problem}"
    console.warn(f"{run / FILE} is not up to date ({cause}); the run goes on without it")


def _bare(shown: ShownClips) -> ShownClips:
    """``shown`` without pictures."""
    return replace(shown, clips=[replace(clip, picture=None) for clip in shown.clips], lost="")
