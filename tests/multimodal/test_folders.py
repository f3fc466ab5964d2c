import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from evcap_multimodal import folders, loading
from evcap_multimodal.captioner import MultimodalCaptioner

from evcap_cli import plugins
from evcap_cli.errors import CheckpointError, EvcapError, PluginError
from evcap_cli.systems.captioner_spec import spec_by_config, spec_by_name
from evcap_cli.systems.captioners import open_captioner
from evcap_cli.systems.clip_captioner import CaptionerOptions
from tests.multimodal.conftest import LEXICON, clip
from tests.multimodal.tiny import edited

Folders = Callable[[str], Path]


@pytest.fixture
def copy_of(folder_of: Folders, tmp_path: Path) -> Folders:
    """A folder of one's own to break."""
    return lambda family: Path(shutil.copytree(folder_of(family), tmp_path / "model"))


def problem_of(folder: Path | str) -> str:
    """The line that a user sees."""
    with pytest.raises(EvcapError) as caught:
        MultimodalCaptioner(str(folder), CaptionerOptions()).load(torch.device("cpu"), torch.float32)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_what_is_no_captioner_is_refused_before_weights_are_read(copy_of: Folders) -> None:
    folder = copy_of("git")
    (folder / "model.safetensors").write_bytes(b"no weights")
    edited(folder, "config.json", model_type="bert")
    assert "is no model that writes about images or videos (bert)" in problem_of(folder)
    edited(folder, "config.json", model_type="florence9", auto_map={"AutoModel": "modeling.Model"})
    assert "needs code of its own (florence9), which evcap never runs" in problem_of(folder)
    edited(folder, "config.json", auto_map=None)
    assert "does not have (florence9); pip install -U transformers" in problem_of(folder)
    edited(folder, "config.json", model_type=None)
    assert "does not have (None)" in problem_of(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("config.json", "holds no config.json"),
        ("model.safetensors", "holds no model.safetensors"),
        ("processor_config.json", "holds no processor of images or videos"),
        ("tokenizer.json", "holds no tokenizer"),
    ],
)
def test_missing_files_are_named(lost: str, said: str, copy_of: Folders) -> None:
    folder = copy_of("git")
    (folder / lost).rename(folder / "pytorch_model.bin")
    assert said in problem_of(folder)


@pytest.mark.slow
def test_a_missing_shard_is_named(copy_of: Folders) -> None:
    folder = copy_of("git")
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    assert "holds no model-2.safetensors" in problem_of(folder)


@pytest.mark.slow
def test_no_chat_template_means_no_instructed_model(copy_of: Folders) -> None:
    folder = copy_of("gemma3")
    (folder / "chat_template.jinja").unlink()
    assert "has no chat template" in problem_of(folder)


@pytest.mark.slow
def test_a_chat_template_that_makes_no_prompt_is_seen_before_any_video(copy_of: Folders) -> None:
    folder = copy_of("gemma3")
    (folder / "chat_template.jinja").write_text("{% for message in messages %}")
    assert "its chat template cannot be used (TemplateSyntaxError" in problem_of(folder)


