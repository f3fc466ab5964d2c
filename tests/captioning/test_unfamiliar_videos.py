"""A video unlike those of the training: its caption is marked in the record, on standard error and in the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evcap_cli.captioning.record_fields import with_familiarity
from evcap_cli.captioning.run import Summary
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.features.familiarity import Familiarity
from evcap_cli.output.html_report import render_report
from evcap_cli.output.record_files import read_records
from evcap_cli.output.records import UNFAMILIAR, Caption, Record
from tests.commands.small import evcap
from tests.features.films import make_film
from tests.output.test_formats import a_record


def of_shares(*shares: float | None) -> Record:
    captions = [Caption(n, n + 1.0, "a dog runs", -0.5, None, share) for n, share in enumerate(shares)]
    return a_record(captions=tuple(captions))


@pytest.mark.parametrize(
    ("shares", "unfamiliar"),
    [
        ([0.0], 1),
        ([UNFAMILIAR], 0),
        ([None], 0),
        ([0.0, 0.5, 0.009], 2),
        ([0.0] + [0.5] * 9, 0),  # one in ten can be chance
        ([0.0, 0.0] + [0.5] * 9, 2),
    ],
)
def test_a_record_counts_its_unfamiliar_captions(shares: list[float | None], unfamiliar: int) -> None:
    record = of_shares(*shares)
    assert record.unfamiliar == unfamiliar
    summary = Summary(1)
    summary.count(record)
    assert (summary.done, summary.unfamiliar, summary.exit_code) == (1, bool(unfamiliar), 0)
    assert bool(with_familiarity(record).warnings) == bool(unfamiliar)


def test_the_warning_says_how_much_of_a_video_is_unfamiliar() -> None:
    (one,) = with_familiarity(of_shares(0.0)).warnings
    assert one == "unlike the videos that demo was trained on: do not trust the caption"
    (some,) = with_familiarity(of_shares(0.0, 0.0, 0.7)).warnings
    assert some == "2 of 3 segments are unlike the videos that demo was trained on: do not trust the captions"


def test_the_report_greys_unfamiliar_captions_and_says_why() -> None:
    cards = render_report([of_shares(0.0, 0.5)], thumbnails=False).split('<div class="caption')[1:]
    assert cards[0].startswith(" unfamiliar")
    assert "was trained on (familiarity 0.000)" in cards[0]
    assert not cards[1].startswith(" unfamiliar")
    assert "was trained on" not in cards[1]


@pytest.mark.slow
def test_a_run_over_unfamiliar_videos_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint = Checkpoint.from_pretrained("demo")
    generator = torch.Generator().manual_seed(0)
    drawn = [
        {
            kind: torch.randn(record["dim"], generator=generator, dtype=torch.float64)
            for kind, record in checkpoint.backbones.items()
        }
        for _ in range(60)
    ]
    checkpoint.familiarity = Familiarity.fit(drawn[:40], drawn[40:])
    checkpoint.save_pretrained(tmp_path / "noise")
    (tmp_path / "videos").mkdir()
    make_film(tmp_path / "videos" / "a.mp4", frames=16)
    output = tmp_path / "out.jsonl"
    code = evcap("caption", tmp_path / "videos", "-c", tmp_path / "noise", "-o", output, "--device", "cpu")
    assert code == 0
    (record,) = read_records(output)
    assert [caption.familiarity for caption in record.captions] == [0.0]
    assert record.warnings == ("unlike the videos that noise was trained on: do not trust the caption",)
    lines = capfd.readouterr().err.splitlines()
    assert any(line.endswith(f"a.mp4: {record.warnings[0]}") for line in lines)
    assert any("1 video is unlike those that noise was trained on" in line and "-c smolvlm2" in line for line in lines)
