"""Runs of ``evcap train``: their arguments, what their scores depend on, and when they are done.

A run is done when its folder holds test scores that were reached with the settings of now; that and the folder's name
let experiments share a folder and train what they have in common once.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from evcap_cli.backbones.identity import digest_of, file_digest
from evcap_cli.errors import DataError, OpenFailed, UsageError
from evcap_cli.files import write_whole
from evcap_cli.reading.typed import read_json

if TYPE_CHECKING:
    import typer

    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.training.recipe import Recipe

Parse = Callable[[Sequence[str]], Mapping[str, Any]]
"""From arguments of ``evcap train`` to the values of its parameters, defaults included."""

SCORES: Final = "test.json"
"""What ``evcap train`` writes last: a run that has it is done."""
SETTINGS: Final = "reproduce.json"
OF_NO_WEIGHT: Final = frozenset((
    "data", "videos", "output", "device", "workers", "timeout", "cache_dir", "no_cache",
    "quiet", "verbose", "test", "overwrite", "print_config", "push_to_hub", "recipe", "model", "without",
))  # fmt: skip
"""Parameters of ``evcap train`` without weight for scores, or whose content is compared (data set, recipe, system)."""
BY_CONTENT: Final = frozenset(("glove", "extra_captions"))
"""Parameters of ``evcap train`` that name a file whose content counts, not its place."""


def train_parser(context: typer.Context) -> Parse:
    """Reads arguments of ``evcap train`` as the command line does: wrong ones are found before any run begins."""
    root = context.find_root()
    train = cast("Any", root.command).commands["train"]

    def parse(arguments: Sequence[str]) -> Mapping[str, Any]:
        with train.make_context("train", list(arguments), parent=root) as own:
            return dict(own.params)

    return parse


@dataclass(frozen=True)
class TrainingRun:
    """One call of ``evcap train``.

    Args:
        folder: of the run. seed: of the run. arguments: what follows ``evcap train``.
        settings: what its scores depend on, by name.
    """

    folder: Path
    seed: int
    arguments: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def done(self) -> bool:
        """Whether its test scores are there, and none is missing that a second try may bring."""
        try:
            document = json.loads((self.folder / SCORES).read_bytes())
        except OSError:
            return False
        except ValueError:  # whoever reads the scores says so
            return True
        return not (isinstance(document, dict) and document.get("missing"))

    def begin(self) -> None:
        """Note the settings in the folder, before anything else is written there.

        Raises:
            WriteError: no permission, a full disk.
        """
        write_whole(self.folder / SETTINGS, json.dumps(dict(self.settings), indent=1, sort_keys=True) + "\n")

    def check(self) -> None:
        """See that scores that are there were reached with the settings of now.

        Raises:
            UsageError: naming the first setting that differs.
        """
        if not self.done:
            return
        hint = "give another -o, or the same options as before"
        try:
            before = read_json(dict[str, Any], self.folder / SETTINGS)
        except DataError as problem:
            raise UsageError(
                f"holds a run that this command did not make (no {SETTINGS})", path=self.folder, hint=hint
            ) from problem
        for name in [*before, *self.settings]:
            then, now = before.get(name), self.settings.get(name)
            if then != now:
                cause = f"was trained with another {name.replace('_', ' ')} ({then}, now {now})"
                raise UsageError(cause, path=self.folder, hint=hint)


@dataclass(frozen=True)
class SeedRuns:
    """What is trained once a seed: a row of a table, a system of a study.

    Args:
        runs: one a seed.
        recipe: all numbers of the runs (of the first; the others differ in the seed).
        parameters: values of ``evcap train``'s parameters, of the first run.
    """

    runs: tuple[TrainingRun, ...]
    recipe: Recipe
    parameters: Mapping[str, Any]


def plan_seeds(
    arguments: Sequence[str], folder: Callable[[int], Path], seeds: Sequence[int], parse: Parse, data_set: str
) -> SeedRuns:
    """The runs of one system.

    Args:
        arguments: of ``evcap train``, without seed and output.
        folder: of the run, by its seed.
        seeds: one run for each.
        parse: reads the arguments; an unknown option is found here, before any work.
        data_set: ``data_set_digest`` of what is trained on.

    Raises:
        UsageError: options or a recipe that cannot be read, scores of other settings in a folder.
        DataError: a file that is identified by its content cannot be read.
    """
    runs = []
    for seed in seeds:
        whole = (*arguments, "--seed", str(seed), "-o", str(folder(seed)))
        runs.append(TrainingRun(folder(seed), seed, whole, settings_of(parse(whole), data_set)))
        runs[-1].check()
    parameters = parse(runs[0].arguments)
    return SeedRuns(tuple(runs), recipe_of(parameters), parameters)


def recipe_of(parameters: Mapping[str, Any]) -> Recipe:
    """All numbers of a run, as ``evcap train`` puts them together.

    Raises:
        UsageError: no such recipe, a value that is not allowed.
    """
    from evcap_cli.training.recipe import DEFAULT, load_recipe

    train = ("epochs", "batch_size", "learning_rate", "seed", "select", "early_stop", "self_critical_epochs")
    chosen = load_recipe(parameters["recipe"] or DEFAULT, parameters["model"])
    return chosen.leaving_out(parameters["without"] or ()).with_values(
        **{name: parameters[name] for name in train},
        precision=None if parameters["dtype"] == "auto" else parameters["dtype"],
    )


def data_set_digest(root: DataRoot) -> str:
    """Tells data sets apart by their content, wherever they lie."""
    return digest_of({"train": root.train, "test": root.test, "lexicon": root.lexicon.digest})


def settings_of(parameters: Mapping[str, Any], data_set: str) -> dict[str, Any]:
    """What the scores of a run depend on, by name.

    Args:
        parameters: values of ``evcap train``'s parameters.
        data_set: ``data_set_digest``.

    Raises:
        DataError: a file that is identified by its content cannot be read.
    """
    kept = {name: _plain(name, value) for name, value in parameters.items() if name not in OF_NO_WEIGHT}
    return {**kept, **recipe_values(recipe_of(parameters)), "data_set": data_set}


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The system and every number of a recipe, those at their defaults included."""
    found = tomllib.loads(recipe.to_toml())
    system = {"system": found.pop("system")}
    return system | {name: value for table in found.values() for name, value in table.items()}


def _plain(name: str, value: Any) -> Any:
    """As it reads back from JSON; a path by its content or place. An option not given is no option."""
    if isinstance(value, Path):
        return _content(name, value) if name in BY_CONTENT else str(value.resolve())
    return [_plain(name, part) for part in value] if isinstance(value, (list, tuple)) and value else value or None


def _content(name: str, path: Path) -> str:
    try:
        return file_digest(path)
    except OpenFailed as problem:
        hint = f"check the path given with --{name.replace('_', '-')}"
        raise DataError(problem.cause, path=path, hint=hint) from problem
