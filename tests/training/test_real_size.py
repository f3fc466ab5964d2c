"""The benchmark of the real size on a small scale: its data set reads as one, and both programs compute the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from evcap_cli.data.caption_batches import caption_batches
from evcap_cli.data.caption_text import tokens
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.training.recipe import Recipe, TrainConfig
from tests.benchmarks.plain_training import plain_copy
from tests.benchmarks.real_size import compare_numbers, evcap_loop, plain_step, read
from tests.benchmarks.real_size_data import Size, make

SMALL = Size(train=(24, 400), test=(8, 30), vocabulary=350)
NARROW = {"width": 12, "word_width": 12, "feed_forward": 8, "lstm_width": 16, "attention_width": 8}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("real")
    make(place, seed=3, size=SMALL)
    return place


def test_captions_have_the_counts_lengths_and_words_that_are_asked_for(root: Path) -> None:
    data = DataRoot.open(root)
    assert [len(data.train), len(data.test)] == [24, 8]
    assert [sum(map(len, split.values())) for split in (data.train, data.test)] == [400, 30]
    assert not data.train.keys() & data.test.keys()
    cut = [tokens(text) for texts in data.train.values() for text in texts]
    assert len({word for words in cut for word in words}) == 350
    assert 9 < np.mean([len(words) for words in cut]) < 10
    assert len(data.lexicon.categories) == 34
    assert (data.lexicon.entries, len(data.lexicon.words)) == (183, 179)
    assert np.mean([bool(data.lexicon.mentioned_words(words)) for words in cut]) > 0.8
    counts = Counter(word for words in cut for word in words)
    assert counts.most_common(1)[0][1] > 0.08 * sum(counts.values())  # Zipf: the first word stands out


def test_the_same_seed_gives_the_same_files(root: Path, tmp_path: Path) -> None:
    make(tmp_path, seed=3, size=SMALL)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert len(files) == 2 + 8 + 34
    assert all((root / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)


@pytest.mark.slow
def test_a_plain_program_has_the_cross_entropy_and_the_gradient_of_evcap(root: Path) -> None:
    recipe = Recipe(TrainConfig(batch_size=32), {**NARROW, "alignment_width": 8})
    prepared = read(root, recipe)
    loop, plain = evcap_loop(prepared), plain_copy(prepared.model)
    batch = caption_batches(loop.train.clip, batch_size=32, per_clip=4, seed=0, epoch=0)[0]
    assert prepared.features.tensors.motion is not None
    assert prepared.features.tensors.motion.shape == (24, 30, 2048)
    ours, other, off = compare_numbers(loop, plain, batch)
    assert ours == pytest.approx(other, rel=1e-6)
    assert off < 1e-5
    before = plain.decoder.output.weight.detach().clone()
    plain_step(plain, torch.optim.Adam(plain.parameters()), loop, batch)
    assert not torch.equal(plain.decoder.output.weight, before)
