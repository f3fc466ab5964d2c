from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcap_cli.data.caption_batches import caption_batches


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 6), max_size=60),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_an_epoch_is_every_caption_once_with_its_own_video(
    clips: list[int], size: int, per_clip: int, epoch: int
) -> None:
    owner = np.array(clips, dtype=np.int64)
    batches = caption_batches(owner, batch_size=size, per_clip=per_clip, seed=1, epoch=epoch)
    assert sorted(n for b in batches for n in b.captions.tolist()) == list(range(len(clips)))
    for batch in batches:
        assert batch.clips.tolist() == sorted(set(batch.clips.tolist()))
        assert owner[batch.captions].tolist() == batch.clips[batch.clip_index].tolist()
    assert all(len(b.captions) == size for b in batches[:-1])


def test_captions_of_a_video_stay_together_so_that_few_videos_are_encoded() -> None:
    owner = np.repeat(np.arange(100), 12)
    batches = caption_batches(owner, batch_size=120, per_clip=4, seed=0, epoch=0)
    assert max(len(b.clips) for b in batches) <= 30
    loose = caption_batches(owner, batch_size=120, per_clip=1, seed=0, epoch=0)
    assert min(len(b.clips) for b in loose) > 50


@pytest.mark.parametrize(("captions", "groups"), [(1, 1), (5, 1), (6, 2), (16, 4), (17, 4), (18, 5)])
def test_a_rest_of_few_captions_does_not_cost_a_video(captions: int, groups: int) -> None:
    owner = np.repeat(np.arange(50), captions)
    batches = caption_batches(owner, batch_size=len(owner), per_clip=4, seed=0, epoch=0)
    line = owner[batches[0].captions]
    runs = np.diff(np.flatnonzero(np.diff(line, prepend=-1, append=-1)))
    assert 50 * groups * 0.8 < len(runs) <= 50 * groups  # two groups of one video may lie side by side
    assert min(runs) >= captions // groups


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    owner = np.repeat(np.arange(20), 5)

    def order(seed: int, epoch: int) -> list[int]:
        return [
            n for b in caption_batches(owner, batch_size=16, per_clip=2, seed=seed, epoch=epoch) for n in b.captions
        ]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        caption_batches(np.zeros(1, dtype=np.int64), batch_size=0, per_clip=1, seed=0, epoch=0)
