"""A check, its result, and the report of all of them: plain values, no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from evcap_cli.errors import one_line
from evcap_cli.plugin_calls import contained

C = TypeVar("C")
"""What is examined: a ``Candidate`` or a ``CaptionerCandidate``."""


class Broken(Exception):
    """A promise is not kept; the text says how it showed and what to do about it."""


class NotApplicable(Exception):
    """A check says nothing about this backbone or captioner; the text says why."""


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
class Check(Generic[C]):
    """One promise and the way to test it.

    Args:
        name: short, for people and for tests.
        promise: what a backbone or captioner that passes does, as a sentence without a full stop.
        run: returns a detail worth showing, if any; raises ``Broken`` or ``NotApplicable``.
        needs: the checks without which this one says nothing; it is skipped when one of them fails.
    """

    name: str
    promise: str
    run: Callable[[C], str | None]
    needs: tuple[str, ...]

    def result(self, candidate: C) -> CheckResult:
        """Run the check; whatever the candidate raises is a failure of this check only."""
        try:
            with contained():
                return CheckResult(self.name, self.promise, "pass", self.run(candidate) or "")
        except NotApplicable as reason:
            return CheckResult(self.name, self.promise, "skip", str(reason))
        except Exception as problem:
            reason_of_failure = str(problem) if isinstance(problem, Broken) else one_line(problem)
            return CheckResult(self.name, self.promise, "FAIL", reason_of_failure)


def check(
    checks: list[Check[C]], name: str, promise: str, needs: tuple[str, ...] = ("shape",)
) -> Callable[[Callable[[C], str | None]], Callable[[C], str | None]]:
    """Add the function below as the check ``name`` to ``checks``; see ``Check``."""

    def add(run: Callable[[C], str | None]) -> Callable[[C], str | None]:
        checks.append(Check(name, promise, run, needs))
        return run

    return add


def examine(checks: Iterable[Check[C]], candidate: C, report: Callable[[CheckResult], None]) -> tuple[CheckResult, ...]:
    """The results of all checks; ``report`` is called with each as it is reached.

    One cause has one failure: a check that needs a failed one is skipped.
    """
    results: list[CheckResult] = []
    without: set[str] = set()
    for each in checks:
        missing = next((name for name in each.needs if name in without), None)
        if missing is None:
            result = each.result(candidate)
        else:
            result = CheckResult(each.name, each.promise, "skip", f"needs {missing}")
        if result.status == "FAIL" or missing is not None:
            without.add(each.name)
        report(result)
        results.append(result)
    return tuple(results)


@dataclass(frozen=True)
class CheckReport:
    """The results of one backbone or captioner, in the order of the checks."""

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
