"""Weights of a checkpoint in a model with other words: rows of known words are copied, new ones start near them.

Which dimension of which tensor has a row a word is found by building the system with one word more, so that a system
has nothing to declare. New rows start at the mean of known rows: of those of the word's emotion category where it has
one, else of all. Those of word vectors, which enter the model, get the spread of the known rows as noise on top, since
equal rows would be read as one word; those of the outputs stay equal, so that no new word is likelier than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from evcap_cli.backbones.shapes_only import shapes_only
from evcap_cli.data.special_tokens import SPECIALS

if TYPE_CHECKING:
    from torch import Tensor

    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.data.vocabulary import Vocabulary
    from evcap_cli.network.config import SystemConfig
    from evcap_cli.systems.contract import CaptionModel

LISTS: Final = ("vocabulary", "categories", "words")
"""Lists of words that tensors have rows for, by the fields of ``SystemConfig`` that count them."""
_MORE: Final = {1 << number: name for number, name in enumerate(LISTS)}
"""How many words each list gets to find its dimensions, all different in one build."""


@dataclass(frozen=True)
class RowSources:
    """Where each row of a list of words comes from.

    Args:
        known: old number of each row; None: it is new.
        near: new row -> the old numbers whose mean it starts from, where these are not ``usual``.
        usual: old numbers whose mean the other new rows start from.
    """

    known: Sequence[int | None]
    near: Mapping[int, Sequence[int]]
    usual: Sequence[int]

    @property
    def new(self) -> list[int]:
        """The new rows."""
        return [row for row, number in enumerate(self.known) if number is None]

    def rows(self, old: Tensor, dim: int, noise: torch.Generator | None) -> Tensor:
        """``old`` with its dimension ``dim`` as the new list has it.

        Args:
            old: the checkpoint's tensor.
            dim: its dimension that has a row a word.
            noise: gives new rows the spread of the old ones; None: they are means.
        """
        given = old.movedim(dim, 0)
        usual = given[torch.tensor(self.usual)]
        made = given[torch.tensor([0 if number is None else number for number in self.known])]
        mean, spread = usual.mean(dim=0), usual.std(dim=0, correction=0)
        for row in self.new:
            made[row] = given[torch.tensor(self.near[row])].mean(dim=0) if row in self.near else mean
            if noise is not None:
                made[row] += spread * torch.randn(spread.shape, generator=noise)
        return made.movedim(0, dim)


def row_sources(vocabulary: tuple[Vocabulary, Vocabulary], lexicon: tuple[Lexicon, Lexicon]) -> dict[str, RowSources]:
    """Where the rows of each of ``LISTS`` come from.

    Args:
        vocabulary: the checkpoint's and the run's.
        lexicon: likewise; a category is known by its name, a word by its spelling.
    """
    (old, new), (before, after) = vocabulary, lexicon
    emotion_of = {word: after.categories[numbers[0]] for word, numbers in after.category_ids.items()}

    def sources(given: Sequence[str], present: Sequence[str], ids: Mapping[str, int], special: int = 0) -> RowSources:
        known = [ids.get(word) for word in present]
        near = {}
        for row, word in enumerate(present):
            of_category = before.table.get(emotion_of.get(word, ""), ())
            numbers = [ids[other] for other in of_category if other in ids]
            if known[row] is None and numbers:
                near[row] = numbers
        return RowSources(known, near, range(special, len(given)) if len(given) > special else range(len(given)))

    categories = {name: number for number, name in enumerate(before.categories)}
    return {
        "vocabulary": sources(old.words, new.words, old.ids, len(SPECIALS)),
        "categories": RowSources(
            [categories.get(name) for name in after.categories], {}, range(len(before.categories))
        ),
        "words": sources(before.words, after.words, before.word_ids),
    }


def word_dimensions(build: Callable[[SystemConfig], CaptionModel], model: CaptionModel) -> dict[str, dict[int, str]]:
    """Tensor -> dimension -> the list of words that it has a row for.

    Args:
        build: makes a model of a configuration.
        model: any of the system's.

    Raises:
        ValueError: a dimension does not grow by one row a word of one list.
    """
    config = model.config
    larger = replace(config, **{name: getattr(config, name) + more for more, name in _MORE.items()})
    try:
        with shapes_only():
            grown = build(larger).state_dict()
    except RuntimeError:  # a system that reads its tensors while it is built
        grown = build(larger).state_dict()
    found: dict[str, dict[int, str]] = {}
    for tensor, own in model.state_dict().items():
        for dim, (before, after) in enumerate(zip(own.shape, grown[tensor].shape, strict=True)):
            if after != before:
                if after - before not in _MORE:
                    raise ValueError(f"tensor {tensor} does not have a row a word")
                found.setdefault(tensor, {})[dim] = _MORE[after - before]
    return found


def take_over(
    model: CaptionModel,
    old: Mapping[str, Tensor],
    dimensions: Mapping[str, Mapping[int, str]],
    sources: Mapping[str, RowSources],
    seed: int,
) -> None:
    """Put the weights of a checkpoint into ``model``, which is of the same architecture.

    Buffers that have rows for words, such as the lexicon's mask, stay as the model made them.

    Args:
        model: changed.
        old: the checkpoint's tensors.
        dimensions: of ``word_dimensions``.
        sources: of ``row_sources``.
        seed: of the noise.

    Raises:
        ValueError: a tensor of ``model`` is not among ``old``, or has another shape there.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = {id(table) for table in model.word_tables().values()}
    read = {name for name, parameter in model.named_parameters() if id(parameter) in vectors}
    buffers = {name for name, _ in model.named_buffers()}
    values: dict[str, Tensor] = {}
    for name, own in model.state_dict().items():
        if name not in old:
            raise ValueError(f"the checkpoint lacks tensor {name}")
        rows = dimensions.get(name, {})
        tensor = own if rows and name in buffers else old[name]
        for dim, words in rows.items() if name not in buffers else ():
            tensor = sources[words].rows(tensor, dim, generator if name in read else None)
        if tensor.shape != own.shape:
            raise ValueError(f"tensor {name} has shape {tuple(tensor.shape)}, not {tuple(own.shape)}")
        values[name] = tensor
    model.load_state_dict(values)
