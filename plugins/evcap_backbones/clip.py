"""Appearance by the picture tower of CLIP, through open_clip: the embedding as it is, not normalised (paper 1.1).

``clip`` is ViT-B/32 with OpenAI's weights; ``clip:ARCH/TAG`` any other pair that open_clip lists. Size, crop,
interpolation, mean and std are open_clip's for that pair. Only the picture tower is built and loaded: text is never
read. Weights are safetensors, or pickles of tensors read with ``weights_only``; OpenAI's own TorchScript archives are
programs and are refused (open_clip keeps the same weights as safetensors on the hub, and those are the default).

Notation: N frames, H x W pixels, D the width of the joint embedding, 512 for ViT-B/32.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_cli.backbones.contract import Backbone, BackboneSpec, FrameInput, WeightsSource
from evcap_cli.errors import WeightsError, one_line
from evcap_cli.reading.regular import check_regular
from evcap_cli.reading.typed import read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

DEFAULT_ARCH: Final = "ViT-B-32-quickgelu"
"""OpenAI trained with QuickGELU; the same layers with GELU take the same weights and give other vectors."""
DEFAULT_TAG: Final = "openai"
DEFAULT_SOURCE: Final = WeightsSource(
    "open_clip ViT-B-32-quickgelu/openai", "hf-hub:timm/vit_base_patch32_clip_224.openai", license="Apache-2.0"
)
"""Written out, so that listing backbones imports no model library; a test compares it with open_clip's own entry. The
licence is what the hub repository says; OpenAI itself names none for its weights."""
TOWER: Final = "visual."
CONFIG_FILE: Final = "open_clip_config.json"
HUB_FILES: Final = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Where open_clip looks in a repository that names no file, in this order."""
SIGLIP: Final = re.compile(r"timm/ViT-.*SigLIP.*")
"""Google's SigLIP and SigLIP 2 as open_clip keeps them: the one family whose pages all name the same licence."""
_NO_TEXT: Final = {"context_length": 1, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1}
"""open_clip builds no model without a text tower: this one costs nothing, and needs no tokenizer of the hub."""
_PRECISION: Final = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class Clip(Backbone):
    """What ``encode_image`` of an open_clip model gives, one row a frame."""

    # a test compares it with open_clip's own configuration, so that naming the default costs no import of open_clip
    spec = BackboneSpec(
        name="clip",
        kind="appearance",
        dim=512,
        version="1",
        input=FrameInput(
            size=(224, 224),
            fit="crop",
            interpolation="bicubic",
            mean=(0.48145466, 0.4578275, 0.40821073),
            std=(0.26862954, 0.26130258, 0.27577711),
        ),
        license="MIT",
        weights=f"{DEFAULT_ARCH}/{DEFAULT_TAG}",
    )
    tower: nn.Module

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(variant, options)
        self.arch, self.tag = (DEFAULT_ARCH, DEFAULT_TAG) if variant is None else _parts(variant)

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``clip:ARCH/TAG``; ``clip:ARCH`` means OpenAI's weights where there are any.

        Raises:
            ValueError: for an architecture or tag open_clip does not have, a tag trained with another activation, a
                preparation evcap does not do, or any option.
        """
        if options:
            raise ValueError(f"clip has no option {next(iter(options))!r}")
        if variant is None:
            return cls.spec
        arch, tag = _parts(variant)
        config = _config(arch)
        return replace(
            cls.spec,
            dim=config["embed_dim"],
            weights=f"{arch}/{tag}" if tag else None,
            input=_input(config, _pretrained(arch, tag), f"clip:{arch}"),
        )

    def weights_source(self) -> WeightsSource | None:
        """Where open_clip finds the tag's weights; None where the architecture was given without a tag."""
        if not self.tag:
            return None
        if (self.arch, self.tag) == (DEFAULT_ARCH, DEFAULT_TAG):
            return DEFAULT_SOURCE
        entry = _pretrained(self.arch, self.tag)
        name = f"open_clip {self.arch}/{self.tag}"
        if entry.get("hf_hub"):
            repository, _, file = entry["hf_hub"].rpartition("/")
            license_ = "Apache-2.0" if SIGLIP.fullmatch(repository) else "unknown"
            return WeightsSource(name, f"hf-hub:{repository}", license_, file)
        return WeightsSource(name, entry["url"], "unknown")

    def fetch_weights(self) -> None:
        self._downloaded()

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """open_clip's own names; the prefix that data-parallel training leaves is taken off.

        Raises:
            ValueError: there is no picture tower among them.
        """
        named = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
        if not any(name.startswith(TOWER) for name in named):
            raise ValueError(f"these are not open_clip's weights: no tensor is called {TOWER}...")
        return named

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:
        import torch

        from evcap_cli.backbones.weights import load_strictly, seeded

        with seeded(0):
            tower = _built(self.arch, torch.float32)
        load_strictly(tower, _of_tower(tensors), source=f"clip:{self.arch}")

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        from evcap_cli.backbones import weights as room

        seed = room.random_seed(weights)
        # the draw of a tower that will be overwritten must not move anyone's generator either
        with room.seeded(seed or 0):
            tower = _built(self.arch, dtype)
        if seed is not None:
            tensors = tower.state_dict()
        else:
            file = self._downloaded() if weights is None else self._local(Path(weights))
            legacy = weights is None and file.suffix != ".safetensors"
            tensors = _of_tower(room.read_legacy(file) if legacy else room.read_tensors(file))
            room.load_strictly(tower, tensors, source=str(file))
        self.weights_digest = room.state_digest(tensors)
        self.tower = tower.eval().requires_grad_(False).to(device)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe frames (N, 3, H, W) -> (N, D)."""
        if not len(batch):
            return batch.new_empty(0, self.spec.dim)  # open_clip's transformers cannot reshape nothing
        output: Any = self.tower(batch)
        # CoCa's tower gives its tokens, too
        embedding: Tensor = output[0] if isinstance(output, tuple) else output
        return embedding

    def _downloaded(self) -> Path:
        """The default weights on this machine, fetched where they are not there yet.

        Raises:
            WeightsError: there are none for this variant, or they cannot be had.
        """
        from evcap_cli.backbones.downloading import fetch, unreachable
        from evcap_cli.backbones.weights import HUB

        source = self.weights_source()
        if source is None:
            raise WeightsError(
                "has no default weights", path=f"clip:{self.arch}", hint="name a tag, clip:ARCH/TAG, or give --weights"
            )
        if not source.location.startswith(HUB):
            return fetch(source)
        import open_clip
        from huggingface_hub import try_to_load_from_cache

        repository = source.location.removeprefix(HUB)
        # the hub's client would try the network first, for minutes where there is none
        for name in (source.file,) if source.file else HUB_FILES:
            cached = try_to_load_from_cache(repository, name)
            if isinstance(cached, str):
                return Path(cached)
        try:
            return Path(open_clip.download_pretrained({"hf_hub": f"{repository}/{source.file}"}))
        except Exception as problem:  # open_clip wraps whatever the hub's client raised
            raise unreachable(source, source.file or HUB_FILES[0], problem) from problem

    def _local(self, path: Path) -> Path:
        """The file of weights at ``path``, a file or a folder as open_clip writes them for the hub.

        Raises:
            WeightsError: the folder is incomplete, or its model or preparation is another than this variant's.
        """
        if not path.is_dir():
            return path
        address = f"clip:{self.arch}"
        hint = "name the .safetensors file itself"
        if (path / CONFIG_FILE).exists():
            check_regular(path / CONFIG_FILE, error=WeightsError, hint=hint)
        config = read_json(dict[str, Any], path / CONFIG_FILE, error=WeightsError, hint=hint)
        try:
            model, prepared = config["model_cfg"], config.get("preprocess_cfg") or {}
            same = _fingerprint(model) == _fingerprint(_config(self.arch))
            same_input = _input(model, {**_preprocessing({}), **prepared}, address) == self.spec.input
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise WeightsError(
                f"its {CONFIG_FILE} cannot be read ({one_line(problem)})", path=path, hint=hint
            ) from problem
        if not same or not same_input:
            what = "describes another picture tower" if not same else "prepares pictures in another way"
            raise WeightsError(
                f"its {CONFIG_FILE} {what} than {address}", path=path, hint="name its architecture: clip:ARCH/TAG"
            )
        for name in ("open_clip_model.safetensors", "model.safetensors"):
            if (path / name).is_file():
                return path / name
        raise WeightsError(
            "holds no open_clip_model.safetensors", path=path, hint="evcap weights import clip FILE -o OUT.safetensors"
        )


def _parts(variant: str) -> tuple[str, str]:
    """ARCH and TAG of a variant; the tag is OpenAI's where it is left out and there is one, else empty."""
    arch, _, tag = variant.partition("/")
    if tag:
        return arch, tag
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(arch)
    if tags and DEFAULT_TAG not in tags:
        raise ValueError(f"clip:{arch} needs a tag, clip:{arch}/TAG; one of: {', '.join(tags)}")
    return arch, DEFAULT_TAG if tags else ""


