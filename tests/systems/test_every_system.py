"""What training, search, checkpoints and captioning rely on, of every registered system."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import safetensors.torch
import torch

from evcap_cli import plugins
from evcap_cli.features.streams import ClipFeatures
from evcap_cli.network.collate import collate
from evcap_cli.search.beam_search import BeamConfig, beam_search
from evcap_cli.systems.contract import CaptionModel
from tests.network.small import LEXICON, clip, clips
from tests.systems.small import CASES, VOCABULARY, batch, captions, system, told


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest) -> CaptionModel:
    return system(request.param)


def test_every_registered_system_is_among_the_cases() -> None:
    assert {name for name, _ in CASES.values()} == set(plugins.systems())


def test_whole_captions_and_word_by_word_give_the_same_scores(model: CaptionModel) -> None:
    made, words = batch(model), captions(4, 6)
    with torch.no_grad():
        whole = model(made, words, torch.arange(4)).padded()
        assert whole.shape == (4, 6, VOCABULARY)
        memory = model.prepare(made).memory
        state = model.start(memory)
        for t in range(6):
            logits, state = model.step(memory, state, words[:, t])
            torch.testing.assert_close(logits, whole[:, t])


@pytest.mark.slow
def test_lengths_leave_padding_out_and_change_neither_scores_nor_gradients(model: CaptionModel) -> None:
    made, words, lengths = batch(model), captions(5, 6), [3, 6, 1, 6, 4]
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    clip_index = torch.tensor([0, 3, 1, 1, 2])
    with torch.enable_grad():
        whole = model(made, words, clip_index).padded()[real]
        packed = model(made, words, clip_index, lengths)
        assert list(packed.lengths) == lengths
        short = packed.logits
        torch.testing.assert_close(short, whole)
        weights = torch.randn_like(whole)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        wanted, found = (torch.autograd.grad((x * weights).sum(), trained, allow_unused=True) for x in (whole, short))
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_hypotheses_swapped_at_every_step_keep_their_own_past(model: CaptionModel) -> None:
    made, generator, beams = batch(model), torch.Generator().manual_seed(5), 3
    B = len(made.visual_mask)
    with torch.no_grad():
        memory = model.prepare(made).memory
        state = model.start(memory)
        past = torch.empty(B, 0, dtype=torch.long)
        for t in range(model.config.max_words + 1):
            words = torch.randint(4, VOCABULARY, (len(past),), generator=generator)
            past = torch.cat([past, words[:, None]], dim=1)
            here = len(past) // B
            logits, state = model.step(memory, state, words)
            expected = model(made, past, torch.arange(B).repeat_interleave(here)).padded()[:, t]
            torch.testing.assert_close(logits, expected)
            parents = torch.randint(0, here, (B, beams), generator=generator)
            rows = (torch.arange(B)[:, None] * here + parents).flatten()
            past, state = past[rows], state.reorder(rows)


@pytest.mark.slow
def test_the_search_scores_a_caption_as_the_model_does_and_finds_no_worse_than_greedy(model: CaptionModel) -> None:
    made, config = batch(model), BeamConfig(size=3, max_words=5, length_penalty=1.0, n_best=2)
    with torch.no_grad():
        memory = model.prepare(made).memory
        found = beam_search(model, memory, config)
        for clip_number, hypotheses in enumerate(found):
            assert len(hypotheses) == 2
            for hypothesis in hypotheses:
                fed = torch.tensor([[1, *hypothesis.tokens]])
                scores = model(made, fed, torch.tensor([clip_number])).padded()[0].log_softmax(-1)
                wanted = torch.tensor([*hypothesis.tokens, 2])
                expected = float(scores[torch.arange(len(wanted)), wanted].sum()) / config.divisor(len(wanted))
                assert hypothesis.score == pytest.approx(expected, abs=1e-6)
        greedy = beam_search(model, memory, BeamConfig(size=1, max_words=5, length_penalty=1.0))
        assert all(best[0].score >= one[0].score - 1e-9 for best, one in zip(found, greedy, strict=True))


def test_a_clip_is_told_alike_beside_any_neighbours(model: CaptionModel) -> None:
    given, words = clips(), captions(1, 5)
    with torch.no_grad():
        together = model(batch(model, given), words.expand(4, -1), torch.arange(4)).padded()
        felt = model.prepare(batch(model, given)).categories
        for order in ([2], [3, 1, 0, 2], [1, 1]):
            chosen = batch(model, [given[i] for i in order])
            again = model(chosen, words.expand(len(order), -1), torch.arange(len(order))).padded()
            torch.testing.assert_close(again, together[order])
            if felt is not None:
                torch.testing.assert_close(model.prepare(chosen).categories, felt[order])


def test_a_system_with_an_emotion_branch_reports_probabilities(model: CaptionModel) -> None:
    felt = model.prepare(batch(model)).categories
    assert (felt is None) == (not hasattr(model.config, "emotion_layers"))
    if felt is not None:
        assert felt.shape == (4, 4)
        torch.testing.assert_close(felt.sum(dim=1), felt.new_ones(4))


@pytest.mark.slow
def test_padded_moments_and_words_behind_the_end_change_nothing(model: CaptionModel) -> None:
    made, words = batch(model), captions(4, 6)
    spoilt = copy.deepcopy(made)
    spoilt.appearance[~made.visual_mask] = torch.nan
    if spoilt.motion is not None:
        spoilt.motion[~made.visual_mask] = 1e3
    ended = words.clone()
    ended[:, 3:] = 0
    with torch.no_grad():
        before = model(made, words, torch.arange(4)).padded()
        after = model(spoilt, ended, torch.arange(4)).padded()
    torch.testing.assert_close(after[:, :3], before[:, :3])


def test_gradients_reach_every_parameter(model: CaptionModel) -> None:
    fed, targets = told()
    if hasattr(model, "encoder") and hasattr(model.encoder, "words_of"):
        model.encoder.words_of.fill_(True)  # one word alone leaves attention nothing to choose, hence no gradient
    if hasattr(model, "emotion"):
        model.emotion.words_of.fill_(True)
    found = model.train().losses(model(batch(model), fed, targets.clip_index), targets)
    found.total.backward()
    unreached = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not (p.grad.abs() > 0).any() or not torch.isfinite(p.grad).all()
    ]
    assert unreached == []


@pytest.mark.slow
def test_losses_are_logged_by_name_and_fall_when_they_are_followed(model: CaptionModel) -> None:
    fed, targets = told()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    values = []
    for _ in range(12):
        found = model.losses(model(batch(model), fed, targets.clip_index), targets)
        values.append(found.values())
        optimiser.zero_grad()
        found.total.backward()
        optimiser.step()
    assert {"total", "cross_entropy"} <= set(values[0])
    assert values[-1]["total"] < values[0]["total"]
    assert values[-1]["cross_entropy"] < values[0]["cross_entropy"]


@pytest.mark.slow
def test_weights_and_configuration_survive_a_file(model: CaptionModel) -> None:
    kind = type(model)
    data = safetensors.torch.save({k: v.contiguous() for k, v in model.state_dict().items()})
    again = kind(kind.Config.from_dict(model.config.to_dict()), torch.zeros_like(LEXICON)).double().eval()
    assert again.config == model.config
    again.load_state_dict(safetensors.torch.load(data), strict=True)
    with torch.no_grad():
        first, second = (each(batch(model), captions(4, 4), torch.arange(4)).padded() for each in (model, again))
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match="unknown field 'hats'"):
        kind.Config.from_dict(model.config.to_dict() | {"hats": 3})
    with pytest.raises(ValueError, match=r"must be \(4, 7\)"):
        kind(model.config, LEXICON.T)


def test_streams_that_a_system_does_not_read_may_be_missing(model: CaptionModel) -> None:
    wanted = model.config.streams
    only = [ClipFeatures({k: v for k, v in each.streams.items() if k in wanted}, 4.0) for each in clips()]
    with torch.no_grad():
        first, second = (model(batch(model, of), captions(4, 4), torch.arange(4)).padded() for of in (clips(), only))
    assert torch.equal(first, second)


def test_statistics_standardise_what_is_read(model: CaptionModel) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items() if k.endswith((".mean", ".scale"))}
    training = [clip(5, 3, 4, seed=s) for s in range(20)]
    model.fit_normalisation(training)
    after = {k: v for k, v in model.state_dict().items() if k in before}
    assert sum(v.numel() for k, v in after.items() if k.endswith(".mean")) == sum(model.config.streams.values())
    assert all(not torch.equal(after[k], v) for k, v in before.items())
    rows = torch.cat([each.streams["appearance"].values for each in training]).double()
    first = next(v for k, v in after.items() if k.endswith(".mean"))
    torch.testing.assert_close(first[:5], rows.mean(dim=0), atol=1e-6, rtol=1e-5)


def test_word_vectors_fill_the_tables_and_unknown_words_keep_their_start(model: CaptionModel) -> None:
    tables = model.word_tables()
    start = {name: table.detach().clone() for name, table in tables.items()}
    given = {name: torch.ones_like(table) for name, table in tables.items()}
    for vectors in given.values():
        vectors[2] = torch.nan
    model.load_word_vectors(**given)
    for name, table in model.word_tables().items():
        assert torch.equal(table[2], start[name][2])
        assert torch.equal(table[3], torch.ones_like(table[3]))
    with pytest.raises(ValueError, match="vocabulary must be"):
        model.load_word_vectors(vocabulary=torch.zeros(3, 2))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_training_step_bit_for_bit(model: CaptionModel) -> None:
    fed, targets = told()

    def step() -> list[torch.Tensor]:
        learner = copy.deepcopy(model).train()
        torch.manual_seed(7)
        learner.losses(learner(batch(learner), fed, targets.clip_index), targets).total.backward()
        return [p.grad for p in learner.parameters() if p.grad is not None]

    assert all(torch.equal(first, second) for first, second in zip(step(), step(), strict=True))


@pytest.mark.slow
def test_mixed_precision_stays_close_to_single(model: CaptionModel) -> None:
    model, (fed, targets) = model.float(), told()
    made = collate(clips(), model.config)
    single = model.losses(model(made, fed, targets.clip_index), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.losses(model(made, fed, targets.clip_index), targets)
    assert mixed.values()["total"] == pytest.approx(single.values()["total"], rel=0.1)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        memory = model.prepare(made).memory
        assert all(found for found in beam_search(model, memory, BeamConfig(size=2, max_words=5)))


@pytest.mark.slow
def test_everything_stays_on_the_device_of_the_model(model: CaptionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("meta")  # mixing it with the CPU is an error, so it stands in for a GPU
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no such device
    model, made, words = model.to(device), batch(model).to(device), captions(4, 6).to(device)
    assert model(made, words, torch.arange(4, device=device)).padded().device == device
    memory = model.prepare(made).memory
    state = model.start(memory)
    for word in words.T:
        logits, state = model.step(memory, state, word)
        state = state.reorder(torch.arange(4, device=device))
        assert logits.device == device


@pytest.mark.parametrize("case", [case for case in CASES if case != "sa-lstm"])  # which keeps no words
def test_more_words_than_configured_are_refused(case: str) -> None:
    model = system(case)
    memory = model.prepare(batch(model)).memory
    state = model.start(memory)
    for word in captions(4, 6).T:
        _, state = model.step(memory, state, word)
    with pytest.raises(ValueError, match="max_words 5"):
        model.step(memory, state, torch.full((4,), 4))
