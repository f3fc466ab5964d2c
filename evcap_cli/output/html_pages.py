"""HTML pages from templates: one offline file each, with everything escaped that a template does not mark as safe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def page(room: str, template: str, filters: Mapping[str, Any], **values: Any) -> str:
    """A page.

    Args:
        room: the package whose folder ``templates`` holds the template, such as "evcap_cli.output".
        template: its file name.
        filters: by the names that the template calls them by.
        values: what the template shows; a name that is missing is an error.
    """
    return _template(room, template, tuple(filters.items())).render(values)


@cache
def _template(room: str, template: str, filters: tuple[tuple[str, Any], ...]) -> Template:
    """Compiled once: a report may have a thousand pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(room, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template)
