"""The conformance kit for plugin authors: one call in a test says whether a backbone keeps the contract.

```python
from evcap_cli.testing import check_backbone


def test_it_keeps_the_contract():
    check_backbone(MyBackbone, weights="random:0")
```

The promises, and what each check tolerates, are in ``evcap_cli/conformance``; `evcap plugins check NAME` prints the
same verdicts. Checks run on the CPU with three rows a batch, so that a large model can be examined in a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from evcap_cli.conformance.verdicts import Report, Verdict

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone
    from evcap_cli.conformance.subject import Subject

__all__ = ["Report", "Verdict", "check_backbone", "examine_backbone"]


def check_backbone(
    cls: type[Backbone],
    variant: str | None = None,
    options: Mapping[str, str] | None = None,
    weights: str | None = None,
) -> Report:
    """Examine a backbone and fail the test it is called in if a promise is broken.

    Args:
        cls: the class, as the plugin registers it.
        variant: of NAME:VARIANT.
        options: as ``--option NAME.KEY=VALUE`` would give them.
        weights: as ``--weights NAME=...``: a path, "random:SEED", or None for the default weights.

    Returns:
        All verdicts; ``str()`` of it is readable line by line.

    Raises:
        AssertionError: a check failed; its text is the whole report.
    """
    report = examine_backbone(cls, variant, options, weights)
    if not report.ok:
        raise AssertionError(f"the backbone breaks its contract\n{report}")
    return report


def examine_backbone(
    cls: type[Backbone],
    variant: str | None = None,
    options: Mapping[str, str] | None = None,
    weights: str | None = None,
    *,
    tell: Callable[[Verdict], None] = lambda _: None,
) -> Report:
    """Like ``check_backbone``, for a look at the report: failures are in it, nothing is raised.

    ``tell`` is called with each verdict as it is reached; the other arguments are those of ``check_backbone``.
    """
    from evcap_cli.conformance.subject import Subject, address_of
    from evcap_cli.files import temporary_folder

    found = []
    with temporary_folder() as folder:
        for verdict in _verdicts(Subject(cls, variant, options, weights, folder)):
            tell(verdict)
            found.append(verdict)
    return Report(address_of(cls, variant), tuple(found))


def _verdicts(subject: Subject) -> Iterator[Verdict]:
    """The verdict of each check, as it is reached; one cause has one failure, what depends on it is skipped."""
    from evcap_cli.conformance import declaration, features, refusals

    without: set[str] = set()
    for check in (*declaration.CHECKS, *refusals.CHECKS, *features.CHECKS):
        missing = next((name for name in check.needs if name in without), None)
        if missing is None:
            verdict = check.verdict(subject)
        else:
            verdict = Verdict(check.name, check.promise, "skip", f"needs {missing}")
        if verdict.status == "FAIL" or missing is not None:
            without.add(check.name)
        yield verdict
