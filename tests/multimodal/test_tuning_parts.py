"""Steps in parts: memory that ends halves them and changes nothing else; two processes share a step."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from evcap_multimodal.tunable import TunableMultimodalCaptioner

from evcap_cli.training.tuning.tuning_loop import learning_rate
from evcap_cli.training.tuning.tuning_recipe import TuneConfig
from tests.commands.small import evcap
from tests.forked import Forked
from tests.multimodal.test_tuning_runs import ADAPTER, base_of, cache, log, root, train

__all__ = ["base_of", "cache", "root"]
PLAIN = TunableMultimodalCaptioner.answer_loss


def limited(most: int) -> Callable[..., torch.Tensor]:
    """``answer_loss`` on a device whose memory holds so many captions."""

    def loss(self: TunableMultimodalCaptioner, clips: Sequence[Any], answers: Sequence[Any]) -> torch.Tensor:
        if len(clips) > most and self.model.training:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return PLAIN(self, clips, answers)

    return loss


@pytest.mark.slow
def test_parts_are_halved_where_memory_ends_and_the_adapter_is_that_of_smaller_parts(
    base_of: Callable[[str], Path],
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    base, epochs = base_of("smolvlm"), ("--epochs", 2, "--no-test", "--select", "loss")
    assert evcap(*train(base, root, tmp_path / "small", *epochs, "--accumulate", 4)) == 0
    capfd.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(TunableMultimodalCaptioner, "answer_loss", limited(3))
        assert evcap(*train(base, root, tmp_path / "halved", *epochs, "--accumulate", 1)) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "out of memory" in line]
    assert len(said) == 1
    assert "4 of the 8 captions of a step go through the model at once now, in 2 parts" in said[0]
    assert [entry["captions_at_once"] for entry in log(tmp_path / "halved")] == [2, 2]
    assert (tmp_path / "halved" / ADAPTER).read_bytes() == (tmp_path / "small" / ADAPTER).read_bytes()

    # where one caption alone is too much, a line says so
    monkeypatch.setattr(TunableMultimodalCaptioner, "answer_loss", limited(0))
    assert evcap(*train(base, root, tmp_path / "none", *epochs)) == 1
    said = capfd.readouterr().err.splitlines()
    assert "one caption alone does not fit into memory; no epoch was finished; give fewer --frames" in said[-1]


def run_as(rank: int, arguments: Sequence[object]) -> None:
    """What a launcher's process does: accelerate finds its place in the environment."""
    from accelerate.state import AcceleratorState

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    AcceleratorState._reset_state(reset_partial_state=True)
    code = evcap(*arguments)
    if code:
        raise SystemExit(code)


@pytest.mark.slow
def test_two_processes_train_the_adapter_of_one(base_of: Callable[[str], Path], root: Path, tmp_path: Path) -> None:
    base = base_of("smolvlm")
    # a last step of one caption leaves one of the processes without any
    alone = train(base, root, tmp_path / "alone", "--epochs", 2, "--select", "loss", "--batch-size", 7)
    assert evcap(*alone) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    arguments = train(base, root, tmp_path / "together", "--epochs", 2, "--select", "loss", "--batch-size", 7)
    processes = [Forked(partial(run_as, rank, arguments), together) for rank in range(2)]
    for process in processes:
        code, _, err = process.end()
        assert code == 0, err[-2000:]
    one, two = (safetensors.torch.load_file(tmp_path / name / ADAPTER) for name in ("alone", "together"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-2, atol=1e-3)
    for first, second in zip(log(tmp_path / "alone"), log(tmp_path / "together"), strict=True):
        assert first["loss"]["total"] == pytest.approx(second["loss"]["total"], rel=1e-4)
        assert first["validation"]["cross_entropy"] == pytest.approx(second["validation"]["cross_entropy"], rel=1e-3)
        assert first["samples"].keys() == second["samples"].keys()
    captions = [(tmp_path / name / "test.jsonl").read_text() for name in ("alone", "together")]
    assert captions[0] == captions[1]


def test_the_rate_rises_and_falls_along_half_a_cosine() -> None:
    config = TuneConfig(epochs=2, learning_rate=1.0, warmup=0.1)
    rates = np.array([learning_rate(config, epoch, step, 10) for epoch in range(2) for step in range(10)])
    assert rates[:2] == pytest.approx([0.5, 1.0])
    expected = 0.01 + 0.99 * (1 + np.cos(np.pi * np.arange(18) / 18)) / 2
    assert rates[2:] == pytest.approx(expected)
    constant = TuneConfig(epochs=5, learning_rate=1.0, warmup=0.1, schedule="constant")
    assert [learning_rate(constant, epoch, step, 20) for epoch, step in ((0, 0), (0, 1), (0, 2), (4, 19))] == [
        0.5,
        1,
        1,
        1,
    ]
