"""The hooks of evcap. A plugin implements any of them with ``@evcap_cli.hookimpl`` and names its module in
``[project.entry-points.evcap]``. Registering must stay cheap: no hook may import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from evcap_cli.backbones.contract import Backbone
    from evcap_cli.output.writers import Writer
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.systems.spec import SystemSpec

hookspec = pluggy.HookspecMarker("evcap")


@hookspec
def register_backbones(register: Callable[[type[Backbone]], None]) -> None:
    """Call ``register(BackboneClass)`` for each backbone; its ``spec.name`` is how users call it."""


@hookspec
def register_systems(register: Callable[[str, SystemSpec], None]) -> None:
    """Call ``register(name, spec)`` for each captioning system that ``evcap train --model NAME`` offers."""


@hookspec
def register_captioners(register: Callable[[CaptionerSpec], None]) -> None:
    """Call ``register(spec)`` for each captioner that ``evcap caption -c NAME`` offers, or that opens addresses."""


@hookspec
def register_writers(register: Callable[[Writer], None]) -> None:
    """Call ``register(writer)`` for each output format; its ``suffix`` picks it in ``-o NAME.suffix``."""


@hookspec
def register_metrics(register: Callable[[str, Callable[..., float]], None]) -> None:
    """Call ``register(name, function)``; ``evcap score`` adds ``function(hypotheses, references)`` to its table.

    Both map a video to text, normalised as the protocol says: its caption, and a list of its references.
    """


@hookspec
def register_commands(app: typer.Typer) -> None:
    """Add commands to an empty ``app`` with ``@app.command()`` or ``app.add_typer(...)``."""
