"""Sound through networks of transformers that are built like HuBERT: one row for every 20 ms of mono sound at 16 kHz.

``NAME:ORG/NAME`` is another network of the hub. ``--option NAME.layer=N`` takes the features after N transformer
layers, counted as transformers counts hidden states: 0 is what enters the first layer, the default is the last layer's
output (with the final norm, where the network has one).

Sound comes in chunks of 30 s that share 4 s, all on one grid of steps, and is never padded: the first convolution of
the base networks is normalised over time, so padding would change every step. For the same reason steps of different
chunks are not exactly those of the whole sound (figures in ``docs/fidelity.md``); sound of up to 30 s is one chunk.

Notation: N chunks, S samples, D = 768 (1024 for large, 1280 for extra large); steps = (S - 400) // 320 + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evcap_backbones import hub_files
from evcap_backbones.hub_backbone import HUB_ID, HubBackbone, Published
from evcap_backbones.options import whole_number
from evcap_backbones.speech_network import NO_MASKING, OUTSIDE_SHAPES
from evcap_cli.backbones.contract import AudioInput, BackboneSpec
from evcap_cli.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

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
BASE_LAYERS: Final = 12
SPEECH_INPUT: Final = AudioInput(
    rate=RATE,
    # whole steps and the end of the last one's window: nothing of a chunk is wasted
    chunk_seconds=(CHUNK_STEPS * HOP + WINDOW - HOP) / RATE,
    overlap_seconds=(SHARED_STEPS * HOP + WINDOW - HOP) / RATE,
    hop_seconds=HOP / RATE,
    window_seconds=WINDOW / RATE,
)


class SpeechBackbone(HubBackbone):
    """Hidden states of a network, one row a step; subclasses say of which family."""

    title: ClassVar[str]
    fixed = NO_MASKING
    outside_shapes: ClassVar[tuple[str, ...]] = OUTSIDE_SHAPES
    network: nn.Module
    normalise: bool

    def __init__(self, variant: str | None = None, options: Mapping[str, str] | None = None) -> None:
        super().__init__(variant, options)
        name = self.spec.name
        self.layer = whole_number(f"{name}.layer", self.options["layer"]) if "layer" in self.options else None

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        """The spec of ``NAME:ORG/NAME``.

        Raises:
            ValueError: for a variant that is no repository, a width that is not known, an option other than layer and
                dim, or a layer that the network does not have.
        """
        name = cls.spec.name
        unknown = next((option for option in options if option not in ("layer", "dim")), None)
        if unknown is not None:
            raise ValueError(f"{name} has no option {unknown!r}; it has layer and dim")
        repository = variant or cls.default()
        if not HUB_ID.fullmatch(repository):
            raise ValueError(
                f"{name} has no variant {variant!r}; a variant is a hub repository, such as {cls.default()}"
            )
        known = cls.published.get(repository)
        if known is None and "dim" not in options:
            raise ValueError(
                f"how wide {name}:{repository} is cannot be known here: "
                f"give --option {name}.dim=N, the hidden_size of its config.json"
            )
        dim = whole_number(f"{name}.dim", options["dim"]) if "dim" in options else known.dim if known else 0
        if dim < 1:
            raise ValueError(f"{name}.dim must be at least 1, got {dim}")
        if "layer" in options:
            layer = whole_number(f"{name}.layer", options["layer"])
            if "dim" not in options and known is not None and layer > _layers(known):
                raise ValueError(f"{name}.layer must be from 0 to {_layers(known)}, got {layer}")
        return replace(cls.spec, dim=dim, weights=repository)

    @property
    def known(self) -> Published | None:
        """None with the option dim, too: the network is then another than the repository's."""
        return None if "dim" in self.options else super().known

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's tensors of a pytorch_model.bin.

        Raises:
            ValueError: they are not those of such a network.
        """
        from evcap_backbones.speech_network import renamed

        return renamed(super().import_state(tensors), f"{self.model_type}.", self.title)

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:
        from evcap_backbones.speech_network import drawn
        from evcap_cli.backbones.weights import filled

        filled(partial(drawn, self.known_config()), tensors, source=self.repository)

    def normalises(self, config: Any) -> bool:  # noqa: ARG002  for families
        """Whether sound is brought to mean 0 and variance 1 first, where no preprocessor's config says so."""
        return True

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        from evcap_backbones import speech_network as networks
        from evcap_cli.backbones import weights as room
        from evcap_cli.backbones.identity import digest_of

        seed = room.random_seed(weights)
        if seed is not None:
            config, source = self.known_config(), str(weights)
            self.normalise = self.normalises(config)
            with room.seeded(seed):
                network = networks.drawn(config)
            tensors = network.state_dict()
        else:
            file, config, tensors = self.read(weights)
            source = str(file)
            self.normalise = self._prepared(file, config)
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
            hint = f"give {self.spec.name}.layer from 0 to {layers}"
            raise WeightsError(f"has {layers} layers, not {self.layer}", path=source, hint=hint)
        outside = {name: getattr(config, name) for name in self.outside_shapes}
        self.weights_digest = digest_of([room.state_digest(tensors), outside, self.normalise])
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

    def _prepared(self, file: Path, config: Any) -> bool:
        """What the preprocessor's config says of normalising; the family's habit where it is silent or not there."""
        prepared = hub_files.preparation_of(file)
        if prepared is None:
            return self.normalises(config)
        place, content = prepared
        value = content.get("do_normalize", True)  # as transformers reads it
        if not isinstance(value, bool):
            raise WeightsError(f"do_normalize is {value!r}, not true or false", path=place, hint=hub_files.AGAIN)
        return value

    def _check(self, config: Any, source: str) -> None:
        """See that a network makes the steps and features that the spec declares.

        Raises:
            WeightsError: it does not.
        """
        name = self.spec.name
        if config.hidden_size != self.spec.dim:
            raise WeightsError(
                f"has {config.hidden_size} features a step, not {self.spec.dim}",
                path=source,
                hint=f"name its size, such as {name}:{list(self.published)[-1]}, or give --option "
                f"{name}.dim={config.hidden_size}",
            )
        hop, window = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=False):
            hop, window = hop * stride, window + (kernel - 1) * hop
        if (hop, window) != (HOP, WINDOW):
            raise WeightsError(
                f"makes steps of {window} samples every {hop}, not of {WINDOW} every {HOP}",
                path=source,
                hint="networks with other convolutions need a plugin of their own",
            )


def _layers(known: Published) -> int:
    return int(known.config.get("num_hidden_layers", BASE_LAYERS))
