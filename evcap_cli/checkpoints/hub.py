"""Checkpoints on the model hub: ``hf-hub:org/name[@revision]`` to a folder of the hub's cache, and files to the hub.

``checkpoint.py`` defines what the files hold; here a command line that is published loses the folders of this machine
(``without_places``).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, NamedTuple

from evcap_cli.backbones.hub import bars_on_terminals_only, shown_download, silence
from evcap_cli.errors import CheckpointError, EvcapError, UploadError, UsageError, reason_of
from evcap_cli.version import __version__

HUB_PREFIX: Final = "hf-hub:"
CONFIG: Final = "config.json"
CARD: Final = "README.md"
FOLDER_IN_CARD: Final = "-c THIS_FOLDER"
"""How a model card calls the checkpoint until it has an address."""
LOG_IN: Final = "log in with `hf auth login`, or set HF_TOKEN"
_NAMES: Final = ("--appearance", "--motion", "--object", "--audio", "--backbone", "--model", "--push-to-hub")
"""Options whose value may hold a slash without being a place."""


class HubAddress(NamedTuple):
    """``hf-hub:org/name[@revision]`` in parts; ``revision`` is a branch, tag or commit."""

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """Read an address.

        Raises:
            CheckpointError: the repository has no name, or one that the hub does not allow.
        """
        repository, _, revision = text.removeprefix(HUB_PREFIX).partition("@")
        problem = bad_name(repository)
        if problem:
            raise CheckpointError(f"is no address on the hub ({problem})", path=text, hint="expected hf-hub:org/name")
        return cls(repository, revision or None)


def bad_name(repository: str) -> str | None:
    """Why the hub does not allow this name; None where it does."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported lazily

    try:
        validate_repo_id(repository)
    except HFValidationError as problem:
        return reason_of(problem)
    return None if repository else "the name is empty"


def download(address: str, files: Sequence[str], optional: Sequence[str] = ()) -> Path:
    """A folder of the hub's cache that holds ``files`` of one revision.

    The small ones come first: a repository of something else is found out before its weights are downloaded. Where the
    hub does not answer, what its cache holds is used.

    Args:
        address: ``hf-hub:org/name[@revision]``.
        files: that the checkpoint cannot do without.
        optional: taken where there.

    Raises:
        CheckpointError: no answer, no such repository or revision, no access, not a checkpoint of evcap.
    """
    from huggingface_hub import constants, snapshot_download

    repository, revision = HubAddress.parse(address)
    unanswered = None if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
    offline = constants.HF_HUB_OFFLINE or unanswered is not None
    small = [name for name in (*files, *optional) if name.endswith((".json", ".md"))]
    try:
        with bars_on_terminals_only():
            folder = Path(
                snapshot_download(repository, revision=revision, allow_patterns=small, local_files_only=offline)
            )
            missing = [name for name in files if name in small and not (folder / name).exists()]
            if not missing:  # the snapshot is named after its commit: both downloads are of one revision
                every = [*files, *optional]
                commit = folder.name
                folder = Path(
                    snapshot_download(repository, revision=commit, allow_patterns=every, local_files_only=offline)
                )
                missing = [name for name in files if not (folder / name).exists()]
    except Exception as problem:  # the hub's client raises its own, httpx's, requests' and OS errors
        raise _cannot_fetch(problem, address, unanswered) from problem
    if missing:
        hint = "it must hold what `evcap train` wrote; was it pushed with --push-to-hub?"
        if offline:
            hint = "evcap is offline: connect once, or copy the whole folder"
        raise CheckpointError(f"holds no checkpoint of evcap: {missing[0]} is not there", path=address, hint=hint)
    return folder


