"""A backbone whose module imports torch at the top: registering it makes every command slow."""

from __future__ import annotations

import torch  # noqa: F401  the mistake this module exists for

from tests.conformance.kept import Keeping


class Heavy(Keeping):
    """Computes as it should."""
