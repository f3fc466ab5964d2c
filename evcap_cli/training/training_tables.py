"""What a run reads in every epoch, as tensors: features of all clips, tokens and labels of all captions.

A step then only gathers rows. ``data/caption_batches.py`` decides which.

Notation: N clips of the table, C captions, B clips and R captions of a batch, L = words + 1 steps, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evcap_cli.data.special_tokens import PAD, START
from evcap_cli.errors import TrainingError
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.collate import collate
from evcap_cli.network.losses import Targets

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from evcap_cli.backbones.contract import Kind
    from evcap_cli.data.caption_batches import CaptionBatch
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.data.vocabulary import Vocabulary
    from evcap_cli.network.config import SystemConfig

_CHUNK = 64  # clips collated at once: only these are in memory next to the table
_STREAMS: tuple[tuple[Kind, str, str, str], ...] = (
    ("appearance", "appearance", "visual_mask", "moment_times"),
    ("motion", "motion", "visual_mask", "moment_times"),
    ("object", "objects", "object_mask", ""),
    ("audio", "audio", "audio_mask", "audio_times"),
)


@dataclass
class FeatureTable:
    """Features of N clips, one tensor a stream.

    Args:
        videos: their names, N. tensors: a ``ClipBatch`` of all of them.
    """

    videos: list[str]
    tensors: ClipBatch

    @classmethod
    def build(cls, clips: Iterable[tuple[str, ClipFeatures]], count: int, config: SystemConfig) -> FeatureTable:
        """Collect ``clips``, of which there are at most ``count``.

        Raises:
            TrainingError: there is none, or one does not fit the model.
        """
        videos: list[str] = []
        whole: ClipBatch | None = None
        for chunk in _chunks(clips, _CHUNK):
            try:
                part = collate([features for _, features in chunk], config)
            except ValueError as problem:
                raise TrainingError(f"features of {chunk[0][0]} to {chunk[-1][0]} do not fit: {problem}") from problem
            if whole is None:
                whole = _map(part, lambda tensor: tensor.new_zeros((count, *tensor.shape[1:])))
            start = len(videos)
            for f in fields(ClipBatch):
                target, source = getattr(whole, f.name), getattr(part, f.name)
                if target is not None:
                    target[start : start + len(chunk)] = source
            videos.extend(video for video, _ in chunk)
        if whole is None:
            raise TrainingError("no video has features", hint="check the feature files or the folder of the videos")
        return cls(videos, _map(whole, lambda tensor: tensor[: len(videos)]))

    def __len__(self) -> int:
        return len(self.videos)

    def select(self, clips: Tensor) -> ClipBatch:
        """A batch of the clips numbered ``clips``, (B,)."""
        return _map(self.tensors, lambda tensor: tensor.index_select(0, clips))

    def clip_batch(self, clips: Sequence[int] | npt.NDArray[np.int64], device: torch.device) -> ClipBatch:
        """A batch of the clips of these numbers on ``device``, wherever the table is."""
        numbers = torch.as_tensor(clips).to(self.tensors.appearance.device)
        return self.select(numbers).to(device, non_blocking=True)

    def to(self, device: torch.device) -> FeatureTable:
        """The table on another device."""
        return FeatureTable(self.videos, self.tensors.to(device))

    @property
    def nbytes(self) -> int:
        """Memory of the tensors."""
        tensors = (getattr(self.tensors, f.name) for f in fields(ClipBatch))
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def clips(self, numbers: Sequence[int]) -> Iterator[ClipFeatures]:
        """Single clips back from the table, without padding: what statistics are taken from."""
        present = [entry for entry in _STREAMS if getattr(self.tensors, entry[1]) is not None]
        for number in numbers:
            streams: dict[Kind, StreamFeatures] = {}
            for kind, name, mask_name, times_name in present:
                mask = getattr(self.tensors, mask_name)[number]
                values = getattr(self.tensors, name)[number][mask]
                times = getattr(self.tensors, times_name)[number][mask] if times_name else torch.zeros(len(values))
                streams[kind] = StreamFeatures(values, times)
            yield ClipFeatures(streams, duration=0.0)


def _chunks(clips: Iterable[tuple[str, ClipFeatures]], size: int) -> Iterator[list[tuple[str, ClipFeatures]]]:
    chunk: list[tuple[str, ClipFeatures]] = []
    for clip in clips:
        chunk.append(clip)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _map(batch: ClipBatch, change: Callable[[Tensor], Tensor]) -> ClipBatch:
    given = ((f.name, getattr(batch, f.name)) for f in fields(ClipBatch))
    changed: dict[str, Any] = {name: None if tensor is None else change(tensor) for name, tensor in given}
    return ClipBatch(**changed)


@dataclass
class CaptionTable:
    """Tokens and labels of C captions.

    Args:
        clip: number of each caption's clip in the feature table, (C,) on the host.
        inputs: of each step, (C, L), the start mark first, PAD at the end.
        targets: what each step should emit, (C, L), the end mark last, PAD after it.
        lengths: real steps of each caption, (C,) on the host.
        categories: labels, (C, N_c) bool. words: labels, (C, N_w) bool.
        emotion_tokens: the vocabulary's emotion words, (V,) bool.
    """

    clip: np.ndarray[tuple[int], np.dtype[np.int64]]
    inputs: Tensor
    targets: Tensor
    lengths: np.ndarray[tuple[int], np.dtype[np.int64]]
    categories: Tensor
    words: Tensor
    emotion_tokens: Tensor

    @classmethod
    def build(
        cls,
        captions: Mapping[str, Sequence[Sequence[str]]],
        numbers: Mapping[str, int],
        vocabulary: Vocabulary,
        lexicon: Lexicon,
        *,
        per_video_labels: bool,
    ) -> CaptionTable:
        """Number tokenised captions.

        Args:
            captions: video -> captions as words.
            numbers: video -> its number in the feature table.
            vocabulary: unknown words become UNK.
            lexicon: gives the labels.
            per_video_labels: every caption carries the labels of all captions of its video.
        """
        pairs = [(video, words) for video, several in captions.items() for words in several]
        steps = max((len(words) for _, words in pairs), default=0) + 1
        inputs, targets = np.full((len(pairs), steps), PAD), np.full((len(pairs), steps), PAD)
        lengths = np.zeros(len(pairs), dtype=np.int64)
        categories = np.zeros((len(pairs), len(lexicon.categories)), dtype=np.bool_)
        labels = np.zeros((len(pairs), len(lexicon.words)), dtype=np.bool_)
        all_words = {video: [word for words in several for word in words] for video, several in captions.items()}
        for row, (video, words) in enumerate(pairs):
            ids = vocabulary.encode(words)
            lengths[row] = len(ids)
            targets[row, : len(ids)] = ids
            inputs[row, : len(ids)] = [START, *ids[:-1]]
            labelled = all_words[video] if per_video_labels else words
            categories[row, sorted(lexicon.mentioned_categories(labelled))] = True
            labels[row, sorted(lexicon.mentioned_words(labelled))] = True
        return cls(
            clip=np.array([numbers[video] for video, _ in pairs], dtype=np.int64),
            inputs=torch.from_numpy(inputs),
            targets=torch.from_numpy(targets),
            lengths=lengths,
            categories=torch.from_numpy(categories),
            words=torch.from_numpy(labels),
            emotion_tokens=torch.tensor([word in lexicon.word_ids for word in vocabulary.words]),
        )

    def __len__(self) -> int:
        return len(self.clip)

    def select(self, batch: CaptionBatch) -> tuple[Tensor, Targets]:
        """Inputs of the decoder, (R, T), and the targets of a batch; T is its longest caption's steps."""
        rows = torch.from_numpy(batch.captions).to(self.inputs.device)
        steps = int(self.lengths[batch.captions].max())
        targets = Targets(
            tokens=self.targets[rows, :steps],
            clip_index=torch.from_numpy(batch.clip_index).to(self.inputs.device),
            categories=self.categories[rows],
            words=self.words[rows],
            emotion_tokens=self.emotion_tokens,
        )
        return self.inputs[rows, :steps], targets

    def steps(self, batch: CaptionBatch) -> list[int]:
        """Real steps of each caption of a batch, R of them."""
        lengths: list[int] = self.lengths[batch.captions].tolist()
        return lengths

    def to(self, device: torch.device) -> CaptionTable:
        """The table on another device; what the host reads stays there."""
        moved = (tensor.to(device) for tensor in (self.inputs, self.targets, self.categories, self.words))
        inputs, targets, categories, words = moved
        return CaptionTable(self.clip, inputs, targets, self.lengths, categories, words, self.emotion_tokens.to(device))
