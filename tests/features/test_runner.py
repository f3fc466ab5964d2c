"""A runner batches rows of several owners, checks what comes back, and blames the right one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evcap_cli.backbones.contract import AudioInput, Detections, FrameInput
from evcap_cli.errors import BackboneError, OutOfMemory
from evcap_cli.features.runner import BackboneRunner
from tests.features.tiny import changed, tiny_backbones


def runner_of(backbone, batch_size=None):
    return BackboneRunner(backbone, batch_size=batch_size, device="cpu", owner=lambda ticket: ticket[0])


def pictures(count, seed=0, shape=(8, 8, 3)):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def run_all(runner, entries):
    outcomes = [outcome for ticket, row in entries for outcome in runner.add(ticket, row)]
    for owner in dict.fromkeys(ticket[0] for ticket, _ in entries):
        outcomes += runner.flush(owner)
    return {outcome.ticket: outcome for outcome in outcomes}


def test_batches_span_owners_and_have_one_shape():
    backbone = tiny_backbones("appearance")["appearance"]
    shapes = []
    plain = backbone.extract
    backbone.extract = lambda batch: shapes.append(tuple(batch.shape)) or plain(batch)
    entries = [((i // 4, i), row) for i, row in enumerate(pictures(18))]
    outcomes = run_all(runner_of(backbone), entries)
    assert shapes == [(7, 3, 8, 8)] * 3
    for ticket, row in entries:
        alone = plain(torch.from_numpy(row).permute(2, 0, 1)[None].float() / 255)[0]
        torch.testing.assert_close(outcomes[ticket].result, alone)


def test_pictures_arrive_scaled_and_normalised_channels_first():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    for kind, shape in (("appearance", (8, 8, 3)), ("motion", (16, 4, 6, 3))):
        wanted = tiny_backbones(kind)[kind].spec.input
        backbone = changed(kind, input=type(wanted)(**{**vars(wanted), "mean": mean, "std": std}))
        rows = pictures(3, shape=shape)
        batch = runner_of(backbone).prepare(rows)
        assert batch.is_contiguous()
        expected = (np.stack(rows) / 255 - mean) / std
        np.testing.assert_allclose(batch.numpy(), np.moveaxis(expected, -1, 1), atol=1e-6)


def test_pictures_of_different_sizes_never_share_a_batch():
    backbone = changed("appearance", input=FrameInput(short_side=8, fit="keep"), dim=3)
    backbone.extract = lambda batch: batch.mean((2, 3))
    rows = [((0, i), pictures(1, i, (8, 8 + i % 3, 3))[0]) for i in range(9)]
    outcomes = run_all(runner_of(backbone), rows)
    for ticket, row in rows:
        np.testing.assert_allclose(outcomes[ticket].result.numpy(), row.mean((0, 1)) / 255, atol=1e-6)


def test_sound_shorter_than_a_chunk_runs_alone_and_at_once():
    backbone = changed("audio", input=AudioInput(rate=16000, chunk_seconds=1.0))
    lengths = []
    plain = backbone.extract
    backbone.extract = lambda batch: lengths.append(tuple(batch.shape)) or plain(batch)
    runner = runner_of(backbone)
    assert len(runner.add((0, 0), np.zeros(700, dtype=np.float32))) == 1
    assert runner.add((0, 1), np.zeros(16000, dtype=np.float32)) == []
    assert len(runner.flush(0)) == 1
    assert lengths == [(1, 700), (3, 16000)]


WRONG = [
    (lambda batch: torch.zeros(len(batch), 11), r"\(7, 11\).*\(7, 12\)"),
    (lambda batch: torch.zeros(len(batch) - 1, 12), r"\(6, 12\)"),
    (lambda batch: [0] * len(batch), "list, not a tensor"),
    (lambda batch: torch.full((len(batch), 12), torch.nan), "finite"),
    (lambda batch: torch.full((len(batch), 12), torch.inf), "finite"),
    (lambda batch: 1 // 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("extract", "message"), WRONG)
def test_what_the_spec_does_not_allow_is_an_error_that_names_the_backbone(extract, message):
    backbone = tiny_backbones("appearance")["appearance"]
    backbone.extract = extract
    outcomes = run_all(runner_of(backbone), [((0, i), row) for i, row in enumerate(pictures(8))])
    assert len(outcomes) == 8
    for outcome in outcomes.values():
        assert isinstance(outcome.error, BackboneError)
        assert "tiny-appearance" in str(outcome.error)
        with pytest.raises(BackboneError, match=message):
            raise outcome.error


def test_wrong_detections_are_an_error():
    backbone = tiny_backbones("object")["object"]
    rows = [((0, i), row) for i, row in enumerate(pictures(4, shape=(3, 12, 16, 3)))]
    for made in (Detections(torch.zeros(2, 4), torch.zeros(1), torch.zeros(2, 9)), "nonsense"):
        backbone.extract = lambda batch, made=made: [made] * len(batch)
        assert all(o.error is not None for o in run_all(runner_of(backbone), rows).values())
    backbone.extract = lambda batch: [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 9))] * len(batch)
    assert all(o.error is None for o in run_all(runner_of(backbone), rows).values())


def test_a_bad_row_is_the_fault_of_its_owner_only():
    backbone = tiny_backbones("appearance")["appearance"]
    plain = backbone.extract

    def picky(batch):
        if (batch == 0).all(dim=(1, 2, 3)).any():
            raise RuntimeError("black")
        return plain(batch)

    backbone.extract = picky
    entries = [((i % 3, i), row) for i, row in enumerate(pictures(20))]
    entries[7] = ((1, 7), np.zeros((8, 8, 3), dtype=np.uint8))
    outcomes = run_all(runner_of(backbone), entries)
    assert len(outcomes) == 20
    assert all(o.error is None for t, o in outcomes.items() if t[0] != 1)
    assert outcomes[1, 7].error is not None


def test_out_of_memory_halves_the_batch_and_goes_on(capsys):
    backbone = tiny_backbones("appearance")["appearance"]
    plain = backbone.extract
    sizes = []

    def small_device(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("device full")
        return plain(batch)

    backbone.extract = small_device
    runner = runner_of(backbone, 8)
    outcomes = run_all(runner, [((0, i), row) for i, row in enumerate(pictures(11))])
    assert all(outcome.error is None for outcome in outcomes.values())
    assert sizes[:3] == [8, 4, 2]
    assert runner.batch_size == 2
    assert "batches of 2" in capsys.readouterr().err


def test_no_memory_even_for_one_row_is_an_error_of_the_videos():
    backbone = tiny_backbones("appearance")["appearance"]

    def full(batch):
        raise MemoryError

    backbone.extract = full
    outcomes = run_all(runner_of(backbone, 2), [((i, 0), row) for i, row in enumerate(pictures(2))])
    assert {type(outcome.error) for outcome in outcomes.values()} == {OutOfMemory}


def test_forgotten_rows_are_not_run():
    runner = runner_of(tiny_backbones("appearance")["appearance"])
    for i, row in enumerate(pictures(6)):
        runner.add((i % 2, i), row)
    runner.forget(0)
    assert runner.flush(0) == []
    assert sorted(outcome.ticket for outcome in runner.flush(1)) == [(1, 1), (1, 3), (1, 5)]
    assert runner.forwards == 1
