"""Results that come in late are the same results; memory that runs out is found by halving, then by offloading."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from evcap_cli.backbones.offloader import Offloader
from evcap_cli.errors import BackboneError, OutOfMemory
from evcap_cli.features import runner as runner_module
from evcap_cli.features.batch_transfer import CudaTransfer, Transfer, transfer_to
from evcap_cli.features.runner import MOST_PENDING, BackboneRunner
from tests.features.test_pipeline import assert_same, cold, films, run  # noqa: F401  fixtures
from tests.features.test_runner import pictures, run_all
from tests.features.tiny import TinyAppearance, tiny_backbones

CPU = torch.device("cpu")


class LateTransfer(Transfer):
    """A device that is never ready before it is waited for, and whose results do not exist until then."""

    channels_last = True

    def __init__(self, device=CPU):
        super().__init__(device)
        self.pending = self.most = 0

    def to_host(self, parts):
        self.pending += 1
        self.most = max(self.most, self.pending)
        copied = super().to_host(parts)
        transfer = self

        class Late:
            def ready(self):
                return False

            def wait(self):
                transfer.pending -= 1
                return copied.wait()

        return Late()


def runner_of(backbone, batch_size=None, **options):
    return BackboneRunner(
        backbone,
        batch_size=batch_size,
        device="cpu",
        owner=lambda ticket: ticket[0],
        transfer=LateTransfer(),
        **options,
    )


@pytest.mark.parametrize(("kind", "shape"), [("appearance", (8, 8, 3)), ("object", (3, 12, 16, 3))])
def test_late_results_are_the_same_and_few_batches_are_pending(kind, shape):
    backbone = tiny_backbones(kind)[kind]
    entries = [((i // 5, i), row) for i, row in enumerate(pictures(43, shape=shape))]
    plain = BackboneRunner(backbone, batch_size=4, device="cpu", owner=lambda ticket: ticket[0])
    late = runner_of(backbone, 4)
    expected, found = run_all(plain, entries), run_all(late, entries)
    assert found.keys() == expected.keys()
    for ticket, outcome in found.items():
        one, other = outcome.result, expected[ticket].result
        pairs = [(one, other)] if kind == "appearance" else zip(vars(one).values(), vars(other).values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert late.transfer.most == MOST_PENDING + 1
    assert late.transfer.pending == 0
    assert late.forwards == plain.forwards


@pytest.mark.slow
def test_the_pipeline_gives_the_same_features_with_late_results(films, cold, monkeypatch):  # noqa: F811
    monkeypatch.setattr(runner_module, "transfer_to", LateTransfer)
    assert_same(cold, run(films)[0])


@pytest.mark.slow
def test_a_failing_video_takes_nobody_with_it_when_results_are_late(films, cold, monkeypatch):  # noqa: F811
    monkeypatch.setattr(runner_module, "transfer_to", LateTransfer)
    backbones = tiny_backbones()
    plain = backbones["appearance"].extract
    victim = cold[films[2]][0].streams["appearance"].values[0]

    def spoilt(batch):
        values = plain(batch)
        return torch.where(((values - victim).abs().amax(1) < 1e-6)[:, None], torch.nan, values)

    backbones["appearance"].extract = spoilt
    found, ends, _ = run(films, backbones=backbones)
    found.pop(films[2], None)
    assert isinstance(ends[films[2]].error, BackboneError)
    assert_same({path: cold[path] for path in films if path != films[2]}, found)


def test_rows_forgotten_under_way_do_not_come_back_and_blame_nobody():
    backbone = tiny_backbones("appearance")["appearance"]
    plain = backbone.extract
    backbone.extract = lambda batch: torch.where((batch == 0).all(dim=(1, 2, 3))[:, None], torch.nan, plain(batch))
    runner = runner_of(backbone, 4)
    rows = pictures(8)
    rows[2] = np.zeros_like(rows[2])
    outcomes = [o for i, row in enumerate(rows) for o in runner.add((i % 2, i), row)]
    assert outcomes == []
    runner.forget(0)
    outcomes = runner.flush(1)
    assert sorted(outcome.ticket for outcome in outcomes) == [(1, 1), (1, 3), (1, 5), (1, 7)]
    assert all(outcome.error is None for outcome in outcomes)


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        MemoryError(),
    ],
    ids=lambda problem: str(problem)[:20] or "MemoryError",
)
def test_no_row_is_lost_or_doubled_when_memory_runs_out_on_the_way(problem):
    backbone = tiny_backbones("appearance")["appearance"]
    plain = backbone.extract
    sizes = []

    def full(batch):
        sizes.append(len(batch))
        if len(batch) > 3 and len(sizes) > 2:
            raise problem
        return plain(batch)

    backbone.extract = full
    runner = runner_of(backbone, 8)
    rows = pictures(29)
    outcomes = [o for i, row in enumerate(rows) for o in runner.add((0, i), row)] + runner.flush(0)
    assert [outcome.ticket for outcome in outcomes] == [(0, i) for i in range(29)]
    for outcome, row in zip(outcomes, rows, strict=True):
        alone = plain(torch.from_numpy(row).permute(2, 0, 1)[None].float() / 255)[0]
        torch.testing.assert_close(outcome.result, alone)
    assert sizes == [8, 8, 8, 4, 2, 2, 2, 2, 2, 2, 2]


class Model(torch.nn.Module):
    """Knows where it is, on devices that this machine lacks."""

    def __init__(self):
        super().__init__()
        self.place = "cuda"

    def to(self, device):
        self.place = torch.device(device).type
        return self


class LargeBackbone(TinyAppearance):
    """Needs the whole device for more than one row."""

    def __init__(self, others=()):
        super().__init__()
        self.model = Model()
        self.others = others

    def extract(self, batch):
        assert self.model.place == "cuda"
        if any(other.model.place == "cuda" for other in self.others):
            raise torch.OutOfMemoryError("device full")
        return super().extract(batch)


def test_the_others_are_offloaded_when_not_even_one_row_fits_next_to_them(capsys):
    small = LargeBackbone()
    large = LargeBackbone([small])
    small.others = [large]
    light = tiny_backbones("appearance")["appearance"]
    offloader = Offloader([small, large, light], torch.device("cuda"))
    runners = [runner_of(backbone, 4, offloader=offloader) for backbone in (large, small, light)]
    rows = pictures(8)
    found = [{}, {}, {}]
    for i, row in enumerate(rows):
        for place, runner in enumerate(runners):
            found[place].update({o.ticket: o for o in runner.add((0, i), row)})
    for place, runner in enumerate(runners):
        found[place].update({o.ticket: o for o in runner.flush(0)})
    for outcomes in found:
        assert sorted(outcomes) == [(0, i) for i in range(8)]
        assert all(torch.equal(outcomes[ticket].result, found[2][ticket].result) for ticket in outcomes)
    said = capsys.readouterr().err
    assert said.count("one model at a time") == 1
    assert [runner.batch_size for runner in runners] == [4, 4, 4]


def test_nothing_of_a_batch_that_did_not_fit_is_kept_when_memory_is_freed(monkeypatch):
    """On a device called cuda whose tensors are the CPU's."""
    backbone = tiny_backbones("audio")["audio"]
    plain = backbone.extract
    tried, freed = [], []

    def full(batch):
        tried.append(weakref.ref(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("device full")
        return plain(batch)

    backbone.extract = full
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(tried[-1]() is None))
    runner = BackboneRunner(
        backbone, batch_size=4, device="cuda", owner=lambda ticket: ticket[0], transfer=Transfer(CPU)
    )
    samples = [np.full(32000, i, dtype=np.float32) for i in range(4)]
    outcomes = run_all(runner, [((0, i), row) for i, row in enumerate(samples)])
    assert all(outcome.error is None for outcome in outcomes.values())
    assert freed == [True, True]


def test_without_anything_to_move_the_videos_fail():
    backbone = LargeBackbone()
    backbone.extract = lambda batch: (_ for _ in ()).throw(torch.OutOfMemoryError("device full"))
    light = tiny_backbones("motion")["motion"]
    for offloader in (
        Offloader([backbone, light], torch.device("cuda")),
        Offloader([backbone, LargeBackbone()], CPU),
    ):
        outcomes = run_all(
            runner_of(backbone, 2, offloader=offloader), [((0, i), p) for i, p in enumerate(pictures(3))]
        )
        assert {type(outcome.error) for outcome in outcomes.values()} == {OutOfMemory}


def test_pictures_lie_channels_last_where_the_lane_says_so():
    row = pictures(2)
    backbone = tiny_backbones("appearance")["appearance"]
    batch = runner_of(backbone).prepare(row)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch, BackboneRunner(backbone, batch_size=2, device="cpu", owner=id).prepare(row))


