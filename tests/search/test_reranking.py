"""Re-ranking against its definition, spelled out with counters, and what it promises to every system."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.search.beam_search import BeamConfig, Hypothesis, beam_search
from evcap_cli.search.rerank import Rerank
from evcap_cli.search.reranking import agreement, best_captions, reranked, similarities, token_categories
from evcap_cli.systems.contract import PreparedClips
from tests.systems.small import CASES, VOCABULARY, batch, system

LEXICON = Lexicon({"anger": ["w0", "w1"], "fear": ["w2", "w3", "w4"], "joy": ["w5"], "shame": ["w6"]}, name="small")
WORDS = Vocabulary([f"w{number}" for number in range(VOCABULARY - 4)])
TOLD = token_categories(WORDS, LEXICON)


def beam(n_best: int = 1, **weights: float) -> BeamConfig:
    return BeamConfig(size=3, max_words=5, n_best=n_best, rerank=Rerank(**weights))  # type: ignore[arg-type]


def invented(clips: int, *, most: int = 10, seed: int = 0) -> list[list[Hypothesis]]:
    """Few words, so that n-grams recur within a caption and between captions."""
    draw = random.Random(seed)
    found = []
    for _ in range(clips):
        several = {tuple(draw.choices(range(4, 9), k=draw.randint(0, 9))) for _ in range(draw.randint(1, most))}
        scores = sorted((draw.uniform(-3, 0) for _ in several), reverse=True)
        found.append([Hypothesis(*pair) for pair in zip(sorted(several), scores, strict=True)])
    return found


def slow_similarity(one: Sequence[int], other: Sequence[int]) -> float:
    total = 0.0
    for n in range(1, 5):
        a, b = (Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (one, other))
        lengths = [math.sqrt(sum(count**2 for count in each.values())) for each in (a, b)]
        if all(lengths):
            total += sum(count * b[gram] for gram, count in a.items()) / (lengths[0] * lengths[1])
    return total / 4


def slow_consensus(several: Sequence[Hypothesis]) -> list[float]:
    values = []
    for mine in several:
        others = [one for one in several if one is not mine]
        mass = sum(math.exp(one.score) for one in others)
        values.append(sum(math.exp(o.score) / mass * slow_similarity(mine.tokens, o.tokens) for o in others))
    return values


def test_similarity_is_the_mean_cosine_of_ngram_counts() -> None:
    found = invented(12)
    for several in found:
        longest = max(1, *(len(one.tokens) for one in several), 1)
        tokens = torch.tensor([[[*one.tokens, *[-1] * (longest - len(one.tokens))] for one in several]])
        expected = [[slow_similarity(a.tokens, b.tokens) for b in several] for a in several]
        torch.testing.assert_close(similarities(tokens)[0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("weight", [0.3, 2.0, 50.0])
def test_consensus_orders_as_its_definition_does(weight: float) -> None:
    found = invented(40)
    moved = 0
    for several, told in zip(found, reranked(found, beam(consensus=weight)), strict=True):
        values = [one.score + weight * c for one, c in zip(several, slow_consensus(several), strict=True)]
        order = sorted(range(len(several)), key=lambda place: -values[place])
        assert told == [several[place] for place in order]
        moved += told != several
    assert moved > 5


def test_what_most_hypotheses_say_wins_over_a_likelier_loner() -> None:
    several = [Hypothesis((4, 5, 6), -1.0), Hypothesis((7, 8, 9), -1.1), Hypothesis((7, 8, 10), -1.2)]
    assert reranked([several], beam(consensus=2.0))[0] == [several[1], several[2], several[0]]
    assert reranked([several], beam(consensus=0.01))[0] == several


def test_the_emotion_term_by_hand() -> None:
    ids = {word: WORDS.ids[word] for word in ("w0", "w1", "w2", "w5", "w6", "w10")}
    captions = [
        (ids["w5"], ids["w10"]),  # joy
        (ids["w0"], ids["w1"]),  # anger, twice
        (ids["w5"], ids["w2"]),  # joy and fear
        (ids["w10"], -1),  # none
        (ids["w6"], -1),  # a category that underflowed
    ]
    felt = torch.tensor([[0.2, 0.1, 0.7, 0.0]])
    values = agreement(torch.tensor([captions]), felt, TOLD)[0].tolist()
    expected = [math.log(0.7), math.log(0.2), (math.log(0.7) + math.log(0.1)) / 2, math.log(1 / 4), math.log(1e-6)]
    assert values == pytest.approx(expected, abs=1e-6)
    found = [Hypothesis(tuple(t for t in words if t >= 0), -1.0) for words in captions]
    order = sorted(range(5), key=lambda place: -expected[place])
    assert reranked([found], beam(emotion=0.1), felt, TOLD)[0] == [found[place] for place in order]
    # score + 0.1 x log-probability: a lead of 0.2 outweighs log(0.7 / 0.2) / 10 = 0.125, a lead of 0.1 does not
    for lead, first in ((0.2, 1), (0.1, 0)):
        pair = [Hypothesis(found[1].tokens, -1.0), Hypothesis(found[0].tokens, -1.0 - lead)]
        assert reranked([pair], beam(emotion=0.1), felt, TOLD)[0][0] == found_at(found, first, pair)


def found_at(found: Sequence[Hypothesis], place: int, pair: Sequence[Hypothesis]) -> Hypothesis:
    return next(one for one in pair if one.tokens == found[place].tokens)


def test_a_word_of_two_categories_counts_for_its_first() -> None:
    lexicon = Lexicon({"fear": ["w1", "w2"], "anger": ["w2", "unknown"]}, name="two")
    assert {number: int(told) for number, told in enumerate(token_categories(WORDS, lexicon)) if told >= 0} == {
        WORDS.ids["w1"]: 1,
        WORDS.ids["w2"]: 0,
    }


def test_neighbours_change_no_choice() -> None:
    found, felt = invented(9), torch.rand(9, 4, generator=torch.Generator().manual_seed(1)).softmax(-1)
    config = beam(consensus=0.7, emotion=0.3)
    together = reranked(found, config, felt, TOLD)
    for order in ([4], [8, 0, 3, 3], list(range(8, -1, -1))):
        again = reranked([found[clip] for clip in order], config, felt[order], TOLD)
        assert again == [together[clip] for clip in order]


def test_a_caption_alone_an_empty_one_and_no_clip_at_all() -> None:
    alone, empty = [Hypothesis((4, 5), -1.0)], [Hypothesis((), -0.5), Hypothesis((4,), -0.5)]
    felt = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).expand(2, -1)  # token 4 names the first category
    assert reranked([alone, empty], beam(consensus=1.0, emotion=1.0), felt, TOLD) == [alone, [empty[1], empty[0]]]
    assert reranked([[Hypothesis((), -0.5)]], beam(consensus=1.0)) == [[Hypothesis((), -0.5)]]
    assert reranked([], beam(consensus=1.0)) == []


@pytest.mark.parametrize("case", CASES)
def test_every_system_off_is_the_search_and_on_is_its_hypotheses_in_another_order(case: str) -> None:
    model = system(case)
    made = batch(model)
    with torch.no_grad():
        prepared = model.prepare(made)
        plain = beam_search(model, prepared.memory, BeamConfig(size=3, max_words=5, n_best=8))
        off = best_captions(model, model.prepare(made), beam(n_best=8), WORDS, LEXICON)
        assert off == plain
        config = beam(n_best=2, consensus=3.0, emotion=1.0, candidates=8)
        told = best_captions(model, model.prepare(made), config, WORDS, LEXICON)
        whole = reranked(plain, config, prepared.categories, TOLD)
    assert told == [several[:2] for several in whole]
    assert all(Counter(a) == Counter(b) for a, b in zip(whole, plain, strict=True))
    assert whole != plain


def test_a_system_that_perceives_no_emotion_is_not_moved_by_it() -> None:
    model = system("sa-lstm")
    with torch.no_grad():
        prepared: PreparedClips = model.prepare(batch(model))
        assert prepared.categories is None
        plain = beam_search(model, prepared.memory, BeamConfig(size=3, max_words=5, n_best=4))
        again = best_captions(model, model.prepare(batch(model)), beam(n_best=4, emotion=9.0), WORDS, LEXICON)
    assert again == plain


def test_more_candidates_than_captions_asked_for_leave_the_model_s_best_where_weights_are_small() -> None:
    model = system("fusion")
    with torch.no_grad():
        best = beam_search(model, model.prepare(batch(model)).memory, BeamConfig(size=3, max_words=5))
        config = replace(beam(consensus=1e-12), size=3)
        assert best_captions(model, model.prepare(batch(model)), config, WORDS, LEXICON) == best


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("off", Rerank()),
        ("consensus=0.5", Rerank(consensus=0.5)),
        (" emotion=1 , consensus = .5,candidates=20", Rerank(0.5, 1.0, 20)),
    ],
)
def test_settings_are_read_from_text(text: str, settings: Rerank) -> None:
    assert Rerank.parse(text) == settings
    assert settings.on == (text != "off")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not one of consensus=NUMBER"),
        ("on", "'on' is not one of"),
        ("mood=1", "'mood=1' is not one of"),
        ("consensus=1,consensus=2", "is not one of"),
        ("consensus=much", "consensus must be a number, got 'much'"),
        ("consensus=-1", "rerank.consensus: should be greater than or equal to 0, got -1.0"),
        ("emotion=nan", "rerank.emotion: should be a finite number, got nan"),
        ("emotion=inf", "rerank.emotion: should be a finite number, got inf"),
        ("consensus=1,candidates=1", "2 to 100 candidates, got 1"),
        ("consensus=1,candidates=2.5", "candidates must be a number, got '2.5'"),
        ("candidates=20", "candidates alone changes nothing"),
    ],
)
def test_settings_that_make_no_sense_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        Rerank.parse(text)
