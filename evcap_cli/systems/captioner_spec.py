"""What a captioner declares to be listed, and which registered captioner opens what ``-c`` names.

Importing this module loads no torch: registering a captioner must stay cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evcap_cli.systems.factories import class_of

if TYPE_CHECKING:
    from evcap_cli.systems.clip_captioner import CaptionerOptions, ClipCaptioner


@dataclass(frozen=True)
class CaptionerSpec:
    """A captioner before it is loaded.

    Args:
        name: how users call it, as in ``-c NAME``.
        about: one line for ``evcap plugins``.
        factory: "module:Class" of its ``ClipCaptioner``, imported on use.
        address: what ``NAME`` stands for, such as "hf-hub:org/name"; empty: the class needs no address.
        download: size of its download for people, such as "2.0 GB"; the class then has ``fetch`` and ``local_copy``.
        license: of its weights.
        takes_audio: whether captions depend on the audio.
        schemes: beginnings of addresses that it opens, such as "https://".
        config_key: it opens folders and hub repositories whose config.json has this key at the top.
    """

    name: str
    about: str
    factory: str
    address: str = ""
    download: str = ""
    license: str = ""
    takes_audio: bool = False
    schemes: tuple[str, ...] = ()
    config_key: str = ""

    def open(self, address: str, options: CaptionerOptions) -> ClipCaptioner:
        """The captioner of ``address``, checked and without its weights.

        Raises:
            PluginError: its class cannot be imported, or is no ``ClipCaptioner``.
            EvcapError: whatever its class finds wrong with the address.
        """
        return self.captioner_class()(address, options)

    def captioner_class(self) -> type[ClipCaptioner]:
        """The class that ``factory`` names.

        Raises:
            PluginError: it cannot be imported, or is no ``ClipCaptioner``.
        """
        from evcap_cli.systems.clip_captioner import ClipCaptioner

        return class_of(self.factory, ClipCaptioner, f"captioner {self.name!r}")  # type: ignore[type-abstract]  # a base

    @property
    def fetches(self) -> bool:
        """Whether its class can download a model ahead of time."""
        from evcap_cli.systems.clip_captioner import ClipCaptioner

        return self.captioner_class().fetch.__func__ is not ClipCaptioner.fetch.__func__  # type: ignore[attr-defined]


def spec_by_name(specs: Mapping[str, CaptionerSpec], address: str) -> tuple[CaptionerSpec, str] | None:
    """The captioner that the text itself names, and its address; None where only a config.json can decide.

    Args:
        specs: registered captioners by name.
        address: the value of ``-c``.
    """
    if address in specs:
        return specs[address], specs[address].address or address
    for spec in specs.values():
        if any(address.startswith(scheme) for scheme in spec.schemes):
            return spec, address
    return None


def spec_by_config(specs: Mapping[str, CaptionerSpec], config: Mapping[str, Any]) -> CaptionerSpec | None:
    """The captioner that opens a folder with this config.json; None for evcap's own checkpoints and others."""
    if "format" in config and "evcap" in config:
        return None
    return next((spec for spec in specs.values() if spec.config_key and spec.config_key in config), None)
