"""A checkpoint of the released code of EPAN or DCGN, made one of evcap's: a folder that captions, scores and explains.

The released code keeps a state dict only. What its rows are the user's files say: a vocabulary, a lexicon, and what the
features come from.

Notation: V vocabulary, N_c categories, N_w emotion words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from evcap_cli import plugins
from evcap_cli.backbones.weights import check_finite, state_digest
from evcap_cli.checkpoints.checkpoint import Checkpoint
from evcap_cli.console import counted, listed, noun
from evcap_cli.data.features_hdf5 import PUBLISHED_SAMPLING
from evcap_cli.data.lexicon import Lexicon, word_folder
from evcap_cli.data.special_tokens import SPECIALS
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import DataError, WeightsError
from evcap_cli.reading.regular import check_regular
from evcap_cli.reading.text import read_text
from evcap_cli.search.beam_search import BeamConfig
from evcap_cli.systems.epan import Epan, EpanConfig
from evcap_cli.systems.released_weights import (
    POSITIONS,
    from_released,
    plain_names,
    released_config,
    released_shapes,
)
from evcap_cli.training.recipe import load_recipe
from evcap_cli.training.weights_licences import weights_licences

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.backbones.contract import Kind

LISTED: Final = 8
"""Tensors of each kind that an error names."""
WORD_LIST: Final = "179_words.txt"
"""The released order of the emotion words, next to their folder."""
_SPECIALS: Final = (("pad",), ("start", "sos", "bos"), ("end", "eos"), ("unk",))
"""How a vocabulary file may spell the first four rows, between < and > or not."""


@dataclass(frozen=True)
class ReleasedWeights:
    """A released state dict whose tensors are all there, with the configuration that it implies.

    Args:
        system: ``epan`` or ``dcgn``. tensors: of ``plain_names``. path: the file.
    """

    system: str
    tensors: Mapping[str, Tensor]
    config: EpanConfig
    path: Path

    @classmethod
    def of(cls, system: str, tensors: Mapping[str, Tensor], path: Path) -> ReleasedWeights:
        """Check names, shapes and values.

        Args:
            system: ``epan`` or ``dcgn``.
            tensors: of the file.
            path: of the file, named in errors.

        Raises:
            WeightsError: naming the tensors that are missing, surplus or of another shape.
        """
        try:
            given = plain_names(tensors)
            config = released_config(given, evolving=system == "dcgn")
        except ValueError as problem:
            raise WeightsError(f"is no checkpoint of the released {system}: {problem}", path=path) from problem
        expected = released_shapes(config)
        found = {name: tuple(tensor.shape) for name, tensor in given.items() if name != POSITIONS}
        both = sorted(expected.keys() & found.keys())
        wrong = [f"{name} {found[name]}, not {expected[name]}" for name in both if found[name] != expected[name]]
        wrong += [f"{name} {given[name].dtype}" for name in both if not given[name].is_floating_point()]
        parts = {
            "lacks": sorted(expected.keys() - found.keys()),
            "holds unknown": sorted(found.keys() - expected.keys()),
            "has another shape or kind of": wrong,
        }
        problems = [
            f"{what} {noun(len(names), 'tensor')} ({len(names)}): {listed(names, LISTED)}"
            for what, names in parts.items()
            if names
        ]
        if problems:
            other = {"epan": "dcgn", "dcgn": "epan"}[system]
            raise WeightsError(
                f"is no checkpoint of the released {system}: {'; '.join(problems)}",
                path=path,
                hint=f"give the file that its code saved; for {other}: evcap weights import {other}",
            )
        check_finite(given, source=str(path))
        return cls(system, given, config, path)


def released_checkpoint(
    weights: ReleasedWeights,
    vocabulary: Path,
    lexicon: Path,
    features: Mapping[str, Any],
    *,
    name: str,
    command: str = "",
) -> Checkpoint:
    """The checkpoint, in memory.

    Args:
        weights: of the file.
        vocabulary: a word a line, in the order of the rows.
        lexicon: what ``Lexicon.from_path`` reads.
        features: record of the appearance backbone.
        name: of the checkpoint.
        command: the command line, for the model card.

    Raises:
        DataError: a file that cannot be read, or does not fit the weights.
        WeightsError: the positions are not the released ones.
    """
    config = weights.config
    emotions = Lexicon.from_path(lexicon)
    order = released_order(emotions, lexicon)
    sizes = (len(emotions.categories), len(emotions.words))
    if sizes != (config.categories, config.words):
        raise DataError(
            f"holds {sizes[0]} categories and {sizes[1]} emotion words, the weights have rows for {config.categories}"
            f" and {config.words}",
            path=lexicon,
            hint="give the lexicon that the weights were trained with, such as the EmotionEval folder of EPAN",
        )
    words = Vocabulary(read_words(vocabulary, config.vocabulary, order))
    made = plugins.system(weights.system).load()(config, torch.from_numpy(emotions.mask()))
    if not isinstance(made, Epan):
        raise TypeError(f"{weights.system} is not EPAN's")  # bundled ones are
    numbers = {word: number for number, word in enumerate(order)}
    try:
        values = from_released(weights.tensors, config, words=[numbers[word] for word in emotions.words])
    except ValueError as problem:
        raise WeightsError(str(problem), path=weights.path) from problem
    buffers = dict(made.named_buffers())
    made.load_state_dict({**made.state_dict(), **{name: value.float() for name, value in values.items()}}, strict=True)
    untouched = made.state_dict().keys() - values.keys() - buffers.keys()
    if untouched:
        raise RuntimeError(f"nothing fills {min(untouched)}")
    made.fit_lexicon(emotions)
    recipe = load_recipe(f"{weights.system}-released")
    train = recipe.train
    records: dict[Kind, dict[str, Any]] = {"appearance": dict(features)}
    return Checkpoint(
        model=made.eval(),
        vocabulary=words,
        lexicon=emotions,
        backbones=records,
        beam=BeamConfig(train.beam_size, train.max_words, train.length_penalty),
        sampling=PUBLISHED_SAMPLING,
        training={
            "recipe": recipe.name,
            "command": command,
            "imported": {"file": weights.path.name, "digest": state_digest(weights.tensors)},
            "licences": weights_licences(records),
        },
        name=name,
        system=weights.system,
    )


def released_order(lexicon: Lexicon, path: Path) -> list[str]:
    """The emotion words in the order of the released tables: category by category, each word in its first one.

    Args:
        lexicon: read from ``path``.
        path: next to its word folder ``WORD_LIST`` may say another order within the categories.

    Raises:
        DataError: that file names other words.
    """
    usual = [
        word
        for number, words in enumerate(lexicon.table.values())
        for word in words
        if lexicon.first_category(word) == number
    ]
    folder = word_folder(path) if path.is_dir() else None
    file = None if folder is None else folder.parent / WORD_LIST
    if file is None or not file.exists():
        return usual
    check_regular(file, hint="a word list is a file, a word a line")
    given = [line.split()[0].lower() for line in read_text(file).split("\n") if line.strip()]
    if sorted(given) != sorted(usual):
        strange = sorted({*given} ^ {*usual})
        cause = (
            f"names other words than the folder next to it ({listed(strange, LISTED)})" if strange else "repeats a word"
        )
        raise DataError(cause, path=file, hint="copy the EmotionEval folder of EPAN again")
    return given


def read_words(path: Path, rows: int, emotion_words: Sequence[str]) -> list[str]:
    """The words of a vocabulary file, without the four special ones.

    The file may begin with the special ones or leave them out. Where it also lacks emotion words that the rows have
    room for, these follow in their order, as the released code adds them; a count after a word, as it writes one, is
    left out.

    Args:
        path: a word a line, in the order of the rows.
        rows: V.
        emotion_words: in the released order.

    Raises:
        DataError: it cannot be read, repeats a word, or has another number of words.
    """
    if path.exists():
        check_regular(path, hint="a vocabulary is a file, a word a line")
    lines = read_text(path, hint="name a UTF-8 file, a word a line").split("\n")
    words = [parts[0] for parts in (line.split() for line in lines) if parts]
    bare = [word.strip("<>").lower() for word in words[: len(SPECIALS)]]
    if len(bare) == len(SPECIALS) and all(word in known for word, known in zip(bare, _SPECIALS, strict=True)):
        words = words[len(SPECIALS) :]
    missing = [word for word in emotion_words if word not in set(words)]
    if len(words) + len(SPECIALS) != rows and len(words) + len(missing) + len(SPECIALS) == rows:
        words += missing
    if len(words) + len(SPECIALS) != rows:
        raise DataError(
            f"holds {counted(len(words), 'word')}, the weights have rows for {rows - len(SPECIALS)} and four marks",
            path=path,
            hint="give the word of each row, in order, as the released code numbers them",
        )
    try:
        return list(Vocabulary(words).words[len(SPECIALS) :])
    except ValueError as problem:
        raise DataError(str(problem), path=path, hint="a word a line, each once") from problem
