"""A training step against the same products written flat, and against a step without any reuse.

python -m tests.benchmarks.training_step [--captions 128] [--per-clip 1 4] [--rounds 3] [--no-anew] [--threads 1]
One thread is timed by its own processor time, which a busy machine disturbs least.

A step is forward, all losses, backward; the optimiser is the same for everyone and left out. The flat step runs the
same encoder and losses, and of the decoder its matrix products and the cross entropy, all words at once, as if none had
to wait for the one before it: no tanh energies, no softmax, no recurrence. The step "anew" is ``plain_training.py``'s;
its cross entropy and the gradient of the LSTM must be those of evcap's step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from evcap_cli.data.special_tokens import END, START
from evcap_cli.network.batch import ClipBatch, Encoded
from evcap_cli.network.config import FusionConfig
from evcap_cli.network.decoder import Decoder
from evcap_cli.network.losses import FusionOutput, Targets, emotional_cross_entropy, losses
from evcap_cli.network.packing import WordScores
from evcap_cli.systems.fusion import Fusion
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.plain_training import plain_copy, plain_forward
from tests.benchmarks.timing import in_turn, ratios, table

CONFIG = FusionConfig(
    appearance_dim=512, motion_dim=2048, object_dim=1024, audio_dim=768, vocabulary=13_984, dropout=0.0
)
"""CLIP, 3D-ResNeXt, Faster R-CNN, HuBERT; without dropout, so that all steps compute the same."""


def random_batch(clips: int) -> ClipBatch:
    c = CONFIG

    def rows(count: int, width: int | None) -> Tensor:
        return torch.randn(clips, count, width or 1)

    def times(count: int) -> Tensor:
        return torch.linspace(0, 5, count).expand(clips, -1).contiguous()

    def real(count: int) -> Tensor:
        return torch.ones(clips, count, dtype=torch.bool)

    return ClipBatch(
        appearance=rows(c.moments, c.appearance_dim),
        visual_mask=real(c.moments),
        moment_times=times(c.moments),
        motion=rows(c.moments, c.motion_dim),
        objects=rows(c.objects, c.object_dim),
        object_mask=real(c.objects),
        audio=rows(c.audio_steps, c.audio_dim),
        audio_mask=real(c.audio_steps),
        audio_times=times(c.audio_steps),
    )


def random_targets(captions: int, per_clip: int) -> tuple[Tensor, Targets]:
    """Captions of the full length, so that no step is cheaper by padding."""
    c = CONFIG
    words = torch.randint(4, c.vocabulary, (captions, c.max_words))
    fed = torch.cat([torch.full((captions, 1), START), words], dim=1)
    wanted = torch.cat([words, torch.full((captions, 1), END)], dim=1)
    emotion = torch.zeros(c.vocabulary, dtype=torch.bool)
    emotion[4 : 4 + c.words] = True
    categories, lexical = torch.rand(captions, c.categories) < 0.05, torch.rand(captions, c.words) < 0.01
    return fed, Targets(wanted, torch.arange(captions) // per_clip, categories, lexical, emotion)


def flat_decoder(decoder: Decoder, encoded: Encoded, fed: Tensor, clips: Tensor) -> Tensor:
    """The decoder's products for all steps at once; the numbers mean nothing, the sizes are right."""
    c, (R, T) = decoder.config, fed.shape
    memory = decoder.prepare(encoded)
    embedded = decoder.embedding(fed)
    phrases = decoder.phrases(decoder.word_projection(embedded))
    inner = decoder.alignment_phrase(phrases).sum(-1, keepdim=True) + decoder.attention_phrase(phrases)
    hidden = inner[..., :1].expand(-1, -1, c.lstm_width)
    query = decoder.attention_state(hidden.reshape(R * T, -1)).view(R, T, -1)
    attention = torch.bmm(query, memory.keys.values[clips].mT)
    seen = torch.bmm(attention, memory.content[clips])
    aligned = torch.bmm(memory.alignment_keys.values[clips], inner.mT)
    told = torch.bmm(torch.bmm(attention, aligned), phrases)
    gates = decoder.gates(torch.cat([embedded, seen, told, hidden], dim=-1).flatten(0, 1))
    # tanh, as of a hidden state: where logits are far apart, exp of the loss underflows and takes ten times as long
    logits: Tensor = decoder.output(gates[:, : c.lstm_width].tanh()).view(R, T, -1)
    return logits


