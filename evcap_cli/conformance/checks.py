"""A check, its result, and the report of all of them: plain values, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from evcap_cli.errors import one_line
from evcap_cli.plugin_calls import contained

if TYPE_CHECKING:
    from evcap_cli.conformance.candidate import Candidate

    Run = Callable[[Candidate], str | None]


class Broken(Exception):
    """A promise is not kept; the text says how it showed and what to do about it."""


class NotApplicable(Exception):
    """A check says nothing about this backbone; the text says why."""


@dataclass(frozen=True)
class CheckResult:
    """What became of one check.

    Args:
        name, promise: of the check.
        status: pass, FAIL, or skip where the check does not apply.
        detail: the reason of a failure or a skip, a figure of a pass; may be "".
    """

    name: str
    promise: str
    status: Literal["pass", "FAIL", "skip"]
    detail: str = ""

    def __str__(self) -> str:
        line = f"{self.status}  {self.name:<16} {self.promise}"
        return f"{line}: {self.detail}" if self.detail else line


@dataclass(frozen=True)
class Check:
    """One promise and the way to test it.

    Args:
        name: short, for people and for tests.
        promise: what a backbone that passes does, as a sentence without a full stop.
        run: returns a detail worth showing, if any; raises ``Broken`` or ``NotApplicable``.
        needs: the checks without which this one says nothing; it is skipped when one of them fails.
    """

    name: str
    promise: str
    run: Run
    needs: tuple[str, ...]

    def result(self, candidate: Candidate) -> CheckResult:
        """Run the check; whatever the backbone raises is a failure of this check only."""
        try:
            with contained():
                return CheckResult(self.name, self.promise, "pass", self.run(candidate) or "")
        except NotApplicable as reason:
            return CheckResult(self.name, self.promise, "skip", str(reason))
        except Exception as problem:
            reason_of_failure = str(problem) if isinstance(problem, Broken) else one_line(problem)
            return CheckResult(self.name, self.promise, "FAIL", reason_of_failure)


def check(checks: list[Check], name: str, promise: str, needs: tuple[str, ...] = ("shape",)) -> Callable[[Run], Run]:
    """Add the function below as the check ``name`` to ``checks``; see ``Check``."""

    def add(run: Run) -> Run:
        checks.append(Check(name, promise, run, needs))
        return run

    return add


@dataclass(frozen=True)
class CheckReport:
    """The results of one backbone, in the order of the checks."""

    address: str
    results: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The results that are failures."""
        return tuple(result for result in self.results if result.status == "FAIL")

    @property
    def summary(self) -> str:
        """How many checks ended in which way, on one line."""
        count = Counter(result.status for result in self.results)
        return f"{self.address}: {count['pass']} passed, {count['FAIL']} failed, {count['skip']} not applicable"

    def __str__(self) -> str:
        return "\n".join([*map(str, self.results), self.summary])
