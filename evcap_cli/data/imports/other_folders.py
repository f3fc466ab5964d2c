"""Names of videos whose folders are not those of the file that was found for them.

Folders move, so a name may leave them out or have old ones; but where another name fits the file better or as well, it
may be another video's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from evcap_cli.data.imports.video_names import name_parts
from evcap_cli.paths import name_key

Folders = tuple[str, ...]


def in_other_folders(found: Mapping[str, str]) -> dict[str, str | None]:
    """The names that contradict the place of their file.

    Args:
        found: name -> file below the folder of the videos.

    Returns:
        Name -> another name of the same file that contradicts this one, or that does not contradict the file; None:
        there is none.
    """
    astray = {name for name, file in found.items() if _differ(_folders(name), _place(file))}
    files = {found[name] for name in astray}
    names: dict[str, list[str]] = {}
    for name, file in found.items():
        if file in files:
            names.setdefault(file, []).append(name)
    return {
        name: next(
            (
                other
                for other in names[file]
                if other != name and (other not in astray or _differ(_folders(name), _folders(other)))
            ),
            None,
        )
        for name, file in found.items()
        if name in astray
    }


def _differ(one: Folders, other: Folders) -> bool:
    """Whether two paths contradict each other, as far up as both have folders."""
    return any(a != b for a, b in zip(reversed(one), reversed(other), strict=False))


def _folders(name: str) -> Folders:
    return tuple(name_parts(name)[:-1])


def _place(file: str) -> Folders:
    return tuple(map(name_key, PurePosixPath(file).parent.parts))
