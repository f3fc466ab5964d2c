"""Tiny random models of several families, saved as hub folders with processors and tokenizers made here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

SPECIAL = ["<pad>", "<|end|>", "<|user|>", "<|assistant|>"]
TEXT = [
    "a man is happily walking in the park while a woman sadly looks at the dog and the child laughs",
    "anger disgust fear joy sadness surprise trust anticipation annoyance frames from a video seconds image user",
    "describe this video in one sentence of at most words which of these emotions does it convey most answer",
]
CHAT = (
    "{% for m in messages %}<|user|>{% for c in m.content %}{% if c.type == 'video' %}VIDEO"
    "{% elif c.type == 'image' %}IMAGE{% elif c.type == 'audio' %}AUDIO{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
WIDE = 32
ATTENTION: dict[str, Any] = {
    "hidden_size": WIDE,
    "intermediate_size": 2 * WIDE,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def chat(**marks: str) -> str:
    """A chat template with these placeholders."""
    return re.sub("VIDEO|IMAGE|AUDIO", lambda found: marks.get(found[0].lower(), ""), CHAT)


def tokenizer(*extra: str, **named: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer; ``named`` become attributes such as ``image_token``."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [*SPECIAL, *extra, *named.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXT * 3, trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|end|>", pad_token="<pad>", extra_special_tokens=named, padding_side="left"
    )


def save(folder: Path, model: Any, processor: Any, words: float = 0.25) -> Path:
    """Redraw the weights widely, so that answers depend on what the model reads, and save all as the hub has it."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and weight.is_floating_point():
                weight.normal_(0, words if "embed" in name else 0.15)
    # answers in letters: bytes alone, of which a random model is fond, are no text
    letters = processor.tokenizer.batch_decode([[number] for number in range(len(processor.tokenizer))])
    model.generation_config.suppress_tokens = [
        number for number, text in enumerate(letters) if not text.strip().isalpha() or not text.isascii()
    ]
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    # as real repositories have it: sampling, which captions must not do
    model.generation_config.do_sample = True
    model.generation_config.temperature = 1.7
    disable_progress_bar()
    model.save_pretrained(folder)
    enable_progress_bar()
    processor.save_pretrained(folder)
    return folder


def smolvlm(folder: Path) -> Path:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor
    from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

    words = tokenizer(
        "<fake_token_around_image>",
        "<global-img>",
        "<video>",
        "<|im_start|>",
        "<end_of_utterance>",
        image_token="<image>",
    )
    config = SmolVLMConfig(
        text_config={**ATTENTION, "model_type": "llama", "vocab_size": len(words), "num_key_value_heads": 2},
        vision_config={**ATTENTION, "image_size": 32, "patch_size": 8},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    processor = SmolVLMProcessor(
        SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        words,
        SmolVLMVideoProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        image_seq_len=4,
        chat_template=chat(video="<video>", image="<image>"),
    )
    # what the hub's video processor has; only sampling, which is never done here, reads them
    processor.video_processor.num_frames, processor.video_processor.fps = 64, 1
    return save(folder, SmolVLMForConditionalGeneration(config), processor)


QWEN = {"image": "<|image_pad|>", "video": "<|video_pad|>"}


def qwen3_vl(folder: Path) -> Path:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    return _qwen(folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, {}, {"deepstack_visual_indexes": [0]})


def qwen3_5(folder: Path) -> Path:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    text = {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
    }
    thinking = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% else %}<think>{% endif %}"
    return _qwen(folder, Qwen3_5Config, Qwen3_5ForConditionalGeneration, text, {}, after=thinking)


