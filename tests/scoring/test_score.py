from __future__ import annotations

import math
import random

import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError
from evcap_cli.scoring import emotion_accuracy
from evcap_cli.scoring.human_row import leave_one_out
from evcap_cli.scoring.java import JavaError, find_java
from evcap_cli.scoring.metrics import METRICS
from evcap_cli.scoring.score_texts import score_texts

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
    scores = score_texts(HYPOTHESES, REFERENCES, LEXICON, meteor=False).metrics
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
    counts = [
        emotion_accuracy.judge(text.split(), [other.split() for other in REFERENCES[video]], LEXICON).counts()
        for video, text in HYPOTHESES.items()
    ]
    assert [sum(column) for column in zip(*counts, strict=True)] == [5, 2, 1, 4, 1]


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


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_emotion_accuracies_match_a_reading_of_the_definitions(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        hypotheses, references = random_case(seed)
        found = score_texts(hypotheses, references, LEXICON, meteor=False).metrics
        expected = slow_accuracies(hypotheses, references)
        assert (found["acc_sw"], found["acc_c"]) == pytest.approx([100 * value for value in expected], abs=1e-9)


DEGENERATE = {
    "no emotion at all": ({"a": "man", "b": ""}, {"a": ["dog"], "b": ["dog"]}, (0.0, 0.0)),
    "no emotion in the references": ({"a": "happy"}, {"a": ["dog"]}, (0.0, 0.0)),
    "all right": ({"a": "happy", "b": "glad sad"}, {"a": ["joyful"], "b": ["sad joy"]}, (1.0, 1.0)),
    "all wrong": ({"a": "happy", "b": "sad"}, {"a": ["sad"], "b": ["happy"]}, (0.0, 0.0)),
    "each right and wrong": ({"a": "happy sad", "b": "sad happy"}, {"a": ["glad"], "b": ["glad"]}, (0.5, 0.0)),
    "a word of two categories, told": ({"a": "timid"}, {"a": ["shy"]}, (0.0, 0.0)),
    "a word of two categories, true": ({"a": "shy"}, {"a": ["timid"]}, (1.0, 1.0)),
    "said twice, counted once": ({"a": "happy glad sad"}, {"a": ["joyful"]}, (0.5, 0.0)),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_emotion_accuracies_of_degenerate_cases(name: str) -> None:
    hypotheses, references, expected = DEGENERATE[name]
    assert slow_accuracies(hypotheses, references) == pytest.approx(expected)
    found = score_texts(hypotheses, references, LEXICON, meteor=False).metrics
    assert (found["acc_sw"], found["acc_c"]) == pytest.approx([100 * value for value in expected])


@pytest.mark.parametrize("seed", range(60))
def test_ngram_metrics_equal_pycocoevalcap_called_directly(seed: int) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses, references = random_case(seed)
    found = score_texts(hypotheses, references, LEXICON, meteor=False).metrics
    answers = {k: [v] for k, v in hypotheses.items()}
    bleus = Bleu(4).compute_score(references, answers, verbose=0)[0]
    for order, value in enumerate(bleus, 1):
        assert found[f"bleu_{order}"] == pytest.approx(100 * value, abs=1e-9)
    assert found["rouge_l"] == pytest.approx(100 * Rouge().compute_score(references, answers)[0], abs=1e-9)
    assert found["cider"] == pytest.approx(100 * Cider().compute_score(references, answers)[0], abs=1e-9)


def test_values_of_single_videos_equal_pycocoevalcaps_and_short_captions_have_no_long_ngrams() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    hypotheses = {**HYPOTHESES, "b": "woman cries", "f": ""}
    found = score_texts(hypotheses, REFERENCES, LEXICON, meteor=False).per_video
    answers = {k: [v] for k, v in hypotheses.items()}
    bleus = Bleu(4).compute_score(REFERENCES, answers, verbose=0)[1]
    rouge, cider = (scorer.compute_score(REFERENCES, answers)[1] for scorer in (Rouge(), Cider()))
    for number, video in enumerate(found):
        length = len(hypotheses[video.video].split())
        for order in range(4):
            expected = 100 * bleus[order][number] if length > order else None
            assert video.metrics[f"bleu_{order + 1}"] == (None if expected is None else pytest.approx(expected))
        assert video.metrics["rouge_l"] == pytest.approx(100 * rouge[number])
        assert video.metrics["cider"] == pytest.approx(100 * cider[number])


def test_the_verdict_on_each_caption_names_its_emotions() -> None:
    found = {video.video: video for video in score_texts(HYPOTHESES, REFERENCES, LEXICON, meteor=False).per_video}
    verdicts = {name: (video.right, video.wrong, video.missing) for name, video in found.items()}
    assert verdicts == {
        "a": (["joy"], [], []),
        "b": ([], [], ["sadness"]),
        "c": (["annoyance"], ["fear"], ["worry"]),
        "d": ([], ["joy"], ["anger"]),
        "e": (["amaze", "surprise"], [], []),
        "f": (["shy"], [], ["fear"]),
    }
    assert found["a"].caption == HYPOTHESES["a"]


def test_all_right_and_wrong_at_once_is_the_limit_of_the_published_formula() -> None:
    scores = score_texts({"a": "happy sad"}, {"a": ["happy"]}, LEXICON, meteor=False)
    assert scores.metrics["acc_c"] == 0.0
    assert scores.metrics["acc_sw"] == 50.0


def test_no_prediction_and_missing_references_are_clear_errors() -> None:
    with pytest.raises(DataError, match="no caption"):
        score_texts({}, {}, LEXICON, meteor=False)
    with pytest.raises(DataError, match="no references for b and 1 more"):
        score_texts({"a": "x", "b": "y", "c": "z"}, {"a": ["x"], "b": []}, LEXICON, meteor=False)


def test_scores_come_in_the_order_of_the_tables_and_name_the_lexicon() -> None:
    scores = score_texts(HYPOTHESES, REFERENCES, LEXICON, meteor=False)
    assert tuple(scores.metrics) == METRICS
    assert scores.metrics["meteor"] is None
    assert scores.to_dict()["lexicon"] == {"name": "golden", "digest": LEXICON.digest, "official": False}
    assert any("not EmVidCap's own" in note for note in scores.notes)


def test_without_java_meteor_is_null_and_everything_else_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise JavaError("no Java found")

    monkeypatch.setattr("evcap_cli.scoring.java.find_java", nowhere)
    scores = score_texts(HYPOTHESES, REFERENCES, LEXICON)
    assert scores.metrics["meteor"] is None
    assert scores.metrics["bleu_1"] == pytest.approx(80)
    assert sum("METEOR was not computed" in note for note in scores.notes) == 1


@pytest.mark.slow
@pytest.mark.skipif(not has_java(), reason="the PTB tokenizer needs a Java runtime")
def test_the_coco_protocol_keeps_contractions_apart_and_does_not_cut() -> None:
    from evcap_cli.scoring.java import ptb_tokens

    assert ptb_tokens(["A man doesn't smile, really.", "", "x"]) == ["a man does n't smile really", "", "x"]


def test_a_comparison_is_made_on_the_videos_of_both_and_the_rest_is_unchanged() -> None:
    other = {video: REFERENCES[video][0] for video in list(HYPOTHESES)[2:]}
    alone = score_texts(HYPOTHESES, REFERENCES, LEXICON, meteor=False)
    both = score_texts(HYPOTHESES, REFERENCES, LEXICON, meteor=False, compare=other, bootstrap=50)
    assert both.metrics == alone.metrics
    assert both.comparison is not None
    assert (both.comparison.videos, both.comparison.resamplings) == (4, 50)
    common = {video: HYPOTHESES[video] for video in other}
    for captions, side in ((common, "this"), (other, "other")):
        expected = score_texts(captions, REFERENCES, LEXICON, meteor=False).metrics
        for name, difference in both.comparison.metrics.items():
            assert getattr(difference, side) == pytest.approx(expected[name], abs=1e-9), name
    with pytest.raises(DataError, match="no video in common"):
        score_texts({"a": "x"}, {"a": ["x"], "b": ["y"]}, LEXICON, meteor=False, compare={"b": "y"})


def test_the_human_row_is_the_mean_of_draws_scored_by_hand() -> None:
    references = {video: [*texts, "a quiet man waits"] for video, texts in REFERENCES.items()}
    found = score_texts(HYPOTHESES, references, LEXICON, meteor=False, human=True, seed=5).human
    assert found is not None
    rounds = leave_one_out(HYPOTHESES, references, seed=5)
    assert (found.videos, found.rounds, len(rounds)) == (6, 3, 3)
    for row, texts in ((found.person, "person"), (found.system, "system")):
        each = [score_texts(getattr(one, texts), one.references, LEXICON, meteor=False).metrics for one in rounds]
        for name, value in row.items():
            if name == "meteor":
                assert value is None
            else:
                assert value == pytest.approx(sum(metrics[name] or 0.0 for metrics in each) / 3, abs=1e-9)


def test_every_reference_is_drawn_and_never_scored_against_itself() -> None:
    references = {"a": [f"reference {n}" for n in range(5)], "b": ["one", "two"], "c": ["alone"]}
    rounds = leave_one_out({"a": "x", "b": "y", "c": "z"}, references, seed=1)
    assert len(rounds) == 5
    assert {one.person["a"] for one in rounds} == set(references["a"])
    assert {one.person["b"] for one in rounds} == {"one", "two"}
    for one in rounds:
        assert set(one.person) == set(one.system) == set(one.references) == {"a", "b"}
        for video in ("a", "b"):
            assert sorted([one.person[video], *one.references[video]]) == sorted(references[video])
    assert rounds == leave_one_out({"a": "x", "b": "y", "c": "z"}, references, seed=1)
    assert leave_one_out({"c": "z"}, references) == []


def test_without_two_references_a_line_says_why_there_is_no_human_row() -> None:
    scores = score_texts({"a": "x"}, {"a": ["x"]}, LEXICON, meteor=False, human=True)
    assert scores.human is None
    assert any("no human row" in note for note in scores.notes)
