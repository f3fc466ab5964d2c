"""Which runs a printed table takes: each row as the arguments of ``evcap train``, or the reason why it is not trained.

A run is done when its folder holds test scores that were reached with the settings of now; that and the folder's name,
which says system, features, modules and seed, let tables share a folder and train a row of both once.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import plugins
from evcap_cli.backbones.identity import digest_of
from evcap_cli.errors import DataError, UsageError
from evcap_cli.files import write_whole
from evcap_cli.reading.typed import read_json
from evcap_cli.scoring.published_rows import published_rows
from evcap_cli.training.recipe_tables import FUSION

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_cli.scoring.published_rows import PublishedRow, Table
    from evcap_cli.training.recipe import Recipe

Parse = Callable[[Sequence[str]], Mapping[str, Any]]
"""From arguments of ``evcap train`` to the values of its parameters, defaults included."""

SCORES: Final = "test.json"
"""What ``evcap train`` writes last: a run that has it is done."""
SETTINGS: Final = "reproduce.json"
MODULES: Final = ("fine-grained", "audio-visual")
OF_NO_WEIGHT: Final = frozenset((
    "data", "videos", "output", "device", "workers", "timeout", "cache_dir", "no_cache",
    "quiet", "verbose", "test", "overwrite", "print_config", "push_to_hub", "recipe", "model", "without",
))  # fmt: skip
"""Parameters of ``evcap train`` without weight for scores, or whose content is compared (data set, recipe, system)."""
MANAGED: Final = {
    "model": "--model",
    "without": "--without",
    "output": "-o",
    "overwrite": "--overwrite",
    "print_config": "--print-config",
    "push_to_hub": "--push-to-hub",
}
"""Parameters of ``evcap train`` that the rows decide."""


@dataclass(frozen=True)
class Run:
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
class PlannedRow:
    """One printed row and what it takes here.

    Args:
        printed: the row. backbone: preset it is trained with.
        runs: one a seed; none where it is not trained.
        reason: why it is not trained. note: how the run differs from what the row names. title: of it, where it does.
        recipe: all numbers of the runs; None where there are none.
        parameters: values of ``evcap train``'s parameters.
    """

    printed: PublishedRow
    backbone: str
    runs: tuple[Run, ...] = ()
    reason: str = ""
    note: str = ""
    title: str = ""
    recipe: Recipe | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def plan(
    table: Table,
    root: DataRoot,
    folder: Path,
    arguments: Sequence[str],
    parse: Parse,
    *,
    backbone: str | None = None,
    seeds: Sequence[int] = (0,),
) -> list[PlannedRow]:
    """The rows of ``table`` in printed order.

    Args:
        table: which.
        root: the data set, read.
        folder: where a folder a run goes.
        arguments: of ``evcap train``, the same for all rows.
        parse: reads them; an unknown option is found here, before any work.
        backbone: preset for all rows; None takes the one that each row was printed with.
        seeds: one run a row for each.

    Raises:
        UsageError: options that the rows decide, a recipe that cannot be read, scores of other settings in ``folder``.
    """
    content = digest(root)
    rows = []
    for printed in published_rows(table):
        row = _as_trained(printed, backbone or printed.backbone)
        given = ["--backbone", row.backbone, *arguments]
        _check_managed(parse(given))
        if row.reason:
            rows.append(row)
            continue
        given += ["--model", printed.model]
        modules = [part for name in printed.without for part in ("--without", name)]
        runs = []
        for seed in seeds:
            place = folder / run_name(printed, row.backbone, seed)
            whole = [*given, *modules, "--seed", str(seed), "-o", str(place)]
            runs.append(Run(place, seed, tuple(whole), settings_of(parse(whole), content)))
        parameters = parse(list(runs[0].arguments))
        rows.append(replace(row, runs=tuple(runs), recipe=recipe_of(parameters), parameters=parameters))
    for row in rows:
        for run in row.runs:
            run.check()
    return rows


def _as_trained(printed: PublishedRow, backbone: str) -> PlannedRow:
    """The row without its runs: how what is trained here differs from what it names, or why nothing is."""
    spec = plugins.systems().get(printed.model)
    if spec is None:
        return PlannedRow(printed, backbone, reason=f"no system {printed.model!r} is installed")
    if printed.model == FUSION or spec.shown == printed.system:
        return PlannedRow(printed, backbone)
    return PlannedRow(printed, backbone, note=f"trained as {spec.shown}: {spec.about}", title=spec.shown)


def run_name(row: PublishedRow, backbone: str, seed: int) -> str:
    """The folder of a run: ``fusion-clip-without-audio-visual-seed0``."""
    left_out = {0: "", len(MODULES): "-without-both"}.get(len(row.without), f"-without-{'-'.join(row.without)}")
    return f"{row.model}-{backbone}{left_out}-seed{seed}"


def recipe_of(parameters: Mapping[str, Any]) -> Recipe:
    """All numbers of a run, as ``evcap train`` puts them together.

    Raises:
        UsageError: no such recipe, a value that is not allowed.
    """
    from evcap_cli.training.recipe import load_recipe

    train = ("epochs", "batch_size", "learning_rate", "seed", "select", "early_stop", "self_critical_epochs")
    chosen = load_recipe(str(parameters["recipe"]), parameters["model"]).leaving_out(parameters["without"] or ())
    return chosen.with_values(
        **{name: parameters[name] for name in train},
        precision=None if parameters["dtype"] == "auto" else parameters["dtype"],
    )


def digest(root: DataRoot) -> str:
    """Tells data sets apart by their content, wherever they lie."""
    return digest_of({"train": root.train, "test": root.test, "lexicon": root.lexicon.digest})


def settings_of(parameters: Mapping[str, Any], content: str) -> dict[str, Any]:
    """What the scores of a run depend on, by name.

    Args:
        parameters: values of ``evcap train``'s parameters.
        content: ``digest`` of the data set.
    """
    kept = {name: _plain(value) for name, value in parameters.items() if name not in OF_NO_WEIGHT}
    return {**kept, **values_of(recipe_of(parameters)), "data_set": content}


def values_of(recipe: Recipe) -> dict[str, Any]:
    """The system and every number of a recipe, those at their defaults included."""
    found = tomllib.loads(recipe.to_toml())
    system = {"system": found.pop("system")}
    return system | {name: value for table in found.values() for name, value in table.items()}


def _plain(value: Any) -> Any:
    """As it reads back from JSON; a path by its place, however it was written. An option not given is no option."""
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) and value else value or None


def _check_managed(parameters: Mapping[str, Any]) -> None:
    for name, flag in MANAGED.items():
        if parameters.get(name) not in (None, False, [], ()):
            raise UsageError(
                f"{flag} cannot be given here: the rows of the table decide it",
                hint="`evcap train` takes it for a single run",
            )
    if not parameters.get("test", True):
        raise UsageError("--no-test leaves nothing to put beside the print", hint="leave it out")