def _config(arch: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture.

    Raises:
        ValueError: there is none.
    """
    import open_clip

    if arch not in open_clip.list_models():
        raise ValueError(
            f"clip has no variant {arch!r}; see open_clip.list_pretrained(), such as {DEFAULT_ARCH}/openai"
        )
    config: dict[str, Any] = open_clip.get_model_config(arch)
    return config


def _pretrained(arch: str, tag: str) -> dict[str, Any]:
    """open_clip's entry of a tag: source and preparation; the usual preparation where there is no tag.

    Raises:
        ValueError: no such tag, or one that was trained with another activation.
    """
    import open_clip

    if not tag:
        return _preprocessing({})
    entry: dict[str, Any] = open_clip.get_pretrained_cfg(arch, tag)
    if not entry:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ValueError(f"clip:{arch} has no weights {tag!r}; one of: {tags}")
    # the other way round nothing is known: some architectures of open_clip have QuickGELU, their tags do not say so
    if entry.get("quick_gelu", False) and not _config(arch).get("quick_gelu", False):
        raise ValueError(
            f"clip:{arch}/{tag} was trained with QuickGELU, which {arch} is not; take clip:{arch}-quickgelu/{tag}"
        )
    return {**_preprocessing({}), **entry}


def _preprocessing(changed: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's usual preparation of pictures."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), dict(changed))
    return merged


def _input(config: Mapping[str, Any], prepared: Mapping[str, Any], address: str) -> FrameInput:
    """How open_clip prepares pictures, in evcap's words.

    Raises:
        ValueError: evcap has no words for it.
    """
    side = config["vision_cfg"].get("image_size", 224)
    height, width = (side, side) if isinstance(side, int) else side
    mode, interpolation = prepared["resize_mode"], prepared["interpolation"]
    known = mode == "squash" or (mode == "shortest" and height == width)
    if not known or interpolation not in ("bilinear", "bicubic"):
        raise ValueError(f"{address} wants pictures resized by {mode}, {interpolation}, which evcap does not do")
    return FrameInput(
        size=(height, width),
        fit="stretch" if mode == "squash" else "crop",
        interpolation=interpolation,
        mean=tuple(prepared["mean"]),
        std=tuple(prepared["std"]),
    )


def _fingerprint(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the picture tower is made of; defaults that a file leaves out count as given."""
    from open_clip import CLIPVisionCfg

    vision = {key: value for key, value in config["vision_cfg"].items() if key != "timm_model_pretrained"}
    return config["embed_dim"], bool(config.get("quick_gelu", False)), CLIPVisionCfg(**vision)


def _of_tower(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The picture tower's tensors of a whole model's, by the tower's own names."""
    return {name.removeprefix(TOWER): tensor for name, tensor in tensors.items() if name.startswith(TOWER)}


def _built(arch: str, dtype: torch.dtype) -> Any:
    """The picture tower of an architecture, freshly drawn on the CPU; in half precision, norms stay float32."""
    import open_clip

    precision = _PRECISION[str(dtype).removeprefix("torch.")]
    with _quiet():
        model = open_clip.create_model(
            arch, load_weights=False, pretrained_text=False, precision=precision, text_cfg=dict(_NO_TEXT)
        )
    return model.visual


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warning that no weights were loaded: evcap loads them itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
