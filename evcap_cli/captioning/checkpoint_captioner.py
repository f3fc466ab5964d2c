"""A trained checkpoint with its backbones: features of segments in, captions out, in batches of one shape."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from evcap_cli import console
from evcap_cli.captioning.backbones import choose_backbones
from evcap_cli.captioning.batching import records_of
from evcap_cli.captioning.captioner import Captioner
from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.captioning.record_fields import emotion_of, media_fields, whole_milliseconds, with_familiarity
from evcap_cli.errors import UsageError
from evcap_cli.inputs import Source
from evcap_cli.output.records import Caption, Record, error_fields
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone, Kind
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.features.events import SegmentReady, VideoDone
    from evcap_cli.features.feed import Feed
    from evcap_cli.features.options import Sampling
    from evcap_cli.features.streams import ClipFeatures
    from evcap_cli.search.beam_search import Hypothesis
    from evcap_cli.systems.clip_captioner import Several

CLIPS_A_BATCH = 16
"""Clips that the captioner decodes at once; the shape is constant, a short batch is filled up."""


class CheckpointCaptioner(Captioner):
    """A checkpoint with its backbones.

    Args:
        options: what to load, and how to caption.

    Attributes:
        checkpoint: the model with its vocabulary, lexicon, beam defaults and the records of its backbones.
    """

    def __init__(self, options: CaptionOptions) -> None:
        from evcap_cli.checkpoints.checkpoint import Checkpoint
        from evcap_cli.features.building import build_pipeline
        from evcap_cli.search.beam_search import BeamConfig

        check_for_checkpoint(options)
        super().__init__(options)
        self.checkpoint = Checkpoint.from_pretrained(options.checkpoint)
        self.checkpoint.model.to(self.device).eval()
        # one of ``Sampling``: reading a checkpoint checks it
        self.sampling = options.sampling or cast("Sampling", self.checkpoint.sampling)
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

    @property
    @override
    def name(self) -> str:
        return self.checkpoint.name

    @property
    @override
    def digest(self) -> str:
        return self.checkpoint.digest

    @property
    @override
    def labels_by(self) -> str:
        return self.checkpoint.labels_by

    @property
    @override
    def knows_familiarity(self) -> bool:
        return self.checkpoint.familiarity is not None

    @override
    def write_several(self, several: Several) -> None:
        super().write_several(several)
        self.beam = replace(self.beam, n_best=several.count)

    @property
    @override
    def lexicon(self) -> Lexicon:
        return self.checkpoint.lexicon

    @property
    @override
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
            "segment": self.pipeline.plan.chosen.setting,
            "sampling": self.sampling,
            "audio_track": self.options.audio_track,
            "drop_audio": self.options.drop_audio,
            "device": self.device.type,
            **({"captions": self.several.count} if self.several.count > 1 else {}),
        }

    @property
    @override
    def clips_a_batch(self) -> int:
        return CLIPS_A_BATCH

    @property
    @override
    def record_fields(self) -> dict[str, Any]:
        dtype = str(self.dtype).removeprefix("torch.")
        return {
            "name": self.checkpoint.name,
            "digest": self.checkpoint.digest,
            **({"untrained": True} if self.checkpoint.untrained else {}),
            **({"stand_ins": self.replacements} if self.replacements else {}),
            **({"weights": self.checkpoint.weights} if self.checkpoint.weights else {}),
            **({"labels_by": self.labels_by} if self.labels_by else {}),
            **({} if dtype == "float32" else {"dtype": dtype}),
        }

    @override
    def serve(self, feed: Feed[Source]) -> Generator[Record, None, None]:
        return records_of(feed, self.pipeline.serve, CLIPS_A_BATCH, self._caption, self._record)

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

    def _caption(self, events: Sequence[SegmentReady]) -> list[list[Caption]]:
        """Captions of 1 to ``CLIPS_A_BATCH`` segments in one batch of constant shape, for each the best first."""
        import torch

        from evcap_cli.devices import mixed_precision
        from evcap_cli.network.collate import collate
        from evcap_cli.search.reranking import best_captions

        model = self.checkpoint.model
        clips = [self._without_dropped(event.features) for event in events]
        clips += [clips[-1]] * (CLIPS_A_BATCH - len(clips))
        with torch.inference_mode(), mixed_precision(self.dtype, self.device):
            prepared = model.prepare(collate(clips, model.config).to(self.device))
            found = best_captions(model, prepared, self.beam, self.checkpoint.vocabulary, self.checkpoint.lexicon)
        categories = prepared.categories
        emotions = [None] * len(clips) if categories is None else categories.float().cpu().tolist()
        summary = self.checkpoint.familiarity
        shares = [None] * len(events) if summary is None else summary.of(clips[: len(events)])
        return [
            [self._sentence(event, hypothesis, probabilities, share) for hypothesis in hypotheses]
            for event, hypotheses, probabilities, share in zip(events, found, emotions, shares, strict=False)
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

    def _sentence(
        self,
        event: SegmentReady,
        hypothesis: Hypothesis,
        probabilities: Sequence[float] | None,
        familiarity: float | None,
    ) -> Caption:
        words = self.checkpoint.vocabulary.decode(hypothesis.tokens)
        emotion = emotion_of(words, probabilities, self.checkpoint.lexicon)
        segment = event.segment
        return Caption(
            whole_milliseconds(segment.start),
            whole_milliseconds(segment.end),
            " ".join(words),
            hypothesis.score,
            emotion,
            familiarity,
            segment.id or None,
        )

    def _record(self, source: Source, done: VideoDone, captions: Sequence[Caption]) -> Record:
        error = done.error
        record = Record(
            path=source.given,
            id=source.id,
            digest=done.digest or None,
            status="ok" if error is None else "failed",
            captions=tuple(captions) if error is None else (),
            media=None if done.info is None else media_fields(done),
            backbones=self.backbones,
            checkpoint=self.record_fields,
            warnings=tuple(done.warnings),
            error=None if error is None else error_fields(error),
        )
        return with_familiarity(record)


def check_for_checkpoint(options: CaptionOptions) -> None:
    """See that no option is given that only ready-made captioners have.

    Raises:
        UsageError: naming the first.
    """
    given = {"--style": options.style, "--prompt": options.prompt, "--no-emotion": None if options.emotion else "given"}
    for flag, value in given.items():
        if value is not None:
            raise UsageError(
                f"{flag} means nothing for the trained checkpoint {options.checkpoint}",
                hint="leave it out, or choose a ready-made captioner with -c",
            )
