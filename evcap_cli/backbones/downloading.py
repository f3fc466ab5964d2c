"""Fetching a weights file once, whole or not at all, to torch hub's folder, where torchvision looks as well.

Hub repositories are fetched by the libraries that read them (transformers, open_clip); ``local_copy`` knows both
places.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from evcap_cli import __version__, console
from evcap_cli.backbones.weights import HUB
from evcap_cli.errors import WeightsError, WriteError
from evcap_cli.output.atomic import WholeFile, cause_of

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
    """The file or folder of ``source`` on this machine, without asking the network; None where there is none."""
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
    whole = None
    try:
        whole = WholeFile(target)
        with whole.temporary.open("r+b") as file:
            digest = _receive(source, target, file)
        _check(digest, target, source)
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


def _receive(source: WeightsSource, target: Path, file: BinaryIO) -> str:
    """Copy the answer of ``source`` to ``file``; returns its SHA-256."""
    digest = hashlib.sha256()
    try:
        if not source.location.startswith(("https://", "http://")):
            raise URLError(f"{source.location!r} is not an http address")
        request = Request(source.location, headers={"User-Agent": f"evcap/{__version__}"})  # noqa: S310  checked above
        answer = urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
    except (URLError, http.client.HTTPException, OSError) as problem:
        raise unreachable(source, target.name, problem) from problem
    with answer, console.progress(None, f"downloading {target.name}", "MiB", "MiB") as bar:
        length = answer.headers.get("Content-Length")
        received = shown = 0
        while True:
            try:
                block = answer.read(BLOCK_BYTES)
            except (http.client.HTTPException, OSError) as problem:
                raise unreachable(source, target.name, problem) from problem
            if not block:
                break
            file.write(block)
            digest.update(block)
            received += len(block)
            bar.advance(received // BLOCK_BYTES - shown)
            shown = received // BLOCK_BYTES
    if length is not None and received != int(length):
        raise unreachable(source, target.name, f"the connection ended after {received} of {length} bytes")
    return digest.hexdigest()


def _check(digest: str, target: Path, source: WeightsSource) -> None:
    named = _HASH.search(target.name)
    if named and not digest.startswith(named.group(1)):
        raise WeightsError(
            f"{source.location} sent other bytes than the name says (SHA-256 {digest[:8]}, not {named.group(1)})",
            path=target.name,
            hint="try again, or download it elsewhere and pass it with --weights NAME=PATH",
        )


def unreachable(source: WeightsSource, file: str, problem: BaseException | str) -> WeightsError:
    """The line for weights that cannot be fetched: the file, the source, the reason and the option."""
    reason = f"HTTP {problem.code} {problem.reason}" if isinstance(problem, HTTPError) else problem
    reason = getattr(reason, "reason", None) or str(reason) or type(problem).__name__
    text = " ".join(str(reason).split())[:200]
    return WeightsError(
        f"{source.name} cannot be downloaded from {source.location} ({text})",
        path=file,
        hint="check the network, or pass a local copy with --weights NAME=PATH",
    )
