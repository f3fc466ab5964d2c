"""evcap: captions that say what happens in a video and which emotion it conveys.

What scripts, notebooks and plugins import is here; every other module is private. Names load on first use, so that
``import evcap_cli`` stays cheap.

```python
import evcap_cli as evcap

captioner = evcap.load_captioner("demo")
record = captioner.caption("clip.mp4")
print(record.captions[0].text, record.captions[0].emotion.category)
```

The library prints nothing: what a command would say on the way goes to the logger "evcap_cli". It installs no signal
handlers and never ends the program; everything it raises on purpose is an ``EvcapError``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from evcap_cli.version import __version__, hookimpl

if TYPE_CHECKING:
    from evcap_cli.backbones.contract import (
        AudioInput,
        Backbone,
        BackboneSpec,
        ClipInput,
        Detections,
        FrameInput,
        WeightsSource,
    )
    from evcap_cli.backbones.weights import load_strictly, random_seed, read_tensors, seeded, state_digest
    from evcap_cli.captioning.captioner import Captioner, load_captioner
    from evcap_cli.captioning.extracting import extract_features
    from evcap_cli.captioning.options import CaptionOptions
    from evcap_cli.captioning.run import Summary, caption_videos
    from evcap_cli.checkpoints.checkpoint import Checkpoint
    from evcap_cli.engines.options import EngineOptions
    from evcap_cli.errors import (
        BackboneError,
        CaptionerError,
        CaptionerStopped,
        CheckpointError,
        DataError,
        DecodeFailed,
        DecoderCrashed,
        DecodeTimeout,
        EvcapError,
        NameTooLong,
        NoVideoStream,
        OpenFailed,
        OutOfMemory,
        PluginError,
        TrainingError,
        UploadError,
        UsageError,
        VideoError,
        WeightsError,
        WorkerCrashed,
        WorkersGone,
        WriteError,
    )
    from evcap_cli.features.options import FeatureOptions
    from evcap_cli.features.streams import ClipFeatures, StreamFeatures
    from evcap_cli.network.batch import ClipBatch
    from evcap_cli.network.config import SystemConfig
    from evcap_cli.network.losses import Targets
    from evcap_cli.network.packing import WordScores
    from evcap_cli.output.records import Caption, Emotion, Media, Record
    from evcap_cli.output.writers import Writer
    from evcap_cli.scoring.score_captions import score_captions
    from evcap_cli.scoring.score_texts import Scores
    from evcap_cli.search.beam_search import BeamConfig, beam_search
    from evcap_cli.search.rerank import Rerank
    from evcap_cli.systems.captioner_spec import CaptionerSpec
    from evcap_cli.systems.clip_captioner import (
        CaptionerIdentity,
        CaptionerOptions,
        Clip,
        ClipCaption,
        ClipCaptioner,
        FrameRequest,
        Reads,
        Several,
        SeveralCaptioner,
        WaveformRequest,
    )
    from evcap_cli.systems.contract import CaptionModel, PreparedClips, WeightedTerms
    from evcap_cli.systems.spec import SystemSpec
    from evcap_cli.systems.tunable_captioner import AdapterOptions, TunableCaptioner

_HOMES: Final = {
    "evcap_cli.backbones.contract": "AudioInput Backbone BackboneSpec ClipInput Detections FrameInput WeightsSource",
    "evcap_cli.backbones.weights": "load_strictly random_seed read_tensors seeded state_digest",
    "evcap_cli.captioning.captioner": "Captioner load_captioner",
    "evcap_cli.captioning.extracting": "extract_features",
    "evcap_cli.captioning.options": "CaptionOptions",
    "evcap_cli.captioning.run": "Summary caption_videos",
    "evcap_cli.checkpoints.checkpoint": "Checkpoint",
    "evcap_cli.engines.options": "EngineOptions",
    "evcap_cli.errors": "BackboneError CaptionerError CaptionerStopped CheckpointError DataError DecodeFailed"
    " DecodeTimeout DecoderCrashed EvcapError NameTooLong NoVideoStream OpenFailed OutOfMemory PluginError"
    " TrainingError UploadError UsageError VideoError WeightsError WorkerCrashed WorkersGone WriteError",
    "evcap_cli.features.options": "FeatureOptions",
    "evcap_cli.features.streams": "ClipFeatures StreamFeatures",
    "evcap_cli.network.batch": "ClipBatch",
    "evcap_cli.network.config": "SystemConfig",
    "evcap_cli.network.losses": "Targets",
    "evcap_cli.network.packing": "WordScores",
    "evcap_cli.output.records": "Caption Emotion Media Record",
    "evcap_cli.output.writers": "Writer",
    "evcap_cli.scoring.score_captions": "score_captions",
    "evcap_cli.scoring.score_texts": "Scores",
    "evcap_cli.search.beam_search": "BeamConfig beam_search",
    "evcap_cli.search.rerank": "Rerank",
    "evcap_cli.systems.captioner_spec": "CaptionerSpec",
    "evcap_cli.systems.clip_captioner": "CaptionerIdentity CaptionerOptions Clip ClipCaption ClipCaptioner FrameRequest"
    " Reads Several SeveralCaptioner WaveformRequest",
    "evcap_cli.systems.contract": "CaptionModel PreparedClips WeightedTerms",
    "evcap_cli.systems.spec": "SystemSpec",
    "evcap_cli.systems.tunable_captioner": "AdapterOptions TunableCaptioner",
}
"""Which module each public name is at home in."""
_MODULES: Final = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AdapterOptions",
    "AudioInput",
    "Backbone",
    "BackboneError",
    "BackboneSpec",
    "BeamConfig",
    "Caption",
    "CaptionModel",
    "CaptionOptions",
    "Captioner",
    "CaptionerError",
    "CaptionerIdentity",
    "CaptionerOptions",
    "CaptionerSpec",
    "CaptionerStopped",
    "Checkpoint",
    "CheckpointError",
    "Clip",
    "ClipBatch",
    "ClipCaption",
    "ClipCaptioner",
    "ClipFeatures",
    "ClipInput",
    "DataError",
    "DecodeFailed",
    "DecodeTimeout",
    "DecoderCrashed",
    "Detections",
    "Emotion",
    "EngineOptions",
    "EvcapError",
    "FeatureOptions",
    "FrameInput",
    "FrameRequest",
    "Media",
    "NameTooLong",
    "NoVideoStream",
    "OpenFailed",
    "OutOfMemory",
    "PluginError",
    "PreparedClips",
    "Reads",
    "Record",
    "Rerank",
    "Scores",
    "Several",
    "SeveralCaptioner",
    "StreamFeatures",
    "Summary",
    "SystemConfig",
    "SystemSpec",
    "Targets",
    "TrainingError",
    "TunableCaptioner",
    "UploadError",
    "UsageError",
    "VideoError",
    "WaveformRequest",
    "WeightedTerms",
    "WeightsError",
    "WeightsSource",
    "WordScores",
    "WorkerCrashed",
    "WorkersGone",
    "WriteError",
    "Writer",
    "__version__",
    "beam_search",
    "caption_videos",
    "extract_features",
    "hookimpl",
    "load_captioner",
    "load_strictly",
    "random_seed",
    "read_tensors",
    "score_captions",
    "seeded",
    "state_digest",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
