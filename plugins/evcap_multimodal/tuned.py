"""Captions by an adapter that ``evcap train --model multimodal`` trained, on the base model that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evcap_cli.backbones.identity import digest_of
from evcap_cli.checkpoints.adapter import Adapter
from evcap_cli.errors import CheckpointError
from evcap_cli.systems.clip_captioner import CaptionerIdentity, CaptionerOptions, FrameRequest
from evcap_multimodal import folders, tuning
from evcap_multimodal.captioner import MultimodalCaptioner
from evcap_multimodal.tunable import KEY

if TYPE_CHECKING:
    from pathlib import Path

    import torch


class TunedCaptioner(MultimodalCaptioner):
    """A base model with an adapter; prompt, frames and search are those of its training unless the user chooses.

    Raises:
        CheckpointError: the folder is damaged, or its base cannot be had.
    """

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        self.trained = Adapter.open(address, KEY)
        super().__init__(self.trained.base_address(), options)
        self.address = address
        # it was trained with one prompt, which is not to be changed
        self.takes_instructions = False

    @classmethod
    def defaults(cls, address: str) -> CaptionerOptions:
        trained = Adapter.open(address, KEY)
        config = trained.config
        return CaptionerOptions(
            prompt=config.prompt,
            max_words=config.max_words,
            beam_size=config.beam_size,
            lexicon=trained.lexicon,
            frames=FrameRequest(config.frames, config.longest_side),
        )

    @classmethod
    def check(cls, address: str, options: CaptionerOptions) -> None:
        super().check(Adapter.open(address, KEY).base_address(), options)

    @classmethod
    def local_copy(cls, address: str) -> Path | None:
        return folders.local_copy(Adapter.open(address, KEY).base_address())

    @property
    def identity(self) -> CaptionerIdentity:
        """Name and digest of the adapter, the base, and the prompt."""
        config = self.trained.config
        return CaptionerIdentity(
            name=self.trained.name,
            digest=self.trained.digest,
            revision=config.revision,
            style=config.style,
            prompt_digest=None if config.prompt is None else digest_of(config.prompt),
            base=config.base,
            labels_by=self.trained.labels_by or None,
        )

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        import torch

        config = self.trained.config
        found = self.folder.digest()
        if found != config.base_digest:
            raise CheckpointError(
                f"was trained on another {config.base} (digest {config.base_digest}) than the one in"
                f" {self.folder.path} (digest {found})",
                path=self.address,
                hint="copy that model again, or train on this one",
            )
        super().load(device, dtype)
        end = tuning.end_token(self.model, self.processor)
        tuning.let_end(self.model, end)
        # in half precision the sum would be rounded to what the base's weights can express
        tuning.apply_adapter(self.model, self.trained.files, self.address, merge=dtype == torch.float32)
