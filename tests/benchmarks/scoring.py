"""``evcap score`` against pycocoevalcap's four scorers run one after another, on a test set of the real size.

382 videos with one caption and 17 references each, invented (``invented_captions.py``). In turn, each round: the four
scorers; ours with an empty cache (the paraphrase table is cut), ours for other captions of the same references, METEOR
alone, ours without METEOR, and 1,000 resamplings of everything but METEOR. Wall time, since ours works on two cores,
and processor time with that of Java, which a busy machine disturbs less. Values must be equal or it stops.

Run: ``python -m tests.benchmarks.scoring [--rounds 3] [--videos 382] [--references 17]``
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from evcap_cli.data.caption_text import normalise
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.features.cache import VARIABLE
from evcap_cli.scoring.meteor import meteor_statistics
from evcap_cli.scoring.score_texts import Scores, score_texts
from tests.benchmarks.invented_captions import InventedCaptions
from tests.benchmarks.measured import Measured, report
from tests.benchmarks.timing import in_turn, ratios, table

RESAMPLINGS = 1000
TOLERANCE = 1e-9
FOUR, COLD, WARM, ALONE, WITHOUT, BOOTSTRAP = (
    "pycocoevalcap, four scorers", "evcap, first run", "evcap, same references again", "METEOR alone, again",
    "evcap without METEOR", "the same, 1,000 resamplings",
)  # fmt: skip
Captions = Mapping[str, str]
Truth = Mapping[str, Sequence[str]]


def peer(captions: Captions, truth: Truth) -> dict[str, float]:
    """The four scorers, called as their documentation has it, on normalised text."""
    answers = {video: [text] for video, text in captions.items()}
    found = {f"bleu_{n}": v for n, v in enumerate(Bleu(4).compute_score(truth, answers, verbose=0)[0], 1)}
    found["meteor"] = Meteor().compute_score(truth, answers)[0]
    found["rouge_l"] = Rouge().compute_score(truth, answers)[0]
    found["cider"] = Cider().compute_score(truth, answers)[0]
    return {name: 100 * float(value) for name, value in found.items()}


def largest_difference(ours: Scores, theirs: Mapping[str, float]) -> float:
    """Over the metrics of the four scorers, x 100."""
    return max(abs((ours.metrics[name] or 0.0) - value) for name, value in theirs.items())


def processor_seconds() -> float:
    """Of this process and the ones that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=382)
    parser.add_argument("--references", type=int, default=17)
    given = parser.parse_args()
    invented = InventedCaptions(1)
    captions, truth = invented.data_set(given.videos, given.references)
    others = dict(zip(truth, reversed(captions.values()), strict=True))
    plain = {video: normalise(text) for video, text in captions.items()}
    plain_others = {video: normalise(text) for video, text in others.items()}
    plain_truth = {video: [normalise(text) for text in texts] for video, texts in truth.items()}
    lexicon = Lexicon.general()
    processor: dict[str, list[float]] = {}

    def score(texts: Captions = captions, **options: object) -> Scores:
        return score_texts(texts, truth, lexicon, **options)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder) / str(number) for number in range(given.rounds + 2))

        def cold() -> Scores:
            os.environ[VARIABLE] = str(next(fresh))
            return score()

        def counted(name: str, work: Callable[[], object]) -> Callable[[], object]:
            def run() -> object:
                begun = processor_seconds()
                result = work()
                processor.setdefault(name, []).append(processor_seconds() - begun)
                return result

            return run

        found, expected = cold(), peer(plain, plain_truth)
        different = largest_difference(found, expected)
        if different > TOLERANCE:
            raise SystemExit(f"the values differ by {different}")
        works: dict[str, Callable[[], object]] = {
            FOUR: lambda: peer(plain, plain_truth),
            COLD: cold,
            WARM: lambda: score(others),
            ALONE: lambda: meteor_statistics([(plain_others[video], plain_truth[video]) for video in plain]),
            WITHOUT: lambda: score(meteor=False),
            BOOTSTRAP: lambda: score(meteor=False, bootstrap=RESAMPLINGS),
        }
        begun = time.perf_counter()
        seconds = in_turn({name: counted(name, work) for name, work in works.items()}, given.rounds)
        taken = time.perf_counter() - begun
    words = len({word for texts in plain_truth.values() for text in texts for word in text.split()})
    print(f"{given.videos} captions, {given.references} references each, {words} distinct words; {taken:.0f} s in all")
    sizes = f"`evcap score`, {given.videos} captions, {given.references} references each"
    report(
        Measured(
            "values",
            f"{sizes}: largest difference of a value (x 100) from pycocoevalcap's",
            (different,),
            "",
            at_most=TOLERANCE,
        )
    )
    spent = {name: values[1:] for name, values in processor.items()}
    for title, times in (("wall time", seconds), ("processor time, Java included", spent)):
        kind = title.partition(" ")[0]
        print(f"{title}\n{table(times)}")
        report(
            Measured(
                f"{kind}/first",
                f"{sizes}, against pycocoevalcap's four scorers one after another, {title}",
                ratios(times, COLD, FOUR),
                at_most=0.4,
            ),
            Measured(
                f"{kind}/again",
                f"the same when these references were scored before, {title}",
                ratios(times, WARM, FOUR),
                at_most=0.25,
            ),
            Measured(
                f"{kind}/meteor", f"that against its METEOR alone, {title}", ratios(times, WARM, ALONE), at_most=1.05
            ),
        )
    more = tuple(with_it - without for with_it, without in zip(seconds[BOOTSTRAP], seconds[WITHOUT], strict=True))
    report(
        Measured("without-meteor", f"{WITHOUT}, after imports", tuple(seconds[WITHOUT]), "s", at_most=1.5),
        Measured(
            "resamplings", f"{RESAMPLINGS:,} resamplings of all metrics but METEOR, more", more, "s", at_most=20.0
        ),
    )


if __name__ == "__main__":
    main()
