"""A captioner's plugin that imports torch where it registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch  # noqa: F401  the mistake this module exists for

from evcap_cli import CaptionerSpec, hookimpl
from tests.conformance.kept_captioner import SPEC

HEAVY = replace(SPEC, name="heavy")


@hookimpl
def register_captioners(register: Callable[[CaptionerSpec], None]) -> None:
    register(HEAVY)
