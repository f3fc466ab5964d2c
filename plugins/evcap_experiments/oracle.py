"""The captioner on facts instead of features: what is still wrong then is the captions', the search's or the model's.

Each stream has what an honest backbone would report: appearance the place and, unless hidden, the emotion; motion the
action of each side of the picture, not the subject; objects who stands where, not what they do; audio the emotion
alone. Who does what to whom must be put together from two streams. ``run_oracle`` trains on such features and judges
unseen clips::

    python -m evcap_experiments.oracle RUN [RECIPE]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from evcap_cli import console
from evcap_cli.demo.facts import EMOTIONS, PAIR_ACTIONS, PLACES, SOLO_ACTIONS, SUBJECTS, ClipFacts
from evcap_cli.demo.grammar import write_captions
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.demo.wording import DEMO_LEXICON
from evcap_experiments.baselines import constant, shuffled
from evcap_experiments.feature_captions import caption_features, drop_audio
from evcap_experiments.rates import Rate, evaluate, rates_table

if TYPE_CHECKING:
    from evcap_cli.features.streams import ClipFeatures, StreamFeatures
    from evcap_cli.training.recipe import Recipe

MOMENTS: Final = 30
SNIPPETS: Final = 5
"""Times at which objects are detected."""
NOISE: Final = 0.3
"""Standard deviation of every number about its truth, which is 0 or 1."""
IDLE_DIMS: Final = 8
"""Dimensions of each stream that hold nothing but noise."""
TRAIN_CLIPS, TEST_CLIPS = 1200, 200
TRAIN_SEED, TEST_SEED = 11, 12

_MOVES = (*SOLO_ACTIONS, *PAIR_ACTIONS, *(f"other of {action}" for action in PAIR_ACTIONS))
"""What one side of the picture can do."""
Array = npt.NDArray[np.float32]


def oracle_features(facts: ClipFacts) -> ClipFeatures:
    """Features of a clip that a perfect but noisy set of backbones would give; a function of the facts."""
    from evcap_cli.features.streams import ClipFeatures

    rng = np.random.default_rng([facts.seed, 4711])
    moments = (np.arange(MOMENTS) + 0.5) / MOMENTS * facts.seconds
    snippets = (np.arange(SNIPPETS) + 0.5) / SNIPPETS * facts.seconds
    steps = (np.arange(int(facts.seconds * 10)) + 0.5) / 10
    objects, seen = _objects(facts, rng)
    sound = np.tile(_one(EMOTIONS, facts.sounding), (len(steps), 1))
    streams: dict[str, StreamFeatures] = {
        "appearance": _stream(np.tile(_picture(facts), (MOMENTS, 1)), moments, rng),
        "motion": _stream(_motion(facts, rng), moments, rng),
        "object": _stream(objects, snippets[seen], rng),
        "audio": _stream(sound, steps, rng, keep=not facts.silent),
    }
    return ClipFeatures(streams=streams, duration=facts.seconds)  # type: ignore[arg-type]


def _picture(facts: ClipFacts) -> Array:
    """Place, colour mood, and the face where it shows."""
    face = _one(EMOTIONS, None if facts.hidden else facts.emotion)
    return np.concatenate([_one(PLACES, facts.place), _one(EMOTIONS, facts.mood), face])


def _motion(facts: ClipFacts, rng: np.random.Generator) -> Array:
    """What the left and the right side of the picture do, more or less strongly over time."""
    actor, other = _one(_MOVES, facts.action), _one(_MOVES, None)
    if len(facts.subjects) == 2:
        other = _one(_MOVES, f"other of {facts.action}")
    sides: Array = np.concatenate([actor, other] if facts.actor_side == "left" else [other, actor])
    return rng.uniform(0.5, 1.5, (MOMENTS, 1)).astype(np.float32) * sides


def _objects(facts: ClipFacts, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.intp]]:
    """A row for each subject found in a snippet (some are missed) and some for clutter; and the rows' snippets."""
    rows, seen = [], []
    emotion = _one(EMOTIONS, None if facts.hidden else facts.emotion)
    sides = (facts.actor_side, "left" if facts.actor_side == "right" else "right")
    for snippet in range(SNIPPETS):
        for subject, side in zip(facts.subjects, sides, strict=False):
            if snippet and rng.random() < 0.2:
                continue
            rows.append(np.concatenate([_one(SUBJECTS, subject), _one(("left", "right"), side), emotion]))
            seen.append(snippet)
        if rng.random() < 0.3:
            nothing = np.concatenate([_one(SUBJECTS, None), _one(("left", "right"), None), _one(EMOTIONS, None)])
            rows.append(nothing)
            seen.append(snippet)
    return np.stack(rows), np.array(seen, dtype=np.intp)


