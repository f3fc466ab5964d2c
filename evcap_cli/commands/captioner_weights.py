"""What ``evcap weights`` shows of ready-made captioners, and how it fetches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evcap_cli import console, plugins
from evcap_cli.errors import CheckpointError, EvcapError, PluginError, one_line
from evcap_cli.plugin_calls import contained

if TYPE_CHECKING:
    from pathlib import Path

KIND: Final = "captioner"


def is_captioner(name: str) -> bool:
    """Whether a captioner is registered as ``name``, or it is an address on the hub."""
    from evcap_cli.checkpoints.hub import HUB_PREFIX

    return name in plugins.captioners() or name.startswith(HUB_PREFIX)


def downloaded_captioners() -> list[str]:
    """Names that stand for a model of their own."""
    return [name for name, spec in plugins.captioners().items() if spec.address]


def captioner_row(name: str) -> dict[str, Any]:
    """What ``evcap weights list`` shows of a registered captioner or an address; nothing is requested from the hub."""
    from evcap_cli.checkpoints.hub import HUB_PREFIX

    spec = plugins.captioners().get(name)
    address = spec.address if spec is not None else name
    row: dict[str, Any] = {"name": name, "kind": KIND}
    if not address:
        return row | {"source": None, "location": "", "license": "", "here": None}
    row |= {"source": address.removeprefix(HUB_PREFIX), "location": address, "license": "see its page"}
    if spec is not None:
        row |= {"license": spec.license, "download": spec.download}
    try:
        with contained():
            here = _local_copy(address) if spec is None else spec.captioner_class().local_copy(address)
    except EvcapError as problem:
        return row | {"error": problem.cause}
    except Exception as problem:
        return row | {"error": one_line(problem)}
    return row | {"here": None if here is None else str(here)}


def _local_copy(address: str) -> Path | None:
    """The files of an address on the hub, where its captioner says that they are whole."""
    from evcap_cli.checkpoints.hub import CONFIG, local_snapshot
    from evcap_cli.systems.captioners import find_captioner

    folder = local_snapshot(address, (CONFIG,))
    if folder is None or not (folder / CONFIG).is_file():
        return None
    found = find_captioner(address)
    return folder if found is None else found[0].captioner_class().local_copy(address)


def fetch_captioner(name: str, count: str) -> str:
    """Download what a captioner needs; returns what became of it.

    Args:
        name: of a registered captioner, or an address on the hub.
        count: shown in front of lines, such as "[1/2]".

    Raises:
        EvcapError: it cannot be had.
    """
    from evcap_cli.checkpoints.checkpoint_files import resolve
    from evcap_cli.systems.captioners import find_captioner

    found = find_captioner(name)
    if found is None:
        return f"is a checkpoint of evcap and here now: {resolve(name)[0]}"
    spec, address = found
    try:
        with contained():
            here = spec.captioner_class().local_copy(address)
            if here is not None:
                return f"is here already: {here}"
            if not spec.fetches:
                if not spec.download:
                    return "needs no download"
                raise PluginError(
                    "cannot be fetched ahead of time", path=name, hint=f"evcap caption -c {name} downloads it"
                )
            size = f" ({spec.download})" if spec.download and spec.name == name else ""
            console.info(f"{count} {name}: fetching {address}{size}")
            here = spec.captioner_class().fetch(address)
    except EvcapError:
        raise
    except Exception as problem:
        raise CheckpointError(
            f"cannot be fetched ({one_line(problem)})", path=name, hint="try again later"
        ) from problem
    return f"is here now: {here}" + (f" (licence: {spec.license})" if spec.license else "")
