from __future__ import annotations

import math
import random

import numpy as np
import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError
from evcap_cli.scoring import emotion
from evcap_cli.scoring.java import JavaError, find_java
from evcap_cli.scoring.score import METRICS, score_captions

# the words that the golden case needs, in the categories the official lexicon gives them
LEXICON = Lexicon(
    {
        "joy": ["joy", "happy", "joyful", "glad"],
        "sadness": ["sadness", "sad", "sadly"],
        "annoyance": ["annoyance", "worried"],
        "worry": ["worry", "worried", "anxious"],
        "anger": ["anger", "angry", "angrily"],
        "surprise": ["surprise", "surprised"],
        "amaze": ["amaze", "amazed"],
        "fear": ["fear", "afraid", "timid"],
        "shy": ["shy", "timid"],
    },
    name="golden",
)
REFERENCES = {
    "a": ["a man is happy and glad", "a joyful man plays"],
    "b": ["the woman is sad", "a woman cries sadly"],
    "c": ["a worried boy waits", "the boy is anxious"],
    "d": ["a dog runs angrily", "an angry dog"],
    "e": ["people are surprised", "they are amazed at it"],
    "f": ["a child waits", "the kid is timid"],
}
HYPOTHESES = {
    "a": "a happy man is joyful",
    "b": "a woman walks",
    "c": "a worried boy is afraid",
    "d": "a happy dog",
    "e": "people are surprised and amazed",
    "f": "a shy child waits",
}


def has_java() -> bool:
    try:
        find_java()
    except JavaError:
        return False
    return True


def test_the_golden_case_of_the_published_metrics() -> None:
    scores = score_captions(HYPOTHESES, REFERENCES, LEXICON, meteor=False).metrics
    expected = {
        "acc_sw": 0.625,
        "acc_c": 0.47768223259575004,
        "bleu_1": 0.799999999968,
        "bleu_2": 0.5803810000611286,
        "bleu_3": 0.37282440958583896,
        "bleu_4": 5.2161941058407026e-05,
        "rouge_l": 0.6660541596727084,
        "cider": 1.9647021171543584,
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(100 * value, abs=1e-7), name
    emotions = 0.1 * (0.625 + 0.47768223259575004)
    assert scores["cfs"] == pytest.approx(100 * (0.8 * expected["cider"] + emotions), abs=1e-7)
    semantic = sum(weight * expected[f"bleu_{n}"] for n, weight in zip((1, 2, 3, 4), (0.1, 0.2, 0.3, 0.4), strict=True))
    assert scores["bfs"] == pytest.approx(100 * (0.8 * semantic + emotions), abs=1e-7)


def test_golden_emotion_counts() -> None:
    counts = emotion.count_emotions(
        {k: v.split() for k, v in HYPOTHESES.items()},
        {k: [t.split() for t in v] for k, v in REFERENCES.items()},
        LEXICON,
    )
    assert counts.sum(0).tolist() == [5, 2, 1, 4, 1]


def random_case(seed: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    draw = random.Random(seed)
    words = [*LEXICON.words, "a", "man", "dog", "runs", "the", "park"]

    def text(least: int) -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(least, 6)))

    videos = [f"v{n}" for n in range(draw.randint(1, 6))]
    return {v: text(0) for v in videos}, {v: [text(1) for _ in range(draw.randint(1, 3))] for v in videos}


def slow_accuracies(hypotheses: dict[str, str], references: dict[str, list[str]]) -> tuple[float, float]:
    """Written from the definitions, with names instead of numbers."""
    n_right = n_wrong = phi = n_right_1 = n_both = 0
    for video, hypothesis in hypotheses.items():
        true = {c for t in references[video] for w in t.split() for c in LEXICON.table if w in LEXICON.table[c]}
        told = {
            next(c for c in sorted(LEXICON.table) if w in LEXICON.table[c])
            for w in hypothesis.split()
            if w in LEXICON.words
        }
        right, wrong = [c for c in told if c in true], [c for c in told if c not in true]
        n_right += len(right)
        n_wrong += len(wrong)
        phi += not told
        n_right_1 += bool(right)
        n_both += bool(right) and bool(wrong)
    right_share = n_right_1 / len(hypotheses)
    c = 0.0 if n_right_1 == n_both else math.exp(n_both / (n_both - n_right_1 + 1e-4)) * right_share
    return n_right / (n_right + n_wrong + phi), c


