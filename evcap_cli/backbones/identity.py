"""What makes a feature what it is: digests of files and of backbones, the parts of a cache key."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import xxhash

from evcap_cli.backbones.contract import address_of
from evcap_cli.errors import OpenFailed, reason_of
from evcap_cli.reading.regular import open_regular

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import Backbone, BackboneSpec

READ_BYTES: Final = 1 << 20


def file_digest(path: Path) -> str:
    """xxh3_128 of a file's bytes, read as a stream.

    Raises:
        OpenFailed: it cannot be read, or is a pipe, a device or the like.
    """
    digest = xxhash.xxh3_128()
    try:
        with open_regular(path, error=OpenFailed) as file:
            block = bytearray(READ_BYTES)
            view = memoryview(block)
            while count := file.readinto(block):
                digest.update(view[:count])
    except OSError as problem:
        raise OpenFailed(
            f"cannot be read ({reason_of(problem)})",
            path=path,
            hint="check that it exists and its permissions",
        ) from problem
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """xxh3_128 of plain values, the same in every process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return xxhash.xxh3_128(text.encode()).hexdigest()


def spec_fields(spec: BackboneSpec) -> dict[str, Any]:
    """Everything of a spec that its features depend on: not the licence, not the batch size."""
    return {
        "name": spec.name,
        "kind": spec.kind,
        "dim": spec.dim,
        "version": spec.version,
        "input": {"class": type(spec.input).__name__, **asdict(spec.input)},
    }


@dataclass(frozen=True)
class BackboneIdentity:
    """A loaded backbone as the cache knows it.

    Args:
        address: NAME or NAME:VARIANT, for people.
        cache_identity: digest of its spec, variant, options, weights and number format.
    """

    address: str
    cache_identity: str

    @classmethod
    def of(cls, backbone: Backbone) -> BackboneIdentity:
        """The identity of a loaded backbone."""
        parts = {
            "spec": spec_fields(backbone.spec),
            "variant": backbone.variant,
            "options": dict(sorted(backbone.options.items())),
            "weights": backbone.weights_digest,
            "dtype": str(backbone.dtype).removeprefix("torch."),
        }
        return cls(address_of(backbone), digest_of(parts))
