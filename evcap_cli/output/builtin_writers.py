"""What evcap itself brings through its own hooks; the bundled backbones are a plugin of their own in ``plugins/``."""

from __future__ import annotations

from collections.abc import Callable

from evcap_cli.output.writers import HtmlReport, JsonLines, Subtitles, Table, Writer
from evcap_cli.version import hookimpl


@hookimpl
def register_writers(register: Callable[[Writer], None]) -> None:
    """The five formats that the suffix of ``-o`` picks."""
    register(Subtitles(".srt", "SubRip subtitles", "srt"))
    register(Subtitles(".vtt", "WebVTT subtitles", "vtt"))
    register(JsonLines())
    register(Table())
    register(HtmlReport())
