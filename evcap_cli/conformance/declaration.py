"""What a backbone says of itself before it loads: cheaply, completely, and in words the command line can use."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.contract import BackboneSpec, WeightsSource
from evcap_cli.conformance.checks import Broken, Check, NotApplicable, check

if TYPE_CHECKING:
    from evcap_cli.conformance.candidate import Candidate

CHECKS: Final[list[Check[Candidate]]] = []

HEAVY: Final = ("torch", "torchvision", "transformers", "open_clip", "timm", "tensorflow", "jax")
"""What registering may not import: `evcap --help` registers everything that is installed."""
RESERVED: Final = ":=,. \t\n"
"""Characters that NAME:VARIANT, NAME=PATH and NAME.KEY=VALUE use themselves."""
IMPORT_SECONDS: Final = 600

_PROGRAM: Final = """
import importlib, json, sys
path, module, name, heavy = json.loads(sys.argv[1])
sys.path[:] = path
spec = getattr(importlib.import_module(module), name).spec
print(json.dumps([type(spec).__name__, [one for one in heavy if one in sys.modules]]))
"""


@check(CHECKS, "registration", "declares itself without importing torch or a model library", needs=())
def _registration(candidate: Candidate) -> None:
    """Import the defining module in a new interpreter and read the class's ``spec`` there."""
    cls = candidate.cls
    if "." in cls.__qualname__ or cls.__module__ == "__main__":
        raise NotApplicable(f"{cls.__qualname__} is not at the top of a module that another process can import")
    kind, imported = answered(_PROGRAM, cls.__module__, cls.__name__, HEAVY)
    if kind != "BackboneSpec":
        raise Broken(f"{cls.__name__}.spec is a {kind}, not a BackboneSpec")
    if imported:
        raise Broken(f"importing {cls.__module__} imports {', '.join(imported)}; import it inside load and extract")


def answered(program: str, module: str, *more: object) -> Any:
    """What a Python program says as JSON in its last line, run in a new interpreter with the paths of this one.

    Args:
        program: reads JSON from its first argument: sys.path, ``module`` and ``more``.
        module: that it imports.
        more: what else it needs.

    Raises:
        Broken: it fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps([sys.path, module, *more])],
        capture_output=True,
        text=True,
        check=False,
        timeout=IMPORT_SECONDS,
    )
    if done.returncode:
        raise Broken(f"importing {module} fails: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@check(CHECKS, "declaration", "has one name, one kind and a complete spec", needs=())
def _declared(candidate: Candidate) -> str:
    """The class's ``spec`` and the one of NAME:VARIANT belong together."""
    spec = getattr(candidate.cls, "spec", None)
    if not isinstance(spec, BackboneSpec):
        raise Broken(f"{candidate.cls.__name__}.spec is {type(spec).__name__}, not a BackboneSpec")
    bad = next((sign for sign in spec.name if sign in RESERVED), None)
    if bad is not None:
        raise Broken(f"the name {spec.name!r} holds {bad!r}, which --weights and --option cannot read")
    own = candidate.build().spec
    if (own.name, own.kind) != (spec.name, spec.kind):
        raise Broken(f"is registered as {spec.name} ({spec.kind}), its instance is {own.name} ({own.kind})")
    return f"{own.kind}, {own.dim} wide"


@check(CHECKS, "version", "has a version", needs=("declaration",))
def _version(candidate: Candidate) -> str:
    text = candidate.build().spec.version
    if not text.strip():
        raise Broken("the version is blank; raise it whenever the numbers change, or old features are taken for new")
    return text


@check(CHECKS, "licence", "names its licence and that of its weights", needs=("declaration",))
def _licence(candidate: Candidate) -> str:
    backbone = candidate.build()
    if not backbone.spec.license.strip():
        raise Broken('the spec names no license, such as "MIT"')
    source = backbone.weights_source()
    if source is None:
        return backbone.spec.license
    if not isinstance(source, WeightsSource):
        raise Broken(f"weights_source() returned {type(source).__name__}, not a WeightsSource")
    if not source.name or not source.location or not source.license:
        raise Broken('weights_source() must give name, location and license ("unknown" where upstream says nothing)')
    return f"{backbone.spec.license}, weights {source.license}"
