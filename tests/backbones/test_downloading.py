"""Weights are downloaded once, whole or not at all, from a server on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from evcap_cli import WeightsSource
from evcap_cli.backbones.downloading import checkpoint_folder, fetch, local_copy
from evcap_cli.errors import WeightsError
from tests.backbones.serving import Server, serving

CONTENT = bytes(range(256)) * 5000
HASH = hashlib.sha256(CONTENT).hexdigest()[:8]


@pytest.fixture
def address() -> Iterator[str]:
    with serving(CONTENT) as found:
        yield found


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub, and no proxy between us and the server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "torch" / "hub" / "checkpoints"


def source(location: str, file: str = "") -> WeightsSource:
    return WeightsSource("torchvision Net_Weights.V1", location, "BSD-3-Clause", file)


@pytest.mark.parametrize("name", [f"net-{HASH}.pth", "net.pth", "net-unsized.pth"])
def test_a_file_arrives_whole_and_once(address: str, hub: Path, name: str) -> None:
    net = source(f"{address}/models/{name}?download=true")
    assert local_copy(net) is None
    path = fetch(net)
    assert path == hub / name == checkpoint_folder() / name
    assert path.read_bytes() == CONTENT
    assert local_copy(net) == path
    assert fetch(net) == path
    assert len(Server.requested) == 1
    assert list(hub.iterdir()) == [path]


def test_a_source_may_name_its_file(address: str, hub: Path) -> None:
    assert fetch(source(f"{address}/download?id=7", "net.pth")) == hub / "net.pth"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("cut.pth", f"ended after {len(CONTENT) // 2} of {len(CONTENT)} bytes"),
        ("missing.pth", "404"),
        ("net-00000000.pth", f"{HASH}, not 00000000"),
        ("net-unsized-cut-00000000.pth", "not 00000000"),
    ],
)
def test_what_is_not_the_file_leaves_nothing(address: str, hub: Path, path: str, reason: str) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch(source(f"{address}/{path}"))
    text = str(caught.value)
    for part in (path, address, reason, "--weights NAME=PATH"):
        assert part in text
    assert "\n" not in text
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:9/net.pth", "http://nowhere.invalid/net.pth", "file:///net.pth"]
)
def test_without_a_network_one_line_names_file_source_and_option(hub: Path, location: str) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch(source(location))
    text = str(caught.value)
    for part in ("net.pth", "torchvision Net_Weights.V1", location, "--weights NAME=PATH"):
        assert part in text
    assert "\n" not in text
    assert local_copy(source(location)) is None


def test_a_folder_that_cannot_be_written_is_named(address: str, hub: Path) -> None:
    hub.parent.parent.mkdir()
    hub.parent.write_text("a file in the way")
    with pytest.raises(WeightsError) as caught:
        fetch(source(f"{address}/net.pth"))
    assert "cannot write" in str(caught.value)
    assert "TORCH_HOME" in str(caught.value)


def test_a_repository_of_the_model_hub_is_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    net = WeightsSource("HuBERT base", "hf-hub:org/hubert", "Apache-2.0")
    assert local_copy(net) is None
    repository = tmp_path / "hub" / "models--org--hubert"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    assert local_copy(net) is None  # the configuration alone is not the weights
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert local_copy(net) == snapshot
    named = WeightsSource("HuBERT base", "hf-hub:org/hubert", "Apache-2.0", "model.safetensors")
    assert local_copy(named) == snapshot / "model.safetensors"
    assert local_copy(WeightsSource("other", "hf-hub:org/other", "MIT")) is None
    assert local_copy(WeightsSource("HuBERT base", "hf-hub:org/hubert@abc", "Apache-2.0")) == snapshot
    assert local_copy(WeightsSource("HuBERT base", "hf-hub:org/hubert@v1", "Apache-2.0")) is None
    other = repository / "snapshots" / "def"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"weights of a branch")
    assert local_copy(net) == snapshot  # what "main" names comes first
    (snapshot / "model.safetensors").unlink()
    assert local_copy(net) == other
