"""What re-ranking costs beside the search whose hypotheses it puts in order, with the bundled checkpoint.

python -m tests.benchmarks.reranking [--clips 64] [--candidates 10] [--rounds 5]
One thread, timed by its own processor time. Features are random, of the widths that the checkpoint reads.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch

from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.checkpoints.checkpoint_files import DEMO
from evcap_cli.features.streams import ClipFeatures, StreamFeatures
from evcap_cli.network.collate import collate
from evcap_cli.search.beam_search import beam_search
from evcap_cli.search.rerank import Rerank
from evcap_cli.search.reranking import reranked, token_categories
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

SECONDS = 4.0
ROWS = 12


def random_clip(widths: dict[str, int]) -> ClipFeatures:
    """Normal numbers, ``ROWS`` rows a stream."""
    times = torch.linspace(0.0, SECONDS, ROWS)
    return ClipFeatures(
        {kind: StreamFeatures(torch.randn(ROWS, width), times) for kind, width in widths.items()}, SECONDS
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = Checkpoint.from_pretrained(DEMO)
    clips = [random_clip(dict(made.model.config.streams)) for _ in range(options.clips)]
    off = made.beam
    on = replace(off, rerank=Rerank(0.5, 0.2, options.candidates))
    with torch.inference_mode():
        prepared = made.model.prepare(collate(clips, made.model.config))
        found = beam_search(made.model, prepared.memory, replace(off, n_best=options.candidates))

        def choose() -> object:
            return reranked(found, on, prepared.categories, token_categories(made.vocabulary, made.lexicon))

        seconds = in_turn(
            {
                "search": lambda: beam_search(made.model, prepared.memory, off),
                "search, all candidates kept": lambda: beam_search(
                    made.model, prepared.memory, replace(off, n_best=options.candidates)
                ),
                "re-ranking": choose,
            },
            options.rounds,
            time.process_time,
        )
    print(table(seconds))
    kept = "the search that keeps all candidates against it"
    what = f"re-ranking {options.candidates} candidates of {options.clips} clips against their search, beam {off.size}"
    report(
        Measured("rerank", what, ratios(seconds, "re-ranking", "search"), at_most=0.1),
        Measured("candidates", kept, ratios(seconds, "search, all candidates kept", "search")),
    )


if __name__ == "__main__":
    main()
