"""Each system's training step and beam search against the bare tensor work of the same sizes.

python -m tests.benchmarks.systems [NAME ...] [--captions 128] [--per-clip 1 4] [--clips 32] [--rounds 3] [--threads 1]
One thread is timed by its own processor time, which a busy machine disturbs least.

A step is forward, all losses, backward; ``systems_flat.py`` and ``systems_bare.py`` say what it is measured against.
EPAN's is compared with ``plain_training.py``, too, whose loss and gradients must be the same.
The encoder runs before the clock of the search starts, so that the search itself is compared.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from evcap_cli import plugins
from evcap_cli.data.special_tokens import END
from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.losses import Targets
from evcap_cli.search.beam_search import beam_search
from evcap_cli.systems.aligned_tensors import AlignedOutput
from evcap_cli.systems.epan import Epan
from tests.benchmarks import beam_search as search_of_fusion
from tests.benchmarks.beam_search import BEAM, BareWork
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.plain_training import plain_copy, plain_epan
from tests.benchmarks.systems_bare import BareSearch
from tests.benchmarks.systems_flat import flat_output
from tests.benchmarks.timing import in_turn, ratios, table
from tests.benchmarks.training_step import CONFIG, random_batch, random_targets

NAMES = ("fusion", "epan", "dcgn", "canet", "sa-lstm")
SIZES = {
    name: getattr(CONFIG, name)
    for name in ("appearance_dim", "motion_dim", "object_dim", "audio_dim", "vocabulary", "dropout")
}
LEDGER_SECONDS = 3600
STEP_GOALS, SEARCH_GOALS = {"epan": 1.15}, {"epan": 1.1}
ALIKE = 1e-4
"""How far losses and gradients of two steps may be apart, relative."""
GOAL = 1.5
"""Of both, for the other systems."""


def random_system(name: str) -> Any:
    """Of the published sizes; as sure of its words as a trained one, and as slow to end."""
    kind = plugins.system(name).load()
    model: Any = kind(kind.Config(**SIZES), torch.rand(CONFIG.categories, CONFIG.words) < 0.1)
    decoder = getattr(model, "decoder", model)
    with torch.no_grad():
        decoder.output.weight *= 12.0
        decoder.output.bias[END] = -12.0
    return model


def training_step(
    name: str, model: Any, captions: int, per_clip: int, rounds: int, clock: Any
) -> dict[str, list[float]]:
    """Seconds of evcap's step and of the flat one."""
    batch, (fed, targets) = random_batch(captions // per_clip), random_targets(captions, per_clip)
    model.train()

    def finish(output: Any) -> None:
        model.zero_grad(set_to_none=True)
        model.losses(output, targets).total.backward()

    clips = targets.clip_index
    seconds = in_turn(
        {
            "evcap": lambda: finish(model(batch, fed, clips)),
            "flat": lambda: finish(flat_output(name, model, batch, fed, clips)),
        },
        rounds,
        clock,
    )
    return seconds | (against_plain(model, batch, fed, targets, rounds, clock) if name == "epan" else {})


def against_plain(
    model: Epan, batch: ClipBatch, fed: Tensor, targets: Targets, rounds: int, clock: Any
) -> dict[str, list[float]]:
    """Seconds of evcap's step once more, in turn with those of the plain one; both reach the same.

    Raises:
        ValueError: they do not.
    """
    plain = plain_copy(model)
    reached: dict[str, tuple[float, Tensor]] = {}

    def finish(name: str, used: Epan, output: AlignedOutput, wanted: Targets) -> None:
        used.zero_grad(set_to_none=True)
        loss = used.losses(output, wanted).total
        loss.backward()
        gradient = used.decoder.gates.weight.grad
        assert gradient is not None
        reached[name] = float(loss.detach()), gradient

    seconds = in_turn(
        {
            "evcap again": lambda: finish("evcap", model, model(batch, fed, targets.clip_index), targets),
            "plain": lambda: finish("plain", plain, *plain_epan(plain, batch, fed, targets)),
        },
        rounds,
        clock,
    )
    (loss, gradient), (expected, other) = reached["evcap"], reached["plain"]
    off = float((gradient - other).norm() / other.norm())
    print(f"loss {loss:.6f}, of the plain step {expected:.6f}; gradients of the LSTM differ by {off:.1e}")
    if abs(loss - expected) > ALIKE * abs(expected) or off > ALIKE:
        raise ValueError("the plain step computes something else")
    return seconds


def search(name: str, model: Any, clips: int, rounds: int, clock: Any) -> dict[str, list[float]]:
    """Seconds of evcap's search and of the bare work."""
    model.eval()
    with torch.no_grad():
        memory = model.prepare(random_batch(clips)).memory
    bare = BareWork(clips) if name == "fusion" else BareSearch(name, model.config, clips)
    run = {"evcap": lambda: beam_search(model, memory, BEAM, stop_early=False), "bare work": bare}
    return in_turn(run, rounds, clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--captions", type=int, default=128)
    parser.add_argument("--per-clip", type=int, nargs="+", default=[1, 4], help="captions of a video in a batch")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="0: as many as torch chooses")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    assert search_of_fusion.CONFIG.vocabulary == CONFIG.vocabulary
    print(f"{options.captions} captions a step, {options.clips} clips a search, ", end="")
    print(f"{torch.get_num_threads()} threads, fp32")
    for name in options.names or NAMES:
        torch.manual_seed(0)
        model = random_system(name)
        for per_clip in options.per_clip:
            videos = options.captions // per_clip
            step = training_step(name, model, options.captions, per_clip, options.rounds, clock)
            print(f"{name}, training step\n{table(step)}")
            if "plain" in step:
                slow = "a plain step, which encodes prefix and video again for each word and caption, against ours"
                times = ratios(step, "plain", "evcap again")
                report(
                    Measured(
                        f"plain/{name}/{videos}",
                        f"{name}: {slow}, {options.captions} captions of {videos} videos",
                        times,
                    )
                )
            what = f"training step of {name} ({options.captions} captions of {videos} videos) against its own products"
            report(
                Measured(
                    f"step/{name}/{videos}", what, ratios(step, "evcap", "flat"), at_most=STEP_GOALS.get(name, GOAL)
                )
            )
        found = search(name, model, options.clips, options.rounds, clock)
        print(f"{name}, search\n{table(found)}")
        what = f"beam search of {name} ({options.clips} videos, beam {BEAM.size}, {BEAM.max_words} words)"
        bare = f"{what} against the bare tensor work of its steps"
        report(
            Measured(f"search/{name}", bare, ratios(found, "evcap", "bare work"), at_most=SEARCH_GOALS.get(name, GOAL))
        )


if __name__ == "__main__":
    main()