def test_on_cuda_a_copy_has_its_own_stream_and_nothing_waits_before_the_results_are_needed(monkeypatch):
    """The CUDA transfer's calls in order, with ``torch.cuda`` replaced: this says nothing about a real device."""
    log = []

    class Stream:
        def __init__(self, device=None, name="copies"):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

        def __enter__(self):
            log.append(f"on {self.name}")

        def __exit__(self, *problem):
            log.append(f"off {self.name}")

    class Event:
        def record(self, stream):
            log.append(f"event on {stream.name}")

        def query(self):
            return False

        def synchronize(self):
            log.append("waited")

    here, plain = Stream(name="main"), torch.empty
    for name, replacement in {
        "Stream": Stream,
        "Event": Event,
        "stream": lambda stream: stream,
        "current_stream": lambda device: here,
    }.items():
        monkeypatch.setattr(torch.cuda, name, replacement)
    monkeypatch.setattr(
        torch, "empty", lambda *size, pin_memory, **options: log.append("pinned") or plain(*size, **options)
    )
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: log.append(f"kept for {stream.name}"))
    transfer = CudaTransfer(CPU)
    rows = pictures(3)
    batch = transfer.to_device(rows)
    assert torch.equal(batch, torch.from_numpy(np.stack(rows)))
    results = transfer.to_host([batch[..., 0].to(torch.bfloat16)])
    assert not results.ready()
    assert log == ["pinned", "on copies", "off copies", "main waits for copies", "kept for main", "event on main"]
    (copied,) = results.wait()
    assert copied.dtype == torch.float32
    assert log[-1] == "waited"


def test_the_cpu_has_a_lane_without_detours():
    assert type(transfer_to(CPU)) is Transfer
    rows = pictures(2)
    assert Transfer(CPU).to_host([torch.ones(2)]).ready()
    assert torch.equal(Transfer(CPU).to_device(rows), torch.from_numpy(np.stack(rows)))
