"""A checkpoint with its backbones, loaded once: videos in, records out, in the videos' order."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Unpack, cast

from evcap_cli import console
from evcap_cli.captioning.backbones import choose_backbones
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.captioning.record_fields import emotion_of, media_fields, whole_milliseconds
from evcap_cli.errors import UsageError
from evcap_cli.inputs import Source, with_ids
from evcap_cli.output.records import Caption, Record, error_fields
from evcap_cli.paths import same_file_groups
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.captioning.options import CaptionKeywords
    from evcap_cli.features.events import SegmentReady, VideoDone
    from evcap_cli.features.options import Sampling
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.search.beam_search import Hypothesis

CLIPS_A_BATCH = 16
"""Clips that the captioner decodes at once; the shape is constant, a short batch is filled up."""
FLUSH_SECONDS = 15.0
"""So long a clip may wait for others to share its batch: people watch, and a kill must not cost much."""


def load_captioner(checkpoint: str | os.PathLike[str] = "demo", **options: Unpack[CaptionKeywords]) -> Captioner:
    """Load a checkpoint and its backbones.

    Args:
        checkpoint: "demo" (bundled, knows only the cartoon world of ``evcap demo``), a folder that ``evcap train`` or
            ``save_pretrained`` wrote, or "hf-hub:org/name[@revision]".
        options: fields of ``CaptionOptions``, such as ``beam_size=1``, ``segment="scenes"`` or ``cache=False``.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
        PluginError, WeightsError: one of its backbones is not installed or cannot be loaded.
        UsageError: an option is out of its range, or this machine lacks the device.

    Example:
        ```python
        import evcap_cli as evcap

        captioner = evcap.load_captioner("demo", device="cpu", segment="fixed:5")
        record = captioner.caption("clip.mp4")
        if record.status == "ok":
            for caption in record.captions:
                print(f"{caption.start:6.2f} s  {caption.text}")
        else:
            print(record.error["message"])
        ```
    """
    return Captioner(CaptionOptions(os.fspath(checkpoint), **options))


class Captioner:
    """A checkpoint with its backbones, ready to caption any number of videos; ``load_captioner`` makes one.

    Several captioners can be alive at once. One may be used from several threads, which then take turns; nothing of a
    run (decoding processes, threads) outlives the call, or the iterator, that started it.

    Args:
        options: what to load, and how to caption.

    Attributes:
        options: as given.
        checkpoint: the model with its vocabulary, lexicon, beam defaults and the records of its backbones.
        backbones: kind -> address of the backbones in use.
        device, dtype: where models run, and in which number format.

    Raises:
        CheckpointError, PluginError, WeightsError, UsageError: before any video is touched; see ``load_captioner``.
    """

    def __init__(self, options: CaptionOptions) -> None:
        from evcap_cli.checkpoints.checkpoint import Checkpoint
        from evcap_cli.devices import choose_device, choose_dtype
        from evcap_cli.features.building import build_pipeline
        from evcap_cli.search.beam_search import BeamConfig

        self.options = options
        self.device = choose_device(options.device)
        self.checkpoint = Checkpoint.from_pretrained(options.checkpoint)
        self.checkpoint.model.to(self.device).eval()
        # one of ``Sampling``: reading a checkpoint checks it
        self.sampling = options.sampling or cast("Sampling", self.checkpoint.sampling)
        self.dtype = choose_dtype(options.dtype, self.device)
        backbones = self._load_backbones()
        self.backbones: dict[str, str] = {
            kind: str(record["name"]) for kind, record in self.checkpoint.backbones.items()
        }
        beam = self.checkpoint.beam
        try:
            self.beam = BeamConfig(
                size=options.beam_size or beam.size,
                max_words=options.max_words or beam.max_words,
                length_penalty=beam.length_penalty if options.length_penalty is None else options.length_penalty,
                rerank=options.rerank or beam.rerank,
            )
            self.checkpoint.model.config.check_search(self.beam.max_words)
        except ValueError as problem:
            raise UsageError(f"cannot search like that: {problem}", hint="see --beam-size and --max-words") from problem
        self.pipeline = build_pipeline(replace(options, sampling=self.sampling), backbones)
        self._turns = threading.Lock()

    def _load_backbones(self) -> dict[Kind, Backbone]:
        """The backbones of the checkpoint; naming others is an error, naming the same ones is not."""
        from evcap_cli.checkpoints.checkpoint import backbone_record
        from evcap_cli.data.published_backbones import check_replacement
        from evcap_cli.features.building import backbones_of

        trained = self.checkpoint.backbones
        chosen, self.replacements = choose_backbones(self.checkpoint, self.options)
        loaded = backbones_of(chosen)
        for kind in self.replacements:
            check_replacement(trained[kind], loaded[kind], self.checkpoint.name)
            trained[kind] = backbone_record(loaded[kind])
        if self.replacements:
            names = " and ".join(f"{kind} {name}" for kind, name in self.replacements.items())
            console.warn(
                f"{self.checkpoint.name} was trained on feature files: that {names} gives the same is your word"
            )
        self.checkpoint.check_backbones(loaded)
        if self.options.drop_audio:
            loaded.pop("audio", None)
        return loaded

    def caption(self, path: str | os.PathLike[str]) -> Record:
        """Caption one video.

        Args:
            path: of a video file, taken as it is: no pattern, no folder.

        Returns:
            Its record: ``captions``, one a segment, each with ``start`` and ``end`` in seconds, ``text``, ``score``
            (log probability of the words over their number to the power of the length penalty) and ``emotion``. A video
            that cannot be captioned, or is not there, has the ``status`` "failed" and an ``error`` with ``code`` and
            ``message``: nothing is raised.

        Example:
            ```python
            import evcap_cli as evcap

            captioner = evcap.load_captioner("demo")
            caption = captioner.caption("clip.mp4").captions[0]
            print(caption.text)
            print(caption.emotion.category, caption.emotion.probability)
            for category, probability in caption.emotion.top.items():
                print(f"{category:<12} {probability:.2f}")
            ```
        """
        return next(self.caption_many([path]))

    def caption_many(self, paths: Iterable[str | os.PathLike[str]]) -> Generator[Record, None, None]:
        """Caption videos side by side; much faster than one by one.

        Args:
            paths: of video files, each taken as it is: no patterns, no folders. Several names of one file (links) are
                decoded once and get a record each.

        Yields:
            One record a path, in the order of ``paths``. A video that cannot be captioned has the ``status`` "failed"
            and an ``error``; it changes nobody else's captions and never ends the run.

        Closing the iterator, or dropping it, ends the decoding processes.

        Example:
            ```python
            from pathlib import Path

            import evcap_cli as evcap

            captioner = evcap.load_captioner("demo", workers=4)
            for record in captioner.caption_many(sorted(Path("videos").glob("*.mp4"))):
                if record.status == "failed":
                    print(record.path, record.error["code"], record.error["message"])
                else:
                    print(record.path, record.captions[0].text)
            ```
        """
        given = [Path(path) for path in paths]
        sources = with_ids([Source(path, path.as_posix(), PurePosixPath(path.name)) for path in given])
        with closing(self.run(sources)) as records:
            while True:
                # models and their memory are shared; a thread waits for its next record, not for the other's whole run
                with self._turns:
                    record = next(records, None)
                if record is None:
                    return
                yield record

    @property
    def settings(self) -> dict[str, Any]:
        """What records depend on besides the videos: the key of a journal and of a mirrored tree."""
        return {
            "evcap": __version__,
            # names the backbones' versions and weights as well: ``check_backbones`` saw that they are the same
            "checkpoint": [self.checkpoint.name, self.checkpoint.digest],
            "replacements": {kind: self.checkpoint.backbones[kind] for kind in self.replacements},
            "dtype": str(self.dtype),
            "beam": [self.beam.size, self.beam.max_words, self.beam.length_penalty],
            "rerank": asdict(self.beam.rerank),
            "segment": self.options.segment,
            "sampling": self.sampling,
            "audio_track": self.options.audio_track,
            "drop_audio": self.options.drop_audio,
            "device": str(self.device),
        }

    def run(self, sources: Sequence[Source]) -> Generator[Record, None, None]:
        """Records of ``sources`` in their order; a bad video gives a failed record, never an exception.

        Several names of one file (links) get a record each; it is decoded and captioned once.
        """
        groups = same_file_groups((number, source.path) for number, source in enumerate(sources))
        first_of = {number: group[0] for group in groups for number in group}
        last_of = {group[0]: group[-1] for group in groups}
        kept: dict[int, Record] = {}
        with closing(self._run([sources[group[0]] for group in groups])) as made:
            for number, source in enumerate(sources):
                first = first_of[number]
                if first == number:
                    kept[number] = next(made)
                yield replace(kept[first], path=source.given, id=source.id)
                if last_of[first] == number:
                    del kept[first]

    def _run(self, sources: Sequence[Source]) -> Generator[Record, None, None]:
        """Records of different files, in their order."""
        from evcap_cli.features.events import SegmentReady

        since = time.monotonic()
        waiting: list[SegmentReady] = []
        captions: dict[int, list[Caption]] = {}
        finished: list[VideoDone] = []

        def flush() -> Iterator[Record]:
            for event, caption in zip(waiting, self._caption(waiting), strict=True):
                captions.setdefault(event.video, []).append(caption)
            waiting.clear()
            for done in finished:
                yield self._record(sources[done.video], done, captions.pop(done.video, []))
            finished.clear()

        with closing(self.pipeline.run([source.path for source in sources])) as events:
            for event in events:
                if isinstance(event, SegmentReady):
                    since = since if waiting else time.monotonic()
                    waiting.append(event)
                else:
                    finished.append(event)
                late = finished and time.monotonic() - since > FLUSH_SECONDS
                if len(waiting) == CLIPS_A_BATCH or (not waiting and finished) or late:
                    yield from flush()
            yield from flush()

    def keep_unfinished(self, folder: Path) -> None:
        """Keep features of videos that are not finished in ``folder``: without a cache, a long one would start again.

        Not where a video is one segment: a part of it would be worth nothing.
        """
        if self.pipeline.cache is None and self.options.segment != "whole":
            self.pipeline.unfinished = folder

    def drop_unfinished(self, record: Record) -> None:
        """The video of ``record`` is finished."""
        if self.pipeline.unfinished is not None and record.digest:
            shutil.rmtree(self.pipeline.unfinished / record.digest, ignore_errors=True)

    def _caption(self, events: Sequence[SegmentReady]) -> list[Caption]:
        """Captions of up to ``CLIPS_A_BATCH`` segments in one batch of constant shape."""
        import torch

        from evcap_cli.network.collate import collate
        from evcap_cli.search.reranking import best_captions

        if not events:
            return []
        model = self.checkpoint.model
        clips = [self._without_dropped(event.features) for event in events]
        clips += [clips[-1]] * (CLIPS_A_BATCH - len(clips))
        with torch.inference_mode():
            prepared = model.prepare(collate(clips, model.config).to(self.device))
            found = best_captions(model, prepared, self.beam, self.checkpoint.vocabulary, self.checkpoint.lexicon)
        categories = prepared.categories
        emotions = [None] * len(clips) if categories is None else categories.float().cpu().tolist()
        return [
            self._sentence(event, hypotheses[0], probabilities)
            for event, hypotheses, probabilities in zip(events, found, emotions, strict=False)
        ]

    def _without_dropped(self, features: ClipFeatures) -> ClipFeatures:
        """``features``, with no rows of audio where the run drops it."""
        import torch

        from evcap_cli.features.streams import StreamFeatures

        wide = self.checkpoint.model.config.streams.get("audio")
        if not self.options.drop_audio or wide is None:
            return features
        silence = StreamFeatures(torch.zeros(0, wide), torch.zeros(0))
        return replace(features, streams={**features.streams, "audio": silence})

    def _sentence(self, event: SegmentReady, hypothesis: Hypothesis, probabilities: Sequence[float] | None) -> Caption:
        words = self.checkpoint.vocabulary.decode(hypothesis.tokens)
        emotion = emotion_of(words, probabilities, self.checkpoint.lexicon)
        segment = event.segment
        return Caption(
            whole_milliseconds(segment.start),
            whole_milliseconds(segment.end),
            " ".join(words),
            hypothesis.score,
            emotion,
        )

    def _record(self, source: Source, done: VideoDone, captions: Sequence[Caption]) -> Record:
        error = done.error
        return Record(
            path=source.given,
            id=source.id,
            digest=done.digest or None,
            status="ok" if error is None else "failed",
            captions=tuple(captions) if error is None else (),
            media=None if done.info is None else media_fields(done),
            backbones=self.backbones,
            checkpoint={
                "name": self.checkpoint.name,
                "digest": self.checkpoint.digest,
                **({"untrained": True} if self.checkpoint.untrained else {}),
                **({"stand_ins": self.replacements} if self.replacements else {}),
                **({"weights": self.checkpoint.weights} if self.checkpoint.weights else {}),
            },
            warnings=tuple(done.warnings),
            error=None if error is None else error_fields(error),
        )
