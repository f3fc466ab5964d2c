"""The commands of evcap itself, each imported when it is called: ``evcap --help`` needs a line of each, no options."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from evcap_cli import plugin_commands

COMMANDS: Final[Mapping[str, str]] = {
    "caption": "Caption videos: what happens, and which emotion it conveys.",
    "demo": "Render a few clips, caption them with the bundled checkpoint, print captions and scores.",
    "train": "Train a captioning system on EmVidCap, or on a data set in its layout.",
    "reproduce": "Train every row of one of the paper's tables and put the scores beside the printed ones.",
    "study": "Train systems on the demo world and report what each module does, with intervals.",
    "score": "Score captions against references: emotion accuracy, BLEU, METEOR, ROUGE-L, CIDEr, BFS, CFS.",
    "extract": "Compute the features of videos and keep them in the cache; with -o, write them as HDF5 as well.",
    "label": "Write a captioner's captions as a data set to train on; all that descends from it says "
    '"labels by NAME".',
    "merge": "Join the outputs of shards, or turn JSONL into subtitles, tables or a report.",
    "report": "Make an offline page with thumbnails, captions, emotions and timelines; of many videos, pages of 500.",
    "explain": "Show what the system attends to in picture and audio for each word of a caption, and which emotion it "
    "perceives.",
    "demo-world": "Draw a small world of clips whose truth is known, with captions, in EmVidCap's layout.",
    "doctor": "Check the installation: libraries, decoder, device, Java, cache, plugins, the bundled checkpoint.",
    "data": "Examine a data set before training.",
    "cache": "Look after the feature cache.",
    "weights": "Show, fetch and import the weights of backbones and ready-made captioners.",
    "plugins": "Show installed backbones, systems, formats, metrics and plugins.",
}
"""In the order that ``evcap --help`` lists them, each with the first sentence of its help. Other plugins' follow."""
OF_EXPERIMENTS: Final = frozenset({"reproduce", "study"})
"""Those that evcap's own plugin ``evcap_experiments`` adds; the others are modules of this package."""


class Commands(UserDict[str, Any]):
    """Commands of the parser by name; those of ``COMMANDS`` are there from the start and built when they are taken.

    Args:
        of_plugins: those of other plugins, built.

    Attributes:
        prepare: called with each name and command that is taken, once.
    """

    def __init__(self, of_plugins: Mapping[str, Any]) -> None:
        super().__init__()
        self.data = {**dict.fromkeys(COMMANDS), **of_plugins}
        self.prepare: Callable[[str, Any], None] = lambda _name, _command: None
        self._taken = set[str]()

    def __getitem__(self, name: str) -> Any:
        command = self.data[name]
        if command is None:
            command = self.data[name] = _built(name)
        if name not in self._taken:
            self._taken.add(name)
            self.prepare(name, command)
        return command

    def listed(self) -> dict[str, Any]:
        """Commands with the same names and short helps."""
        return {name: command or TyperCommand(name, help=COMMANDS[name]) for name, command in self.data.items()}


def _built(name: str) -> Any:
    if name in OF_EXPERIMENTS:
        return plugin_commands.bundled(name)
    alone = typer.Typer(rich_markup_mode=None)
    import_module(f"{__package__}.{name.replace('-', '_')}").register(alone)
    return typer.main.get_group(alone).commands[name]


class CommandGroup(TyperGroup):
    """The parser of ``evcap``.

    Args:
        commands: of plugins.
        settings: of any group.
    """

    def __init__(self, *, commands: Any = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Commands = Commands(commands or {})

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        TyperGroup(commands=self.commands.listed()).format_commands(ctx, formatter)
