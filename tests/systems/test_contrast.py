"""Contrastive attention: which clip is the other one, and the loss against a loop."""

from __future__ import annotations

import math

import pytest
import torch

from evcap_cli.network.losses import Targets
from evcap_cli.systems.aligned_tensors import AlignedMemory, AlignedOutput
from evcap_cli.systems.attention import AdditiveEnergies
from evcap_cli.systems.contrast import COMMON_WORDS, contrastive_attention, negative_clips

VOCABULARY = 24
"""20 words, of which a quarter, ids 4 to 8, are common."""


def targets(emotions: list[int | None], words: list[list[int]], videos: list[int] | None = None) -> Targets:
    """One caption a clip, telling one category or none."""
    tokens = torch.zeros(len(words), 4, dtype=torch.long)
    for row, ids in enumerate(words):
        tokens[row, : len(ids) + 1] = torch.tensor([*ids, 2])
    categories = torch.zeros(len(words), 3, dtype=torch.bool)
    for row, emotion in enumerate(emotions):
        if emotion is not None:
            categories[row, emotion] = True
    owner = torch.arange(len(words))
    none = torch.zeros(len(words), 7, dtype=torch.bool)
    table = torch.zeros(VOCABULARY, dtype=torch.bool)
    return Targets(tokens, owner, categories, none, table, None if videos is None else torch.tensor(videos))


def chosen(given: Targets) -> list[int]:
    clips, exist = negative_clips(given, len(given.tokens))
    return [number if real else -1 for number, real in zip(clips.tolist(), exist.tolist(), strict=True)]


def test_another_emotion_without_a_shared_content_word_is_preferred() -> None:
    given = targets([0, 1, 1, 0], [[4, 10], [5, 10], [4, 12], [6, 13]])
    # 0 and 1 share word 10; 0 and 2 share word 4 only, which is common
    assert chosen(given) == [2, 3, 3, 1]


def test_another_emotion_comes_before_the_same_one_and_the_same_before_none() -> None:
    assert chosen(targets([0, 0, 1], [[10], [11], [10, 11]])) == [2, 2, 0]
    assert chosen(targets([0, 0, 0], [[10], [10], [10]])) == [1, 2, 0]
    assert chosen(targets([None, 0, None], [[10], [11], [12]])) == [1, 2, 1]


def test_another_caption_of_the_same_video_is_never_the_other_one() -> None:
    given = targets([0, 1, 1], [[10], [11], [12]], videos=[7, 7, 8])
    assert chosen(given) == [2, 2, 0]
    assert chosen(targets([0, 1], [[10], [11]], videos=[7, 7])) == [-1, -1]


def test_the_dominant_emotion_is_that_of_most_captions() -> None:
    given = targets([0, 0, 1, 1, 0], [[10], [11], [12], [13], [14]])
    given.clip_index = torch.tensor([0, 0, 0, 1, 2])
    clips, _ = negative_clips(given, 3)
    assert clips.tolist() == [1, 2, 1]


def test_the_loss_equals_a_loop_over_captions_words_and_moments() -> None:
    torch.manual_seed(0)
    given = targets([0, 1, None], [[10, 11, 5], [12], [13, 14]])
    alignment = AdditiveEnergies(4, 3, 5).double()
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    moments, phrases = torch.randn(3, 4, 3).double(), torch.randn(3, 4, 4).double()
    keys, queries = alignment.key(moments), alignment.query(phrases)
    fed = torch.tensor([[1, 10, 11, 5], [1, 12, 0, 0], [1, 13, 14, 0]])
    memory = AlignedMemory(torch.zeros(0), keys, mask)
    output = AlignedOutput(torch.zeros(0), [], alignment(keys, queries, torch.arange(3)), queries, memory, fed)
    found = contrastive_attention(output, alignment, given)

    def energy(row: int, word: int, clip: int) -> float:
        real = mask[clip].nonzero().flatten().tolist()
        each = [torch.tanh(keys[clip, i] + queries[row, word]) @ alignment.vector for i in real]
        return float(sum(each).detach()) / len(each)

    pairs = [(row, word) for row, count in enumerate((3, 1, 2)) for word in range(1, count + 1)]
    own = sum(energy(row, word, row) for row, word in pairs) / len(pairs)
    other = sum(energy(row, word, chosen(given)[row]) for row, word in pairs) / len(pairs)
    expected = (math.log(1 + math.exp(-own)) + math.log(1 + math.exp(other))) / 2
    assert float(found.detach()) == pytest.approx(expected)


def test_a_batch_of_one_video_has_no_contrast_and_finite_gradients() -> None:
    given = targets([0], [[10]])
    alignment = AdditiveEnergies(4, 3, 5)
    keys, queries = alignment.key(torch.randn(1, 2, 3)), alignment.query(torch.randn(1, 4, 4))
    fed = torch.tensor([[1, 10, 0, 0]])
    memory = AlignedMemory(torch.zeros(0), keys, torch.ones(1, 2, dtype=torch.bool))
    output = AlignedOutput(torch.zeros(0), [], alignment(keys, queries, torch.arange(1)), queries, memory, fed)
    found = contrastive_attention(output, alignment, given)
    found.backward()
    assert float(found.detach()) == 0
    assert all(p.grad is not None and not p.grad.any() for p in alignment.parameters())


@pytest.mark.parametrize(("shared", "other"), [(4 + COMMON_WORDS - 1, 1), (4 + COMMON_WORDS, 2)])
def test_in_a_large_vocabulary_only_the_most_frequent_words_are_common(shared: int, other: int) -> None:
    given = targets([0, 1, 1], [[shared, 70], [shared, 71], [72]])
    given.emotion_tokens = torch.zeros(1000, dtype=torch.bool)
    assert chosen(given)[0] == other
