"""Training on data of the real size: throughput against a plain program, what loading costs, how much memory it takes.

python -m tests.benchmarks.real_size                                   # makes the data in a temporary folder, compares
python -m tests.benchmarks.real_size make DIR [--seed 0]
python -m tests.benchmarks.real_size compare DIR [--steps 6] [--threads 1]

``make`` writes ``real_size_data.py``'s data set (660 MB) in EmVidCap's layout, for ``evcap train --features`` too.
``compare`` takes real batches of its first epoch, with the paper's recipe: forward, losses, backward, clipping and Adam
of evcap's own loop and of ``plain_training.py``, in turn, from the same weights. One thread is timed by its own
processor time, which a busy machine disturbs least. Memory is that of the process before anything plain has run:
tables, model, the heaviest batches of the epoch, a validation batch of the beam search.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evcap_cli.data.caption_batches import CaptionBatch, caption_batches
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.features_hdf5 import FeatureFiles, feature_files
from evcap_cli.network.losses import losses
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.systems.fusion import Fusion
from evcap_cli.training.acceleration import deterministic, make_accelerator
from evcap_cli.training.evaluation import CLIPS_A_BATCH, caption_clips
from evcap_cli.training.loop import Loop
from evcap_cli.training.recipe import Recipe
from evcap_cli.training.run_preparation import PreparedRun, prepare
from tests.benchmarks.measured import PERCENT, Measured, report
from tests.benchmarks.plain_training import plain_copy, plain_forward
from tests.benchmarks.real_size_data import make
from tests.benchmarks.timing import ratios

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Kind

FILES: dict[Kind, str] = {"appearance": "clip", "motion": "resnext3d", "object": "fasterrcnn", "audio": "hubert"}
CHECKED_CAPTIONS = 16
"""Captions on which loss and gradients of the two are compared."""


def optimiser_of(model: Fusion, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=recipe.train.learning_rate, fused=True)


def read(root: Path, recipe: Recipe) -> PreparedRun:
    """What ``evcap train --features`` starts from."""
    data = DataRoot.open(root)
    source = FeatureFiles({kind: feature_files(root, name) for kind, name in FILES.items()})
    return prepare(recipe, data.train, data.lexicon, source)


def evcap_loop(prepared: PreparedRun) -> Loop:
    train, model = prepared.recipe.train, prepared.model
    beam = BeamConfig(train.beam_size, train.max_words, train.length_penalty)
    accelerator = make_accelerator("cpu", "fp32")
    loop = Loop(prepared, accelerator, model, optimiser_of(model, prepared.recipe), beam, Path("none"))
    loop.wrapped.train()
    return loop


def plain_step(model: Fusion, optimiser: torch.optim.Optimizer, loop: Loop, batch: CaptionBatch) -> None:
    """A step without a share in anything but the reading of its rows."""
    features, fed, targets = loop.load(batch)
    loss = losses(*plain_forward(model, features, fed, targets), model.config.loss)
    optimiser.zero_grad(set_to_none=True)
    loss.total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), loop.config.clip_norm)
    optimiser.step()


def compare_numbers(loop: Loop, plain: Fusion, batch: CaptionBatch) -> tuple[float, float, float]:
    """Cross entropy of both on a few captions without dropout, and how far the gradients of the LSTM are apart."""
    few = slice(CHECKED_CAPTIONS)
    clips, index = torch.unique(torch.from_numpy(batch.clips[batch.clip_index[few]]), return_inverse=True)
    features, fed, targets = loop.load(CaptionBatch(batch.captions[few], clips.numpy(), index.numpy()))
    found: list[tuple[float, Tensor]] = []
    for model in (loop.model.eval(), plain.eval()):
        if model is plain:
            output, own = plain_forward(plain, features, fed, targets)
        else:
            output, own = model(features, fed, targets.clip_index, loop.train.steps(batch)[few]), targets
        value = losses(output, own, model.config.loss).cross_entropy
        found.append((float(value.detach()), torch.autograd.grad(value, model.decoder.gates.weight)[0]))
        model.train()
    (ours, gradient), (other, expected) = found
    return ours, other, float((gradient - expected).norm() / expected.norm())


def loading_seconds(loop: Loop, clock: Callable[[], float]) -> float:
    """A whole epoch's batches planned and read, nothing computed."""
    train = loop.config
    begun = clock()
    planned = caption_batches(
        loop.train.clip, batch_size=train.batch_size, per_clip=train.captions_per_clip, seed=train.seed, epoch=0
    )
    for batch in planned:
        loop.load(batch)
    return clock() - begun