@pytest.mark.slow
def test_weights_must_be_all_there(copy_of: Folders) -> None:
    from safetensors.torch import load_file, save_file

    folder = copy_of("git")
    tensors = load_file(folder / "model.safetensors")
    lost = [name for name in tensors if "visual_projection" in name]
    save_file(
        {name: value for name, value in tensors.items() if name not in lost},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    assert "holds no weights for" in problem_of(folder)
    assert "visual_projection" in problem_of(folder)


@pytest.mark.slow
def test_damaged_weights_are_one_line(copy_of: Folders) -> None:
    folder = copy_of("git")
    (folder / "model.safetensors").write_bytes(b"rubbish")
    assert "cannot be loaded (" in problem_of(folder)


@pytest.mark.slow
def test_a_missing_package_is_named(folder_of: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.smolvlm import processing_smolvlm

    folder = folder_of("smolvlm")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    assert "needs the package num2words; pip install num2words" in problem_of(folder)


@pytest.mark.slow
def test_no_memory_is_said(folder_of: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(transformers.AutoModelForMultimodalLM, "from_pretrained", full)
    assert "does not fit into memory; take a smaller model" in problem_of(folder_of("git"))


@pytest.mark.slow
def test_no_folder_and_no_address(tmp_path: Path) -> None:
    assert "no such folder" in problem_of(tmp_path / "nothing")
    assert "is no address on the hub" in problem_of("hf-hub:a/b/c/d")


@pytest.fixture
def hub(folder_of: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache that holds org/tiny at one commit."""
    from huggingface_hub import constants

    root = tmp_path / "hub"
    commit = "a" * 40
    repository = root / "models--org--tiny"
    shutil.copytree(folder_of("git"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return repository / "snapshots" / commit


@pytest.mark.slow
def test_what_the_hubs_cache_holds_needs_no_network(
    hub: Path, folder_of: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "snapshot", lambda *_, **__: pytest.fail("the network was used"))
    captioner = MultimodalCaptioner("hf-hub:org/tiny@main", CaptionerOptions())
    identity = captioner.identity
    assert (identity.name, identity.revision) == ("hf-hub:org/tiny", hub.name)
    assert identity.digest == MultimodalCaptioner(str(folder_of("git")), CaptionerOptions()).identity.digest


@pytest.mark.slow
def test_a_download_takes_neither_pickles_nor_code_and_reads_the_config_first(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hub / "model.safetensors").unlink()
    fetched: list[Any] = []

    def fetch(address: str, patterns: Any, revision: str | None = None, *, large: bool = False) -> Path:
        fetched.append((patterns, revision))
        return hub

    monkeypatch.setattr(folders, "snapshot", fetch)
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        MultimodalCaptioner("hf-hub:org/tiny", CaptionerOptions())
    assert fetched == [(folders.SMALL, None), (folders.PATTERNS, hub.name)]
    assert not {"*.bin", "*.py", "*.pt", "*"} & set(folders.PATTERNS)
    edited(hub, "config.json", model_type="bert")
    fetched.clear()
    with pytest.raises(CheckpointError, match="is no model that writes"):
        MultimodalCaptioner("hf-hub:org/tiny", CaptionerOptions())
    assert len(fetched) == 1


@pytest.mark.slow
def test_without_network_one_line_says_so(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evcap_cli.checkpoints import hub as client

    monkeypatch.setattr(client, "silence", lambda _: OSError("no route to host"))
    shutil.rmtree(hub)
    assert "cannot be fetched: the hub does not answer (no route to host)" in problem_of("hf-hub:org/tiny")


@pytest.mark.slow
def test_digest_follows_what_decides_the_captions(copy_of: Folders) -> None:
    folder = copy_of("git")
    digest = MultimodalCaptioner(str(folder), CaptionerOptions()).identity.digest
    (folder / "README.md").write_text("a card")
    (folder / "onnx").mkdir()
    assert MultimodalCaptioner(str(folder), CaptionerOptions()).identity.digest == digest
    edited(folder, "generation_config.json", repetition_penalty=1.3)
    assert MultimodalCaptioner(str(folder), CaptionerOptions()).identity.digest != digest


@pytest.mark.slow
def test_identity_names_style_and_prompt(folder_of: Folders) -> None:
    def identity(family: str, **options: Any) -> dict[str, Any]:
        return MultimodalCaptioner(str(folder_of(family)), CaptionerOptions(**options)).identity.record_fields()

    plain, own = identity("gemma3"), identity("gemma3", prompt="What happens?")
    assert (plain["name"], plain["style"], own["style"]) == ("gemma3", "emotional", "file")
    assert plain["digest"] == own["digest"]
    assert len({plain["prompt"], own["prompt"], identity("gemma3", max_words=9)["prompt"]}) == 3
    assert set(identity("git")) == {"name", "digest"}


@pytest.mark.slow
def test_code_of_a_folder_never_runs(copy_of: Folders, tmp_path: Path) -> None:
    folder, proof = copy_of("gemma3"), tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(proof)!r}, 'w')\nclass Model: pass\n")
    edited(folder, "config.json", auto_map={"AutoModelForMultimodalLM": "code.Model", "AutoConfig": "code.Model"})
    edited(folder, "processor_config.json", auto_map={"AutoProcessor": "code.Model"})
    captioner = MultimodalCaptioner(str(folder), CaptionerOptions(max_words=1, lexicon=LEXICON))
    captioner.load(torch.device("cpu"), torch.float32)
    assert not isinstance(captioner.caption([clip(1)])[0], Exception)
    assert not proof.exists()


@pytest.mark.slow
def test_short_names_and_addresses_find_the_captioner() -> None:
    specs = plugins.captioners()
    spec, address = spec_by_name(specs, "smolvlm2") or pytest.fail("not registered")
    assert address.startswith("hf-hub:HuggingFaceTB/")
    assert spec.license == "Apache-2.0"
    assert specs["gemma-4"].takes_audio
    assert not specs["smolvlm2"].takes_audio
    assert spec_by_name(specs, "runs/mine") is None
    assert spec_by_config(specs, {"model_type": "qwen3_vl"}) is specs["transformers"]
    own = json.loads((Path(plugins.__file__).parent / "demo/checkpoint/config.json").read_text())
    assert spec_by_config(specs, own) is None
    assert spec_by_config(specs, {**own, "model_type": "x"}) is None
    with pytest.raises(PluginError, match="no captioner named 'other'"):
        plugins.captioner("other")


@pytest.mark.slow
def test_a_folder_opens_by_what_its_config_says(copy_of: Folders, tmp_path: Path, hub: Path) -> None:
    options = CaptionerOptions()
    found = open_captioner(str(copy_of("git")), options)
    assert isinstance(found, MultimodalCaptioner)
    assert isinstance(open_captioner("hf-hub:org/tiny", options), MultimodalCaptioner)
    own = Path(plugins.__file__).parent / "demo" / "checkpoint"
    assert open_captioner(str(own), options) is None
    assert open_captioner("demo", options) is None
    (tmp_path / "model" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json.*copy the model's folder again"):
        open_captioner(str(tmp_path / "model"), options)
    (tmp_path / "model" / "vocabulary.json").write_text("[]")  # evcap's own, which loading it says more of
    assert open_captioner(str(tmp_path / "model"), options) is None


@pytest.mark.slow
def test_loading_says_nothing(folder_of: Folders, capfd: pytest.CaptureFixture[str]) -> None:
    folder = folder_of("smolvlm")
    capfd.readouterr()
    captioner = MultimodalCaptioner(str(folder), CaptionerOptions(max_words=1, lexicon=LEXICON))
    captioner.load(torch.device("cpu"), torch.float32)
    captioner.caption([clip(1)])
    assert capfd.readouterr() == ("", "")
    assert loading.chat_template(captioner.processor) is not None
