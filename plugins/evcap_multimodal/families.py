"""What families of models need: how a prompt and the inputs of one clip are made of its frames, times and audio.

``Family`` is the general way: frames as a video where the processor takes videos, else as images with their times in
the text. A family with particular needs has a subclass; nothing else depends on which one a model is of.

Notation: T frames of a clip, H x W pixels, P tokens of a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from evcap_cli.systems.clip_captioner import Clip, FrameRequest, Reads, WaveformRequest
from evcap_multimodal.loading import chat_template

if TYPE_CHECKING:
    from torch import Tensor

TICKS_PER_SECOND: Final = 1000
"""A processor computes a frame's time as index / fps: with a thousand "frames" a second, indices are milliseconds."""
_REASONING_SWITCHES: Final = ("enable_thinking", "thinking")
_NO_FRAMES: Final = "a clip without frames cannot be captioned"
_MEDIA: Final = ("video", "image", "audio")
_LANGUAGE_LAYERS: Final = (
    r"model\.(?:language_model|text_model)\.layers\.\d+\..*"
    r"\.(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
)
"""All linear layers of attention and feed-forward parts of a language model of Llama's kind."""


class Family:
    """The general way, for any model with a visual processor and a chat template.

    Args:
        config: config.json of the model.
        frames: to read, where the user chose.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    model_class_name: ClassVar[str] = ""
    """Of transformers, where ``AutoModelForMultimodalLM`` gives another one than captions need."""
    frame_count: ClassVar[int] = 16
    least_frames: ClassVar[int] = 1
    """A clip of fewer shows its last frame again."""
    widest: ClassVar[float] = 20.0
    """Largest ratio of the sides of a frame; black bars are added beyond it."""
    batches: ClassVar[bool] = False
    """Whether inputs of several clips, all of equal shapes, can be put together along their first dimension."""
    shares_cache: ClassVar[bool] = False
    """Whether a forward pass may go on from a part of the key-value cache that ``generate`` left."""
    takes_instructions: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ()
    """That its processor imports and transformers itself does not need."""
    after_media: ClassVar[str] = ""
    """Text that the processor writes after the last placeholder of a prompt."""
    answer_start: ClassVar[str] = ""
    """What stands between the prompt and the first word of an answer."""
    audio_seconds: ClassVar[float | None] = None
    """Longest audio that the family takes."""
    audio_rate: ClassVar[int] = 16_000

    lora_layers: ClassVar[str] = ""
    """Regular expression of the names of the layers that an adapter changes; empty: nobody tried this family."""

    def __init__(self, config: Mapping[str, Any], frames: FrameRequest | None = None) -> None:
        self.config = config
        self.frames = frames or FrameRequest(self.frame_count)

    def reads(self) -> Reads:
        """What evcap decodes for a model of this family."""
        audio = None if not self.takes_audio else WaveformRequest(self.audio_rate, self.audio_seconds or 0.0)
        return Reads(frames=self.frames, waveform=audio)

    @property
    def takes_audio(self) -> bool:
        """Whether this model reads audio."""
        return self.audio_seconds is not None

    def model_class(self) -> Any:
        """The class to load the model with."""
        import transformers

        return getattr(transformers, self.model_class_name or "AutoModelForMultimodalLM")

    def adjust(self, clip: Clip) -> Clip:
        """The clip with frames that the family takes: not too few, not too many, not too wide."""
        if clip.frames is None or not len(clip.frames):
            raise ValueError(_NO_FRAMES)
        frames, times = clip.frames, clip.times
        if len(frames) > self.frames.count:
            chosen = evenly(len(frames), self.frames.count)
            frames, times = frames[chosen], tuple(times[number] for number in chosen)
        lacking = self.least_frames - len(frames)
        if lacking > 0:
            import torch

            frames = torch.cat([frames, frames[-1:].expand(lacking, -1, -1, -1)])
            times = times + times[-1:] * lacking
        return replace(clip, frames=with_bars(frames, self.widest), times=times)

    def prompt(self, processor: Any, clip: Clip, instruction: str) -> str:
        """The chat of one clip as text with placeholders, up to where the answer begins."""
        if self.takes_videos(processor):
            content = [{"type": "video"}]
        else:
            content = []
            for time in clip.times:
                content += [{"type": "text", "text": f"At {time:.1f} s:"}, {"type": "image"}]
        if self.takes_audio and clip.waveform is not None:
            content.append({"type": "audio"})
        content.append({"type": "text", "text": instruction})
        template = chat_template(processor) or ""
        options: dict[str, Any] = {name: False for name in _REASONING_SWITCHES if re.search(rf"\b{name}\b", template)}
        if getattr(processor, "chat_template", None) is None:
            options["chat_template"] = template
        text: str = processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **options
        )
        return text

    def inputs(self, processor: Any, clip: Clip, prompt: str) -> dict[str, Tensor]:
        """Inputs of the model for one clip; batches of one."""
        if clip.frames is None:
            raise ValueError(_NO_FRAMES)
        media: dict[str, Any]
        if self.takes_videos(processor):
            media = {
                "videos": [clip.frames],
                "do_sample_frames": False,
                "video_metadata": [metadata(clip)],
                **self.video_options(processor, clip),
            }
        else:
            media = {"images": [list(clip.frames)]}
        if self.takes_audio and clip.waveform is not None:
            media |= {"audio": [clip.waveform.numpy()], "sampling_rate": self.audio_rate}
        start = getattr(getattr(processor, "tokenizer", None), "bos_token", None)
        if start and prompt.startswith(start):
            # the template wrote it already
            media["add_special_tokens"] = False
        return dict(processor(text=[prompt], return_tensors="pt", **media))

    def video_options(self, processor: Any, clip: Clip) -> dict[str, Any]:  # noqa: ARG002  for families
        """Options of the video processor that the family needs."""
        return {}

    @staticmethod
    def takes_videos(processor: Any) -> bool:
        """Whether frames are given as a video."""
        return getattr(processor, "video_processor", None) is not None

    def tail(self, processor: Any, prompt: str) -> tuple[str, str]:
        """A prompt in two: up to its last placeholder, and the text from there to the answer."""
        tokens = (getattr(processor, f"{kind}_token", None) for kind in _MEDIA)
        cut = max((prompt.rfind(token) + len(token) for token in tokens if token and token in prompt), default=0)
        return prompt[:cut], self.after_media + prompt[cut:]


class SmolVlm(Family):
    """SmolVLM 2 and its predecessors; the prompt names the number of frames and the whole seconds of each.

    The processor writes the number of frames of the longest clip of a batch into every prompt: only inputs of clips
    processed alone are put together.
    """

    model_types: ClassVar[tuple[str, ...]] = ("smolvlm",)
    packages = ("num2words",)
    batches = shares_cache = True
    after_media = "\n\n"
    answer_start = " "
    lora_layers = _LANGUAGE_LAYERS


class QwenVl(Family):
    """Qwen 2, 2.5 and 3 VL: pairs of frames with their mean time, and no frame wider than 200 times its height."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
    least_frames = 2
    batches = shares_cache = True
    lora_layers = _LANGUAGE_LAYERS

    def video_options(self, processor: Any, clip: Clip) -> dict[str, Any]:  # noqa: ARG002
        # as the reference implementation does: a short clip must not cost as many tokens as a long one
        return {"cap_pixels_per_frame": True} if _has_option(processor, "cap_pixels_per_frame") else {}


