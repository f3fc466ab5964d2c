"""``as_published`` against what the released code answers (the golden files)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.losses import emotional_cross_entropy, weighted_targets
from evcap_cli.systems.epan import emotion_labels
from evcap_cli.systems.released_weights import plain_names, released_config, released_shapes
from tests.systems import released
from tests.systems.released import SYSTEMS, golden

pytestmark = pytest.mark.slow
DOUBLE = 1e-6


@pytest.fixture(params=SYSTEMS, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def close(found: torch.Tensor, expected: object, tolerance: float = DOUBLE) -> None:
    np.testing.assert_allclose(found.detach().numpy(), np.array(expected), rtol=0, atol=tolerance)


def steps_agree(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """Category, word and step log-probabilities, those of padding included."""
    model, (inputs, targets), wanted = released.model(name, dtype), released.targets(name), golden(name)
    with torch.no_grad():
        output = model(released.clips(dtype), inputs, targets.clip_index)
    close(output.perceived.categories[:6].log_softmax(-1), wanted["log_P_c"], tolerance)
    close(output.perceived.words[:6].log_softmax(-1), wanted["log_P_w"], tolerance)
    steps = output.padded().log_softmax(-1)[:, :15]
    close(steps[..., wanted["probe_words"]], np.array(wanted["log_P_steps"])[:, :15], tolerance)
    assert steps.argmax(-1).tolist() == np.array(wanted["argmax_steps"])[:, :15].tolist()


def test_log_probabilities_are_those_of_the_released_code(name: str) -> None:
    steps_agree(name, torch.float64, DOUBLE)


def test_epan_in_single_precision_is_within_its_rounding() -> None:
    steps_agree("epan", torch.float32, 2e-5)


def test_losses_are_those_of_the_released_code(name: str) -> None:
    model, (inputs, targets), wanted = released.model(name, torch.float64), released.targets(name), golden(name)
    lengths = (targets.tokens > 0).sum(1).tolist()
    assert max(lengths) == 16
    with torch.no_grad():
        output = model(released.clips(torch.float64), inputs, targets.clip_index, lengths)
        expected, weights = weighted_targets(output, targets, model.config.loss.emotion_word_weight)
        likelihoods = output.logits.log_softmax(-1).gather(1, expected[:, None])[:, 0]
        # the released code leaves the step out at which all captions have ended, but not its weights
        last = output.packed(torch.arange(16).expand(6, -1)) == 15
        assert int(last.sum()) == 2
        left_out = -(weights * likelihoods)[last].sum() / weights.sum()
        whole = emotional_cross_entropy(
            type(output)(**vars(output) | {"logits": output.logits.clone()}), targets, 0.1, by_weight=True
        )
        terms = model.losses(output, targets)
    losses = wanted["losses"]
    close(whole - left_out, losses["cross_entropy"])
    close(terms.terms["cross_entropy"], float(whole), 1e-12)
    close(terms.terms["contrast"], losses["contrast"])
    close(terms.terms["classification"], losses["categories"] + losses["words"])
    close(terms.total - left_out, losses["total"])


def test_categories_and_words_are_separate_losses_of_the_released_code(name: str) -> None:
    model, (_, targets), wanted = released.model(name, torch.float64), released.targets(name), golden(name)
    with torch.no_grad():
        perceived = model.encoder(released.clips(torch.float64)).perceived
    targets.words = torch.zeros_like(targets.words)
    close(emotion_labels(perceived, targets), wanted["losses"]["categories"])


def test_word_by_word_gives_the_released_numbers_too(name: str) -> None:
    model, (inputs, _), wanted = released.model(name, torch.float64), released.targets(name), golden(name)
    with torch.no_grad():
        clips = released.clips(torch.float64)
        chosen = ClipBatch(*(each[[0, 4]] for each in (clips.appearance, clips.visual_mask, clips.moment_times)))
        memory = model.prepare(chosen).memory
        state = model.start(memory)
        for t in range(15):
            logits, state = model.step(memory, state, inputs[[0, 4], t])
            found = logits.log_softmax(-1)[:, wanted["probe_words"]]
            close(found, np.array(wanted["log_P_steps"])[[0, 4], t])


def test_the_names_of_a_released_state_dict_are_known_with_their_shapes(name: str) -> None:
    given = plain_names({each: torch.empty(shape) for each, shape in golden(name)["weights"]})
    found = released_shapes(released_config(given, evolving=name == "dcgn"))
    assert found == {each: tuple(tensor.shape) for each, tensor in given.items()}
