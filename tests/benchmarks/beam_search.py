"""Beam search against the bare tensor work of the same steps, and against a search in loops with the same weights.

python -m tests.benchmarks.beam_search [--clips 128] [--rounds 5] [--looped 3] [--threads 1]
One thread is timed by its own processor time, which a busy machine disturbs least.

The bare work has the same rows and sizes and nothing else of a search or a decoder: LSTM cell, additive attention with
ready keys, alignment, vocabulary product, log-softmax, top-k, gathering of the state; no phrase encoder, no keys that
grow with the words. The looped search takes one video, one beam and one step at a time and encodes the prefix anew in
each step; it obeys the same rules and must find the same captions.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from evcap_cli.data.special_tokens import END, START
from evcap_cli.network.batch import Encoded
from evcap_cli.network.config import FusionConfig
from evcap_cli.network.decoder import Decoder
from evcap_cli.search.beam_search import BeamConfig, Hypothesis, beam_search
from tests.benchmarks.measured import PERCENT, Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

CONFIG = FusionConfig(appearance_dim=1, motion_dim=1, object_dim=1, audio_dim=1, vocabulary=13_984)
BEAM = BeamConfig(size=5, max_words=15)
BLOCK_ROWS = 16
"""Rows whose tanh fits the cache."""


def random_clips(clips: int) -> Encoded:
    shape = (clips, CONFIG.moments, CONFIG.width)
    mask = torch.ones(clips, CONFIG.moments, dtype=torch.bool)
    return Encoded(torch.randn(shape), torch.randn(shape), mask, torch.zeros(clips, CONFIG.categories))


def random_decoder() -> Decoder:
    """As sure of its words as a trained one, and as slow to end."""
    decoder = Decoder(CONFIG).eval()
    with torch.no_grad():
        decoder.output.weight *= 12.0
        decoder.output.bias[END] = -12.0
    return decoder


class BareWork:
    """The lower bound; all buffers are ready before the clock starts."""

    def __init__(self, clips: int) -> None:
        c, self.clips = CONFIG, clips
        R, self.steps = clips * BEAM.size, BEAM.max_words + 1
        self.content = torch.randn(clips, c.moments, 2 * c.width)
        self.keys = torch.randn(clips, c.moments, c.attention_width)
        self.alignment_keys = torch.randn(clips, c.moments, c.alignment_width)
        self.vector = torch.randn(c.attention_width) * 0.05
        self.gates = torch.randn(4 * c.lstm_width, c.word_width + 3 * c.width + c.lstm_width) * 0.03
        self.query = torch.randn(c.attention_width, c.lstm_width) * 0.05
        self.phrase = torch.randn(c.alignment_width, c.width) * 0.05
        self.vocabulary = torch.randn(c.vocabulary, c.lstm_width) * 0.1
        self.bias = torch.zeros(c.vocabulary)
        self.embedding = torch.randn(c.vocabulary, c.word_width)
        self.phrases = torch.randn(self.steps, R, c.width)
        self.energies = torch.randn(self.steps, R, c.moments)
        self.energies_now = torch.empty(R, c.moments)
        self.tanh = torch.empty(BLOCK_ROWS, c.moments, c.attention_width)
        self.gate_room = torch.empty(R, 4 * c.lstm_width)
        self.logits, self.log_p = torch.empty(R, c.vocabulary), torch.empty(R, c.vocabulary)

    @torch.no_grad()
    def __call__(self) -> None:
        beams = 1
        hidden = cell = torch.zeros(self.clips, CONFIG.lstm_width)
        words = torch.zeros(self.clips, dtype=torch.long)
        for t in range(self.steps):
            R = self.clips * beams
            embedded = self.embedding[words]
            self._tanh_energies(self.alignment_keys, embedded @ self.phrase.T, beams, self.energies[t])
            weights = self.energies[: t + 1, :R].softmax(0).permute(1, 2, 0)
            self._tanh_energies(self.keys, hidden @ self.query.T, beams, self.energies_now)
            attention = self.energies_now[:R].softmax(1)
            seen = torch.bmm(attention.view(self.clips, beams, -1), self.content).view(R, -1)
            told = torch.bmm(torch.bmm(attention[:, None], weights), self.phrases[: t + 1, :R].transpose(0, 1))[:, 0]
            gates = torch.mm(torch.cat([embedded, seen, told, hidden], 1), self.gates.T, out=self.gate_room[:R])
            take, keep, new, show = gates.chunk(4, 1)
            cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
            torch.addmm(self.bias, hidden, self.vocabulary.T, out=self.logits[:R])
            torch.log_softmax(self.logits[:R], 1, out=self.log_p[:R])
            _, chosen = self.log_p[:R].view(self.clips, -1).topk(BEAM.size)
            words = (chosen % CONFIG.vocabulary).flatten()
            rows = (torch.arange(self.clips)[:, None] * beams + chosen // CONFIG.vocabulary).flatten()
            hidden, cell, beams = hidden[rows], cell[rows], BEAM.size
            for done in range(t + 1):
                self.phrases[done] = self.phrases[done].index_select(0, rows)
                self.energies[done] = self.energies[done].index_select(0, rows)

    def _tanh_energies(self, keys: Tensor, query: Tensor, beams: int, out: Tensor) -> None:
        query = query.view(self.clips, beams, 1, -1)
        step = max(1, BLOCK_ROWS // beams)
        for first in range(0, self.clips, step):
            clips = slice(first, min(first + step, self.clips))
            count = (clips.stop - first) * beams
            tanh = self.tanh[:count].view(-1, beams, *keys.shape[1:])
            torch.add(keys[clips, None], query[clips], out=tanh).sigmoid_()  # of which evcap makes the tanh
            torch.matmul(tanh.view(count, *keys.shape[1:]), self.vector, out=out[first * beams : first * beams + count])


@torch.no_grad()
def looped_search(decoder: Decoder, encoded: Encoded, clip: int) -> Hypothesis:
    """One video at a time, one beam at a time, the prefix encoded anew in each step, all continuations sorted."""
    visual, emotion = encoded.visual[clip], encoded.emotion[clip]
    zero = torch.zeros(decoder.config.lstm_width)
    open_ones: list[tuple[list[int], float, Tensor, Tensor]] = [([START], 0.0, zero, zero)]
    finished: list[tuple[float, list[int]]] = []
    for t in range(BEAM.max_words + 1):
        extended = []
        for words, total, hidden, cell in open_ones:
            embedded = decoder.embedding(torch.tensor(words))
            phrases = decoder.phrases(decoder.word_projection(embedded)[None])[0]
            inner = decoder.alignment_visual(visual)[:, None] + decoder.alignment_phrase(phrases)
            told = (torch.tanh(inner) @ decoder.alignment_vector).softmax(1) @ phrases
            keys = decoder.attention_content(torch.cat([visual, emotion], 1)) + decoder.attention_phrase(told)
            energies = torch.tanh(keys + decoder.attention_state(hidden)) @ decoder.attention_vector
            found = energies.softmax(0) @ torch.cat([visual, emotion, told], 1)
            take, keep, new, show = decoder.gates(torch.cat([embedded[-1], found, hidden])).chunk(4)
            cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = show.sigmoid() * cell.tanh()
            gains = decoder.output(hidden).log_softmax(0)
            finished.append(((total + float(gains[END])) / BEAM.divisor(t + 1), words[1:]))
            gains[[END, *BEAM.forbidden]] = float("-inf")
            best, ids = gains.sort(descending=True)
            for gain, word in zip(best[: BEAM.size].tolist(), ids[: BEAM.size].tolist(), strict=True):
                extended.append(([*words, word], total + gain, hidden, cell))
        open_ones = sorted(extended, key=lambda found: -found[1])[: BEAM.size]
    score, words = max(finished)
    return Hypothesis(tuple(words), score)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--looped", type=int, default=3, help="videos that the looped search captions")
    parser.add_argument("--threads", type=int, default=1, help="0: as many as torch chooses")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    torch.manual_seed(0)
    decoder, encoded = random_decoder(), random_clips(options.clips)
    found: list[list[Hypothesis]] = []

    @torch.no_grad()
    def search() -> None:
        found[:] = beam_search(decoder, decoder.prepare(encoded), BEAM, stop_early=False)

    seconds = in_turn({"evcap": search, "bare work": BareWork(options.clips)}, options.rounds, clock)
    looped_search(decoder, encoded, 0)
    looped, taken = [], []
    for clip in range(options.looped):
        begun = clock()
        looped.append(looped_search(decoder, encoded, clip))
        taken.append(clock() - begun)
    seconds["looped"] = [min(taken) * options.clips] * options.rounds
    same = sum(a.tokens == b[0].tokens for a, b in zip(looped, found, strict=False))
    lengths = sum(len(clip[0].tokens) for clip in found) / len(found)
    print(f"beam search, {options.clips} clips, beam {BEAM.size}, {torch.get_num_threads()} threads, fp32")
    print(table(seconds))
    print(f"captions/s: {options.clips / min(seconds['evcap']):.1f}; {lengths:.1f} words a caption")
    sizes = f"{options.clips} videos, beam {BEAM.size}, {BEAM.max_words} words, vocabulary {CONFIG.vocabulary:,}"
    bare = f"beam search ({sizes}) against the bare tensor work of its steps"
    loops = "a search that loops over videos and beams and encodes the prefix again, against ours"
    scaled = f"the fastest of {options.looped} videos, scaled"
    share = 100 * same / len(looped)
    report(
        Measured("search/bare", bare, ratios(seconds, "evcap", "bare work"), at_most=1.1),
        Measured("looped/search", loops, ratios(seconds, "looped", "evcap"), at_least=8.0, note=scaled),
        Measured("same", "captions that are those of that search", (share,), PERCENT, at_least=100.0),
    )


if __name__ == "__main__":
    main()