class Qwen35(QwenVl):
    """Qwen3.5: most of its layers keep a state instead of keys, which cannot be cut down to a prefix."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen3_5", "qwen3_5_moe")
    shares_cache = False
    lora_layers = _LANGUAGE_LAYERS.replace("q_proj", "in_proj_qkv|in_proj_z|out_proj|q_proj")


class QwenOmni(QwenVl):
    """Qwen2.5-Omni: frames at a constant rate and audio. The part that speaks is not loaded."""

    model_types: ClassVar[tuple[str, ...]] = ("qwen2_5_omni", "qwen2_5_omni_thinker")
    model_class_name = "Qwen2_5OmniThinkerForConditionalGeneration"
    audio_seconds = 60.0

    def video_options(self, processor: Any, clip: Clip) -> dict[str, Any]:
        # from this rate the model takes the seconds between frames
        rate = len(clip.times) / max(clip.duration, 1 / TICKS_PER_SECOND)
        return {**super().video_options(processor, clip), "fps": rate}


class Gemma4(Family):
    """Gemma 4: up to 32 frames of 70 tokens each, and 30 seconds of audio where the model has an audio tower."""

    model_types: ClassVar[tuple[str, ...]] = ("gemma4",)
    frame_count = 32
    batches = shares_cache = True
    lora_layers = _LANGUAGE_LAYERS
    audio_seconds = 30.0

    @property
    def takes_audio(self) -> bool:
        return self.config.get("audio_config") is not None


class Gemma3(Family):
    """Gemma 3: images of 256 tokens, so fewer of them."""

    model_types: ClassVar[tuple[str, ...]] = ("gemma3",)
    frame_count = 8
    batches = shares_cache = True
    after_media = "\n\n"
    lora_layers = _LANGUAGE_LAYERS


class Git(Family):
    """GIT writes a factual caption of a fixed number of frames; it takes no instruction and has no chat template."""

    model_types: ClassVar[tuple[str, ...]] = ("git",)
    takes_instructions = False
    batches = True
    lora_layers = r"git\.encoder\.layer\.\d+\..*\.(?:query|key|value|dense)"

    def __init__(self, config: Mapping[str, Any], frames: FrameRequest | None = None) -> None:
        self.images = int(config.get("num_image_with_embedding") or 1)
        # the count is the model's
        super().__init__(config, replace(frames or FrameRequest(), count=self.images))

    def adjust(self, clip: Clip) -> Clip:
        if clip.frames is None or not len(clip.frames):
            raise ValueError(_NO_FRAMES)
        # each place has an embedding of its own, and decoding counts on all of them
        chosen = evenly(len(clip.frames), self.images)
        frames = with_bars(clip.frames[chosen], self.widest)
        return replace(clip, frames=frames, times=tuple(clip.times[number] for number in chosen))

    def prompt(self, processor: Any, clip: Clip, instruction: str) -> str:  # noqa: ARG002
        return ""

    def inputs(self, processor: Any, clip: Clip, prompt: str) -> dict[str, Tensor]:  # noqa: ARG002
        if clip.frames is None:
            raise ValueError(_NO_FRAMES)
        pixels = processor(images=list(clip.frames), return_tensors="pt").pixel_values
        if self.config.get("num_image_with_embedding") and pixels.ndim == 4:
            pixels = pixels[None]  # processors of images put frames where the model has clips
        return {"pixel_values": pixels}


FAMILIES: Final[tuple[type[Family], ...]] = (SmolVlm, QwenVl, Qwen35, QwenOmni, Gemma4, Gemma3, Git)


def family_class(model_type: str) -> type[Family]:
    """The family that a ``model_type`` is of; ``Family`` for all that need nothing particular."""
    return next((family for family in FAMILIES if model_type in family.model_types), Family)


def _has_option(processor: Any, name: str) -> bool:
    return name in getattr(processor.video_processor.valid_kwargs, "__annotations__", {})


def metadata(clip: Clip) -> dict[str, Any]:
    """A clip's times as processors of transformers read them."""
    return {
        # some processors take frames per second of what was sampled from it: frames / (total / fps)
        "total_num_frames": max(len(clip.times), round(clip.duration * TICKS_PER_SECOND)),
        "fps": TICKS_PER_SECOND,
        "duration": clip.duration,
        "frames_indices": [round(time * TICKS_PER_SECOND) for time in clip.times],
    }


def evenly(count: int, chosen: int) -> list[int]:
    """Numbers of ``chosen`` of ``count`` things, the middles of equal parts; some several times where there are few."""
    return [(2 * number + 1) * count // (2 * chosen) for number in range(chosen)]


def with_bars(frames: Tensor, widest: float) -> Tensor:
    """Frames (T, 3, H, W) with black bars that keep the longer side at most ``widest`` times the shorter."""
    import math

    from torch.nn.functional import pad

    height, width = frames.shape[-2:]
    least = math.ceil(max(height, width) / widest)
    across, down = max(0, least - width), max(0, least - height)
    if not across and not down:
        return frames
    return pad(frames, (across // 2, across - across // 2, down // 2, down - down // 2))
