"""The summary of training videos and what it says of new ones."""

from __future__ import annotations

import math

import pytest
import torch

from evcap_cli.features.familiarity import LEAST_CLIPS, Familiarity, clip_means, spread
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.output.records import UNFAMILIAR

WIDTH = 12


def stream(values):
    return StreamFeatures(values, torch.arange(len(values)).float())


def clip(generator, shift=0.0, *, audio=True, rows=6):
    mixing = torch.linspace(0.2, 2.0, WIDTH)
    style = torch.randn(1, WIDTH, generator=generator) * mixing
    appearance = style + 0.1 * torch.randn(rows, WIDTH, generator=generator) + shift
    streams = {"appearance": stream(appearance)}
    sound = torch.randn(4 if audio else 0, 5, generator=generator)
    return ClipFeatures({**streams, "audio": stream(sound)}, 4.0)


def clips(seed, count, **options):
    generator = torch.Generator().manual_seed(seed)
    return [clip(generator, **options) for _ in range(count)]


def fit(training, validation):
    return Familiarity.fit([clip_means(each) for each in training], [clip_means(each) for each in validation])


@pytest.fixture(scope="module")
def fitted():
    found = fit(clips(1, 300), clips(2, 200))
    assert found is not None
    return found


@pytest.mark.slow
def test_familiarity_is_the_share_of_validation_clips_at_least_as_unusual(fitted):
    held_out = clips(2, 200)
    worst = fitted.unusualness(held_out)
    for one, own in zip(fitted.of(held_out)[:20], worst[:20], strict=True):
        assert one == pytest.approx(sum(other >= own for other in worst) / 200)


def test_the_distance_is_that_of_a_gaussian_where_every_direction_is_kept():
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(400, 3, generator=generator) @ torch.tensor(
        [[1.0, 0.4, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.5]]
    )
    made = [ClipFeatures({"motion": stream(row.unsqueeze(0))}, 1.0) for row in values]
    summary = fit(made, made).streams["motion"]
    new = torch.randn(7, 3, generator=generator).double() * 3
    difference = new - values.double().mean(0)
    expected = torch.einsum("ni,ij,nj->n", difference, torch.linalg.inv(torch.cov(values.double().T)), difference)
    assert summary.log_distance(new).exp() == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_training_like_clips_rarely_fall_below_the_threshold(fitted):
    alarms = [value < UNFAMILIAR for value in fitted.of(clips(5, 1000))]
    assert sum(alarms) / len(alarms) <= 0.03


@pytest.mark.parametrize("shift", [8.0, -8.0])
def test_clips_of_another_kind_have_no_familiarity(fitted, shift):
    assert all(value == 0 for value in fitted.of(clips(6, 50, shift=shift)))


def test_a_silent_clip_is_compared_in_the_streams_it_has(fitted):
    silent = clips(7, 200, audio=False)
    values = fitted.of(silent)
    assert 0.35 < sum(values) / len(values) < 0.65
    assert all(value == 0 for value in fitted.of(clips(8, 20, audio=False, shift=8.0)))


def test_one_unusual_stream_is_enough(fitted):
    generator = torch.Generator().manual_seed(9)
    made = clip(generator)
    loud = ClipFeatures({**made.streams, "audio": stream(made.streams["audio"].values + 30)}, 4.0)
    assert fitted.of([loud]) == [0.0]


def test_a_clip_does_not_depend_on_its_neighbours(fitted):
    made = clips(11, 9)
    assert fitted.of(made) == [fitted.of([one])[0] for one in made]


def test_a_clip_without_any_stream_of_the_summary_has_none(fitted):
    empty = ClipFeatures({"object": stream(torch.randn(3, 4)), "audio": stream(torch.zeros(0, 5))}, 1.0)
    assert fitted.of([empty]) == [None]


def test_too_few_clips_give_no_summary():
    assert fit(clips(1, LEAST_CLIPS - 1), clips(2, 100)) is None
    assert fit(clips(1, 100), clips(2, LEAST_CLIPS - 1)) is None


def test_a_dimension_that_never_varied_gives_finite_numbers():
    generator = torch.Generator().manual_seed(4)
    made = [
        ClipFeatures({"motion": stream(torch.cat([torch.randn(2, 3, generator=generator), torch.ones(2, 2)], 1))}, 1.0)
        for _ in range(60)
    ]
    found = fit(made[:30], made[30:])
    other = ClipFeatures({"motion": stream(torch.full((2, 5), 3.0))}, 1.0)
    assert found.of([other]) == [0.0]
    assert math.isfinite(found.unusualness([other])[0])


def test_tensors_give_the_same_numbers_back(fitted):
    again = Familiarity.from_tensors(fitted.tensors())
    made = clips(12, 30) + clips(13, 10, audio=False)
    assert again.unusualness(made) == fitted.unusualness(made)
    assert again.of(made) == fitted.of(made)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda t: t.pop("audio.rest"), "audio.rest is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is unknown"),
        (lambda t: t.update({"audio.scale": torch.zeros(5)}), "must be positive"),
        (lambda t: t.update({"audio.mean": torch.full((5,), torch.nan)}), "not finite"),
        (lambda t: t.update({"appearance.directions": torch.zeros(3, 2)}), "appearance.directions must be"),
        (lambda t: t.update(validation=torch.zeros(0, 2)), "validation must be"),
    ],
)
def test_broken_tensors_are_refused_by_name(fitted, change, cause):
    tensors = fitted.tensors()
    change(tensors)
    with pytest.raises(ValueError, match=cause):
        Familiarity.from_tensors(tensors)


def test_a_large_split_is_thinned_evenly():
    videos = [f"vid{number}" for number in range(10)]
    assert spread(videos, 10) == videos
    assert spread(videos, 4) == ["vid0", "vid3", "vid6", "vid9"]
    assert spread([], 4) == []
