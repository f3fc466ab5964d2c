"""The version of evcap, and the marker of plugin hooks: what every other module may import."""

from __future__ import annotations

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("evcap")
