"""CLIP features are open_clip's ``encode_image``, whatever way the weights came."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from evcap_backbones.clip import Clip
from open_clip.factory import _rescan_model_configs
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from safetensors.torch import save_file

from evcap_cli.backbones.contract import FrameInput
from evcap_cli.errors import WeightsError
from evcap_cli.testing import check_backbone

CPU = torch.device("cpu")
TINY = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def tiny_architectures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """open_clip knows a tiny ViT, the same with GELU, a tiny ResNet and a tower like SigLIP's while these tests run."""
    folder = tmp_path_factory.mktemp("configs")
    before = list(open_clip.factory._MODEL_CONFIG_PATHS)
    resnet = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 32}
    for name, config in {
        "tiny": TINY,
        "tiny-gelu": {**TINY, "quick_gelu": False},
        "tiny-resnet": {**TINY, "vision_cfg": resnet},
        "tiny-siglip": {
            "embed_dim": 192,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 224,
                "timm_model_name": "vit_tiny_patch16_224",
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": TINY["text_cfg"],
        },
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS[:] = before
    _rescan_model_configs()


def drawn(arch: str = "tiny", seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return open_clip.create_model(arch, load_weights=False).eval()


def saved(model: torch.nn.Module, path: Path) -> str:
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return str(path)


def loaded(weights: str | None, variant: str | None = "tiny", dtype: torch.dtype = torch.float32) -> Clip:
    backbone = Clip(variant)
    backbone.load(weights, CPU, dtype)
    return backbone


def frames(side: int = 32, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("arch", ["tiny", "tiny-gelu", "tiny-resnet"])
def test_features_are_what_encode_image_gives(arch: str, tmp_path: Path) -> None:
    model = drawn(arch)
    backbone = loaded(saved(model, tmp_path / "w.safetensors"), arch)
    batch = frames(backbone.spec.input.size[0])  # type: ignore[union-attr,index]
    with torch.inference_mode():
        ours, theirs = backbone.extract(batch), model.encode_image(batch)
    assert ours.shape == (3, 24) == (3, backbone.spec.dim)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    # the published features are not normalised
    assert not torch.allclose(ours.norm(dim=1), torch.ones(3), atol=0.05)


def test_the_default_is_what_open_clip_says_of_it() -> None:
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    entry = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    prepared = merge_preprocess_dict(PreprocessCfg(), entry)
    assert prepared["resize_mode"] == "shortest"
    side = config["vision_cfg"]["image_size"]
    assert Clip().spec.dim == config["embed_dim"] == 512
    assert Clip().spec.input == FrameInput(
        size=(side, side),
        fit="crop",
        interpolation=prepared["interpolation"],
        mean=prepared["mean"],
        std=prepared["std"],
    )
    assert entry["quick_gelu"] is config["quick_gelu"] is True
    assert Clip("ViT-B-32-quickgelu/openai").spec == Clip("ViT-B-32-quickgelu").spec == Clip().spec
    source = Clip().weights_source()
    assert source is not None
    assert source.location == f"hf-hub:{entry['hf_hub'].rstrip('/')}"


def test_the_default_costs_no_import_of_open_clip() -> None:
    program = (
        "import sys; from evcap_backbones.clip import Clip; Clip(); print({'torch', 'open_clip'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_pair_open_clip_lists_has_a_spec_or_one_line_why_not() -> None:
    refused = []
    for arch, tag in open_clip.list_pretrained():
        try:
            backbone = Clip(f"{arch}/{tag}")
        except ValueError as problem:
            refused.append(str(problem))
            continue
        source = backbone.weights_source()
        assert source is not None
        assert source.location.startswith(("hf-hub:", "https://"))
    assert all("QuickGELU" in line for line in refused)
    assert len(refused) < 40


@pytest.mark.parametrize(
    ("variant", "options", "said"),
    [
        ("ViT-B-32/openai", {}, "take clip:ViT-B-32-quickgelu/openai"),
        ("ViT-B-32/nothing", {}, "one of: openai"),
        ("coca_ViT-B-32", {}, "needs a tag"),
        ("ViT-Z", {}, "no variant 'ViT-Z'"),
        (None, {"side": "3"}, "no option 'side'"),
    ],
)
def test_what_open_clip_does_not_have_is_refused(variant, options, said) -> None:
    with pytest.raises(ValueError, match=said):
        Clip(variant, options)


def hub_folder(folder: Path, config: dict, prepared: dict | None = None) -> str:
    folder.mkdir()
    saved(drawn(), folder / "open_clip_model.safetensors")
    whole = {"model_cfg": config, "preprocess_cfg": prepared or {}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole))
    return str(folder)


def test_a_folder_as_on_the_hub_is_read(tmp_path: Path) -> None:
    # defaults that the file spells out are no difference
    config = {**TINY, "vision_cfg": {**TINY["vision_cfg"], "mlp_ratio": 4.0}}  # type: ignore[dict-item]
    folder = hub_folder(tmp_path / "hub", config, {"mean": list(Clip().spec.input.mean)})  # type: ignore[union-attr]
    backbone = loaded(folder)
    assert torch.equal(backbone.extract(frames()), loaded(f"{folder}/open_clip_model.safetensors").extract(frames()))


@pytest.mark.parametrize(
    ("config", "prepared", "said"),
    [
        ({**TINY, "quick_gelu": False}, {}, "another picture tower"),
        ({**TINY, "embed_dim": 32}, {}, "another picture tower"),
        (TINY, {"mean": [0.5, 0.5, 0.5]}, "prepares pictures in another way"),
        (TINY, {"resize_mode": "longest"}, "cannot be read"),
        ({"embed_dim": 24}, {}, "cannot be read"),
    ],
)
def test_a_folder_of_another_model_is_refused_before_it_gives_wrong_vectors(config, prepared, said, tmp_path) -> None:
    with pytest.raises(WeightsError, match=said) as problem:
        loaded(hub_folder(tmp_path / "hub", config, prepared))
    assert "\n" not in str(problem.value)


def test_torchscript_archives_are_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(WeightsError, match="pickle"):
        loaded(str(path))


def test_default_weights_come_from_the_hub_as_tensors(tmp_path: Path, monkeypatch) -> None:
    requested = []
    path = saved(drawn(), tmp_path / "open_clip_model.safetensors")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    def from_hub(entry: dict[str, str]) -> str:
        requested.append(entry)
        return path

    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, tag: {"hf_hub": "org/tiny/", "quick_gelu": True})
    monkeypatch.setattr(open_clip, "download_pretrained", from_hub)
    backbone = loaded(None, "tiny/mine")
    backbone.fetch_weights()
    assert requested == [{"hf_hub": "org/tiny/"}] * 2
    assert backbone.weights_digest == loaded(path).weights_digest


def test_weights_in_the_hubs_cache_need_no_network(tmp_path: Path, monkeypatch) -> None:
    snapshot = tmp_path / "models--org--tiny" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--tiny" / "refs").mkdir()
    (tmp_path / "models--org--tiny" / "refs" / "main").write_text("0123")
    path = saved(drawn(), snapshot / "open_clip_model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, tag: {"hf_hub": "org/tiny/", "quick_gelu": True})
    monkeypatch.delattr(open_clip, "download_pretrained")
    assert loaded(None, "tiny/mine").weights_digest == loaded(path).weights_digest


def test_without_a_network_one_line_names_source_and_option(tmp_path: Path, monkeypatch) -> None:
    # the variables that conftest sets were read when the hub's client was imported
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as problem:
        Clip().fetch_weights()
    line = str(problem.value)
    assert "hf-hub:timm/vit_base_patch32_clip_224.openai" in line
    assert "--weights" in line
    assert "\n" not in line


def test_an_architecture_without_a_tag_needs_weights() -> None:
    with pytest.raises(WeightsError, match="no default weights"):
        loaded(None)


def test_a_legacy_file_is_checked_before_it_is_imported() -> None:
    state = drawn().state_dict()
    named = Clip("tiny").import_state({f"module.{name}": tensor for name, tensor in state.items()})
    Clip("tiny").check_state(named)
    with pytest.raises(ValueError, match="not open_clip's"):
        Clip("tiny").import_state({"conv1.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="has shape"):
        Clip("tiny-resnet").check_state({**drawn("tiny-resnet").state_dict(), "visual.conv1.weight": torch.zeros(1)})


def test_random_weights_are_drawn_from_their_seed_and_disturb_no_one() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = loaded("random:3"), loaded("random:3"), loaded("random:4")
    assert torch.equal(before, torch.get_rng_state())
    assert first.weights_digest == again.weights_digest != other.weights_digest
    assert torch.equal(first.extract(frames()), again.extract(frames()))


def test_half_precision_is_open_clips_own(tmp_path: Path) -> None:
    model = drawn()
    path = saved(model, tmp_path / "w.safetensors")
    theirs = open_clip.create_model("tiny", pretrained=path, precision="bf16").eval()
    batch = frames().bfloat16()
    with torch.inference_mode():
        assert torch.equal(loaded(path, dtype=torch.bfloat16).extract(batch), theirs.encode_image(batch))


@pytest.mark.slow
def test_it_keeps_the_contract() -> None:
    check_backbone(Clip, "tiny", weights="random:0")


@pytest.mark.slow
def test_siglip_2_is_open_clips_picture_tower(tmp_path: Path) -> None:
    """The tower is timm's and pools by attention; the text tower, most of the file, is not built."""
    tower = open_clip.create_model("tiny-siglip", load_weights=False).eval()
    backbone = loaded(saved(tower, tmp_path / "w.safetensors"), "tiny-siglip")
    with torch.inference_mode():
        ours, theirs = backbone.extract(frames(224)), tower.encode_image(frames(224))
    assert ours.shape == (3, 192)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    check_backbone(Clip, "tiny-siglip", weights=str(tmp_path / "w.safetensors"))


def test_siglip_2_is_declared_as_open_clip_prepares_it() -> None:
    backbone = Clip("ViT-B-16-SigLIP2-256/webli")
    assert backbone.spec.dim == 768
    assert backbone.spec.input == FrameInput(
        size=(256, 256), fit="stretch", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    source = backbone.weights_source()
    assert source is not None
    assert (source.location, source.license) == ("hf-hub:timm/ViT-B-16-SigLIP2-256", "Apache-2.0")
    # other repositories of the same hub say other things, or nothing
    other = Clip("ViT-B-32/laion2b_s34b_b79k").weights_source()
    assert other is not None
    assert other.license == "unknown"
