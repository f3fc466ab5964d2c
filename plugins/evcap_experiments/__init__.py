"""Experiments that train: ``evcap reproduce``, ``evcap study`` and the examinations of the demo world.

The commands come in through the entry point that a third party's would. Importing this package loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcap_cli import hookimpl

if TYPE_CHECKING:
    import typer


@hookimpl
def register_commands(app: typer.Typer) -> None:
    """Add both commands."""
    from evcap_experiments import reproduce_command, study_command

    reproduce_command.register(app)
    study_command.register(app)
