"""A captioner, loaded once: videos in, records out, in the videos' order."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Unpack

from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.inputs import Source, with_ids
from evcap_cli.output.records import Record
from evcap_cli.sources import SameFiles, some_of
from evcap_cli.systems.clip_captioner import Several

if TYPE_CHECKING:
    from evcap_cli.captioning.options import CaptionKeywords
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.features.feed import Feed


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
    return captioner_of(CaptionOptions(os.fspath(checkpoint), **options))


def captioner_of(options: CaptionOptions, *, emotions: bool = True) -> Captioner:
    """The captioner that ``options`` describe, loaded; raises what ``load_captioner`` does.

    Args:
        options: what to load, and how to caption.
        emotions: False saves a ready-made captioner the work of predicting them.
    """
    from evcap_cli.captioning.checkpoint_captioner import CheckpointCaptioner
    from evcap_cli.captioning.ready_made import ReadyMadeCaptioner, open_ready_made

    found = open_ready_made(options if emotions else replace(options, emotion=False))
    return CheckpointCaptioner(options) if found is None else ReadyMadeCaptioner(options, found)


class Captioner(ABC):
    """A captioner, ready to caption any number of videos; ``load_captioner`` makes one.

    Several captioners can be alive at once. One may be used from several threads, which then take turns; nothing of a
    run (decoding processes, threads) outlives the call, or the iterator, that started it.

    Args:
        options: what to load, and how to caption.

    Attributes:
        options: as given.
        backbones: kind -> address of the backbones in use; empty for a model that encodes frames itself.
        several: how many captions it writes of each segment, see ``write_several``.
        device, dtype: where models run, and in which number format.

    Raises:
        CheckpointError, PluginError, WeightsError, UsageError: before any video is touched; see ``load_captioner``.
    """

    backbones: dict[str, str]

    def __init__(self, options: CaptionOptions) -> None:
        from evcap_cli.devices import choose_device, choose_dtype

        self.options = options
        self.several = Several()
        self.device = choose_device(options.device)
        self.dtype = choose_dtype(options.dtype, self.device)
        self._turns = threading.Lock()

    @property
    @abstractmethod
    def name(self) -> str:
        """How records call what made their captions."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Of the checkpoint or model: captions of another digest may differ."""

    @property
    @abstractmethod
    def lexicon(self) -> Lexicon:
        """The categories and words of emotion that captions are read by."""

    @property
    def labels_by(self) -> str:
        """What wrote the captions that this captioner was trained on; empty where people did, or nothing is known."""
        return ""

    @property
    def knows_familiarity(self) -> bool:
        """Whether its captions say how familiar their video is."""
        return False

    def write_several(self, several: Several) -> None:
        """Write up to ``several.count`` captions of each segment from now on, the best first.

        Each is a ``Caption`` of the record, with the times of its segment.

        Raises:
            UsageError: this captioner writes one.
        """
        self.several = several

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What records depend on besides the videos: the key of a journal and of a mirrored tree."""

    @property
    def clips_a_batch(self) -> int:
        """How many segments are captioned at a time."""
        return 1

    @property
    def record_fields(self) -> dict[str, Any]:
        """What records say of the checkpoint or model."""
        return {"name": self.name, "digest": self.digest}

    def close(self) -> None:  # noqa: B027  nothing, unless there are workers to end
        """No video will be captioned any more; safe to call twice."""

    @abstractmethod
    def serve(self, feed: Feed[Source]) -> Generator[Record, None, None]:
        """Records of the videos of ``feed``, in the order in which they are taken; waits where it has none yet."""

    def keep_unfinished(self, folder: Path) -> None:  # noqa: B027  nothing, unless a captioner has something to keep
        """Keep what is found out about videos that are not finished in ``folder``, where that is worth anything."""

    def drop_unfinished(self, record: Record) -> None:  # noqa: B027  the same
        """The video of ``record`` is finished."""

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

    def finished(
        self,
        sources: Sequence[Source],
        *,
        in_order: bool = False,  # noqa: ARG002  one captioner finishes them in their order anyway
    ) -> Generator[tuple[Source, Record], None, None]:
        """``sources`` with their records, each once it is there, in any order unless ``in_order``; see ``run``."""
        with closing(self.run(sources)) as records:
            yield from zip(sources, records, strict=True)

    def run(self, sources: Sequence[Source]) -> Generator[Record, None, None]:
        """Records of ``sources`` in their order; a bad video gives a failed record, never an exception.

        Several names of one file (links) get a record each; it is decoded and captioned once.
        """
        from evcap_cli.features.feed import ListFeed

        same = SameFiles(source.path for source in sources)
        kept: dict[int, Record] = {}
        with closing(self.serve(ListFeed(some_of(sources, same.firsts)))) as made:
            for number, source in enumerate(sources):
                first = same.first(number)
                if first == number:
                    kept[number] = next(made)
                yield replace(kept[first], path=source.given, id=source.id)
                if same.last(first) == number:
                    del kept[first]
