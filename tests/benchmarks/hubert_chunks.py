"""HuBERT in chunks against the whole sound in one piece: ``python -m tests.benchmarks.hubert_chunks [FILE...]``.

Prints, for a network of real size with random weights, the cosine of each step of the chunks that evcap cuts with the
same step of the whole sound, and what chunks cost, for several lengths and overlaps. Files are joined to one sound of
``--seconds``; without files a drawn one is used. Random weights are a hard case: without alignment to whole steps the
cosine is about 0.1, and statistics over a chunk (the base network's first norm) weigh as much as anything learned.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch

from evcap_cli.backbones.contract import AudioInput
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.features.audio_chunks import AudioCutter
from tests.benchmarks.measured import Measured, report

CHUNKS = ((500, 200), (1000, 200), (1500, 200), (1500, 500))
"""Steps of a chunk and steps that neighbours share."""
DECLARED = CHUNKS[2]
"""By ``hubert``."""


def sound_of(paths: list[Path], seconds: float) -> np.ndarray:
    """Mono at 16 kHz, over and over until it is long enough."""
    pieces = []
    for path in paths:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("flt", "mono", 16000)
            pieces += [
                part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)
            ]
    if not pieces:
        pieces = [drawn_sound(seconds)]
    once = np.concatenate(pieces)
    return np.resize(once, round(seconds * 16000)).astype(np.float32)


def drawn_sound(seconds: float) -> np.ndarray:
    """Syllables of a gliding voice with pauses, over a little noise."""
    generator = np.random.default_rng(0)
    time_ = np.arange(round(seconds * 16000)) / 16000
    pitch = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.4 * time_)) / 16000
    voice = sum(np.sin(number * pitch) / number for number in range(1, 12))
    loudness = np.clip(np.sin(2 * np.pi * 1.7 * time_) + 0.4 * np.sin(2 * np.pi * 0.23 * time_), 0, None)
    return (0.1 * voice * loudness + 0.005 * generator.normal(size=len(time_))).astype(np.float32)


def own_steps(sound: np.ndarray, wanted: AudioInput, extract) -> Iterator[torch.Tensor]:
    """The steps each chunk keeps, in order."""
    cutter = AudioCutter(wanted, 0.0, len(sound) / 16000)
    for chunk in cutter.add(0.0, sound) + cutter.finish():
        steps = extract(torch.from_numpy(chunk.samples)[None])[0]
        times = chunk.start + (np.arange(len(steps)) * 320 + 200) / 16000
        yield steps[torch.from_numpy((times >= chunk.keep_from) & (times < chunk.keep_until))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbones({"audio": "hubert"}, weights={"hubert": "random:0"})["audio"]
    sound = sound_of(given.files, given.seconds)
    with torch.inference_mode():
        begun = time.process_time()
        whole = backbone.extract(torch.from_numpy(sound)[None])[0]
        once = time.process_time() - begun
        print(f"{given.seconds:.0f} s in one piece: {len(whole)} steps, {once:.1f} s of processor time")
        for length, shared in CHUNKS:
            wanted = AudioInput(16000, (length * 320 + 80) / 16000, (shared * 320 + 80) / 16000, 0.02, 0.025)
            begun = time.process_time()
            steps = torch.cat(list(own_steps(sound, wanted, backbone.extract)))
            cost = (time.process_time() - begun) / once
            cosine = torch.cosine_similarity(steps, whole, dim=1)
            below = f"mean {cosine.mean():.4f}, {float((cosine < 0.99).float().mean()):.1%} below 0.99"
            name = f"{length * 0.02:.0f}/{shared * 0.02:.0f}"
            cut = f"chunks of {length * 0.02:.0f} s sharing {shared * 0.02:.0f} s"
            what = f"HuBERT base of random weights, {given.seconds:.0f} s of sound, {cut}"
            report(
                Measured(
                    f"cosine/{name}",
                    f"{what}: least cosine of a step with the same step of the whole",
                    (float(cosine.min()),),
                    "",
                    at_least=0.99 if (length, shared) == DECLARED else None,
                    note=below,
                ),
                Measured(f"time/{name}", f"{what}: processor time against the whole in one piece", (cost,)),
            )


if __name__ == "__main__":
    main()
