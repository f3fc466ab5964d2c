"""The command line: collects the commands of ``commands/`` and of plugins. Nothing here may import torch or av."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import MutableMapping, Sequence
from functools import wraps
from typing import Annotated, Any, Final

import typer

from evcap_cli import console, interrupts, plugin_calls, plugin_commands, plugins, standard_streams
from evcap_cli.commands.command_group import COMMANDS, OF_EXPERIMENTS, CommandGroup
from evcap_cli.commands.typed import read_values
from evcap_cli.errors import EXIT_INTERRUPTED, EXIT_NOTHING_DONE, EXIT_TERMINATED, EXIT_USAGE, UsageError
from evcap_cli.freed_memory import keep_freed_memory
from evcap_cli.version import __version__

SPINS: Final = "10000"
"""Turns of GNU OpenMP's waiting loop."""


def build() -> typer.Typer:
    """The complete app, plugins' commands included."""
    app = typer.Typer(
        name="evcap",
        cls=CommandGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def evcap(
        version: Annotated[  # noqa: ARG001  read by its callback
            bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        """Caption folders of videos: what happens, and which emotion it conveys."""
        console.set_verbosity()

    plugin_commands.register_commands(app, COMMANDS.keys(), OF_EXPERIMENTS)
    return app


def _version(requested: bool) -> None:
    if requested:
        console.answer(f"evcap {__version__}")
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """One call of the command line; returns its exit code."""
    codes: list[int] = []
    console.set_verbosity()  # before plugins load: what is wrong with them is printed

    def call() -> None:
        with standard_streams.data_only(process=True):
            command: Any = typer.main.get_command(build())
        command.commands.prepare = _prepare
        try:
            # not ``command.main``: it would keep Ctrl-C and wrong usage from ``console.run``
            with command.make_context("evcap", list(arguments)) as context:
                command.invoke(context)
        except typer.Exit as end:
            codes.append(end.exit_code)
        except typer.Abort:
            raise KeyboardInterrupt from None
        except _CLICK_ERROR as problem:
            if type(problem).__name__ != "NoArgsIsHelpError":
                raise _wrong_usage(problem) from None
            typer.echo(str(problem), err=True)  # the help text
            codes.append(EXIT_USAGE)

    code = console.run(call) or sum(codes)
    # commands that say what is kept end with Ctrl-C's code, whichever signal it was
    return interrupts.exit_code() if code == EXIT_INTERRUPTED else code


def _prepare(name: str, command: Any) -> None:
    """Have ``command`` read the values that it is given as all do; one of evcap's own keeps standard output apart."""
    ours = plugins.distribution_of("command", name) in ("", plugins.OWN)
    read_values(command, refuse_empty=ours)
    if ours:
        _keep_apart(command)


def _keep_apart(command: Any) -> None:
    """Let ``command`` and those below it run with standard output kept for data, and not be ended by what they call.

    Commands of plugins run as they are: what they print is their data, and their exit codes are their own.
    """
    call = command.callback
    if call is not None:

        @wraps(call)  # --config reads the types of its options
        def apart(*values: Any, **named: Any) -> Any:
            keep_freed_memory()
            with standard_streams.data_only(process=True), plugin_calls.contained():
                return call(*values, **named)

        command.callback = apart
    for below in getattr(command, "commands", {}).values():
        _keep_apart(below)


_CLICK_ERROR: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
"""The base of what the argument parser raises; typer brings a parser of its own and does not export it."""


def _wrong_usage(problem: Any) -> UsageError:
    """What the parser found wrong, as one of our lines."""
    context = getattr(problem, "ctx", None)
    command = "evcap" if context is None else context.command_path
    text = problem.format_message().rstrip(".").replace(": Value error, ", ": ")
    return UsageError(text, hint=f"see {command} --help")


def _wait_briefly(environment: MutableMapping[str, str]) -> None:
    """Let threads of torch that wait for others sleep after a tenth of a millisecond or so; the default is thirty times
    as long, in which they keep processors from decoding and from other programs. Before torch is imported.

    With ``OMP_WAIT_POLICY=PASSIVE`` they would sleep at once, and a training step take 1.4 times as long.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)


def main() -> None:
    """Entry point of the ``evcap`` command."""
    _wait_briefly(os.environ)
    console.set_up_streams()
    code = run(sys.argv[1:])
    if not standard_streams.end_of_data():
        code = code or EXIT_NOTHING_DONE
    # the work is done and reported: a late Ctrl-C must not turn the interpreter's clean-up into a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if code == EXIT_TERMINATED:
        # the interpreter's clean-up waits for threads, whoever made them
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