def local_snapshot(address: str, patterns: Sequence[str]) -> Path | None:
    """The folder of ``hf-hub:org/name[@revision]`` in the hub's cache; no request is sent.

    Args:
        address: of a repository.
        patterns: of the names that were downloaded: newer clients of the hub see that all of them are there, and take
            a folder without them for an interrupted download. Older ones see to nothing.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    repository, revision = HubAddress.parse(address)
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=["*/*"],
                local_files_only=True,
            )
        )
    except LocalEntryNotFoundError:
        return None


def snapshot(address: str, patterns: Sequence[str], revision: str | None = None, *, large: bool = False) -> Path:
    """A folder of the hub's cache with the files of one revision whose names match, downloaded where they are missing.

    Args:
        address: ``hf-hub:org/name[@revision]``.
        patterns: of names at the top of the repository, such as "*.json".
        revision: a commit, in place of the address's own revision.
        large: say how much is downloaded, and show how far it has come.

    Raises:
        CheckpointError: no answer, no such repository or revision, no access.
    """
    from huggingface_hub import constants, snapshot_download

    repository, own = HubAddress.parse(address)
    unanswered = None if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
    offline = constants.HF_HUB_OFFLINE or unanswered is not None
    revision = revision or own
    try:
        with ExitStack() as shown:
            shown.enter_context(bars_on_terminals_only())
            if large and not offline:
                sizes = _sizes(repository, revision).items()
                total = sum(size for name, size in sizes if any(fnmatch(name, pattern) for pattern in patterns))
                shown.enter_context(shown_download(repository, total))
            found = snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=["*/*"],
                local_files_only=offline,
            )
    except Exception as problem:  # the hub's client raises its own, httpx's, requests' and OS errors
        raise _cannot_fetch(problem, address, unanswered) from problem
    return Path(found)


def top_files(address: str, revision: str) -> frozenset[str]:
    """Names at the top of a repository at a commit; nothing is downloaded.

    Raises:
        CheckpointError: no answer, no such repository, no access.
    """
    from huggingface_hub import constants

    repository, _ = HubAddress.parse(address)
    unanswered = None if constants.HF_HUB_OFFLINE else silence(constants.ENDPOINT)
    try:
        return frozenset(_sizes(repository, revision))
    except Exception as problem:  # the hub's client raises its own, httpx's, requests' and OS errors
        raise _cannot_fetch(problem, address, unanswered) from problem


def _sizes(repository: str, revision: str | None) -> dict[str, int]:
    """Bytes of the files at the top of a repository, by name."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    listed = HfApi().list_repo_tree(repository, revision=revision)
    return {entry.path: entry.size for entry in listed if isinstance(entry, RepoFile)}


def check_pushing(repository: str) -> None:
    """See before hours of work that a checkpoint can be pushed: the name, the network, the token.

    Raises:
        UsageError: it cannot.
    """
    from huggingface_hub import HfApi, constants, get_token

    wrong = bad_name(repository)
    if wrong:
        raise UsageError(f"{repository!r} cannot be a repository ({wrong})", hint="give --push-to-hub org/name")
    if get_token() is None:
        raise UsageError(f"there is no token to push to {repository} with", hint=LOG_IN)
    if constants.HF_HUB_OFFLINE:
        raise UsageError(f"HF_HUB_OFFLINE keeps evcap from pushing to {repository}", hint="unset it")
    unanswered = silence(constants.ENDPOINT)
    if unanswered is not None:
        hint = "check the network, or train without --push-to-hub and push the folder from elsewhere"
        raise UsageError(f"{constants.ENDPOINT} does not answer ({reason_of(unanswered)})", hint=hint)
    try:
        HfApi().whoami()
    except Exception as problem:
        cause, hint = _why(problem, repository)
        raise UsageError(f"cannot push to {repository}: {cause}", hint=hint) from problem


