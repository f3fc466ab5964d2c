"""The paper's system as a captioning system: ``network/`` is its home, this is how the rest of evcap reaches it."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from evcap_cli.network.batch import ClipBatch
from evcap_cli.network.config import CaptionerConfig, SystemConfig
from evcap_cli.network.decoder import DecoderMemory, DecoderState
from evcap_cli.network.losses import Losses, Targets, losses
from evcap_cli.network.model import Captioner, CaptionerOutput
from evcap_cli.systems.contract import CaptionModel, Prepared


class Fusion(Captioner, CaptionModel):
    """``Captioner`` with what every system has; the same weights by the same names."""

    Config: ClassVar[type[SystemConfig]] = CaptionerConfig
    config: CaptionerConfig
    takes_lengths: ClassVar[bool] = True

    def losses(self, output: CaptionerOutput, targets: Targets) -> Losses:
        """Section 1.6."""
        return losses(output, targets, self.config.loss)

    def prepare(self, batch: ClipBatch) -> Prepared:
        """Sections 1.1 to 1.4, and the emotion reported for each clip."""
        encoded = self.encode(batch)
        return Prepared(self.decoder.prepare(encoded), encoded.categories)

    def start(self, memory: DecoderMemory) -> DecoderState:
        """See ``CaptionModel``."""
        return self.decoder.start(memory)

    def step(self, memory: DecoderMemory, state: Any, tokens: Tensor) -> tuple[Tensor, DecoderState]:
        """See ``CaptionModel``."""
        return self.decoder.step(memory, state, tokens)
