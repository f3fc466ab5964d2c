from __future__ import annotations

import numpy as np
import pytest
import torch

from evcap_cli.data.caption_batches import CaptionBatch
from evcap_cli.data.special_tokens import END, PAD, START, UNK
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import TrainingError
from evcap_cli.network.collate import collate
from evcap_cli.training.training_tables import CaptionTable, FeatureTable
from tests.training import toy

CONFIG = toy.recipe().captioner(
    appearance_dim=8, motion_dim=6, object_dim=7, audio_dim=5, vocabulary=10, categories=2, words=4
)
CAPTIONS = {"b": [["a", "happy", "man"], ["a", "man"]], "a": [["sad", "zebra"]]}
VOCABULARY = Vocabulary(["a", "man", "happy", "sad"])


def test_a_batch_gathered_from_the_table_equals_collating_its_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.training.training_tables._CHUNK", 4)
    clips = [(f"vid{n}", toy.features(n)) for n in range(10)]
    table = FeatureTable.build(iter(clips), 12, CONFIG)
    assert table.videos == [video for video, _ in clips]
    chosen = [7, 0, 4]
    batch, expected = table.select(torch.tensor(chosen)), collate([clips[n][1] for n in chosen], CONFIG)
    for name, tensor in vars(expected).items():
        assert torch.equal(getattr(batch, name), tensor), name


def test_clips_come_back_from_the_table_without_padding() -> None:
    clips = [(f"vid{n}", toy.features(n)) for n in range(7)]
    table = FeatureTable.build(iter(clips), 7, CONFIG)
    for number, clip in zip((6, 2), table.clips([6, 2]), strict=True):
        for kind, stream in clips[number][1].streams.items():
            assert torch.equal(clip.streams[kind].values, stream.values), kind


def test_an_empty_table_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no video has features"):
        FeatureTable.build(iter([]), 3, CONFIG)


def built(*, per_video: bool = False) -> CaptionTable:
    return CaptionTable.build(CAPTIONS, {"a": 0, "b": 1}, VOCABULARY, toy.LEXICON, per_video_labels=per_video)


def test_steps_are_fed_the_word_before_and_want_the_next_with_the_end_mark_last() -> None:
    table = built()
    a, man, happy, sad = (VOCABULARY.ids[word] for word in ("a", "man", "happy", "sad"))
    assert table.inputs.tolist() == [[START, a, happy, man], [START, a, man, PAD], [START, sad, UNK, PAD]]
    assert table.targets.tolist() == [[a, happy, man, END], [a, man, END, PAD], [sad, UNK, END, PAD]]
    assert table.clip.tolist() == [1, 1, 0]
    assert table.emotion_tokens.tolist() == [False] * 6 + [True, True]


def test_labels_are_a_captions_own_or_its_videos() -> None:
    happy, sad = toy.LEXICON.word_ids["happy"], toy.LEXICON.word_ids["sad"]
    own, shared = built(), built(per_video=True)
    assert own.categories.tolist() == [[True, False], [False, False], [False, True]]
    assert shared.categories.tolist() == [[True, False], [True, False], [False, True]]
    assert own.words.nonzero().tolist() == [[0, happy], [2, sad]]
    assert shared.words.nonzero().tolist() == [[0, happy], [1, happy], [2, sad]]


def test_a_batch_is_as_long_as_its_longest_caption() -> None:
    batch = CaptionBatch(np.array([1, 2]), np.array([0, 1]), np.array([1, 0]))
    fed, targets = built().select(batch)
    assert fed.shape == (2, 3)
    assert targets.tokens[0].tolist() == [4, 5, END]
    assert targets.clip_index.tolist() == [1, 0]
