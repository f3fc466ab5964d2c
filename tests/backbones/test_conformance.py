"""Every bundled backbone keeps the contract: with drawn weights, in its quickest variant.

A backbone whose own tests call the kit (with small weights of the real format, say) is not examined a second time.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evcap_cli import plugins
from evcap_cli.testing import check_backbone

QUICKEST = {"resnet": "resnet18", "clip": "ViT-S-32-alt"}
"""The default is the quickest, or the only one, of the others."""
OPTIONS = {"fasterrcnn": {"score_threshold": "0", "top_k": "5", "proposals": "40"}}
SMALLER_WINDOWS: dict[str, dict[str, Any]] = {
    "r3d": {"frames": 2},  # it crops to a size of its own
    "resnext3d": {"frames": 8, "size": (64, 64)},
}
"""Networks of three dimensions take any number of frames of any size, and their time goes with it."""
BUNDLED = sorted(
    name for (kind, name), origin in plugins.registry().origin.items() if (kind, origin) == ("backbone", "evcap")
)


def examines_itself(name: str) -> bool:
    file = Path(__file__).with_name(f"test_{name}.py")
    return file.exists() and "check_backbone(" in file.read_text()


def test_the_bundled_backbones_are_those_of_the_presets_and_their_relatives() -> None:
    assert {"lite-appearance", "lite-motion", "lite-object", "lite-audio"} <= set(BUNDLED)
    assert {"resnet", "clip", "resnext3d", "r3d", "fasterrcnn", "hubert"} <= set(BUNDLED)
    assert {"videomae", "vjepa2", "rtdetr", "wavlm"} <= set(BUNDLED)


@pytest.mark.parametrize("name", [name for name in BUNDLED if not examines_itself(name)])
@pytest.mark.slow
def test_it_keeps_the_contract(name: str) -> None:
    cls = plugins.registry().backbones[name]
    if name in SMALLER_WINDOWS:
        smaller = replace(cls.spec, input=replace(cls.spec.input, **SMALLER_WINDOWS[name]))
        cls = type(cls.__name__, (cls,), {"spec": smaller, "__module__": cls.__module__})
    weights = None if cls.spec.weights is None else "random:0"
    check_backbone(cls, QUICKEST.get(name), OPTIONS.get(name), weights)


@pytest.mark.slow
def test_listing_backbones_and_their_licences_imports_no_model_library() -> None:
    program = (
        "import sys; from evcap_cli import app; app.run(['plugins']); "
        "print({'torch', 'torchvision', 'open_clip', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
