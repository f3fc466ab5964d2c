"""The hub's networks in a size that a test can wait for; apart from the tests, because declaring imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from evcap_backbones.hub_backbone import Published
from evcap_backbones.rtdetr import RTDetr
from evcap_backbones.videomae import VideoMAE
from evcap_backbones.vjepa2 import VJepa2
from evcap_backbones.wavlm import WavLM

from evcap_cli.backbones.contract import AudioInput

SIDE = 32
_VIDEOMAE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIDE,
    "patch_size": 8,
    "num_frames": 4,
}


class SmallVideoMAE(VideoMAE):
    """Four frames of 32 x 32 pixels; fine-tuned, or not."""

    published: ClassVar[Mapping[str, Published]] = {
        "small/tuned": Published(32, "CC-BY-NC-4.0", {**_VIDEOMAE, "num_labels": 5}),
        "small/pretrained": Published(32, "CC-BY-NC-4.0", {**_VIDEOMAE, "use_mean_pooling": False}),
    }
    spec = replace(VideoMAE.spec, dim=32, input=replace(VideoMAE.spec.input, size=(SIDE, SIDE), frames=4))


class SmallVJepa2(VJepa2):
    """Eight frames of 32 x 32 pixels."""

    published: ClassVar[Mapping[str, Published]] = {
        "small/vjepa2": Published(
            48,
            "MIT",
            {
                "hidden_size": 48,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "crop_size": SIDE,
                "patch_size": 8,
                "frames_per_clip": 16,
                "pred_hidden_size": 24,
                "pred_num_attention_heads": 2,
                "pred_num_hidden_layers": 1,
            },
        )
    }
    spec = replace(VJepa2.spec, dim=48, input=replace(VJepa2.spec.input, size=(SIDE, SIDE), short_side=36, frames=8))


class SmallRTDetr(RTDetr):
    """Frames of 96 x 96 pixels, twenty queries."""

    published: ClassVar[Mapping[str, Published]] = {
        "small/rtdetr": Published(
            32,
            "Apache-2.0",
            {
                "num_labels": 6,
                "backbone_config": {
                    "model_type": "rt_detr_resnet",
                    "hidden_sizes": [8, 16, 24, 32],
                    "depths": [1, 1, 1, 1],
                    "layer_type": "basic",
                    "embedding_size": 8,
                    "out_indices": [2, 3, 4],
                },
                "d_model": 32,
                "encoder_hidden_dim": 32,
                "encoder_in_channels": [16, 24, 32],
                "encoder_ffn_dim": 48,
                "encoder_attention_heads": 2,
                "decoder_in_channels": [32, 32, 32],
                "decoder_ffn_dim": 48,
                "decoder_attention_heads": 2,
                "decoder_layers": 2,
                "num_queries": 20,
                "num_denoising": 4,
            },
        )
    }
    spec = replace(RTDetr.spec, dim=32, input=replace(RTDetr.spec.input, size=(96, 96)))


class SmallWavLM(WavLM):
    """A narrow network, and chunks of a second."""

    published: ClassVar[Mapping[str, Published]] = {
        "small/wavlm": Published(
            32,
            "CC-BY-SA-3.0",
            {
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "intermediate_size": 48,
                "conv_dim": (16,) * 7,
                "num_conv_pos_embeddings": 16,
                "num_conv_pos_embedding_groups": 2,  # as in test_hubert.py
                "num_buckets": 20,
                "max_bucket_distance": 50,
            },
        )
    }
    spec = replace(WavLM.spec, dim=32, input=AudioInput(16000, 16400 / 16000, 3600 / 16000, 0.02, 0.025))
