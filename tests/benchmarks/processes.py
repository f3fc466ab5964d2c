"""What the robustness harnesses share: evcap as a process, and what a process may leave: files, decoders, children."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def evcap_command(*arguments: object) -> list[str]:
    """evcap of this tree, as a command."""
    code = "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; from evcap_cli.app import main; main()"
    return [sys.executable, "-c", code, str(ROOT), str(ROOT / "plugins"), *map(str, arguments)]


def leftovers(folder: Path) -> list[str]:
    """Temporary files and journals below ``folder``, relative to it."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", ".partial")) or ".tmp." in path.name
    )


def decoders_of(word: str) -> list[int]:
    """Processes of evcap whose working folder or command line names ``word``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            folder = (entry / "cwd").readlink().as_posix()
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if ("evcap" in command or "java" in command) and any(word in text for text in (command, folder, environment)):
            found.append(int(entry.name))
    return found
