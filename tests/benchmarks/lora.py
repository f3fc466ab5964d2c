"""Training an adapter against a bare loop with peft: ``python -m tests.benchmarks.lora [--rounds 3] [--only tiny]``.

Random SmolVLMs of real architecture, one tiny and one of about 200 million parameters. evcap's epoch, which reads kept
frames, prepares them and steps, against a loop of ``PeftModel`` forwards with labels over the same batches, which lie
ready in memory: same rank, layers, parts, checkpointing, clipping and optimiser, in turn in one process. Loading is
the share of an epoch that evcap's loop waits for examples. ``--small`` shows in a minute that it works.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from evcap_multimodal import tuning
from evcap_multimodal.tunable import TunableMultimodalCaptioner

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.features.cache import FeatureCache
from evcap_cli.features.kept_clips import KeptClips
from evcap_cli.features.raw_clips import RawClips
from evcap_cli.systems.clip_captioner import CaptionerOptions, FrameRequest
from evcap_cli.systems.decoded_clips import raw_request
from evcap_cli.systems.tunable_captioner import AdapterOptions
from evcap_cli.training.acceleration import make_accelerator
from evcap_cli.training.tuning.tuning_loop import TuningLoop
from evcap_cli.training.tuning.tuning_recipe import TuneConfig
from tests.benchmarks.features import write_clip
from tests.benchmarks.measured import PERCENT, Measured, report
from tests.benchmarks.multimodal import mid_sized
from tests.benchmarks.timing import in_turn, ratios, table
from tests.multimodal import tiny

LEDGER_SECONDS = 3600
STEP_GOAL, LOADING_GOAL = 1.15, 5.0
SIZE = (320, 240)
TEXTS = (
    "a man is happily walking in the park while the dog laughs",
    "a woman sadly looks at the child",
    "the child laughs in the park",
)
OPTIONS = AdapterOptions()


def captioner(folder: Path, frames: int) -> TunableMultimodalCaptioner:
    chosen = CaptionerOptions(lexicon=Lexicon.general(), emotion=False, frames=FrameRequest(frames))
    made = TunableMultimodalCaptioner(str(folder), chosen)
    made.load(torch.device("cpu"), torch.float32)
    return made


def evcap_loop(made: TunableMultimodalCaptioner, films: dict[str, Path], cache: Path, config: TuneConfig) -> TuningLoop:
    parameters = made.add_adapter(OPTIONS)
    optimiser = torch.optim.AdamW(parameters.values(), lr=config.learning_rate)
    clips = KeptClips(RawClips(raw_request(made.reads), workers=2), FeatureCache(cache), films)
    clips.fill(list(films))
    captions = {name: list(TEXTS) for name in films}
    accelerator = make_accelerator("cpu", "fp32")
    return TuningLoop(
        config, made, parameters, optimiser, accelerator, clips, captions, {}, Lexicon.general(), Path("benchmark")
    )


class Bare:
    """The loop that the documentation of peft shows, over the batches of ``loop`` in memory."""

    def __init__(self, loop: TuningLoop, folder: Path, frames: int) -> None:
        from evcap_cli.training.tuning.examples import ExampleLoader

        other = captioner(folder, frames)
        config = peft.LoraConfig(
            r=OPTIONS.rank, lora_alpha=int(OPTIONS.alpha), target_modules=other.family.lora_layers, lora_dropout=0.0
        )
        self.model: Any = peft.get_peft_model(other.model, config)
        self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.model.train()
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimiser = torch.optim.AdamW(self.weights, lr=loop.config.learning_rate)
        self.clip_norm = loop.config.clip_norm
        steps = loop.train.steps(loop.config.batch_size, loop.config.seed, 0)
        self.steps = []
        for examples in ExampleLoader(loop.recent).steps(loop.train, steps):
            total = sum(len(example.answer) for example in examples)
            self.steps.append([self._batch(other, part, total) for part in loop._parts(examples)])

    def _batch(self, other: Any, part: list[Any], total: int) -> tuple[dict[str, Any], float]:
        longest = max(len(example.answer) for example in part)
        filled = torch.tensor([[*e.answer, *[e.answer[-1]] * (longest - len(e.answer))] for e in part])
        labels = torch.tensor([[*e.answer, *[-100] * (longest - len(e.answer))] for e in part])
        inputs = tuning.with_answers(other._to_device([example.clip for example in part]), filled, other.model)
        prompt = inputs["input_ids"].shape[1] - longest
        inputs["labels"] = torch.cat([torch.full((len(part), prompt), -100), labels], 1)
        return inputs, sum(len(example.answer) for example in part) / total

    def __call__(self) -> None:
        for parts in self.steps:
            self.optimiser.zero_grad(set_to_none=True)
            for inputs, share in parts:
                (self.model(**inputs, use_cache=False).loss * share).backward()
            torch.nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
            self.optimiser.step()


def measure(name: str, folder: Path, place: Path, *, films: int, frames: int, rounds: int) -> None:
    paths = {}
    for number in range(films):
        paths[str(number)] = place / f"{name}-{number}.mp4"
        write_clip(paths[str(number)], 3.0, SIZE, number)
    config = TuneConfig(epochs=1000, batch_size=8, accumulate=2, schedule="constant", warmup=0.0)
    made = captioner(folder, frames)
    loop = evcap_loop(made, paths, place / "cache", config)
    bare = Bare(loop, folder, frames)
    shares: list[float] = []
    seconds = in_turn(
        {"evcap": lambda: shares.append(loop.epoch(0)["loading_share"]), "bare peft": bare}, rounds=rounds
    )
    size = sum(weight.numel() for weight in made.model.parameters()) / 1e6
    steps = len(bare.steps)
    print(f"{name}: {size:.1f} million parameters, {films} clips of {frames} frames, {steps} steps of 8 captions")
    print(table(seconds))
    what = (
        f"training an adapter of a {name} SmolVLM ({size:.1f} M parameters, {films} clips of {frames} frames, {steps}"
    )
    bare_loop = "steps of 8 captions in parts of 4): an epoch against a bare loop with peft over batches in memory"
    loading = tuple(100 * share for share in shares[1:])
    report(
        Measured(f"epoch/{name}", f"{what} {bare_loop}", ratios(seconds, "evcap", "bare peft"), at_most=STEP_GOAL),
        Measured(f"loading/{name}", "waiting for clips in it", loading, PERCENT, at_most=LOADING_GOAL),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=["tiny", "mid"], default=["tiny", "mid"])
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        rounds = 1 if given.small else given.rounds
        if "tiny" in given.only:
            folder = tiny.folder_of("smolvlm", place)
            measure("tiny", folder, place, films=3 if given.small else 16, frames=8, rounds=rounds)
        if "mid" in given.only:
            measure("mid", mid_sized(place / "mid"), place, films=3 if given.small else 6, frames=8, rounds=rounds)


if __name__ == "__main__":
    main()
