"""Ready-made captioners keep the contract that `evcap plugins check` examines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evcap_cli import plugins
from evcap_cli.systems.clip_captioner import CaptionerOptions, FrameRequest
from evcap_cli.testing import check_captioner
from tests.multimodal.conftest import LEXICON
from tests.multimodal.served_model import Model, serving

OPTIONS = CaptionerOptions(max_words=4, lexicon=LEXICON)
WITHOUT_MODEL = {"licence"}
"""Neither stands for a model of its own."""
AUDIO = {"no-audio", "short-audio"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("smolvlm", AUDIO),
        ("qwen3_vl", AUDIO),
        ("gemma4", set()),
        ("git", AUDIO | {"emotion", "instructions"}),
        ("llava_onevision", AUDIO),
    ],
)
def test_a_model_of_transformers_does(family: str, more: set[str], folder_of: Callable[[str], Path]) -> None:
    few = replace(OPTIONS, frames=FrameRequest(6))  # Gemma 4's own 32 are 2,000 tokens
    report = check_captioner(plugins.captioners()["transformers"], str(folder_of(family)), few)
    assert {result.name for result in report.results if result.status == "skip"} == WITHOUT_MODEL | more


@pytest.mark.slow
def test_a_served_model_does() -> None:
    with serving(Model()) as model:
        report = check_captioner(plugins.captioners()["served"], f"{model.address}#tiny", OPTIONS)
    assert {result.name for result in report.results if result.status == "skip"} == WITHOUT_MODEL
