"""Fetching a weights file once, whole or not at all, to torch hub's folder, where torchvision looks as well.

Hub repositories are fetched by the libraries that read them (transformers, open_clip); ``local_copy`` knows both
places.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from evcap_cli import console
from evcap_cli.backbones.weights import HUB
from evcap_cli.errors import WeightsError, WriteError, reason_of
from evcap_cli.files import WholeFile, cause_of
from evcap_cli.version import __version__

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import WeightsSource

BLOCK_BYTES: Final = 1 << 20
TIMEOUT_SECONDS: Final = 30.0
"""Without a byte from the server; a slow download may take as long as it likes."""
_HASH: Final = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")
"""torch hub's habit: the start of the file's SHA-256 in its name."""
_HUB_WEIGHTS: Final = ("*.safetensors", "*.bin", "*.pt", "*.pth")


def checkpoint_folder() -> Path:
    """Where torch hub, and with it torchvision, keeps downloaded weights (``TORCH_HOME`` moves it)."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def file_name(source: WeightsSource) -> str:
    """The name of a URL's file in the download folder."""
    return source.file or urlsplit(source.location).path.rpartition("/")[2]


def local_copy(source: WeightsSource) -> Path | None:
    """The file or folder of ``source`` on this machine, without the network; None where there is none."""
    if not source.location.startswith(HUB):
        path = checkpoint_folder() / file_name(source)
        return path if path.is_file() else None
    for folder in _snapshots(source.location.removeprefix(HUB)):
        if source.file and (folder / source.file).is_file():
            return folder / source.file
        if not source.file and any(True for pattern in _HUB_WEIGHTS for _ in folder.glob(pattern)):
            return folder
    return None


def _snapshots(address: str) -> list[Path]:
    """Folders of ``org/name[@revision]`` in the hub's cache: of the revision (main), then, without one, of others."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repository, _, revision = address.partition("@")
    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    try:
        chosen = (root / "refs" / (revision or "main")).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        chosen = revision  # a commit names its folder itself
    folders = list((root / "snapshots").glob("*"))
    first = [folder for folder in folders if folder.name == chosen]
    others = [] if revision else [folder for folder in folders if folder.name != chosen]
    return first + sorted(others, key=lambda folder: folder.stat().st_mtime, reverse=True)


def fetch(source: WeightsSource) -> Path:
    """The file at a URL, downloaded unless it is there.

    Raises:
        WeightsError: no network, no room, a broken connection or other bytes than the file's name says.
    """
    target = checkpoint_folder() / file_name(source)
    if target.is_file():
        return target
    digest, whole = hashlib.sha256(), None
    try:
        whole = WholeFile(target)
        with (
            whole.temporary.open("r+b") as file,
            console.progress(None, f"downloading {target.name}", "MiB", "MiB") as bar,
        ):
            for block in _blocks(source, target.name):
                file.write(block)
                digest.update(block)
                bar.advance()
        named = _HASH.search(target.name)
        if named and not digest.hexdigest().startswith(named[1]):
            raise WeightsError(
                f"{source.location} sent other bytes than the name says "
                f"(SHA-256 {digest.hexdigest()[:8]}, not {named[1]})",
                path=target.name,
                hint="try again, or download it elsewhere and pass it with --weights NAME=PATH",
            )
        whole.commit()
    except (OSError, WriteError) as problem:
        raise WeightsError(
            f"cannot write {source.name} ({cause_of(problem)})",
            path=target,
            hint="free space or move the folder with TORCH_HOME",
        ) from problem
    finally:
        if whole is not None:
            whole.discard()
    return target


def _blocks(source: WeightsSource, file: str) -> Iterator[bytes]:
    """What the server sends, a MiB at a time, and whole.

    Neither torch's nor the hub client's downloader: the first waits without end and takes a half for the whole, the
    second tries again for seconds where there is no network.
    """
    try:
        if not source.location.startswith(("https://", "http://")):
            raise URLError(f"{source.location!r} is not an http address")
        request = Request(source.location, headers={"User-Agent": f"evcap/{__version__}"})  # noqa: S310  checked above
        with urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            length, received = answer.headers.get("Content-Length"), 0
            while block := answer.read(BLOCK_BYTES):
                received += len(block)
                yield block
        if length is not None and received != int(length):
            raise URLError(f"the connection ended after {received} of {length} bytes")
    except (http.client.HTTPException, OSError) as problem:
        raise unreachable(source, file, problem) from problem


def unreachable(source: WeightsSource, file: str, problem: BaseException) -> WeightsError:
    """The line for weights that cannot be fetched: the file, the source, the reason and the option."""
    text = str(problem.reason) if type(problem) is URLError else reason_of(problem)
    return WeightsError(
        f"{source.name} cannot be downloaded from {source.location} ({text})",
        path=file,
        hint="check the network, or pass a local copy with --weights NAME=PATH",
    )
