"""Multimodal models whose adapter ``evcap train --model multimodal`` trains; ``tuning.py`` holds what is peft's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from evcap_cli.systems.tunable_captioner import AdapterOptions, TunableCaptioner
from evcap_multimodal import tuning
from evcap_multimodal.captioner import MultimodalCaptioner, Prepared

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from evcap_cli.systems.clip_captioner import Clip

KEY: Final = "evcap_adapter"
"""Of config.json."""


class TunableMultimodalCaptioner(MultimodalCaptioner, TunableCaptioner[Prepared]):
    """A model of transformers that can be tuned; see ``TunableCaptioner``."""

    adapter_key: ClassVar[str] = KEY
    adapter: AdapterOptions
    end: int

    @property
    def prompt_text(self) -> str | None:
        return self.instruction if self.family.takes_instructions else None

    def check_adapter(self, adapter: AdapterOptions) -> None:
        tuning.check_targets(self.folder, self.family, adapter, self.address)

    def add_adapter(self, adapter: AdapterOptions) -> dict[str, Parameter]:
        self.adapter = adapter
        self.end = tuning.end_token(self.model, self.processor)
        tuning.let_end(self.model, self.end)
        return tuning.add_adapter(self.model, self.family, adapter)

    def set_training(self, training: bool) -> None:
        self.model.train(training)

    def prepare_clip(self, clip: Clip) -> Prepared:
        return self.prepared(clip)

    def answer(self, text: str) -> Sequence[int]:
        return [*self._tokens(self.family.answer_start + text), self.end]

    def alike(self, prepared: Prepared) -> object:
        return prepared.signature

    @property
    def rows_at_once(self) -> int | None:
        return None if self.family.batches else 1

    def answer_loss(self, clips: Sequence[Prepared], answers: Sequence[Sequence[int]]) -> Tensor:
        return tuning.answer_loss(self.model, self._to_device(clips), answers)

    def adapter_files(self, tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
        repository = self.folder.name.removeprefix("hf-hub:")
        return tuning.adapter_files(tensors, self.family, self.adapter, repository, self.folder.revision)