def _qwen(folder: Path, kind: Any, model: Any, text: dict[str, Any], vision: dict[str, Any], after: str = "") -> Path:
    from transformers import Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    words = tokenizer("<|vision_start|>", "<|vision_end|>", *QWEN.values())
    ids = words.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    config = kind(
        text_config={
            **ATTENTION,
            **text,
            "vocab_size": len(words),
            "num_key_value_heads": 2,
            "head_dim": 8,
            "rope_parameters": rope,
        },
        vision_config={
            "depth": 2,
            "hidden_size": WIDE,
            "intermediate_size": WIDE,
            "num_heads": 4,
            "out_hidden_size": WIDE,
            "num_position_embeddings": 64,
            **vision,
        },
        image_token_id=ids(QWEN["image"]),
        video_token_id=ids(QWEN["video"]),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    small = {"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 16}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(patch_size=16),
        words,
        Qwen3VLVideoProcessor(size=small),
        chat_template=chat(video="<|vision_start|><|video_pad|><|vision_end|>") + after,
    )
    return save(folder, model(config), processor)


def gemma4(folder: Path) -> Path:
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4Processor
    from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor
    from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor
    from transformers.models.gemma4.video_processing_gemma4 import Gemma4VideoProcessor

    words = tokenizer(
        "<|video|>",
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    words.add_special_tokens({"bos_token": "<bos>"})
    ids = words.convert_tokens_to_ids
    # a frame is 280 patches rather than 630; the model of 1 takes padding for patches
    pooled: dict[str, Any] = {"pooling_kernel_size": 2}
    # texts begin with it; the chat template writes it as well, and one is enough
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", ids("<bos>"))]
    )
    config = Gemma4Config(
        text_config={
            **ATTENTION,
            "num_hidden_layers": 4,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "sliding_window": 16,
            "vocab_size": len(words),
            "vocab_size_per_layer_input": len(words),
            "hidden_size_per_layer_input": 8,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "global_head_dim": 8,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": ids("<bos>"),
        },
        vision_config={
            **ATTENTION,
            "num_hidden_layers": 1,
            "num_key_value_heads": 4,
            "head_dim": 8,
            "position_embedding_size": 256,
            **pooled,
        },
        audio_config={
            **{key: value for key, value in ATTENTION.items() if key != "intermediate_size"},
            "subsampling_conv_channels": [128, 4],
            "output_proj_dims": WIDE,
        },
        image_token_id=ids("<|image|>"),
        video_token_id=ids("<|video|>"),
        audio_token_id=ids("<|audio|>"),
        boi_token_id=ids("<|image>"),
        eoi_token_id=ids("<image|>"),
        boa_token_id=ids("<|audio>"),
        eoa_token_id=ids("<audio|>"),
    )
    processor = Gemma4Processor(
        Gemma4AudioFeatureExtractor(),
        Gemma4ImageProcessor(**pooled),
        words,
        Gemma4VideoProcessor(**pooled),
        chat_template="<bos>" + chat(video="<|video|>", audio="<|audio|>", image="<|image|>"),
    )
    return save(folder, Gemma4ForConditionalGeneration(config), processor, words=0.05)


def gemma3(folder: Path) -> Path:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
    from transformers.models.gemma3.image_processing_gemma3 import Gemma3ImageProcessor

    words = tokenizer(image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>")
    ids = words.convert_tokens_to_ids
    config = Gemma3Config(
        text_config={
            **ATTENTION,
            "vocab_size": len(words),
            "num_key_value_heads": 2,
            "head_dim": 8,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 8,
        },
        vision_config={**ATTENTION, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4,
        image_token_index=ids("<image_soft_token>"),
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        words,
        image_seq_length=4,
        chat_template=chat(image="<start_of_image>"),
    )
    return save(folder, Gemma3ForConditionalGeneration(config), processor, words=0.05)


def qwen_omni(folder: Path) -> Path:
    from transformers import (
        Qwen2_5OmniProcessor,
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
        WhisperFeatureExtractor,
    )
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    words = tokenizer(
        image_token="<|IMAGE|>",
        audio_token="<|AUDIO|>",
        video_token="<|VIDEO|>",
        vision_bos_token="<|vision_bos|>",
        vision_eos_token="<|vision_eos|>",
        audio_bos_token="<|audio_bos|>",
        audio_eos_token="<|audio_eos|>",
    )
    ids = words.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
    config = Qwen2_5OmniThinkerConfig(
        text_config={**ATTENTION, "vocab_size": len(words), "num_key_value_heads": 2, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": WIDE,
            "intermediate_size": WIDE,
            "num_heads": 4,
            "out_hidden_size": WIDE,
            "fullatt_block_indexes": [1],
        },
        audio_config={
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": WIDE,
            "d_model": WIDE,
            "output_dim": WIDE,
        },
        audio_token_index=ids("<|AUDIO|>"),
        image_token_index=ids("<|IMAGE|>"),
        video_token_index=ids("<|VIDEO|>"),
        audio_start_token_id=ids("<|audio_bos|>"),
        audio_end_token_id=ids("<|audio_eos|>"),
        user_token_id=ids("<|user|>"),
        vision_start_token_id=ids("<|vision_bos|>"),
        vision_end_token_id=ids("<|vision_eos|>"),
    )
    small = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 16}
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(),
        Qwen2VLVideoProcessor(size=small),
        WhisperFeatureExtractor(feature_size=128, chunk_length=10),
        words,
        chat_template=chat(video="<|vision_bos|><|VIDEO|><|vision_eos|>", audio="<|audio_bos|><|AUDIO|><|audio_eos|>"),
    )
    return save(folder, Qwen2_5OmniThinkerForConditionalGeneration(config), processor)


def llava_onevision(folder: Path) -> Path:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    words = tokenizer("<image>", "<video>")
    ids = words.convert_tokens_to_ids
    config = LlavaOnevisionConfig(
        text_config={**ATTENTION, "model_type": "qwen2", "vocab_size": len(words), "num_key_value_heads": 2},
        vision_config={**ATTENTION, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8},
        image_token_index=ids("<image>"),
        video_token_index=ids("<video>"),
        image_grid_pinpoints=[[32, 32]],
    )
    size = {"height": 32, "width": 32}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[32, 32]]),
        words,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat(video="<video>", image="<image>"),
    )
    return save(folder, LlavaOnevisionForConditionalGeneration(config), processor)


def git(folder: Path) -> Path:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    words = tokenizer()
    config = GitConfig(
        vision_config={**ATTENTION, "image_size": 32, "patch_size": 16},
        **ATTENTION,
        vocab_size=len(words),
        bos_token_id=2,
        eos_token_id=1,
        num_image_with_embedding=3,
    )
    processor = GitProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32), words)
    return save(folder, GitForCausalLM(config), processor)


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "smolvlm": smolvlm,
    "qwen3_vl": qwen3_vl,
    "qwen3_5": qwen3_5,
    "gemma4": gemma4,
    "gemma3": gemma3,
    "qwen_omni": qwen_omni,
    "llava_onevision": llava_onevision,
    "git": git,
}
"""Six families with a module of their own, one that takes the general way, and one without instructions."""


@cache
def folder_of(name: str, root: Path) -> Path:
    """The folder of a family's model below ``root``, made once."""
    return BUILDERS[name](root / name)


def edited(folder: Path, name: str, **values: Any) -> None:
    """Set values of a JSON file of a model's folder; None removes one."""
    path = folder / name
    found = json.loads(path.read_text())
    for key, value in values.items():
        found.pop(key, None)
        if value is not None:
            found[key] = value
    path.write_text(json.dumps(found))