def upload(contents: Mapping[str, bytes], repository: str, needed: Set[str], *, private: bool = False) -> str:
    """Put ``contents``, file name -> bytes, into ``org/name`` as one commit; the repository is made where missing.

    Args:
        contents: file name -> bytes.
        repository: ``org/name``, or ``name`` for your own.
        needed: names that every checkpoint has, by which one that is there already is known.
        private: of a repository that is made now.

    Returns:
        ``hf-hub:org/name``.

    Raises:
        UploadError: no token, no network, no permission, or the repository holds something else.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    try:
        api = HfApi(library_name="evcap", library_version=__version__)
        with bars_on_terminals_only():
            full = str(api.create_repo(repository, private=private or None, exist_ok=True).repo_id)
            there = set(api.list_repo_files(full))
            if CONFIG in there and not needed <= there:
                raise UploadError(
                    "holds something else than a checkpoint of evcap", path=full, hint="give a repository of its own"
                )
            additions = [CommitOperationAdd(*file) for file in _for_others(contents, full).items()]
            api.create_commit(full, additions, commit_message=f"Checkpoint of evcap {__version__}")
    except UploadError:
        raise
    except Exception as problem:  # the hub's client raises its own, httpx's, requests' and OS errors
        cause, hint = _why(problem, repository)
        raise UploadError(f"cannot be pushed to: {cause}", path=repository, hint=hint) from problem
    return HUB_PREFIX + full


def _for_others(contents: Mapping[str, bytes], repository: str) -> dict[str, bytes]:
    """The files without places of this machine, and with the address in the card.

    A run's own files name no place already (``evcap train`` sees to that), so that the copy on the hub has their
    digest; command lines that a library call put there are shortened here.
    """
    found = dict(contents)
    config: dict[str, Any] = json.loads(found[CONFIG])
    card = found.get(CARD, b"").decode("utf-8", "replace")
    command = str(config.get("training", {}).get("command", ""))
    shown = without_places(command)
    if shown != command:
        config["training"]["command"] = shown
        found[CONFIG] = (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode()
        card = card.replace(command, shown)
    if card:
        found[CARD] = card.replace(FOLDER_IN_CARD, f"-c {HUB_PREFIX}{repository}").encode()
    return found


def without_places(command: str) -> str:
    """A command line for other people: of every path only the last name is left.

    ``--data /home/anna/study-7/EPAN`` becomes ``--data EPAN``: where things lie says more about a person than about
    a model. Names of backbones and addresses on the hub may hold a slash and stay.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: not a command line that a shell would take
        return ""
    shown: list[str] = []
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        name = before in _NAMES or word.partition("=")[0] in _NAMES
        shown.append(word if name else _last_name(word))
    return shlex.join(shown)


def _last_name(word: str) -> str:
    head, sign, place = word.rpartition("=")
    if place.startswith(HUB_PREFIX) or not {"/", "\\"} & set(place):
        return word
    return head + sign + (place.replace("\\", "/").rstrip("/").rpartition("/")[2] or ".")


def _cannot_fetch(problem: Exception, address: str, unanswered: Exception | None) -> EvcapError:
    repository, revision = HubAddress.parse(address)
    if unanswered is not None:
        return CheckpointError(
            f"cannot be fetched: the hub does not answer ({reason_of(unanswered)})",
            path=address,
            hint="check the network, or copy the folder from elsewhere and give its path with -c",
        )
    cause, hint = _why(problem, repository, revision)
    return CheckpointError(f"cannot be fetched: {cause}", path=address, hint=hint)


def _why(problem: BaseException, repository: str, revision: str | None = None) -> tuple[str, str]:
    """What the hub's client means, and what a person can do about it."""
    from huggingface_hub import constants, errors, get_token

    for cause in _chain(problem):
        if isinstance(cause, errors.GatedRepoError):
            page = f"{constants.ENDPOINT}/{repository}"
            return "its owner grants access one by one", f"ask for it at {page}, then {LOG_IN}"
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"it has no revision {revision!r}", "see its branches and tags on the hub"
        if isinstance(cause, errors.RepositoryNotFoundError):
            if get_token() is None:
                return "no such repository, or a private one", f"check the name; for a private one {LOG_IN}"
            return "no such repository, or your token may not read it", "check the name and whose token it is"
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status == 401:
            return "the hub does not know your token" if get_token() else "there is no token", LOG_IN
        if status == 403:
            return "your token does not permit it", "make one that may write there: huggingface.co/settings/tokens"
        if status is not None:
            return f"the hub answers {status} ({reason_of(cause)})", "try again later"
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set and the hub's cache does not hold it", "unset it, or give a folder with -c"
    return reason_of(problem), "check the network and try again"


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
