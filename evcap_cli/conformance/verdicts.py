"""A check, its verdict, and the report of all of them: plain values, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evcap_cli.errors import one_line
from evcap_cli.plugin_calls import contained

if TYPE_CHECKING:
    from evcap_cli.conformance.subject import Subject

Status = Literal["pass", "FAIL", "skip"]


class Broken(Exception):
    """A promise is not kept; the text says how it showed and what to do about it."""


class NotApplicable(Exception):
    """A check says nothing about this backbone; the text says why."""


@dataclass(frozen=True)
class Check:
    """One promise and the way to test it.

    Args:
        name: short, for people and for tests.
        promise: what a backbone that passes does, as a sentence without a full stop.
        run: returns a detail worth showing, or ""; raises ``Broken`` or ``NotApplicable``.
        needs: the checks without which this one says nothing; it is skipped when one of them fails.
    """

    name: str
    promise: str
    run: Callable[[Subject], str]
    needs: tuple[str, ...] = ("shape",)

    def verdict(self, subject: Subject) -> Verdict:
        """Run the check; whatever the backbone raises is a failure of this check only."""
        try:
            with contained():
                return Verdict(self.name, self.promise, "pass", self.run(subject))
        except NotApplicable as reason:
            return Verdict(self.name, self.promise, "skip", str(reason))
        except Broken as reason:
            return Verdict(self.name, self.promise, "FAIL", str(reason))
        except Exception as problem:
            return Verdict(self.name, self.promise, "FAIL", one_line(problem))


@dataclass(frozen=True)
class Verdict:
    """What became of one check.

    Args:
        name, promise: of the check.
        status: pass, FAIL, or skip where the check does not apply.
        detail: the reason of a failure or a skip, a figure of a pass; may be "".
    """

    name: str
    promise: str
    status: Status
    detail: str = ""

    def __str__(self) -> str:
        line = f"{self.status}  {self.name:<16} {self.promise}"
        return f"{line}: {self.detail}" if self.detail else line


@dataclass(frozen=True)
class Report:
    """The verdicts on one backbone, in the order they were reached."""

    address: str
    verdicts: tuple[Verdict, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The verdicts that are failures."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "FAIL")

    @property
    def summary(self) -> str:
        """How many checks ended in which way, on one line."""
        count = {status: sum(v.status == status for v in self.verdicts) for status in ("pass", "FAIL", "skip")}
        return f"{self.address}: {count['pass']} passed, {count['FAIL']} failed, {count['skip']} not applicable"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.verdicts), self.summary])
