"""What the training of an adapter reads: captions as answers, and clips that are prepared while the model computes.

Notation: N captions, R captions of a step.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evcap_cli import console
from evcap_cli.data.caption_batches import caption_batches
from evcap_cli.errors import one_line
from evcap_cli.systems.decoded_clips import clip_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from evcap_cli.features.kept_clips import KeptClips
    from evcap_cli.systems.tunable_captioner import TunableCaptioner

AHEAD: Final = 2
"""Steps whose clips are prepared before they are needed."""
RECENT_BYTES: Final = 1 << 30
"""Of prepared clips in memory."""
_FLOAT: Final = 4
"""Bytes."""


def shown_text(caption: str, max_words: int) -> str:
    """A caption as the model learns to write it: as it stands in the data, cut after ``max_words`` words."""
    return " ".join(caption.split()[:max_words])


class Answers:
    """The captions of some videos as answers of a model.

    Args:
        captioner: loaded.
        captions: video -> raw captions.
        max_words: they are cut there.
    """

    def __init__(self, captioner: TunableCaptioner[Any], captions: Mapping[str, Sequence[str]], max_words: int) -> None:
        self.videos = list(captions)
        pairs = [
            (number, captioner.answer(text))
            for number, video in enumerate(self.videos)
            for caption in captions[video]
            if (text := shown_text(caption, max_words))
        ]
        self.clip: npt.NDArray[np.int64] = np.array([number for number, _ in pairs], np.int64)
        """The number of the video of each caption, (N,)."""
        self.tokens = [tokens for _, tokens in pairs]

    def __len__(self) -> int:
        return len(self.tokens)

    def steps(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """Numbers of the captions of each step of an epoch, in an order that depends on (seed, epoch) only."""
        batches = caption_batches(self.clip, batch_size=batch_size, per_clip=1, seed=seed, epoch=epoch)
        return [[int(number) for number in batch.captions] for batch in batches]

    def in_order(self, batch_size: int) -> list[list[int]]:
        """All captions in their order."""
        return [list(range(start, min(start + batch_size, len(self)))) for start in range(0, len(self), batch_size)]

    def count_tokens(self, captions: Sequence[int]) -> int:
        """Of the answers with these numbers together."""
        return sum(len(self.tokens[number]) for number in captions)


@dataclass(frozen=True)
class Example:
    """One caption and its clip, prepared."""

    video: str
    clip: Any
    answer: Sequence[int]


class RecentClips:
    """Prepared clips, the most recent ones kept in memory: a video has many captions, and a small data set fits whole.

    Args:
        captioner: prepares.
        clips: of the videos.
        most_bytes: that what is kept may take, by the size of the decoded frames as single-precision numbers.
    """

    def __init__(self, captioner: TunableCaptioner[Any], clips: KeptClips, most_bytes: int = RECENT_BYTES) -> None:
        self.captioner, self.clips, self.most_bytes = captioner, clips, most_bytes
        self._kept: OrderedDict[str, tuple[int, Any]] = OrderedDict()
        self._bytes = 0

    def prepared(self, video: str) -> Any:
        """One clip; whatever reading or preparing it raises is raised."""
        if video in self._kept:
            self._kept.move_to_end(video)
            return self._kept[video][1]
        raw = self.clips.read(video)
        made = self.captioner.prepare_clip(clip_of(raw))
        size = sum(_FLOAT * array.size for array in (raw.frames, raw.waveform) if array is not None)
        self._kept[video] = (size, made)
        self._bytes += size
        while self._bytes > self.most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][0]
        return made


class ExampleLoader:
    """Prepares the clips of coming steps in a thread while the model computes.

    Args:
        clips: prepared in that thread alone.
    """

    def __init__(self, clips: RecentClips) -> None:
        self.clips = clips
        self.waited_seconds = 0.0
        self._left_out: set[str] = set()

    def steps(self, answers: Answers, steps: Sequence[Sequence[int]]) -> Iterator[list[Example]]:
        """The examples of each step; captions whose clip cannot be prepared are left out, with a warning."""
        with ThreadPoolExecutor(1, thread_name_prefix="evcap-examples") as pool:
            waiting: deque[list[tuple[int, Future[Any]]]] = deque()
            coming = iter(steps)
            try:
                while True:
                    while len(waiting) < AHEAD and (captions := next(coming, None)) is not None:
                        waiting.append(self._submitted(pool, answers, captions))
                    if not waiting:
                        return
                    started = time.monotonic()
                    found = [self._example(answers, number, future) for number, future in waiting.popleft()]
                    self.waited_seconds += time.monotonic() - started
                    yield [example for example in found if example is not None]
            finally:
                pool.shutdown(cancel_futures=True)

    def _submitted(
        self, pool: ThreadPoolExecutor, answers: Answers, captions: Sequence[int]
    ) -> list[tuple[int, Future[Any]]]:
        futures: dict[str, Future[Any]] = {}
        found: list[tuple[int, Future[Any]]] = []
        for number in captions:
            video = answers.videos[answers.clip[number]]
            if video not in futures:
                futures[video] = pool.submit(self.clips.prepared, video)
            found.append((number, futures[video]))
        return found

    def _example(self, answers: Answers, number: int, future: Future[Any]) -> Example | None:
        video = answers.videos[answers.clip[number]]
        try:
            return Example(video, future.result(), answers.tokens[number])
        except MemoryError:
            raise
        except Exception as problem:  # a processor of a model may raise anything
            if video not in self._left_out:
                self._left_out.add(video)
                console.warn(f"{video}: cannot be prepared ({one_line(problem)}); its captions are left out")
            return None
