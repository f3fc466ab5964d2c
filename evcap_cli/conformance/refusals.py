"""What a backbone says to input it cannot use: one line that names the culprit, not a stack of something else.

Each is a ``ValueError`` or an evcap error (``WeightsError`` for weights); evcap prints its text as one line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from evcap_cli.conformance.checks import Broken, Check, check
from evcap_cli.errors import EvcapError, one_line

if TYPE_CHECKING:
    from evcap_cli.conformance.candidate import Candidate

CHECKS: Final[list[Check[Candidate]]] = []

NO_VARIANT: Final = "no-such-variant"
NO_OPTION: Final = "no_such_option"
LONGEST_MESSAGE: Final = 500
"""Characters of a message that people still read."""


def refusal(call: Callable[[], object], name: str) -> str | None:
    """The message of the error that ``call`` raises about ``name``; None: it raises nothing.

    Raises:
        Broken: the error is of a kind or a form that helps nobody.
    """
    try:
        call()
    except Broken:
        raise
    except (ValueError, EvcapError) as problem:
        text = str(problem)
        if name not in text:
            raise Broken(f"the error does not name {name!r}: {one_line(problem)}") from problem
        if len(text.strip().splitlines()) > 1 or len(text) > LONGEST_MESSAGE:
            raise Broken(f"the message must be one short line: {one_line(problem)[:200]} ...") from problem
        return text
    except Exception as problem:
        raise Broken(f"raise ValueError with a message that names {name!r}, not {one_line(problem)[:200]}") from problem
    return None


@check(CHECKS, "unknown-variant", "refuses a variant it does not know by its name", needs=("declaration",))
def _unknown_variant(candidate: Candidate) -> None:
    """``NAME:no-such-variant``."""
    if refusal(lambda: candidate.cls(NO_VARIANT, candidate.options), NO_VARIANT) is None:
        raise Broken(f"accepted the variant {NO_VARIANT!r}; spec_for must raise ValueError for those it does not know")


@check(CHECKS, "unknown-option", "refuses an option it does not know by its name", needs=("declaration",))
def _unknown_option(candidate: Candidate) -> None:
    """``--option NAME.no_such_option=1``."""
    given = {**candidate.options, NO_OPTION: "1"}
    if refusal(lambda: candidate.cls(candidate.variant, given), NO_OPTION) is None:
        raise Broken(f"accepted the option {NO_OPTION!r}; spec_for must raise ValueError for those it does not know")


@check(CHECKS, "missing-weights", "names weights that do not exist", needs=("declaration",))
def _missing_weights(candidate: Candidate) -> str:
    """``--weights NAME=FILE`` where there is no such file."""
    return _refused_weights(candidate, "no-such-weights.safetensors", None)


@check(CHECKS, "damaged-weights", "names a file that holds no weights", needs=("declaration",))
def _damaged_weights(candidate: Candidate) -> str:
    """``--weights NAME=FILE`` where the file holds something else."""
    return _refused_weights(candidate, "no-weights-in-here.safetensors", b"This file holds a sentence, no weights.\n")


def _refused_weights(candidate: Candidate, name: str, content: bytes | None) -> str:
    import torch

    file = candidate.folder / name
    if content is not None:
        file.write_bytes(content)
    backbone = candidate.build()
    if refusal(lambda: backbone.load(str(file), torch.device("cpu"), torch.float32), name) is not None:
        return ""
    if candidate.weights is None and backbone.spec.weights is None and backbone.weights_source() is None:
        return "it has no weights and ignores those it is given"
    raise Broken(f"took {name} without a word; read the weights strictly, raise ValueError where that fails")
