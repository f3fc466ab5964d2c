"""What the benchmark of familiarity reports stands on: its areas under the curve, its altered videos, a small run."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.demo.layout import write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.features.familiarity import Familiarity
from tests.benchmarks import familiarity
from tests.benchmarks.altered_videos import ALTERATIONS, NOISE_DEVIATION, TILES, altered
from tests.features.films import make_film


def test_auroc_counts_pairs_and_halves_of_equal_ones() -> None:
    generator = np.random.default_rng(0)
    above, below = generator.integers(0, 6, 31).tolist(), generator.integers(0, 5, 23).tolist()
    pairs = [(a > b) + 0.5 * (a == b) for a in above for b in below]
    assert familiarity.auroc(above, below) == pytest.approx(sum(pairs) / len(pairs))
    assert familiarity.auroc([1.0, 2.0], [0.0]) == 1.0
    assert familiarity.auroc([1.0], [1.0, 1.0]) == 0.5


def pictures(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.dts is not None]


@pytest.mark.slow
def test_altered_videos_have_the_frames_times_and_audio_of_their_source(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", make_facts(1, 3), workers=1)
    source = world.video(world.facts[0])
    plain = pictures(source)
    found = {kind: pictures(altered([source], tmp_path, kind)[0]) for kind in ALTERATIONS}
    for kind, changed in found.items():
        assert changed.shape == plain.shape, kind
        assert sound(tmp_path / kind.replace(" ", "-") / source.name) == sound(source)
    assert np.abs(found["encoded again"] - plain).mean() < 4
    assert np.abs(255 - found["inverted colours"] - plain).mean() < 8
    # noise that leaves the range is cut off, and encoding takes some away
    assert 0.25 * NOISE_DEVIATION < np.abs(found["noise"] - plain).mean() < NOISE_DEVIATION
    height, width = plain.shape[1] // TILES, plain.shape[2] // TILES

    def tiles(frames: np.ndarray) -> np.ndarray:
        cut = frames[:, : TILES * height, : TILES * width].reshape(len(frames), TILES, height, TILES, width, 3)
        return cut.mean((0, 2, 4, 5)).ravel()

    before, after = tiles(plain), tiles(found["mosaic"])
    assert np.sort(after) == pytest.approx(np.sort(before), abs=3)
    assert np.abs(after - before).max() > 10


@pytest.mark.slow
def test_a_small_run_prints_all_figures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(familiarity, "ALTERATIONS", ["mosaic"])  # one is enough
    monkeypatch.setattr(familiarity, "REAL_SEGMENTS", "fixed:1")
    checkpoint = Checkpoint.from_pretrained("demo")
    generator = torch.Generator().manual_seed(0)
    drawn = [
        {
            kind: 1e4 + torch.randn(record["dim"], generator=generator, dtype=torch.float64)
            for kind, record in checkpoint.backbones.items()
        }
        for _ in range(60)
    ]
    checkpoint.familiarity = Familiarity.fit(drawn[:40], drawn[40:])
    checkpoint.save_pretrained(tmp_path / "far")
    (tmp_path / "real").mkdir()
    make_film(tmp_path / "real" / "a.mp4", frames=30)
    call = ["--checkpoint", str(tmp_path / "far"), "--real", str(tmp_path / "real"), "--folder", str(tmp_path)]
    familiarity.main([*call, "--videos", "1", "--altered", "1", "--timed", "1", "--rounds", "1", "--workers", "1"])
    out, err = capfd.readouterr()
    rows = {row.partition(":")[0]: row.partition(": ")[2] for row in out.splitlines()}
    # all are far from what the checkpoint knows
    assert rows["unseen"] == "100 % (1 round); 1 of 1 below the threshold, goal at most 2 %, MISSED"
    assert rows["real"].startswith("0.5 (1 round); 2 of 2 below the threshold; ")
    assert rows["real"].endswith(" by distance, goal at least 0.99, MISSED")
    assert rows["mosaic"].startswith("0.5 (1 round); 1 of 1 below the threshold; ")
    assert "unlike the videos that far was trained on" in err
    assert "1 video is unlike those that far was trained on" in err
    assert rows["time"].endswith("goal at most 1 %, met")


@pytest.mark.slow
def test_a_checkpoint_without_a_summary_is_named_before_anything_is_drawn(tmp_path: Path) -> None:
    checkpoint = Checkpoint.from_pretrained("demo")
    checkpoint.familiarity = None
    checkpoint.save_pretrained(tmp_path / "plain")
    call = ["--checkpoint", str(tmp_path / "plain"), "--real", str(tmp_path), "--folder", str(tmp_path / "new")]
    with pytest.raises(SystemExit, match="has no familiarity"):
        familiarity.main(call)
    assert not (tmp_path / "new").exists()
