"""The conformance kit for plugin authors: one call in a test says whether a backbone or captioner keeps its contract.

```python
from evcap_cli.testing import check_backbone, check_captioner


def test_they_keep_their_contracts():
    check_backbone(MyBackbone, weights="random:0")
    check_captioner(MY_CAPTIONER_SPEC)
```

The promises, and what each check tolerates, are in ``evcap_cli/conformance``; `evcap plugins check NAME` prints the
same results. Checks run on the CPU with three rows or clips a batch, so that a large model can be examined in a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from evcap_cli.conformance.checks import CheckReport, CheckResult

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.systems.clip_captioner import CaptionerOptions

__all__ = [
    "CheckReport",
    "CheckResult",
    "check_backbone",
    "check_captioner",
    "examine_backbone",
    "examine_captioner",
]


def check_backbone(
    cls: type[Backbone],
    variant: str | None = None,
    options: Mapping[str, str] | None = None,
    weights: str | None = None,
) -> CheckReport:
    """Examine a backbone and fail the test it is called in if a promise is broken.

    Args:
        cls: the class, as the plugin registers it.
        variant: of NAME:VARIANT.
        options: as ``--option NAME.KEY=VALUE`` would give them.
        weights: as ``--weights NAME=...``: a path, "random:SEED", or None for the default weights.

    Returns:
        All results; ``str()`` of it is readable line by line.

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
    report: Callable[[CheckResult], None] = lambda _: None,
) -> CheckReport:
    """Like ``check_backbone``, to read the report: failures are in it, nothing is raised.

    One cause has one failure: a check that needs a failed one is skipped. ``report`` is called with each result as it
    is reached; the other arguments are those of ``check_backbone``.
    """
    from evcap_cli.backbones.contract import BackboneSpec
    from evcap_cli.conformance import declaration, features, refusals
    from evcap_cli.conformance.candidate import Candidate
    from evcap_cli.conformance.checks import examine
    from evcap_cli.files import temporary_folder

    with temporary_folder() as folder:
        candidate = Candidate(cls, variant, options, weights, folder)
        results = examine((*declaration.CHECKS, *refusals.CHECKS, *features.CHECKS), candidate, report)
    spec = getattr(cls, "spec", None)
    name = spec.name if isinstance(spec, BackboneSpec) else cls.__name__
    return CheckReport(name if variant is None else f"{name}:{variant}", results)


def check_captioner(
    spec: CaptionerSpec, address: str | None = None, options: CaptionerOptions | None = None
) -> CheckReport:
    """Examine a captioner and fail the test it is called in if a promise is broken.

    Args:
        spec: as the plugin registers it.
        address: as ``-c ADDRESS`` would give it; None: the name that is registered.
        options: what a user chooses; None: the defaults.

    Returns:
        All results; ``str()`` of it is readable line by line.

    Raises:
        AssertionError: a check failed; its text is the whole report.
    """
    report = examine_captioner(spec, address, options)
    if not report.ok:
        raise AssertionError(f"the captioner breaks its contract\n{report}")
    return report


def examine_captioner(
    spec: CaptionerSpec,
    address: str | None = None,
    options: CaptionerOptions | None = None,
    *,
    report: Callable[[CheckResult], None] = lambda _: None,
) -> CheckReport:
    """Like ``check_captioner``, to read the report: failures are in it, nothing is raised.

    ``report`` is called with each result as it is reached; the other arguments are those of ``check_captioner``.
    """
    from evcap_cli.conformance import captioner_declaration, captions
    from evcap_cli.conformance.captioner_candidate import CaptionerCandidate
    from evcap_cli.conformance.checks import examine
    from evcap_cli.files import temporary_folder

    with temporary_folder() as folder:
        candidate = CaptionerCandidate(spec, address, options, folder)
        results = examine((*captioner_declaration.CHECKS, *captions.CHECKS), candidate, report)
    return CheckReport(address or str(spec.name), results)