def measure(captions: int, per_clip: int, rounds: int, clock: Callable[[], float], *, with_anew: bool) -> None:
    """One shape of a batch."""
    torch.manual_seed(0)
    model = Fusion(CONFIG, torch.rand(CONFIG.categories, CONFIG.words) < 0.1).train()
    batch = random_batch(captions // per_clip)
    fed, targets = random_targets(captions, per_clip)
    clips = targets.clip_index
    plain = plain_copy(model)
    reached: dict[str, tuple[float, Tensor]] = {}

    def finish(name: str, output: FusionOutput, wanted: Targets) -> None:
        loss = losses(output, wanted, CONFIG.loss)
        used = plain if name == "anew" else model
        used.zero_grad(set_to_none=True)
        loss.total.backward()
        gradient = used.decoder.gates.weight.grad
        assert gradient is not None
        reached[name] = float(loss.cross_entropy.detach()), gradient

    def evcap() -> None:
        finish("evcap", model(batch, fed, clips), targets)

    def flat() -> None:
        encoded, auxiliary = model.encode_with_aux(batch)
        logits = flat_decoder(model.decoder, encoded, fed, clips)
        scores = WordScores.of(logits)
        finish("flat", FusionOutput(scores.logits, scores.lengths, auxiliary), targets)

    def anew() -> None:
        finish("anew", *plain_forward(plain, batch, fed, targets))

    with torch.no_grad():
        ready = model.encode(batch)

    def decoder_only(scores: WordScores) -> None:
        model.zero_grad(set_to_none=True)
        emotional_cross_entropy(scores, targets, 0.2).backward()

    alternatives: dict[str, Callable[[], object]] = {
        "evcap": evcap,
        "flat": flat,
        "evcap, decoder": lambda: decoder_only(model.decoder.teacher_forced(model.decoder.prepare(ready), fed, clips)),
        "flat, decoder": lambda: decoder_only(WordScores.of(flat_decoder(model.decoder, ready, fed, clips))),
    }
    seconds = in_turn(alternatives, rounds, clock)
    print(f"training step, {captions} captions of {len(batch.visual_mask)} clips, ", end="")
    print(f"{torch.get_num_threads()} threads, fp32")
    if with_anew:
        seconds["anew"] = in_turn({"anew": anew}, 1, clock)["anew"] * rounds
    print(table(seconds))
    videos = len(batch.visual_mask)
    what = f"training step of fusion ({captions} captions of {videos} videos, full length, no dropout)"
    flat_products = "forward and backward of the same products, written flat"
    report(
        Measured(
            f"step/flat/{videos}", f"{what} against {flat_products}", ratios(seconds, "evcap", "flat"), at_most=1.5
        ),
        Measured(
            f"decoder/flat/{videos}",
            "the same without encoder and auxiliary losses",
            ratios(seconds, "evcap, decoder", "flat, decoder"),
        ),
    )
    if "anew" in seconds:
        plainly = "a step that encodes the prefix again at each word and the video for each caption"
        what = f"{plainly}, against ours, {captions} captions of {videos} videos"
        times = ratios(seconds, "anew", "evcap")
        report(Measured(f"anew/step/{videos}", what, times, at_least=8.0, note="the slow step timed once"))
        (loss, gradient), (other, expected) = reached["evcap"], reached["anew"]
        off = float((gradient - expected).norm() / expected.norm())
        print(f"cross entropy {loss:.6f}, anew {other:.6f}; gradients of the LSTM differ by {off:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=128)
    parser.add_argument("--per-clip", type=int, nargs="+", default=[1, 4], help="captions of a video in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-anew", action="store_true", help="leave out the slowest")
    parser.add_argument("--threads", type=int, default=1, help="0: as many as torch chooses")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    for per_clip in options.per_clip:
        measure(options.captions, per_clip, options.rounds, clock, with_anew=not options.no_anew)


if __name__ == "__main__":
    main()
