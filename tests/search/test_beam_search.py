from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evcap_cli.data.special_tokens import END, START
from evcap_cli.errors import CheckpointError
from evcap_cli.network.batch import Encoded
from evcap_cli.network.decoder import Decoder
from evcap_cli.search.beam_search import BeamConfig, Hypothesis, beam_search, best_words
from tests.network.decoder_cases import encoded_clips, small_decoder

FORBIDDEN = (0, 1, 3)


def log_probabilities(decoder: Decoder, encoded: Encoded, clip: int, words: tuple[int, ...]) -> Tensor:
    """Of the next word behind every prefix, by the causal pass."""
    tokens = torch.tensor([[START, *words]])
    with torch.no_grad():
        return decoder.teacher_forced(decoder.prepare(encoded), tokens, torch.tensor([clip])).logits.log_softmax(-1)


def score(decoder: Decoder, encoded: Encoded, clip: int, words: tuple[int, ...], penalty: float = 1.6) -> float:
    table = log_probabilities(decoder, encoded, clip, words)
    total = sum(float(table[i, word]) for i, word in enumerate((*words, END)))
    return total / ((5 + len(words) + 1) / 6) ** penalty


def plain_search(decoder: Decoder, encoded: Encoded, clip: int, config: BeamConfig) -> list[Hypothesis]:
    """The documented rules in loops, over a dictionary of prefixes."""
    open_ones: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: list[Hypothesis] = []
    for t in range(config.max_words + 1):
        extended = []
        for words, total in open_ones:
            gains = log_probabilities(decoder, encoded, clip, words)[-1].tolist()
            finished.append(Hypothesis(words, (total + gains[END]) / ((5 + t + 1) / 6) ** config.length_penalty))
            for word, gain in enumerate(gains):
                if word not in (END, *config.forbidden):
                    extended.append(((*words, word), total + gain))
        open_ones = sorted(extended, key=lambda found: -found[1])[: config.size]
    return sorted(finished, key=lambda found: -found.score)[: config.n_best]


def same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
    assert [h.score for h in found] == pytest.approx([h.score for h in expected], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.6])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_wide_enough_finds_what_trying_all_captions_finds(seed: int, penalty: float) -> None:
    decoder = small_decoder(seed, spread=2.0, vocabulary=7, max_words=4)
    encoded = encoded_clips(3, seed)
    every = [words for length in range(5) for words in itertools.product((4, 5, 6), repeat=length)]
    config = BeamConfig(size=81, max_words=4, length_penalty=penalty, n_best=len(every))
    for clip, found in enumerate(beam_search(decoder, decoder.prepare(encoded), config)):
        scored = [Hypothesis(words, score(decoder, encoded, clip, words, penalty)) for words in every]
        same(found, sorted(scored, key=lambda hypothesis: -hypothesis.score))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("vocabulary", [9, 1500])
def test_a_narrow_beam_follows_its_rules(size: int, vocabulary: int) -> None:
    decoder, encoded = small_decoder(3, spread=1.7, vocabulary=vocabulary), encoded_clips(4)
    config = BeamConfig(size=size, max_words=6, n_best=3)
    for clip, found in enumerate(beam_search(decoder, decoder.prepare(encoded), config)):
        same(found, plain_search(decoder, encoded, clip, config))


@pytest.mark.slow
@pytest.mark.parametrize("n_best", [1, 4])
def test_stopping_early_changes_nothing(n_best: int) -> None:
    steps: list[int] = []
    for seed in range(6):
        decoder, memory = small_decoder(seed, spread=3.0), None
        with torch.no_grad():
            decoder.output.bias[END] += 3.0 * seed
            memory = decoder.prepare(encoded_clips(3, seed))
        config = BeamConfig(size=4, max_words=6, n_best=n_best)
        counting = Counted(decoder)
        assert beam_search(counting, memory, config) == beam_search(decoder, memory, config, stop_early=False)
        steps.append(counting.steps)
    assert min(steps) < 7, "no search stopped early, the test shows nothing"


@dataclass
class Counted:
    decoder: Decoder
    steps: int = 0

    def start(self, memory):
        return self.decoder.start(memory)

    def step(self, memory, state, tokens):
        self.steps += 1
        return self.decoder.step(memory, state, tokens)


def test_hypotheses_are_distinct_finished_once_and_free_of_special_tokens() -> None:
    decoder = small_decoder(1)
    with torch.no_grad():
        decoder.output.bias[END] += 4.0
        decoder.output.bias[list(FORBIDDEN)] += 9.0
        found = beam_search(decoder, decoder.prepare(encoded_clips(4)), BeamConfig(size=5, max_words=6, n_best=12))
    for clip in found:
        captions = [hypothesis.tokens for hypothesis in clip]
        assert len(set(captions)) == len(captions) == 12
        assert not {END, *FORBIDDEN} & {word for caption in captions for word in caption}


