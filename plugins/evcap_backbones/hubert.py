"""Audio by HuBERT, through transformers (paper 1.1): one row of features for every 20 ms of mono sound at 16 kHz.

``hubert`` is facebook/hubert-base-ls960, ``hubert:ORG/NAME`` any other HuBERT of the hub. ``--option hubert.layer=N``
takes the features after N transformer layers, counted as transformers counts hidden states: 0 is what enters the first
layer, the default is the last layer's output (with the final norm, where the network has one).

Sound comes in chunks of 30 s that share 4 s, all on one grid of steps, and is never padded: the first convolution of
the base network is normalised over time, so padding would change every step. For the same reason steps of different
chunks are not exactly those of the whole sound (figures in ``docs/fidelity.md``); sound of up to 30 s is one chunk.

Notation: N chunks, S samples, D = 768 (1024 for large, 1280 for extra large); steps = (S - 400) // 320 + 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evcap_backbones.hubert_network import BASE, DEFAULT, SIZES
from evcap_cli.backbones.contract import AudioInput, Backbone, BackboneSpec, WeightsSource
from evcap_cli.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

RATE: Final = 16000
HOP: Final = 320
WINDOW: Final = 400
"""Samples from one step to the next, and samples that a step is made of before the transformer."""
CHUNK_STEPS: Final = 1500
SHARED_STEPS: Final = 200
"""Half of them on either side are given up: more than the 64 steps that the convolution of positions reaches."""
NORM_EPSILON: Final = 1e-7
"""Of the variance of a chunk's samples, as in transformers' feature extractor."""
HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Hubert(Backbone):
    """Hidden states of a HuBERT network, one row a step."""

    spec = BackboneSpec(
        name="hubert",
        kind="audio",
        dim=BASE.dim,
        version="1",
        input=AudioInput(
            rate=RATE,
            # whole steps and the end of the last one's window: nothing of a chunk is wasted
            chunk_seconds=(CHUNK_STEPS * HOP + WINDOW - HOP) / RATE,
            overlap_seconds=(SHARED_STEPS * HOP + WINDOW - HOP) / RATE,
            hop_seconds=HOP / RATE,
            window_seconds=WINDOW / RATE,
        ),
        license="Apache-2.0",
        weights=DEFAULT,
        # 1,500 steps keep a CPU busy, and most videos have one chunk
        batch_size=1,
    )
    network: nn.Module
    normalise: bool

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(variant, options)
        self.repository = variant or DEFAULT
        self.size = None if "dim" in self.options else SIZES.get(self.repository)
        self.layer = _whole_number("layer", self.options["layer"]) if "layer" in self.options else None

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``hubert:ORG/NAME``.

        Raises:
            ValueError: for a variant that is no repository, a width that is not known, an option other than layer and
                dim, or a layer that the network does not have.
        """
        unknown = next((name for name in options if name not in ("layer", "dim")), None)
        if unknown is not None:
            raise ValueError(f"hubert has no option {unknown!r}; it has layer and dim")
        repository = variant or DEFAULT
        if not HUB_ID.fullmatch(repository):
            raise ValueError(f"hubert has no variant {variant!r}; a variant is a hub repository, such as {DEFAULT}")
        size = SIZES.get(repository)
        if size is None and "dim" not in options:
            raise ValueError(
                f"how wide hubert:{repository} is cannot be known here: "
                "give --option hubert.dim=N, the hidden_size of its config.json"
            )
        dim = _whole_number("dim", options["dim"]) if "dim" in options else size.dim if size else 0
        if dim < 1:
            raise ValueError(f"hubert.dim must be at least 1, got {dim}")
        if "layer" in options:
            layer = _whole_number("layer", options["layer"])
            if "dim" not in options and size is not None and layer > size.layers:
                raise ValueError(f"hubert.layer must be from 0 to {size.layers}, got {layer}")
        return replace(cls.spec, dim=dim, weights=repository)

    def weights_source(self) -> WeightsSource:
        """The variant's repository on the hub."""
        return _hub(self.repository)

    def fetch_weights(self) -> None:
        from evcap_backbones import hubert_files

        hubert_files.fetch(self.weights_source())

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's tensors of a pytorch_model.bin.

        Raises:
            ValueError: they are not HuBERT's.
        """
        from evcap_backbones.hubert_files import renamed

        return renamed(tensors)

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:
        from evcap_backbones.hubert_network import drawn
        from evcap_cli.backbones.weights import filled

        filled(partial(drawn, self._published_config()), tensors, source=self.repository)

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        from evcap_backbones import hubert_files
        from evcap_backbones import hubert_network as networks
        from evcap_cli.backbones import weights as room
        from evcap_cli.backbones.identity import digest_of

        seed = room.random_seed(weights)
        if seed is not None:
            config, self.normalise, source = self._published_config(), True, str(weights)
            with room.seeded(seed):
                network = networks.drawn(config)
            tensors = network.state_dict()
        else:
            place, known = self._place(weights)
            config, tensors, self.normalise = hubert_files.read(place, known)
            source = str(place)
            self._check(config, source)
            if not 1 <= config.num_hidden_layers <= len(tensors):
                raise WeightsError(
                    f"its config.json claims {config.num_hidden_layers} layers, it holds {len(tensors)} tensors",
                    path=source,
                    hint="download both again",
                )
            network = room.filled(partial(networks.drawn, config), tensors, source=source)
        layers = config.num_hidden_layers
        if self.layer is not None and self.layer > layers:
            raise WeightsError(
                f"has {layers} layers, not {self.layer}", path=source, hint=f"give hubert.layer from 0 to {layers}"
            )
        parts = [room.state_digest(tensors), networks.outside_shapes(config), self.normalise]
        self.weights_digest = digest_of(parts)
        network = networks.baked(network.eval().requires_grad_(False))
        if self.layer is not None and self.layer < layers:
            network = networks.cut(network, self.layer)
        self.network = network.to(device, dtype)

    def extract(self, batch: Tensor) -> Tensor:
        """Describe sound (N, S) -> (N, steps, D); no step where S is less than a window."""
        rows, samples = batch.shape
        steps = max((samples - WINDOW) // HOP + 1, 0)
        if not rows or not steps:
            return batch.new_zeros(rows, steps, self.spec.dim)
        if self.normalise:
            exact = batch.float()
            exact = exact - exact.mean(1, keepdim=True)
            deviation = (exact.square().mean(1, keepdim=True) + NORM_EPSILON).sqrt()
            batch = (exact / deviation).to(batch.dtype)
        features: Tensor = self.network(batch).last_hidden_state
        return features

    def _place(self, weights: str | None) -> tuple[Path, Any]:
        """The folder or file of ``weights``, and the config to use where there is none.

        Raises:
            WeightsError: a hub repository that is not here and cannot be fetched.
        """
        from evcap_backbones import hubert_files

        if weights is not None:
            path = Path(weights)
            if path.exists() or path.suffix == ".safetensors" or not HUB_ID.fullmatch(weights):
                return path, self._known_config()
        repository = weights or self.repository
        known = self._known_config() if repository == self.repository else None
        return hubert_files.found(_hub(repository)), known

    def _known_config(self) -> Any:
        """The HubertConfig of a published size; None for other repositories and widths."""
        from evcap_backbones.hubert_network import config_of

        return None if self.size is None else config_of(self.size)

    def _published_config(self) -> Any:
        """The same where a config must be known.

        Raises:
            WeightsError: it is not.
        """
        config = self._known_config()
        if config is None:
            raise WeightsError(
                "its architecture is known from its config.json only",
                path=f"{self.spec.name}:{self.repository}",
                hint="give a transformers folder, config.json and model.safetensors, with --weights NAME=FOLDER",
            )
        return config

    def _check(self, config: Any, source: str) -> None:
        """See that a network makes the steps and features that the spec declares.

        Raises:
            WeightsError: it does not.
        """
        if config.hidden_size != self.spec.dim:
            raise WeightsError(
                f"has {config.hidden_size} features a step, not {self.spec.dim}",
                path=source,
                hint=f"name its size, such as hubert:facebook/hubert-large-ll60k, or give --option "
                f"{self.spec.name}.dim={config.hidden_size}",
            )
        hop, window = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=False):
            hop, window = hop * stride, window + (kernel - 1) * hop
        if (hop, window) != (HOP, WINDOW):
            raise WeightsError(
                f"makes steps of {window} samples every {hop}, not of {WINDOW} every {HOP}",
                path=source,
                hint="HuBERT networks with other convolutions need a plugin of their own",
            )


def _hub(repository: str) -> WeightsSource:
    from evcap_backbones.hubert_files import FILE
    from evcap_cli.backbones.weights import HUB

    license_ = "Apache-2.0" if repository in SIZES else "unknown"
    return WeightsSource(f"transformers {repository}", f"{HUB}{repository}", license_, FILE)


def _whole_number(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ValueError(f"hubert.{name} must be a whole number, got {text!r}")
    return int(text)
