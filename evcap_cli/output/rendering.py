"""From records to files through a writer, which may be a plugin's: one that fails costs its own output only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from evcap_cli import plugins
from evcap_cli.errors import WriteError, one_line
from evcap_cli.files import write_whole
from evcap_cli.output.records import Record
from evcap_cli.output.writers import PlacedWriter, Writer
from evcap_cli.plugin_calls import contained, show_traceback


class FormatError(WriteError):
    """A writer failed; the file that was there, if any, is untouched."""


def rendered(path: Path, writer: Writer, records: Sequence[Record]) -> str:
    """The text of ``path``.

    Raises:
        FormatError: the writer fails, or makes something that is no text.
    """
    try:
        with contained():
            if isinstance(writer, PlacedWriter):
                text = writer.render_at(list(records), path)
            else:
                text = writer.render(list(records))
        if not isinstance(text, str):
            raise TypeError(f"it made a {type(text).__name__}, not a str")
    except Exception as problem:
        show_traceback(problem)
        origin = plugins.distribution_of("writer", path.suffix.lower()) or plugins.OWN
        hint = "run again with EVCAP_DEBUG=1 and report the traceback"
        if origin != plugins.OWN:
            hint = f"update or uninstall {origin}"
        raise FormatError(
            f"is not written: the format {path.suffix} of {origin} failed ({one_line(problem)})", path=path, hint=hint
        ) from problem
    return text


def write_files(files: Iterable[tuple[Path, Writer]], records: Sequence[Record]) -> list[WriteError]:
    """Write each file, also after one that cannot be written; returns what went wrong."""
    problems: list[WriteError] = []
    for path, writer in files:
        try:
            write_whole(path, rendered(path, writer, records))
        except WriteError as problem:
            problems.append(problem)
    return problems
