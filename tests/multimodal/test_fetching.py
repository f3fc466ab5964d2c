"""Models of the hub ahead of time: fetched, listed, examined without a download, and captioned without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evcap_multimodal import loading
from evcap_multimodal.captioner import MultimodalCaptioner
from huggingface_hub import constants

from evcap_cli import console, plugins
from evcap_cli.app import run
from evcap_cli.backbones import hub as client
from evcap_cli.systems.captioner_spec import CaptionerSpec
from tests.checkpoints import test_hub_checkpoint
from tests.checkpoints.hub_server import Hub, Repository
from tests.features.films import make_film
from tests.multimodal.served_model import Model, serving
from tests.systems.test_clip_captioner import SPEC

hub = test_hub_checkpoint.hub
TINY = "hf-hub:org/tiny"


@pytest.fixture
def repository(hub: Hub, folder_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A model on the hub, which is called tiny, among files that nobody needs."""
    files = {path.name: path.read_bytes() for path in folder_of("git").iterdir() if path.is_file()}
    found = hub.put("org/tiny", {**files, "pytorch_model.bin": b"pickle", "code.py": b"1/0", "README.md": b"# tiny"})
    spec = plugins.captioners()["smolvlm2"]
    registered(monkeypatch, replace(spec, name="tiny", address=TINY, download="0.4 MB", license="MIT"))
    return found


def registered(monkeypatch: pytest.MonkeyPatch, spec: CaptionerSpec) -> None:
    monkeypatch.setitem(plugins.registry().captioners, spec.name, spec)
    monkeypatch.setitem(plugins.registry().origin, ("captioner", spec.name), "evcap-tiny")