def peak_gb() -> float:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def compare(root: Path, steps: int) -> None:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    recipe = Recipe()
    begun = clock()
    prepared = read(root, recipe)
    print(f"{len(prepared.train)} captions of {len(prepared.features)} videos, vocabulary {len(prepared.vocabulary)}")
    print(f"read in {clock() - begun:.1f} s; feature table {prepared.features.nbytes / 1e9:.2f} GB, ", end="")
    print(f"peak memory so far {peak_gb():.2f} GB", flush=True)
    loop = evcap_loop(prepared)
    train = recipe.train
    planned = caption_batches(
        loop.train.clip, batch_size=train.batch_size, per_clip=train.captions_per_clip, seed=train.seed, epoch=0
    )
    words = [int(loop.train.lengths[batch.captions].sum()) for batch in planned]
    heaviest = {max(range(len(planned)), key=words.__getitem__)}
    heaviest.add(max(range(len(planned)), key=lambda number: len(planned[number].clips)))
    with deterministic(torch.device("cpu")):
        for number in sorted(heaviest):
            loop._step(planned[number], train.learning_rate, 0, number)
        few = prepared.validation_clips[:CLIPS_A_BATCH]
        caption_clips(prepared.model, loop.features, few, prepared.vocabulary, prepared.lexicon, loop.beam)
        loop.wrapped.train()
        what = "peak memory of training at EmVidCap-L's size: the heaviest batches of an epoch and a validation batch"
        report(Measured("memory", what, (peak_gb(),), "GB", at_most=3.0))
        plain = plain_copy(prepared.model)
        plain_optimiser = optimiser_of(plain, recipe)
        ours, other, off = compare_numbers(loop, plain, planned[0])
        print(f"cross entropy {ours:.6f}, plain {other:.6f}; gradients of the LSTM differ by {off:.1e}", flush=True)
        plain_step(plain, plain_optimiser, loop, planned[0])
        seconds: dict[str, list[float]] = {"evcap": [], "plain": []}
        for number in range(1, steps + 1):
            batch = planned[number]
            for name in seconds:
                begun = clock()
                if name == "evcap":
                    loop._step(batch, train.learning_rate, 0, number)
                else:
                    plain_step(plain, plain_optimiser, loop, batch)
                seconds[name].append(clock() - begun)
            print(f"step {number}: evcap {seconds['evcap'][-1]:.2f} s, plain {seconds['plain'][-1]:.2f} s", flush=True)
    counts = [len(batch.captions) for batch in planned[1 : steps + 1]]
    for name, taken in seconds.items():
        print(f"{name}: {sum(counts) / sum(taken):.1f} captions/s")
    what = "training at EmVidCap-L's size on generated data (real batches and caption lengths, dropout, losses, Adam):"
    plainly = f"a plain program that encodes prefix and video again, against ours, {steps} steps"
    report(Measured("step", f"{what} {plainly}", ratios(seconds, "plain", "evcap"), at_least=8.0))
    loading = loading_seconds(loop, clock)
    epoch = statistics.mean(seconds["evcap"]) * len(planned)
    what = f"data loading in an epoch of it ({len(planned)} steps)"
    report(Measured("loading", what, (100 * loading / epoch,), PERCENT, at_most=5.0))
    print(f"peak memory with the plain program {peak_gb():.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", nargs="?", choices=("make", "compare"))
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--steps", type=int, default=6, help="batches that are timed")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.action and options.folder is None:
        parser.error(f"{options.action} needs DIR")
    torch.set_num_threads(options.threads)
    if options.action == "make":
        make(options.folder, options.seed)
    elif options.action == "compare":
        compare(options.folder, options.steps)
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), options.seed)
            compare(Path(folder), options.steps)


if __name__ == "__main__":
    main()