def test_the_end_is_forced_and_scored_at_the_longest_caption() -> None:
    decoder, encoded = small_decoder(2), encoded_clips(2)
    with torch.no_grad():
        decoder.output.bias[END] -= 30.0
        found = beam_search(decoder, decoder.prepare(encoded), BeamConfig(size=3, max_words=6))
    for clip, (best,) in enumerate(found):
        assert len(best.tokens) == 6
        assert best.score == pytest.approx(score(decoder, encoded, clip, best.tokens))
        assert best.score < -30 / 2**1.6


def test_a_clip_is_captioned_alike_in_any_batch_and_order() -> None:
    decoder, encoded = small_decoder(4, spread=1.5), encoded_clips(7)
    config = BeamConfig(size=3, max_words=6, n_best=3)
    together = beam_search(decoder, decoder.prepare(encoded), config)
    for order in ([5], [6, 1], [3, 2, 1, 0, 6, 5, 4]):
        some = Encoded(*(None if v is None else v[order] for v in vars(encoded).values()))
        for found, clip in zip(beam_search(decoder, decoder.prepare(some), config), order, strict=True):
            same(found, together[clip])


def test_ties_go_to_the_smaller_id_and_the_earlier_hypothesis() -> None:
    decoder = small_decoder(0, vocabulary=400)
    with torch.no_grad():
        decoder.output.weight.zero_()
        decoder.output.bias.zero_()
        memory = decoder.prepare(encoded_clips(2))
        longest = beam_search(decoder, memory, BeamConfig(size=3, max_words=2, length_penalty=8.0, n_best=4))
        even = beam_search(decoder, memory, BeamConfig(size=3, max_words=2, length_penalty=0.0, n_best=2))
    assert [h.tokens for h in longest[0]] == [(4, 4), (4, 5), (4, 6), (4,)]
    assert [h.tokens for h in even[1]] == [(), (4,)]
    assert longest[0][0].score == pytest.approx(-3 * math.log(400) / (8 / 6) ** 8)


def test_no_clips_no_captions_and_few_words_few_captions() -> None:
    decoder = small_decoder(vocabulary=5, max_words=1)
    some = decoder.prepare(encoded_clips(1))
    assert [h.tokens for h in sorted(beam_search(decoder, some, BeamConfig(max_words=1, n_best=9))[0], key=str)]
    assert {h.tokens for h in beam_search(decoder, some, BeamConfig(max_words=1, n_best=9))[0]} == {(), (4,)}
    none = Encoded(*(None if v is None else v[:0] for v in vars(encoded_clips(1)).values()))
    assert beam_search(decoder, decoder.prepare(none)) == []


def test_scores_that_are_no_numbers_are_an_error_not_a_caption() -> None:
    decoder = small_decoder()
    with torch.no_grad():
        decoder.output.bias[7] = float("nan")
    with pytest.raises(CheckpointError, match="not numbers"):
        beam_search(decoder, decoder.prepare(encoded_clips(1)), BeamConfig(max_words=6))


@pytest.mark.parametrize("inference", [torch.no_grad, torch.inference_mode])
def test_memory_of_a_frozen_or_half_precise_encoder_serves_the_search(inference: type) -> None:
    decoder, encoded = small_decoder(5, spread=1.5).float(), encoded_clips(3)
    encoded = Encoded(*(v.float() if v is not None and v.is_floating_point() else v for v in vars(encoded).values()))
    with inference():
        memory = decoder.prepare(encoded)
    full = beam_search(decoder, memory, BeamConfig(max_words=6))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = beam_search(decoder, decoder.prepare(encoded), BeamConfig(max_words=6))
    for (one,), (other,) in zip(full, half, strict=True):
        assert other.score == pytest.approx(one.score, abs=0.2)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"max_words": 0}, {"n_best": 0}, {"length_penalty": -1.0}, {"forbidden": (END,)}]
)
def test_settings_that_make_no_search_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)) if "forbidden" not in wrong else "end mark"):
        BeamConfig(**wrong)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    width=st.sampled_from([5, 127, 128, 129, 256, 700, 1411]),
    count=st.integers(1, 6),
    levels=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float64, torch.bfloat16]),
)
@pytest.mark.slow
def test_the_best_words_are_those_that_a_stable_sort_puts_first(
    rows: int, width: int, count: int, levels: int, seed: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randint(0, levels, (rows, width), generator=generator) / 3).to(dtype)
    table = (logits.double() if dtype == torch.float64 else logits.float()).log_softmax(-1)
    allowed = [word for word in range(width) if word not in (END, *FORBIDDEN)]
    gains, ids, ends = best_words(logits.clone(), count, FORBIDDEN)
    torch.testing.assert_close(ends, table[:, END])
    for row in range(rows):
        best = sorted(allowed, key=lambda word: -logits[row, word])[:count]
        assert ids[row, : len(best)].tolist() == best
        torch.testing.assert_close(gains[row, : len(best)], table[row, best])
        assert bool((gains[row, len(best) :] == float("-inf")).all())
