"""What ``--dry-run`` shows on standard output: the command of each run, and the time that is left."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evcap_cli import console
from evcap_cli.clocks import roughly
from evcap_cli.commands import options as shared
from evcap_experiments.estimates import estimate

if TYPE_CHECKING:
    from evcap_cli.data.emvidcap import DataRoot
    from evcap_experiments.runs import SeedRuns, TrainingRun


def show_runs(runs: Sequence[TrainingRun]) -> None:
    """A line a run."""
    for run in runs:
        console.answer(f"  {'done   ' if run.done else 'to do  '}{shlex.join(['evcap', 'train', *run.arguments])}")


def show_time(planned: Sequence[SeedRuns], root: DataRoot) -> None:
    """The time that is left of all runs, and where the figure comes from."""
    found = estimate(planned, root, _widths(planned[0].parameters))
    console.answer(f"time to go: {f'about {roughly(found.seconds)}' if found.seconds else 'none'} ({found.source})")


def _widths(given: Mapping[str, Any]) -> dict[str, int]:
    """Kind -> width of the backbones that will be used; none of them is loaded."""
    from evcap_cli.backbones.loading import make_backbone
    from evcap_cli.backbones.presets import backbone_addresses

    settings = shared.backbone_settings(given["config"], given["weights"], given["option"])
    overrides = shared.overrides(given["appearance"], given["motion"], given["object_"], given["audio"])
    addresses = backbone_addresses(given["backbone"], overrides, settings.presets)
    return {kind: make_backbone(kind, address, settings.options).spec.dim for kind, address in addresses.items()}
