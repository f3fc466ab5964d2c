"""Without a network the hub's client fails at once; with one, or with what is needed here, nothing is different."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download

from evcap_cli import WeightsSource
from evcap_cli.backbones import hub
from evcap_cli.backbones.hub import within_reach
from evcap_cli.errors import WeightsError
from tests.backbones.serving import Server, serving

SOURCE = WeightsSource("HuBERT base", "hf-hub:org/hubert", "Apache-2.0", "model.safetensors")


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the hub, a hub that does not answer."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "*")


def put(tmp_path: Path) -> Path:
    """The weights in the hub's cache."""
    repository = tmp_path / "hub" / "models--org--hubert"
    file = repository / "snapshots" / ("0" * 40) / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return file


def test_the_hubs_client_fails_at_once_and_in_one_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(WeightsError) as caught, within_reach(SOURCE):
        hf_hub_download("org/hubert", "model.safetensors")
    assert waits == []  # the client alone tries six times, for half a minute
    text = str(caught.value)
    for part in ("model.safetensors", "HuBERT base", "hf-hub:org/hubert", "refused", "--weights NAME=PATH"):
        assert part in text
    assert "\n" not in text
    assert "HF_HUB_OFFLINE" not in text  # which the user never set
    assert caplog.records == []
    assert constants.HF_HUB_OFFLINE is False
    assert logging.getLogger("huggingface_hub").level != logging.ERROR


def test_a_backbones_own_line_keeps_its_file_and_gains_the_reason() -> None:
    with pytest.raises(WeightsError) as caught, within_reach(SOURCE):
        raise WeightsError("cannot be fetched", path="config.json")
    assert str(caught.value).startswith("config.json: HuBERT base cannot be downloaded from hf-hub:org/hubert (")
    assert "refused" in str(caught.value)


def test_without_an_answer_other_files_of_the_cache_still_load(tmp_path: Path) -> None:
    put(tmp_path)
    hub_source = WeightsSource("HuBERT base", "hf-hub:org/hubert", "Apache-2.0", "pytorch_model.bin")
    with within_reach(hub_source):
        assert constants.HF_HUB_OFFLINE is True
        found = hf_hub_download("org/hubert", "model.safetensors", cache_dir=tmp_path / "hub")
    assert Path(found).read_bytes() == b"weights"


def test_nothing_is_asked_where_it_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(address: str) -> None:
        raise AssertionError(address)

    monkeypatch.setattr(hub, "silence", never)
    with within_reach(None), within_reach(WeightsSource("Net", "https://download.pytorch.org/net.pth", "MIT")):
        pass
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(KeyError), within_reach(SOURCE):  # a choice of the user is left alone
        raise KeyError
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    put(tmp_path)
    with within_reach(SOURCE):
        pass


@pytest.mark.parametrize("path", ["", "/missing"])
def test_a_hub_that_answers_is_left_to_its_client(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(b"") as address:
        monkeypatch.setattr(constants, "ENDPOINT", address + path)
        offline = []
        with contextlib.suppress(KeyError), within_reach(SOURCE):
            offline.append(constants.HF_HUB_OFFLINE)
            raise KeyError
        assert offline == [False]
        assert Server.requested == [path or "/"]
