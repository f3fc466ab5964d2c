from __future__ import annotations

import random

import pytest

from evcap_cli.scoring.score_texts import score_texts
from evcap_cli.training.reward import CaptionReward
from tests.scoring.test_score import LEXICON, REFERENCES, slow_accuracies

WORDS = [*LEXICON.words[:6], "a", "man", "dog", "runs", "the", "park", "is"]


def invented(seed: int, videos: int = 6) -> tuple[dict[str, str], dict[str, list[str]]]:
    """A caption and one to four references a video; captions may be empty and have words that no reference has."""
    draw = random.Random(seed)

    def text(least: int, words: list[str]) -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(least, 12)))

    names = [f"v{n}" for n in range(videos)]
    return (
        {name: text(0, [*WORDS, "zebra"]) for name in names},
        {name: [text(1, WORDS) for _ in range(draw.randint(1, 4))] for name in names},
    )


@pytest.mark.parametrize("seed", range(12))
def test_a_caption_is_worth_what_pycocoevalcap_and_the_definitions_of_the_accuracies_give(seed: int) -> None:
    from pycocoevalcap.cider.cider import Cider

    said, truth = invented(seed)
    _, cider = Cider().compute_score(truth, {video: [text] for video, text in said.items()})
    reward = CaptionReward(truth, LEXICON)
    for (video, text), one in zip(said.items(), cider, strict=True):
        assert reward.cider(video, text.split()) == pytest.approx(one, abs=1e-9)
        right, only_right = slow_accuracies({video: text}, truth)
        worth = 100 * (0.8 * one + 0.1 * (right + only_right))
        assert reward(video, text.split()) == pytest.approx(worth, abs=1e-7)


def test_the_mean_of_the_captions_ciders_is_that_of_the_corpus() -> None:
    said, truth = invented(3, videos=9)
    reward = CaptionReward(truth, LEXICON)
    mean = sum(reward.cider(video, text.split()) for video, text in said.items()) / len(said)
    assert 100 * mean == pytest.approx(score_texts(said, truth, LEXICON, meteor=False).metrics["cider"], abs=1e-7)


def test_captions_and_references_are_normalised_and_cut_as_scores_have_them() -> None:
    long = "the man is " + "very " * 14 + "sad"
    raw = {"a": ["A man's HAPPY!", "", "..."], "b": [long]}
    plain = {"a": ["a mans happy"], "b": [" ".join(long.split()[:15])]}
    one, other = CaptionReward(raw, LEXICON), CaptionReward(plain, LEXICON)
    for video, words in (("a", ["a", "happy", "mans"]), ("b", long.split())):
        assert one(video, words) == other(video, words[:15]) > 0
    assert one("b", ["sad"]) == 0  # told behind the cut only


def test_a_right_emotion_is_worth_twenty_more_and_an_empty_caption_nothing() -> None:
    reward = CaptionReward(REFERENCES, LEXICON)
    assert reward("a", ["zebra", "happy"]) - 80 * reward.cider("a", ["zebra", "happy"]) == pytest.approx(20)
    assert reward("a", ["zebra", "sad"]) == reward("a", []) == 0
    both = ["zebra", "happy", "sad"]
    assert reward("a", both) - 80 * reward.cider("a", both) == pytest.approx(5)  # Acc_sw is a half, Acc_c nothing
