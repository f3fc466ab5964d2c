"""Guards for every use of the model hub: no long attempts without a network, no bars without a terminal.

Backbones fetch from the hub in their own ways (transformers, open_clip, the hub's client itself).
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from evcap_cli import console
from evcap_cli.backbones.downloading import local_copy, unreachable
from evcap_cli.backbones.weights import HUB
from evcap_cli.errors import WeightsError

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import WeightsSource

MEASURE_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 10.0
"""A cluster's firewall may drop what it does not let through, without an answer."""


@contextmanager
def within_reach(source: WeightsSource | None) -> Iterator[None]:
    """Let the block fetch ``source``, or fail at once with one line where the hub does not answer.

    The hub client's bars are shown on terminals only.

    The hub is not probed where the source is no hub repository, lies on this machine, or the user set HF_HUB_OFFLINE.
    Without an answer the client works offline: what its cache holds still loads.

    Raises:
        WeightsError: the hub does not answer, and the block failed.
    """
    if source is None or not source.location.startswith(HUB) or local_copy(source) is not None:
        yield
        return
    from huggingface_hub import constants

    problem = None if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
    if problem is None:
        with bars_on_terminals_only():
            yield
        return
    client = logging.getLogger("huggingface_hub")
    level, offline = client.level, constants.HF_HUB_OFFLINE
    client.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception as failure:
        name = failure.path if isinstance(failure, WeightsError) and failure.path else source.file or source.name
        raise unreachable(source, name, problem) from failure
    finally:
        client.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


@contextmanager
def bars_on_terminals_only() -> Iterator[None]:
    """The hub client's bars are shown where all others of evcap are."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def shown_download(repository: str, total: int) -> Iterator[None]:
    """Say how many bytes the block downloads of a repository, and where there is no terminal how far it has come.

    The hub's client has bars for terminals only; elsewhere its cache is measured now and then.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"
    before = _bytes_of(blobs)
    console.info(f"downloading {repository}, {size_text(total)} in all, to {constants.HF_HUB_CACHE}")
    if sys.stderr.isatty():
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        done = before >> 20
        # the main thread takes care of an interrupt
        with (
            console.progress(total >> 20, f"downloading {repository}", "MiB", "MiB") as bar,
            suppress(KeyboardInterrupt),
        ):
            bar.advance(done)
            while not ended.wait(MEASURE_SECONDS):
                now = _bytes_of(blobs) >> 20
                bar.advance(now - done)
                done = now

    watching = threading.Thread(target=watch, name="evcap-download", daemon=True)
    watching.start()
    try:
        yield
    finally:
        ended.set()
        watching.join()


def _bytes_of(folder: Path) -> int:
    """Bytes of its files, those that grow as well."""
    total = 0
    with suppress(OSError):  # a file may get its final name meanwhile
        for path in folder.iterdir():
            total += path.stat().st_size
    return total


def size_text(size: int) -> str:
    """Bytes for people, in the units of the hub's pages."""
    for unit, power in (("GB", 9), ("MB", 6)):
        if size >= 10**power:
            return f"{size / 10**power:.1f} {unit}"
    return f"{max(round(size / 1000), 1)} kB"


def silence(address: str) -> Exception | None:
    """Why ``address`` gives no answer; None where it gives one, whatever it says."""
    try:
        with urlopen(Request(address, method="HEAD"), timeout=PROBE_SECONDS):  # noqa: S310  the hub's own address
            return None
    except HTTPError:
        return None
    except (OSError, ValueError) as problem:  # a URLError; an HF_ENDPOINT that is no address
        return problem
