"""Ready-made captioners: models and servers that read frames and a waveform, or features, and no checkpoint."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from evcap_cli.backbones.loading import make_backbones
from evcap_cli.captioning.batching import records_of
from evcap_cli.captioning.captioner import Captioner
from evcap_cli.captioning.clip_sources import SegmentClip, clip_source
from evcap_cli.captioning.record_fields import emotion_of, media_fields, whole_milliseconds
from evcap_cli.console import counted
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CaptionerError, EvcapError, UsageError, VideoError, one_line
from evcap_cli.output.records import Caption, Record, error_fields
from evcap_cli.plugin_calls import contained, show_traceback
from evcap_cli.systems.captioners import find_captioner
from evcap_cli.systems.clip_captioner import CaptionerOptions, Reads, Several, SeveralCaptioner
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.features.events import VideoDone
    from evcap_cli.features.feed import Feed
    from evcap_cli.inputs import Source
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.systems.clip_captioner import Clip, ClipCaption, ClipCaptioner

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def open_ready_made(options: CaptionOptions) -> ClipCaptioner | None:
    """The ready-made captioner that ``options.checkpoint`` names, without its weights; None: it names a checkpoint.

    Raises:
        UsageError: it cannot be had, or an option is one of trained checkpoints.
    """
    found = _found(options)
    if found is None:
        return None
    spec, address = found
    captioner = spec.open(address, _captioner_options(spec.captioner_class(), address, options))
    for flag, value in (("--style", options.style), ("--prompt", options.prompt)):
        if value is not None and not captioner.takes_instructions:
            raise UsageError(
                f"{flag} means nothing for {options.checkpoint}, which takes no instructions", hint="leave it out"
            )
    return captioner


def check_ready_made(options: CaptionOptions) -> bool:
    """See what ``open_ready_made`` would refuse, without a download; False: it is a checkpoint that is named.

    Raises:
        UsageError: the captioner cannot be had, or an option is one of trained checkpoints.
    """
    found = _found(options)
    if found is None:
        return False
    spec, address = found
    captioner = spec.captioner_class()
    captioner.check(address, _captioner_options(captioner, address, options))
    if backbones := _backbones_of(captioner):
        make_backbones(backbones, options.weights, options.backbone_options, options.allow_unused)
    return True


def _found(options: CaptionOptions) -> tuple[CaptionerSpec, str] | None:
    """Which captioner is named, before it downloads anything; its options are checked."""
    found = find_captioner(options.checkpoint)
    if found is not None:
        _check_options(options, found[0].captioner_class())
    return found


def _captioner_options(kind: type[ClipCaptioner], address: str, options: CaptionOptions) -> CaptionerOptions:
    """What the user chose; what they left open is as the captioner has it."""
    own = kind.defaults(address)
    return replace(
        own,
        style=options.style or own.style,
        prompt=options.prompt or own.prompt,
        max_words=options.max_words or own.max_words,
        beam_size=options.beam_size or own.beam_size,
        emotion=options.emotion,
        lexicon=own.lexicon or Lexicon.general(),
        batch_size=options.batch_size,
    )


def _backbones_of(captioner: type[ClipCaptioner]) -> Mapping[Kind, str]:
    """The backbones whose features a class of captioners says that it reads."""
    reads = getattr(captioner, "reads", None)
    return reads.backbones if isinstance(reads, Reads) else {}


def _check_options(options: CaptionOptions, captioner: type[ClipCaptioner]) -> None:
    """See that no option is given that only trained checkpoints have.

    Raises:
        UsageError: naming the first.
    """
    of_backbones = {
        "--weights": set(options.weights) - options.allow_unused,
        "--option": set(options.backbone_options) - options.allow_unused,
        "--sampling": options.sampling,
    }
    given = {
        "--backbone": options.backbone,
        **{f"--{kind}": name for kind, name in options.backbones.items()},
        **({} if _backbones_of(captioner) else of_backbones),
        "--rerank": options.rerank,
        "--length-penalty": options.length_penalty,
    }
    for flag, value in given.items():
        if value is not None and value not in ({}, set()):
            raise UsageError(
                f"{flag} means nothing for the ready-made captioner {options.checkpoint}", hint="leave it out"
            )
    if options.style is not None and options.prompt is not None:
        raise UsageError("--style and --prompt exclude each other", hint="leave one of them out")


class ReadyMadeCaptioner(Captioner):
    """A model or server that reads frames, and a waveform where it takes audio, or features of backbones.

    Args:
        options: how to caption.
        model: what captions, checked and without its weights.

    Raises:
        CheckpointError, PluginError, UsageError, WeightsError: it cannot be loaded, or a backbone that it reads.
    """

    def __init__(self, options: CaptionOptions, model: ClipCaptioner) -> None:
        super().__init__(options)
        model.load(self.device, self.dtype)
        self.model = model
        self.source = clip_source(model.reads, options, self.clips_a_batch)
        self.backbones = self.source.backbones

    @property
    @override
    def name(self) -> str:
        return self.model.identity.name

    @property
    @override
    def digest(self) -> str:
        return self.model.identity.digest

    @property
    @override
    def lexicon(self) -> Lexicon:
        return self.model.options.lexicon or Lexicon.general()

    @property
    @override
    def settings(self) -> dict[str, Any]:
        chosen = self.model.options
        return {
            "evcap": __version__,
            "checkpoint": self.model.identity.record_fields(),
            "words": chosen.max_words,
            "beam": chosen.beam_size,
            "emotion": chosen.emotion,
            "dtype": str(self.dtype),
            **self.source.settings,
            "audio_track": self.options.audio_track,
            "drop_audio": self.options.drop_audio,
            "device": self.device.type,
            **({"captions": asdict(self.several)} if self.several.count > 1 else {}),
        }

    @override
    def write_several(self, several: Several) -> None:
        if several.count > 1 and not isinstance(self.model, SeveralCaptioner):
            raise UsageError("writes one caption a video, not several", path=self.name, hint="take another captioner")
        super().write_several(several)

    @property
    @override
    def record_fields(self) -> dict[str, Any]:
        return {**self.model.identity.record_fields(), **self.source.record_fields}

    @property
    @override
    def clips_a_batch(self) -> int:
        return self.options.batch_size or self.model.clips_a_batch

    @override
    def serve(self, feed: Feed[Source]) -> Generator[Record, None, None]:
        return records_of(feed, self.source.serve, self.clips_a_batch, self._caption, self._record)

    def _caption(self, clips: Sequence[SegmentClip]) -> list[list[Caption | VideoError]]:
        results = self._results([clip.clip for clip in clips])
        return [
            [self._named(clip, result)]
            if isinstance(result, VideoError)
            else [self._sentence(clip, one) for one in result]
            for clip, result in zip(clips, results, strict=True)
        ]

    def _results(self, clips: Sequence[Clip]) -> list[list[ClipCaption] | VideoError]:
        """What the model says; what it does against its contract costs the clips that it does so on, no others."""
        try:
            with contained():
                results = self._captions(clips)
            if len(results) != len(clips):
                raise ValueError(f"{len(clips)} clips went in, {len(results)} captions came out")
        except Exception as problem:
            if isinstance(problem, EvcapError) and not isinstance(problem, VideoError):
                raise
            if len(clips) > 1:
                return [result for clip in clips for result in self._results([clip])]
            show_traceback(problem)
            return [problem if isinstance(problem, VideoError) else self._broken(one_line(problem))]
        return [self._checked(result) for result in results]

    def _captions(self, clips: Sequence[Clip]) -> list[list[ClipCaption] | VideoError]:
        if self.several.count > 1 and isinstance(self.model, SeveralCaptioner):
            return self.model.caption_several(clips, self.several)
        return [one if isinstance(one, VideoError) else [one] for one in self.model.caption(clips)]

    def _checked(self, result: list[ClipCaption] | VideoError) -> list[ClipCaption] | VideoError:
        if isinstance(result, VideoError):
            return result
        cause = next(filter(None, map(self._cause, result)), None) if result else "it gave no caption"
        return result[: self.several.count] if cause is None else self._broken(cause)

    def _cause(self, caption: ClipCaption) -> str | None:
        """What is wrong with a caption."""
        if not isinstance(getattr(caption, "text", None), str) or not caption.text.strip():
            return "it gave no text"
        if caption.emotion is not None and set(caption.emotion) != set(self.lexicon.categories):
            return "its emotion has other categories than the lexicon"
        return None

    def _broken(self, cause: str) -> CaptionerError:
        return CaptionerError(
            f"the captioner {self.name} failed: {cause}", hint="see `evcap plugins check`, set EVCAP_DEBUG=1 for more"
        )

    def _named(self, clip: SegmentClip, problem: VideoError) -> VideoError:
        """The error of a clip; one of several segments is named by its time."""
        if self.options.segment == "whole":
            return problem
        start, end = float(clip.segment.start), float(clip.segment.end)
        cause = f"{start:.2f} s to {end:.2f} s: {problem.cause}"
        return type(problem)(cause, path=problem.path, hint=problem.hint)

    def _sentence(self, clip: SegmentClip, result: ClipCaption) -> Caption:
        words = _WORD.findall(result.text.lower())
        lexicon = self.lexicon
        given = result.emotion
        probabilities = None if given is None else [given[category] for category in lexicon.categories]
        return Caption(
            whole_milliseconds(clip.segment.start),
            whole_milliseconds(clip.segment.end),
            result.text,
            result.score,
            emotion_of(words, probabilities, lexicon),
            id=clip.segment.id or None,
        )

    def _record(self, source: Source, done: VideoDone, captions: Sequence[Caption | VideoError]) -> Record:
        """The record of a video; what it has is kept where some of its segments have no caption."""
        error = done.error or _first_of(caption for caption in captions if isinstance(caption, VideoError))
        good = tuple(caption for caption in captions if isinstance(caption, Caption))
        return Record(
            path=source.given,
            id=source.id,
            digest=done.digest or None,
            status="ok" if error is None else "failed",
            captions=good if done.error is None else (),
            media=None if done.info is None else media_fields(done),
            backbones=self.backbones,
            checkpoint=self.record_fields,
            warnings=tuple(done.warnings),
            error=None if error is None else error_fields(error),
        )


def _first_of(problems: Iterable[VideoError]) -> VideoError | None:
    """The first of a video's problems, which says how many more there are."""
    found = list(problems)
    if len(found) < 2:
        return found[0] if found else None
    first, more = found[0], counted(len(found) - 1, "more segment")
    return type(first)(f"{first.cause} (and {more})", path=first.path, hint=first.hint)
