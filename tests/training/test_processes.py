"""Several processes share the videos of a batch: who takes what, and a run of two on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.data.caption_batches import caption_batches
from evcap_cli.training.loop import Loop

ROOT = Path(__file__).parents[2]


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


@pytest.mark.slow
def test_two_processes_train_one_checkpoint(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "-m", "tests.training.run_toy", str(tmp_path), "2"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    losses = [json.loads(line)["loss"]["total"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 2
    assert losses[1] < losses[0]
    assert Checkpoint.from_pretrained(tmp_path).training["epochs"] == 2