@pytest.mark.parametrize("block", range(4))
def test_emotion_accuracies_match_a_reading_of_the_definitions(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        hypotheses, references = random_case(seed)
        counts = emotion.count_emotions(
            {k: v.split() for k, v in hypotheses.items()},
            {k: [t.split() for t in v] for k, v in references.items()},
            LEXICON,
        )
        expected = slow_accuracies(hypotheses, references)
        found = emotion.acc_sw(counts.sum(0)), emotion.acc_c(counts.sum(0), len(hypotheses))
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_ngram_metrics_equal_pycocoevalcap_called_directly(seed: int) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses, references = random_case(seed)
    found = score_captions(hypotheses, references, LEXICON, meteor=False).metrics
    answers = {k: [v] for k, v in hypotheses.items()}
    bleus = Bleu(4).compute_score(references, answers, verbose=0)[0]
    for order, value in enumerate(bleus, 1):
        assert found[f"bleu_{order}"] == pytest.approx(100 * value, abs=1e-9)
    assert found["rouge_l"] == pytest.approx(100 * Rouge().compute_score(references, answers)[0], abs=1e-9)
    assert found["cider"] == pytest.approx(100 * Cider().compute_score(references, answers)[0], abs=1e-9)


def test_all_right_and_wrong_at_once_is_the_limit_of_the_published_formula() -> None:
    scores = score_captions({"a": "happy sad"}, {"a": ["happy"]}, LEXICON, meteor=False)
    assert scores.metrics["acc_c"] == 0.0
    assert scores.metrics["acc_sw"] == 50.0


def test_no_prediction_and_missing_references_are_clear_errors() -> None:
    with pytest.raises(DataError, match="no caption"):
        score_captions({}, {}, LEXICON, meteor=False)
    with pytest.raises(DataError, match="no references for b and 1 more"):
        score_captions({"a": "x", "b": "y", "c": "z"}, {"a": ["x"], "b": []}, LEXICON, meteor=False)


def test_bootstrap_intervals_equal_resampled_corpora_and_hold_the_value() -> None:
    scores = score_captions(HYPOTHESES, REFERENCES, LEXICON, meteor=False, bootstrap=200, seed=3)
    drawn = np.random.default_rng(3).integers(0, 6, (64, 6))
    names = list(HYPOTHESES)
    first = {f"{n}-{names[i]}": names[i] for n, i in enumerate(drawn[0])}
    again = score_captions(
        {k: HYPOTHESES[v] for k, v in first.items()},
        {k: REFERENCES[v] for k, v in first.items()},
        LEXICON,
        meteor=False,
    ).metrics
    from evcap_cli.scoring import language
    from evcap_cli.scoring.score import _corpus

    parts = language.language_parts(HYPOTHESES, REFERENCES)
    counts = emotion.count_emotions(
        {k: v.split() for k, v in HYPOTHESES.items()},
        {k: [t.split() for t in v] for k, v in REFERENCES.items()},
        LEXICON,
    )
    row = _corpus(parts, counts, np.bincount(drawn[0], minlength=6)[None].astype(float))[0]
    for name in ("acc_sw", "acc_c", "bleu_1", "bleu_4", "rouge_l"):
        assert row[name] == pytest.approx(again[name], abs=1e-9)
    for name, (low, high) in scores.intervals.items():
        value = scores.metrics[name]
        assert value is not None
        assert low <= value <= high or name == "bleu_4"


def test_scores_come_in_the_order_of_the_tables_and_name_the_lexicon() -> None:
    scores = score_captions(HYPOTHESES, REFERENCES, LEXICON, meteor=False)
    assert tuple(scores.metrics) == METRICS
    assert scores.metrics["meteor"] is None
    assert scores.to_dict()["lexicon"] == {"name": "golden", "digest": LEXICON.digest, "official": False}
    assert any("not EmVidCap's own" in note for note in scores.notes)


def test_without_java_meteor_is_null_and_everything_else_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise JavaError("no Java found")

    monkeypatch.setattr("evcap_cli.scoring.java.find_java", nowhere)
    scores = score_captions(HYPOTHESES, REFERENCES, LEXICON)
    assert scores.metrics["meteor"] is None
    assert scores.metrics["bleu_1"] == pytest.approx(80)
    assert sum("METEOR was not computed" in note for note in scores.notes) == 1


@pytest.mark.skipif(not has_java(), reason="METEOR needs a Java runtime")
def test_meteor_equals_pycocoevalcaps_wrapper_and_survives_an_empty_caption() -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    hypotheses = {**HYPOTHESES, "b": ""}
    expected = Meteor().compute_score(REFERENCES, {k: [v] for k, v in hypotheses.items()})[0]
    assert score_captions(hypotheses, REFERENCES, LEXICON).metrics["meteor"] == pytest.approx(100 * expected, abs=1e-9)


@pytest.mark.skipif(not has_java(), reason="the PTB tokenizer needs a Java runtime")
def test_the_coco_protocol_keeps_contractions_apart_and_does_not_cut() -> None:
    from evcap_cli.scoring.java import ptb_tokens

    assert ptb_tokens(["A man doesn't smile, really.", "", "x"]) == ["a man does n't smile really", "", "x"]
