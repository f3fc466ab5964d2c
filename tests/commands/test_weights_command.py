"""``evcap weights`` and ``evcap plugins``: where weights come from, fetched ahead of time, imported without pickle."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evcap_cli import Backbone, WeightsSource, plugins
from evcap_cli.backbones.loading import load_backbones
from evcap_cli.errors import WeightsError
from tests.backbones.serving import Net, Server, serving
from tests.commands.small import evcap


class Mute(Net):
    """A backbone that fails to say where its weights come from."""

    spec = replace(Net.spec, name="mute")

    def weights_source(self) -> WeightsSource:
        raise RuntimeError("no\nidea")


class Lazy(Net):
    """Weights have a source, but nothing fetches them."""

    spec = replace(Net.spec, name="lazy")

    fetch_weights = Backbone.fetch_weights


def state(wide: bool = False) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {f"module.{name}": tensor for name, tensor in torch.nn.Linear(12 if wide else 3, 4).state_dict().items()}


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backbones net, mute and lazy beside the bundled ones, an empty torch hub, nobody on the network."""
    for cls in (Net, Mute, Lazy):
        name = cls.spec.name
        monkeypatch.setitem(plugins.registry().backbones, name, cls)
        monkeypatch.setitem(plugins.registry().origin, ("backbone", name), f"evcap-{name}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(saved({"state_dict": state()})) as address:
        monkeypatch.setattr(Net, "address", address)
        yield address


def listed(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Mapping[str, object]]:
    capsys.readouterr()
    evcap("weights", "list", *arguments, "--json")
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


@pytest.mark.slow
def test_the_list_says_source_licence_and_whether_it_is_here(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = listed(capsys, "net", "lite")
    assert list(before) == ["net", "lite-appearance", "lite-motion", "lite-object", "lite-audio"]
    source = {"source": "Net weights V1", "location": f"{served}/net.pth", "license": "CC0-1.0"}
    assert before["net"] == {"name": "net", "kind": "appearance", **source, "here": None}
    assert before["lite-audio"]["source"] is None
    assert Server.requested == []
    assert evcap("weights", "fetch", "net") == 0
    assert listed(capsys, "net")["net"]["here"] == str(Path("torch/hub/checkpoints/net.pth").resolve())
    assert evcap("weights", "list", "net", "lite") == 0
    table = capsys.readouterr().out
    for part in ("Net weights V1", "CC0-1.0", "needs none", "net.pth"):
        assert part in table


def test_the_list_holds_every_backbone_and_survives_one_that_cannot_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert evcap("weights", "list") == 3
    assert "no idea" in capsys.readouterr().out
    rows = listed(capsys)
    assert set(rows) == set(plugins.registry().backbones) | {"smolvlm2", "qwen3-vl", "gemma-4"}
    assert rows["gemma-4"]["kind"] == "captioner"
    assert rows["smolvlm2"]["location"] == "hf-hub:HuggingFaceTB/SmolVLM2-500M-Video-Instruct"
    assert (rows["smolvlm2"]["download"], rows["smolvlm2"]["license"]) == ("2.0 GB", "Apache-2.0")
    assert "no idea" in str(rows["mute"]["error"])


def test_a_fetched_file_is_what_loading_uses(served: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evcap("weights", "fetch", "net", "net") == 0
    told = capsys.readouterr().err
    assert f"{served}/net.pth" in told
    assert "licence: CC0-1.0" in told
    assert "1 of 1 backbone is ready" in told
    assert evcap("weights", "fetch", "--appearance", "net") == 0
    assert "here already" in capsys.readouterr().err
    loaded = load_backbones({"appearance": "net"})["appearance"]
    assert Server.requested == ["/net.pth"]
    assert torch.equal(loaded.model.weight, state()["module.weight"])  # type: ignore[attr-defined]


def test_modern_is_fetched_without_a_step_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the hub client's own calls, which here put a file where the client would have put it."""

    def stored(repository: str, *names: str) -> Path:
        folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / ("5" * 40)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_bytes(b"weights")
        return folder

    def snapshot(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert revision is None
        assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in allow_patterns)
        return str(stored(repository, "config.json", "model.safetensors"))

    def file(repo_id: str, filename: str, **_: object) -> str:
        return str(stored(repo_id, filename) / filename)

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("evcap_cli.backbones.hub.silence", lambda address: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", file)
    assert evcap("weights", "fetch", "modern") == 0
    lines = capsys.readouterr().err.splitlines()
    ends = [line for line in lines if "is here now" in line]
    assert [line.rpartition("(")[2] for line in ends] == [
        f"licence: {name})" for name in ("Apache-2.0", "MIT", "Apache-2.0", "CC-BY-SA-3.0")
    ]
    assert all(".safetensors" in line or "SigLIP2" in line for line in ends)
    assert "4 of 4 backbones are ready" in lines
    assert all(row["here"] for row in listed(capsys, "modern").values())
    assert evcap("weights", "fetch", "modern") == 0
    assert capsys.readouterr().err.count("is here already") == 4


def test_failures_are_a_line_each_and_the_exit_code_counts(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["net", "lite"], 3), (["net", "lazy", "mute"], 1), (["lite"], 0)):
        assert evcap("weights", "fetch", *arguments) == code
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 4
    for part in ("net.pth", "Net weights V1", "http://127.0.0.1:9/net.pth", "refused", "--weights net=PATH"):
        assert part in errors[0]
    assert "lazy" in errors[2]
    assert "no idea" in errors[3]
    assert "4 of 5 backbones are ready, 1 failed" in lines


def test_a_connection_cut_half_way_leaves_nothing(
    served: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Net, "file", "net-cut.pth")
    assert evcap("weights", "fetch", "net") == 1
    assert "net-cut.pth" in capsys.readouterr().err
    assert list(Path("torch/hub/checkpoints").iterdir()) == []


def test_weights_of_your_own_are_neither_fetched_nor_listed_as_ours(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.safetensors").write_bytes(b"weights")
    Path("evcap.toml").write_text(
        '[weights]\nnet = "own.safetensors"\nhubert = "elsewhere"\n[presets.mine]\nappearance = "net"\n'
        'audio = "lite-audio"\n'
    )
    assert evcap("weights", "fetch", "mine", "--config", "evcap.toml") == 0
    assert "uses own.safetensors" in capsys.readouterr().err
    assert listed(capsys, "mine", "--config", "evcap.toml")["net"]["source"] == "own.safetensors"
    assert evcap("weights", "fetch", "net", "--weights", "net=gone.safetensors") == 1
    assert "gone.safetensors: these weights do not exist" in capsys.readouterr().err
    assert evcap("weights", "fetch", "net", "--weights", "net=random:1") == 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["fetch"], "nothing to fetch is named"),
        (["fetch", "nowhere"], "nowhere"),
        (["fetch", "net:thin"], "thin"),
        (["list", "net:thin"], "thin"),
        (["import", "net", "net.pth"], "-o"),
        (["import", "net", "net.pth", "-o", "net.pth"], ".safetensors"),
        (["import", "nowhere", "net.pth", "-o", "a.safetensors"], "nowhere"),
        (["import", "net", "gone.pth", "-o", "a.safetensors"], "gone.pth: these weights do not exist"),
    ],
)
def test_wrong_calls_are_one_line(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.pth").write_bytes(saved(state()))
    assert evcap("weights", *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert part in lines[0]
    assert not Path("a.safetensors").exists()


def test_a_legacy_file_becomes_safetensors_that_load(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.pth").write_bytes(saved({"arch": "net", "state_dict": state()}))
    assert evcap("weights", "import", "net", "net.pth", "-o", "made/net.safetensors") == 0
    assert "--weights net=made/net.safetensors" in capsys.readouterr().err
    tensors = load_file("made/net.safetensors")
    assert all(torch.equal(tensors[name.removeprefix("module.")], tensor) for name, tensor in state().items())
    loaded = load_backbones({"appearance": "net"}, weights={"net": "made/net.safetensors"})["appearance"]
    assert loaded.weights_digest
    assert [path.name for path in Path("made").iterdir()] == ["net.safetensors"]


def test_tensors_that_share_memory_or_lie_askew_are_imported() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    Path("net.pth").write_bytes(saved({"module.weight": whole.t(), "module.bias": whole[0]}))
    assert evcap("weights", "import", "net", "net.pth", "-o", "net.safetensors") == 0
    assert torch.equal(load_file("net.safetensors")["weight"], whole.t())


@pytest.mark.slow
def test_safetensors_of_other_names_are_imported_but_never_over_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    save_file(state(), "old.safetensors")
    before = Path("old.safetensors").read_bytes()
    os.link("old.safetensors", "link.safetensors")
    for output in ("old.safetensors", "../" + Path.cwd().name + "/old.safetensors", "link.safetensors"):
        assert evcap("weights", "import", "net", "old.safetensors", "-o", output) == 2
        assert "is the input itself" in capsys.readouterr().err
    assert Path("old.safetensors").read_bytes() == before
    assert evcap("weights", "import", "net", "old.safetensors", "-o", "new.safetensors") == 0
    assert load_file("new.safetensors").keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (saved({"module.weight": torch.zeros(4, 3)}), "does not fit net"),
        (saved(state(wide=True)), "(4, 12), not (4, 3)"),
        (saved({"weight": torch.zeros(4, 3)}), "do not start with module."),
        (saved({"state_dict": {}}), "no tensors"),
        (saved(state())[:400], "not a whole PyTorch file"),
        (b"<html>", "executing"),
        (b"", "empty"),
    ],
)
def test_what_is_not_the_backbones_is_refused_whole(
    content: bytes, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.pth").write_bytes(content)
    assert evcap("weights", "import", "net", "net.pth", "-o", "net.safetensors") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: net.pth: ")
    assert part in lines[0]
    assert not Path("net.safetensors").exists()


def test_the_right_variant_takes_what_another_refuses() -> None:
    Path("net.pth").write_bytes(saved(state(wide=True)))
    assert evcap("weights", "import", "net:wide", "net.pth", "-o", "net.safetensors") == 0
    with pytest.raises(WeightsError, match=r"net\.safetensors: weights of another architecture.*--weights net="):
        load_backbones({"appearance": "net"}, weights={"net": "net.safetensors"})


def test_plugins_show_both_licences_whatever_one_backbone_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert evcap("plugins", "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["net"]["license"], rows["net"]["weights"]["license"]) == ("MIT", "CC0-1.0")
    assert rows["lite-audio"]["weights"] is None
    assert "no idea" in rows["mute"]["note"]
    assert evcap("plugins") == 0
    table = capsys.readouterr().out
    for part in ("CC0-1.0", "(no weights)", "no idea"):
        assert part in table