def _one(values: tuple[str, ...], value: str | None) -> Array:
    """1 where ``value`` stands, 0 elsewhere; None: 0 everywhere."""
    return np.array([value == other for other in values], dtype=np.float32)


def _stream(
    truth: Array, times: npt.NDArray[np.float64], rng: np.random.Generator, *, keep: bool = True
) -> StreamFeatures:
    """Truth with idle dimensions and noise: half of it the clip's, which does not average out over its rows."""
    import torch

    from evcap_cli.features.streams import StreamFeatures

    full = np.pad(truth, ((0, 0), (0, IDLE_DIMS)))
    own = rng.normal(0.0, NOISE / np.sqrt(2), (1, full.shape[1]))
    values = (full + own + rng.normal(0.0, NOISE / np.sqrt(2), full.shape)).astype(np.float32)
    rows = len(values) if keep else 0
    return StreamFeatures(torch.from_numpy(values[:rows]), torch.from_numpy(times[:rows].astype(np.float32)))


@dataclass(frozen=True)
class OracleResult:
    """How captions of unseen clips were judged.

    Args:
        rates: by question, of the captioner and of the baselines "constant" and "shuffled".
        captions: id -> caption.
    """

    rates: Mapping[str, Mapping[str, Rate]]
    captions: Mapping[str, str]


def run_oracle(
    run: Path,
    *,
    recipe: Recipe | None = None,
    train_clips: int = TRAIN_CLIPS,
    test_clips: int = TEST_CLIPS,
    device: str = "cpu",
) -> OracleResult:
    """Train on oracle features of one world, caption and judge another.

    Args:
        run: folder of the training run; a run that is there goes on.
        recipe: the demo recipe where None.
        train_clips: size of the world to train on.
        test_clips: size of the unseen one.
        device: to train on.
    """
    from evcap_cli.training.feature_sources import MappingSource
    from evcap_cli.training.recipe import load_recipe
    from evcap_cli.training.trainer import Trainer

    known, unseen = make_facts(train_clips, TRAIN_SEED), make_facts(test_clips, TEST_SEED)
    texts = {clip.id: write_captions(clip) for clip in known}
    source = MappingSource({clip.id: oracle_features(clip) for clip in known})
    trainer = Trainer(recipe or load_recipe("demo"), texts, DEMO_LEXICON, source, run, device=device)
    made = trainer.fit().checkpoint
    captions = caption_features(made, {clip.id: oracle_features(clip) for clip in unseen})
    hidden = {clip.id: drop_audio(oracle_features(clip)) for clip in unseen if clip.hidden}
    return OracleResult(
        {
            "captioner": evaluate(unseen, captions, caption_features(made, hidden)),
            "constant": evaluate(unseen, constant(unseen, (text for of_clip in texts.values() for text in of_clip))),
            "shuffled": evaluate(unseen, shuffled(captions)),
        },
        captions,
    )


def main(arguments: list[str]) -> None:
    """``python -m evcap_experiments.oracle RUN [RECIPE [DEVICE]]``."""
    from evcap_cli.training.recipe import load_recipe

    run, name, device = (arguments + ["demo", "cpu"][len(arguments) - 1 :])[:3]
    for line in rates_table(run_oracle(Path(run), recipe=load_recipe(name), device=device).rates).splitlines():
        console.info(line)


if __name__ == "__main__":
    main(sys.argv[1:])
