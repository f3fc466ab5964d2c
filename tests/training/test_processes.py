"""Several processes share the videos of a batch: who takes what, and a run of two on a CPU."""

from __future__ import annotations

import json
import os
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.caption_batches import caption_batches
from evcap_cli.training.acceleration import make_accelerator
from evcap_cli.training.loop import Loop
from tests.forked import Forked
from tests.training import run_toy, toy


def shares(count: int, per_clip: int) -> list[tuple[object, float]]:
    owner = np.repeat(np.arange(9), 4)
    batch = caption_batches(owner, batch_size=20, per_clip=per_clip, seed=0, epoch=0)[0]
    loop = Loop.__new__(Loop)
    found = []
    for rank in range(count):
        loop.accelerator = SimpleNamespace(num_processes=count, process_index=rank)
        mine, weight = loop._share(batch)
        assert mine is not None
        assert owner[mine.captions].tolist() == mine.clips[mine.clip_index].tolist()
        found.append((mine, weight))
    assert sorted(n for mine, _ in found for n in mine.captions.tolist()) == sorted(batch.captions.tolist())
    return found


def test_processes_split_a_batch_by_video_and_weigh_by_captions() -> None:
    for count in (1, 2, 3):
        found = shares(count, per_clip=2)
        weights = [weight for _, weight in found]
        sizes = [len(mine.captions) for mine, _ in found]  # type: ignore[attr-defined]
        assert np.allclose(weights, np.array(sizes) * count / sum(sizes))
        assert np.isclose(np.mean(weights), 1)


def test_a_batch_with_fewer_videos_than_processes_is_left_out_by_all() -> None:
    batch = caption_batches(np.zeros(4, dtype=np.int64), batch_size=4, per_clip=4, seed=0, epoch=0)[0]
    loop = Loop.__new__(Loop)
    for rank in range(2):
        loop.accelerator = SimpleNamespace(num_processes=2, process_index=rank)
        assert loop._share(batch) == (None, 0.0)


def train_as(rank: int, run: Path) -> None:
    """What a launcher's process does: accelerate finds its place in the environment."""
    from accelerate.state import AcceleratorState

    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    AcceleratorState._reset_state(reset_partial_state=True)
    run_toy.main(str(run), "2")


@pytest.mark.slow
def test_two_processes_train_one_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.scoring.score_texts._meteor", toy.meteor)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [Forked(partial(train_as, rank, tmp_path), together) for rank in range(2)]
    for process in processes:
        code, _, err = process.end()
        assert code == 0, err[-2000:]
    losses = [json.loads(line)["loss"]["total"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert Checkpoint.from_pretrained(tmp_path).training["epochs"] == 2


def test_a_device_with_a_number_is_the_one_that_a_single_process_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for device in ("cpu", "cuda", "cuda:1"):
        make_accelerator(device, "fp32")
    assert current == [torch.device("cuda:1")]
