from __future__ import annotations

import random

import numpy as np
import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.scoring.metric_parts import Parts, measure
from evcap_cli.scoring.resampling import compare, interval, replicates, sign_p, weightings
from evcap_cli.scoring.score_texts import score_texts
from tests.scoring.test_score import LEXICON, slow_accuracies

WORDS = [*LEXICON.words[:8], "a", "man", "dog", "runs", "the", "park", "and", "is"]


def corpus(seed: int, videos: int = 12) -> tuple[dict[str, str], dict[str, list[str]]]:
    draw = random.Random(seed)
    said = {f"v{n}": " ".join(draw.choices(WORDS, k=draw.randint(2, 7))) for n in range(videos)}
    truth = {
        video: [text, *(" ".join(draw.choices(WORDS, k=draw.randint(2, 7))) for _ in range(draw.randint(1, 3)))]
        if draw.random() < 0.4
        else [" ".join(draw.choices(WORDS, k=draw.randint(2, 7))) for _ in range(draw.randint(1, 3))]
        for video, text in said.items()
    }
    return said, truth


def slow_metrics(said: dict[str, str], truth: dict[str, list[str]]) -> dict[str, float]:
    """By pycocoevalcap and the definitions, on texts that really stand there more than once."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    answers = {video: [text] for video, text in said.items()}
    bleus = Bleu(4).compute_score(truth, answers, verbose=0)[0]
    cider = Cider().compute_score(truth, answers)[0]
    sw, c = slow_accuracies(said, truth)
    return {
        **{f"bleu_{n}": value for n, value in enumerate(bleus, 1)},
        "rouge_l": Rouge().compute_score(truth, answers)[0],
        "cider": cider,
        "acc_sw": sw,
        "acc_c": c,
        "bfs": 0.8 * (0.1 * bleus[0] + 0.2 * bleus[1] + 0.3 * bleus[2] + 0.4 * bleus[3]) + 0.1 * (sw + c),
        "cfs": 0.8 * cider + 0.1 * (sw + c),
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_resampling_equals_the_metrics_of_duplicated_videos(seed: int) -> None:
    said, truth = corpus(seed)
    found = replicates(measure(said, truth, LEXICON), 40, seed)
    names = list(said)
    weights = np.concatenate(list(weightings(len(names), 40, seed)))
    assert weights.sum(1).tolist() == [len(names)] * 40
    for number, row in enumerate(weights):
        drawn = [(name, copy) for name, times in zip(names, row, strict=True) for copy in range(int(times))]
        expected = slow_metrics(
            {f"{name}-{copy}": said[name] for name, copy in drawn},
            {f"{name}-{copy}": truth[name] for name, copy in drawn},
        )
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert found[name][number] == pytest.approx(100 * value, abs=1e-9), name


def test_intervals_are_percentiles_of_the_resamplings_and_depend_on_the_seed_only() -> None:
    said, truth = corpus(7)
    scores = score_texts(said, truth, LEXICON, meteor=False, bootstrap=130, seed=2)
    values = replicates(measure(said, truth, LEXICON), 130, 2)
    assert {name: len(column) for name, column in values.items()} == dict.fromkeys(scores.intervals, 130)
    for name, pair in scores.intervals.items():
        assert pair == pytest.approx(np.percentile(values[name], [2.5, 97.5]))
    assert scores.intervals == score_texts(said, truth, LEXICON, meteor=False, bootstrap=130, seed=2).intervals
    assert scores.intervals != score_texts(said, truth, LEXICON, meteor=False, bootstrap=130, seed=3).intervals


def parts(said: dict[str, str], truth: dict[str, list[str]]) -> Parts:
    return measure(said, truth, LEXICON)


def test_a_system_does_not_differ_from_itself() -> None:
    said, truth = corpus(1)
    for difference in compare(parts(said, truth), parts(said, truth), 100, 0).values():
        assert (difference.difference, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_a_perfect_system_beats_a_random_one_by_the_smallest_p_there_is() -> None:
    said, truth = corpus(2, videos=40)
    perfect = {video: texts[0] for video, texts in truth.items()}
    found = compare(parts(perfect, truth), parts(said, truth), 199, 0)
    mirrored = compare(parts(said, truth), parts(perfect, truth), 199, 0)
    for name in ("bleu_1", "bleu_4", "rouge_l", "cider", "bfs", "cfs"):
        assert found[name].p == pytest.approx(2 / 200)
        assert 0 < found[name].low < found[name].difference < found[name].high
        assert mirrored[name].p == found[name].p
        assert (mirrored[name].low, mirrored[name].high) == pytest.approx((-found[name].high, -found[name].low))


def test_resamplings_are_paired_so_a_small_steady_gain_shows_although_the_intervals_overlap() -> None:
    _, truth = corpus(3, videos=60)
    draw = random.Random(0)
    worse = {
        video: " ".join([*draw.choice(texts).split(), *draw.choices(WORDS, k=4)]) for video, texts in truth.items()
    }
    better = {video: text.rsplit(" ", 1)[0] for video, text in worse.items()}
    ours, theirs = replicates(parts(better, truth), 300, 0), replicates(parts(worse, truth), 300, 0)
    assert interval(theirs["bleu_1"])[1] > interval(ours["bleu_1"])[0]
    found = compare(parts(better, truth), parts(worse, truth), 300, 0)["bleu_1"]
    assert found.p < 0.05
    assert found.low > 0


@pytest.mark.slow
def test_two_draws_from_the_same_people_seldom_differ() -> None:
    low = 0
    for seed in range(40):
        draw = random.Random(seed)
        truth = {f"v{n}": [" ".join(draw.choices(WORDS, k=5)) for _ in range(3)] for n in range(30)}
        one, two = ({video: " ".join(draw.choices(WORDS, k=5)) for video in truth} for _ in range(2))
        low += compare(parts(one, truth), parts(two, truth), 99, seed)["rouge_l"].p < 0.05
    assert low <= 6  # 2 are expected; more than 6 have probability 0.003


def test_p_agrees_with_the_interval() -> None:
    generator = np.random.default_rng(0)
    for shift in (-3.0, -2.2, -1.5, 0.0, 1.5, 2.2, 3.0):
        values = generator.normal(shift, 1.0, 2000)
        low, high = interval(values)
        assert (sign_p(values) < 0.05) == (low > 0 or high < 0), shift


def test_a_lexicon_without_hits_gives_intervals_of_zero() -> None:
    scores = score_texts(
        {"a": "x", "b": "y"}, {"a": ["x"], "b": ["z"]}, Lexicon({"joy": ["joy"]}), meteor=False, bootstrap=20
    )
    assert scores.intervals["acc_sw"] == (0, 0)
    assert scores.intervals["acc_c"] == (0, 0)
