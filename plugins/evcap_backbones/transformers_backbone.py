"""A picture or video network of transformers as a backbone: made by an Auto class, loaded strictly, checked.

transformers itself gives tensors of older files today's names; what it would leave out or draw is refused here.
Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from evcap_backbones import hub_files
from evcap_backbones.hub_backbone import HubBackbone
from evcap_cli.backbones.contract import FrameInput, address_of
from evcap_cli.backbones.quiet_transformers import quiet
from evcap_cli.errors import WeightsError, one_line

if TYPE_CHECKING:
    from torch import Tensor

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_DEPTHS: Final = ("layers", "depths")
"""Ends of the names of fields that count parts of a network."""


class TransformersBackbone(HubBackbone):
    """Subclasses say which network it is, and what of it the spec and the digest depend on."""

    heads: ClassVar[tuple[str, ...]] = ()
    """Tensors of published files that the network does without, by how their names begin."""
    outside_shapes: ClassVar[tuple[str, ...]]
    """Fields of the configuration that change features and cannot be seen in the tensors: part of the digest."""

    @abstractmethod
    def auto_class(self, config: Any) -> str:
        """The Auto class of transformers that makes the network."""

    @abstractmethod
    def declared(self) -> dict[str, Any]:
        """Fields of the configuration that the spec decides."""

    @property
    def side(self) -> int:
        """Height and width of the square pictures, in pixels."""
        size = cast(FrameInput, self.spec.input).size
        return 0 if size is None else size[0]

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:
        self._filled(self.known_config(), tensors, address_of(self))

    def loaded(self, weights: str | None) -> Any:
        """The network on the CPU, in float32, not to be trained: drawn (random:SEED), of a file, folder or the hub.

        Raises:
            WeightsError: there are no weights, or they do not fit.
        """
        from evcap_cli.backbones import weights as room
        from evcap_cli.backbones.identity import digest_of

        seed = room.random_seed(weights)
        if seed is not None:
            config = self.known_config()
            with room.seeded(seed):
                network = self._auto(config).from_config(config)
            tensors = network.state_dict()
        else:
            file, config, tensors = self.read(weights)
            self._check(file, config, len(tensors))
            network = self._filled(config, tensors, str(file))
        outside = [str(attrgetter(name)(config)) for name in self.outside_shapes]
        # of the tensors as they were read: names that transformers changes later change no digest
        self.weights_digest = digest_of([room.state_digest(tensors), outside])
        return network.eval().requires_grad_(False)

    def _auto(self, config: Any) -> Any:
        import transformers

        return getattr(transformers, self.auto_class(config))

    def _filled(self, config: Any, tensors: Mapping[str, Tensor], source: str) -> Any:
        """A network with ``tensors`` in it, and nothing else.

        Raises:
            WeightsError: one is missing, unknown, of another shape, or not finite.
        """
        import torch

        from evcap_cli.backbones.weights import COUNTER, check_finite, check_fit, seeded

        check_finite(tensors, source=source)
        try:
            with quiet():
                with torch.device("meta"), seeded(0):
                    empty = self._auto(config).from_config(config)
                needed = sum(map(_size, empty.parameters()))
                if needed > 2 * sum(map(_size, tensors.values())):  # would be drawn, in memory, before it is refused
                    check_fit([], [], [], [f"holds less than half of the {needed:,} numbers it needs"], source=source)
                with seeded(0):
                    network, found = type(empty).from_pretrained(
                        None,
                        config=config,
                        state_dict=dict(tensors),
                        dtype=torch.float32,
                        ignore_mismatched_sizes=True,
                        output_loading_info=True,
                    )
        except WeightsError:
            raise
        except Exception as problem:  # of transformers' own checks of configurations, of torch: no common base
            cause = f"cannot be loaded as a {self.model_type} network ({one_line(problem)})"
            raise WeightsError(cause, path=source, hint="check --weights NAME=PATH") from problem
        shapes = sorted((name, tuple(has), tuple(needs)) for name, has, needs in found["mismatched_keys"])
        unknown = sorted(name for name in found["unexpected_keys"] if not name.startswith(self.heads))
        missing = sorted(name for name in found["missing_keys"] if not name.endswith(COUNTER))
        check_fit(missing, unknown, shapes, source=source)
        return network

    def _check(self, file: Path, config: Any, tensors: int) -> None:
        """See that the network is the one that the spec declares, and was trained on pictures prepared as it says.

        Raises:
            WeightsError: it is not.
        """
        from evcap_cli.backbones.weights import check_fit

        hint = f"name its variant, such as {self.spec.name}:{list(self.published)[-1]}"
        for name, value in self.declared().items():
            found = getattr(config, name)
            if found != value:
                raise WeightsError(f"is a network with {name} {found}, not {value}", path=file, hint=hint)
        deepest = max(_depths(config.to_dict()), default=0)
        if deepest > tensors:  # layers without any tensor: a network of that depth is not even made
            others = [f"holds {tensors} tensors, too few for {deepest} layers"]
            check_fit([], [], [], others, source=str(file))
        prepared = hub_files.preparation_of(file)
        if prepared is not None:
            place, content = prepared
            other = _other_preparation(content, cast(FrameInput, self.spec.input))
            if other is not None:
                raise WeightsError(f"prepares pictures in another way than {address_of(self)} ({other})", path=place)


def _other_preparation(content: Mapping[str, Any], declared: FrameInput) -> str | None:
    """What a preprocessor does that the spec does not say; None where all that is written agrees."""
    size = content.get("size")
    if isinstance(size, Mapping) and declared.size is not None:
        height, width = declared.size
        short = declared.short_side or min(declared.size)
        expected = {"height": height, "width": width, "shortest_edge": short}
        for name, value in size.items():
            if value is not None and expected.get(name) != value:
                return f"size {name} {value}"
    normalised = content.get("do_normalize")
    for name, plain, numbers in (("image_mean", 0.0, declared.mean), ("image_std", 1.0, declared.std)):
        given = content.get(name) if normalised is True else [plain] * 3 if normalised is False else None
        if given is None:
            continue
        try:
            same = all(math.isclose(float(a), b, abs_tol=1e-6) for a, b in zip(given, numbers, strict=True))
        except (TypeError, ValueError):
            same = False
        if not same:
            return f"{name} {given}"
    return None


def _depths(content: object, name: str = "") -> Iterator[int]:
    """Every number of layers in a configuration."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _depths(value, str(key))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _depths(value, name)
    elif isinstance(content, int) and name.endswith(_DEPTHS):
        yield content


def _size(tensor: Tensor) -> int:
    return tensor.numel()
