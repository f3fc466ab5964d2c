"""The benchmark of a machine with a GPU: every part runs here on the CPU, and each keeps to its own time."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks import gpu, gpu_parts
from tests.benchmarks.gpu_parts import Sizes

SIZES = Sizes(
    "cpu", 1, clips=1, busy_clips=1, seconds=0.0, searched=1, captions=4, rows=1, streams={"audio": "lite-audio"}
)


def test_covered_counts_each_moment_once() -> None:
    draw = random.Random(0)
    for _ in range(20):
        starts = [draw.randrange(-50, 50) for _ in range(draw.randrange(0, 12))]
        spans = [(start, start + draw.randrange(0, 20)) for start in starts]
        moments = {moment for start, end in spans for moment in range(start, end)}
        assert gpu_parts.covered(spans) == len(moments)


def test_captions_are_compared_by_text_and_the_scores_of_equal_ones() -> None:
    expected = {"a": (("x",), (-0.5,)), "b": (("y", "z"), (-0.25, -1.0)), "c": (("w",), (-9.0,))}
    found = {"a": (("x",), (-0.5,)), "b": (("y", "z"), (-0.25, -1.125)), "c": (("v",), (-1.0,))}
    assert gpu_parts.compared(found, expected) == {
        "videos": 3,
        "identical captions": pytest.approx(2 / 3),
        "largest difference of their scores": 0.125,
    }


def part(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_a_slow_part_is_ended_and_keeps_its_rows() -> None:
    begun = time.monotonic()
    code = "import time; print('{\"captions/s\": 2.0}', flush=True); print('noise', flush=True); time.sleep(60)"
    found = gpu.measured("search", 0.5, part(code))
    assert time.monotonic() - begun < 20
    assert found.rows == [{"captions/s": 2.0}]
    assert found.state == "ended at its limit of 0.5 s"


def test_a_part_that_fails_says_why() -> None:
    found = gpu.measured("search", 60, part("raise ValueError('no CUDA here')"))
    assert found.state == "failed (exit code 1): ValueError: no CUDA here"
    page = gpu.markdown({"device": "CPU"}, {"search": found}, quick=False)
    assert "## Beam search\n\n`search`: failed (exit code 1): ValueError: no CUDA here, 0 s.\n" in page


def test_rows_of_other_columns_begin_another_table() -> None:
    rows = [{"run": "a", "s": 1.0}, {"run": "b", "s": 12345.6, "GB": None}, {"run": "c", "same": 0.5}]
    assert gpu.table(rows) == [
        "| run | s | GB |",
        "|---|---|---|",
        "| a | 1 |  |",
        "| b | 12346 |  |",
        "",
        "| run | same |",
        "|---|---|",
        "| c | 0.5 |",
    ]


def test_the_limits_leave_the_whole_below_eight_minutes() -> None:
    assert sum(each.seconds for each in gpu.PARTS.values()) < 470


@pytest.mark.slow
def test_captions_and_busy_shares_of_a_clip(tmp_path: Path) -> None:
    (drawn,) = gpu_parts.draw_clips(SIZES, tmp_path)
    assert drawn["clips"] == 1
    *runs, fp32, bf16 = gpu_parts.caption_runs(SIZES, tmp_path)
    assert [row["run"] for row in runs] == ["cpu fp32", "cpu bf16", "cpu fp32"]
    assert all(row["cold s"] > row["warm s"] > 0 for row in runs)
    assert fp32 == {  # the device is the CPU
        "run": "cpu fp32 against cpu fp32",
        "videos": 1,
        "identical captions": 1,
        "largest difference of their scores": 0,
    }
    assert bf16["run"] == "cpu bf16 against cpu fp32"
    shares = list(gpu_parts.busy_shares(SIZES, tmp_path))
    assert [row["run"].split(" ")[0] for row in shares] == ["caption,", "caption,", "features", "features"]
    assert all(0 < row["busy"] <= 1 for row in shares)
    assert shares[0]["decoding s"] > 0 == shares[1]["decoding s"]  # the second finds all features in the cache


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["appearance", "motion", "object", "audio"])
def test_a_backbone_of_each_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"lite-{kind}"
    monkeypatch.setitem(gpu_parts.BACKBONES, name, kind)
    single, half = gpu_parts.one_backbone(SIZES, name)
    assert (single["numbers"], half["numbers"]) == ("fp32", "bf16")
    assert single["rows/s forward"] > 0 < half["rows/s with pixels and results"]
    distance = half["1 - least cosine with fp32"]
    assert distance is None if kind == "object" else abs(distance) < 1e-2


@pytest.mark.slow
def test_search_and_training() -> None:
    single, half = gpu_parts.searches(SIZES)
    assert single["captions/s"] > 0 < half["captions/s"]
    assert half["captions as in fp32"] in (0, 1)
    single, half = gpu_parts.training_steps(SIZES)
    assert single["captions/s"] > 0 < half["captions/s"]
    assert 0 < abs(single["first loss"] - half["first loss"]) < 0.05 * single["first loss"]


@pytest.mark.slow
def test_tables_are_written(tmp_path: Path) -> None:
    assert gpu.main(["--device", "cpu", "--quick", "--only", "clips", "--limit", "300", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["machine"]["device"] == "cpu"
    assert found["parts"]["clips"]["state"] == "done"
    assert found["parts"]["clips"]["rows"][0]["clips"] == 2
    assert "| clips | processes | seconds |" in (tmp_path / "gpu.md").read_text()
