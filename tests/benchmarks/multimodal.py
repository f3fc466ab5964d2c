"""Ready-made captioners against their parts: ``python -m tests.benchmarks.multimodal [--only speed emotion memory]``.

Random models of real architecture, one tiny and one of about 200 million parameters. *speed*: the wall time of a run of
``evcap caption`` after imports and loading against one PyAV pass over all files plus the bare ``generate`` calls of the
same batches. *emotion*: what the distribution over the lexicon adds to the time of the captions. *memory*: the peak of
10 minutes of 1080p in pieces of 10 s against a single piece, with a captioner that answers a constant text. All are
taken in turn in one process, so that a noisy neighbour slows all alike. The larger model captions fewer clips with
fewer words, in fewer rounds (``MID_SIZED``). ``--small`` shows in a minute that it works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from evcap_cli.captioning.options import CaptionOptions
from evcap_cli.captioning.ready_made import ReadyMadeCaptioner, open_ready_made
from evcap_cli.captioning.run import caption_plan, plan_captions
from evcap_cli.systems.clip_captioner import (
    CaptionerIdentity,
    CaptionerOptions,
    Clip,
    ClipCaption,
    ClipCaptioner,
    FrameRequest,
    Reads,
    WaveformRequest,
)
from tests.benchmarks.features import plain_pass, write_clip
from tests.benchmarks.long_video import peak, repeat_film
from tests.benchmarks.measured import PERCENT, Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

LEDGER_SECONDS = 5400
BATCH = 4
MID_SIZED = {"clips": 2 * BATCH, "rounds": 2, "words": 4}
SIZE = (320, 240)
SPEED_GOAL, EMOTION_GOAL, MEMORY_GOAL = 1.15, 25.0, 1.3
SHARING, ENCODING = ("smolvlm", "qwen3_vl", "gemma4"), ("qwen3_5", "llava_onevision")
"""Families whose question about the emotion goes on from the cache of the caption, and two that encode again."""


def mid_sized(folder: Path) -> Path:
    """A SmolVLM of about 200 million parameters on frames of 16 tokens each."""
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    from tests.multimodal import tiny

    marks = ("<fake_token_around_image>", "<global-img>", "<video>", "<|im_start|>", "<end_of_utterance>")
    words = tiny.tokenizer(*marks, image_token="<image>")
    side = 128
    config = SmolVLMConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(words),
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 13,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
        },
        vision_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 6,
            "num_attention_heads": 12,
            "image_size": side,
            "patch_size": 16,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    sizes = {"size": {"longest_edge": side}, "max_image_size": {"longest_edge": side}}
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(**sizes),
        words,
        SmolVLMVideoProcessor(**sizes),
        image_seq_len=16,
        chat_template=tiny.chat(video="<video>", image="<image>"),
    )
    processor.video_processor.num_frames, processor.video_processor.fps = 64, 1
    return tiny.save(folder, SmolVLMForConditionalGeneration(config), processor)


def opened(folder: Path, *, emotion: bool, words: int) -> ReadyMadeCaptioner:
    """The captioner of a folder, loaded."""
    options = CaptionOptions(str(folder), emotion=emotion, batch_size=BATCH, device="cpu", max_words=words)
    model = open_ready_made(options)
    if model is None:
        raise SystemExit(f"{folder} is no ready-made captioner")
    return ReadyMadeCaptioner(options, model)


def millions(captioner: ReadyMadeCaptioner) -> float:
    """Parameters of the model, in millions."""
    model: Any = captioner.model
    return sum(parameter.numel() for parameter in model.model.parameters()) / 1e6


class Bare:
    """The ``generate`` calls of a run, to be repeated without anything around them."""

    def __init__(self, model: Any, run: Callable[[], object]) -> None:
        self.model, self.calls = model, list[dict[str, Any]]()
        plain = model.generate

        def recording(**given: Any) -> Any:
            self.calls.append(given)
            return plain(**given)

        model.generate = recording
        try:
            run()
        finally:
            del model.generate
        left_out = ("return_dict_in_generate", "output_logits")
        self.calls = [{name: value for name, value in given.items() if name not in left_out} for given in self.calls]

    def __call__(self) -> None:
        with torch.inference_mode():
            for given in self.calls:
                self.model.generate(**given)


def measure_speed(folder: Path, clips: Path, out: Path, rounds: int, words: int) -> None:
    """``evcap caption`` against one decoding pass and the bare calls of the model."""
    captioner = opened(folder, emotion=False, words=words)
    model: Any = captioner.model
    paths = sorted(clips.iterdir())

    def run() -> None:
        out.unlink(missing_ok=True)
        plan = plan_captions([str(clips)], [str(out)])
        summary = caption_plan(plan, captioner)
        if summary.failed:
            raise SystemExit("a clip failed")

    bare = Bare(model.model, run)
    taken = in_turn({"evcap caption": run, "decoding pass": lambda: plain_pass(paths), "bare generate": bare}, rounds)
    taken["decoding pass + bare generate"] = [
        decoded + generated for decoded, generated in zip(taken["decoding pass"], taken["bare generate"], strict=True)
    ]
    print(f"{folder.name}, {millions(captioner):.1f} M parameters, {len(paths)} clips in {len(bare.calls)} batches")
    print(table(taken))
    what = f"`evcap caption`, a {folder.name} SmolVLM ({millions(captioner):.1f} M parameters), {len(paths)} clips in"
    parts = "after imports and loading, against one decoding pass and the bare `generate` calls"
    times = ratios(taken, "evcap caption", "decoding pass + bare generate")
    report(Measured(f"speed/{folder.name}", f"{what} {len(bare.calls)} batches, {parts}", times, at_most=SPEED_GOAL))


def measure_emotion(folder: Path, paths: Sequence[Path], rounds: int, words: int, goal: float | None) -> None:
    """Captions with and without the distribution of the emotion, from the same clips."""
    captioner = opened(folder, emotion=True, words=words)
    model: Any = captioner.model
    batches: list[list[Clip]] = []
    plain = model.caption
    model.caption = lambda clips: batches.append(list(clips)) or plain(clips)
    for record in captioner.caption_many(paths):
        if record.error is not None:
            raise SystemExit(record.error["message"])
    del model.caption

    def caption(emotion: bool) -> None:
        model.predicts_emotion = emotion
        for clips in batches:
            results = model.caption(clips)
            if any(isinstance(found, Exception) or (found.emotion is None) == emotion for found in results):
                raise SystemExit(f"{folder.name} predicts no emotion")

    taken = in_turn({"captions": lambda: caption(False), "captions and emotion": lambda: caption(True)}, rounds)
    added = tuple(100 * (times - 1) for times in ratios(taken, "captions and emotion", "captions"))
    family = folder.name.removeprefix("tiny-")
    size = f"{millions(captioner):.1f} M parameters"
    what = f"what the distribution over the lexicon adds to the time of captions, {family} ({size})"
    note = "frames are encoded again" if goal is None else ""
    report(Measured(f"emotion/{family}", what, added, PERCENT, goal, note=note))


class Constant(ClipCaptioner):
    """Reads frames and audio as ready-made models do, and says the same of all."""

    reads = Reads(FrameRequest(), WaveformRequest())

    @property
    def identity(self) -> CaptionerIdentity:
        return CaptionerIdentity("constant", "0" * 32)

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        pass

    def caption(self, clips: Sequence[Clip]) -> list[Any]:
        return [ClipCaption("A man is talking.") for _ in clips]


def caption_alone(path: Path) -> None:
    """Caption a file in pieces of ten seconds and print the peaks of this process and of the decoding one."""
    from evcap_cli.features import raw_clips

    decoders: list[int] = []

    class Decoder(raw_clips.Decoder):
        def _close(self) -> None:
            if self.pid is not None:
                decoders.append(peak(str(self.pid)))
            super()._close()

    raw_clips.Decoder = Decoder  # type: ignore[misc]
    options = CaptionOptions("constant", segment="fixed:10", workers=1, device="cpu")
    captioner = ReadyMadeCaptioner(options, Constant("constant", CaptionerOptions()))
    record = captioner.caption(path)
    if record.error is not None:
        raise SystemExit(record.error["message"])
    print(json.dumps({"captions": len(record.captions), "own": peak("self"), "decoder": max(decoders)}))


def measure_memory(folder: Path, pieces: int) -> None:
    """Peak memory by length."""
    piece = folder / "piece.mp4"
    write_clip(piece, 10, (1920, 1080), 0)
    peaks = []
    for count in (1, pieces):
        path = folder / f"{count}.mp4"
        repeat_film(piece, path, count)
        command = [sys.executable, "-m", "tests.benchmarks.multimodal", "--alone", str(path)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        peaks.append(found["own"] + found["decoder"])
        print(f"{10 * count:4} s of 1080p: {found}, together {peaks[-1]} MB")
    what = f"peak memory of captions by a constant ready-made captioner, {10 * pieces} s of 1080p against 10 s"
    peak_note = f"{peaks[1]} against {peaks[0]} MB, both processes"
    report(Measured("memory", what, (peaks[1] / peaks[0],), at_most=MEMORY_GOAL, note=peak_note))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=("speed", "emotion", "memory"))
    parser.add_argument("--clips", type=int, default=48, help="for the tiny model")
    parser.add_argument("--rounds", type=int, default=3, help="for the tiny model")
    parser.add_argument("--words", type=int, default=15, help="for the tiny model")
    parser.add_argument("--model", nargs="+", choices=("tiny", "mid-sized"), default=("tiny", "mid-sized"))
    parser.add_argument("--small", action="store_true", help="few clips and the tiny model: figures mean nothing")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        caption_alone(given.alone)
        return
    from tests.multimodal import tiny  # here: it loads transformers, which processes that measure memory must not

    parts = given.only or ["speed", "emotion", "memory"]
    chosen = {"tiny": {"clips": given.clips, "rounds": given.rounds, "words": given.words}, "mid-sized": MID_SIZED}
    sizes = {name: size for name, size in chosen.items() if name in given.model}
    if given.small:
        sizes = {"tiny": {"clips": BATCH, "rounds": 1, "words": 2}}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        makers = {"tiny": tiny.smolvlm, "mid-sized": mid_sized}
        for name, size in sizes.items() if parts != ["memory"] else ():
            folder, clips = makers[name](root / name), root / f"clips-{name}"
            clips.mkdir()
            for number in range(size["clips"]):
                write_clip(clips / f"{number:03}.mp4", 4, SIZE, number)
            if "speed" in parts:
                measure_speed(folder, clips, root / "out.jsonl", size["rounds"], size["words"])
            if "emotion" not in parts:
                continue
            if name == "mid-sized":
                measure_emotion(folder, sorted(clips.iterdir())[:BATCH], size["rounds"], size["words"], EMOTION_GOAL)
                continue
            paths = sorted(clips.iterdir())[: 3 * BATCH]
            for family in SHARING + ENCODING:
                made = tiny.BUILDERS[family](root / f"tiny-{family}")
                goal = EMOTION_GOAL if family in SHARING else None
                measure_emotion(made, paths, size["rounds"], size["words"], goal)
        if "memory" in parts:
            measure_memory(root, 3 if given.small else 60)
    print(f"{time.monotonic() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