def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def listed(name: str, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capfd.readouterr()
    assert run(["weights", "list", name, "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    return dict(row)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return make_film(tmp_path / "a.mp4", frames=4, sound=False)


@pytest.fixture
def dry(film: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def called(captioner: str, *more: str) -> tuple[int, str]:
        """Exit code and standard error of a dry run."""
        capfd.readouterr()
        output = film.with_name("out.srt")
        code = run(["caption", str(film), "-c", captioner, "-o", str(output), "--dry-run", *more])
        assert not output.exists()
        return code, capfd.readouterr().err

    return called


@pytest.mark.slow
def test_a_fetched_model_captions_without_a_network(
    hub: Hub, repository: Repository, film: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"name": "tiny", "kind": "captioner", "source": "org/tiny", "location": TINY, "license": "MIT"}
    assert listed("tiny", capfd) == {**row, "download": "0.4 MB", "here": None}
    assert run(["weights", "fetch", "tiny", "lite"]) == 0
    err = capfd.readouterr().err
    assert f"[5/5] tiny: fetching {TINY} (0.4 MB)" in err
    sizes = [
        len(content)
        for name, content in next(iter(repository.commits.values())).items()
        if name[-3:] not in ("bin", ".py", ".md")
    ]
    assert f"downloading org/tiny, {client.size_text(sum(sizes))} in all, to {constants.HF_HUB_CACHE}" in err
    assert "(licence: MIT)" in err
    assert "5 of 5 models are ready" in err
    assert not [line for line in hub.asked if line.endswith((".bin", ".py", ".md"))]
    folder = Path(listed("tiny", capfd)["here"])
    assert listed(TINY, capfd)["here"] == str(folder)
    assert (folder / "model.safetensors").is_file()

    without_network(monkeypatch)
    sent = len(hub.asked)
    assert run(["weights", "fetch", "tiny"]) == 0
    assert f"tiny is here already: {folder}" in capfd.readouterr().err
    output = film.with_name("out.jsonl")
    assert run(["caption", str(film), "-c", "tiny", "--max-words", "2", "-o", str(output)]) == 0
    assert json.loads(output.read_text())["checkpoint"]["revision"] == folder.name
    assert len(hub.asked) == sent


@pytest.mark.slow
def test_a_download_shows_how_far_it_is_without_a_terminal(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "PLAIN_INTERVAL_SECONDS", 0.0)
    assert run(["weights", "fetch", TINY]) == 0
    assert "downloading org/tiny: " in capfd.readouterr().err
    capfd.readouterr()
    assert run(["weights", "fetch", TINY, "-q"]) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_what_cannot_be_fetched_is_one_line(
    hub: Hub, repository: Repository, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.put("org/gated", {"config.json": b"{}"}, gated=True)
    hub.put("org/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"0" * 9})
    registered(monkeypatch, SPEC)
    registered(monkeypatch, replace(SPEC, name="by-hand", download="3 GB"))
    for names, code, said in (
        (["hf-hub:org/gated"], 1, "its owner grants access one by one; ask for it at http"),
        (["hf-hub:org/none"], 1, "no such repository"),
        (["hf-hub:org/bert"], 1, "is no model that writes about images or videos (bert)"),
        (["transformers"], 1, "names no model that can be downloaded; give hf-hub:ORG/NAME"),
        (["by-hand", "constant"], 3, "by-hand: cannot be fetched ahead of time; evcap caption -c by-hand"),
        (["smolvlm3"], 2, "no backbone or captioner named 'smolvlm3' is installed (backbones: "),
    ):
        assert run(["weights", "fetch", *names]) == code, names
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert said in errors[0]
    assert "smolvlm2, tiny, transformers); install the plugin" in errors[0]  # long lists are cut in their middle
    assert not [line for line in hub.asked if line.startswith("GET /lfs/")]
    without_network(monkeypatch)
    assert run(["weights", "fetch", "tiny"]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert sum("the hub does not answer" in line for line in lines) == 1
    assert lines[-1] == "0 of 1 captioner are ready, 1 failed"


@pytest.mark.slow
def test_a_dry_run_downloads_no_weights_and_says_what_is_wrong(
    hub: Hub,
    repository: Repository,
    folder_of: Callable[[str], Path],
    dry: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = next(iter(repository.commits.values()))
    hub.put("org/gated", {"config.json": b"{}"}, gated=True)
    hub.put("org/bare", {"config.json": whole["config.json"], "model.safetensors": b"0"})
    hub.put("org/pickle", {name: content for name, content in whole.items() if name != "model.safetensors"})
    base = {path.name: path.read_bytes() for path in folder_of("gemma3").iterdir() if path.is_file()}
    hub.put("org/base", {name: content for name, content in base.items() if name != "chat_template.jinja"})
    assert dry("tiny") == (0, "")
    for address, said in (
        ("hf-hub:org/gated", "its owner grants access one by one"),
        ("hf-hub:org/none", "no such repository"),
        ("hf-hub:org/bare", "holds no processor of images or videos"),
        ("hf-hub:org/pickle", "holds no model.safetensors"),
        ("hf-hub:org/base", "has no chat template: it is no instructed model"),
    ):
        code, err = dry(address)
        assert (code, len(err.splitlines())) == (2, 1)
        assert said in err
    code, err = dry("tiny", "--length-penalty", "1")
    assert (code, "--length-penalty means nothing" in err) == (2, True)
    assert not [line for line in hub.asked if line.startswith("GET /lfs/")]
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    monkeypatch.setattr("evcap_multimodal.families.Git.packages", ("nowhere",))
    assert "needs the package nowhere; pip install nowhere" in dry("tiny")[1]


@pytest.mark.slow
def test_a_dry_run_looks_at_folders_and_servers(
    folder_of: Callable[[str], Path],
    tmp_path: Path,
    dry: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MultimodalCaptioner, "load", lambda *_: pytest.fail("weights were read"))
    assert dry(str(folder_of("git"))) == (0, "")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "git"}')
    for address, said in (
        (str(tmp_path / "model"), "holds no model.safetensors"),
        (str(tmp_path / "none"), "no such checkpoint folder"),
        ("http://127.0.0.1:9/v1#tiny", "the server gives no answer"),
    ):
        code, err = dry(address)
        assert (code, len(err.splitlines())) == (2, 1)
        assert said in err
    with serving(Model()) as model:
        assert dry(f"{model.address}#tiny") == (0, "")
        code, err = dry(f"{model.address}#huge")
        assert not model.chats
    assert (code, "has no model 'huge'" in err) == (2, True)
    assert dry("demo", "--style", "factual")[0] == 2
