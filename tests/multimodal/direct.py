"""Models called as the documentation of transformers says, without evcap: what captions are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from evcap_cli.systems.clip_captioner import Clip

AUDIO = ("gemma4", "qwen_omni")
IMAGES = ("gemma3",)


def loaded(family: str, folder: Path) -> tuple[Any, Any]:
    """Processor and model."""
    kind: Any = transformers.AutoModelForMultimodalLM
    if family == "qwen_omni":
        kind = transformers.Qwen2_5OmniThinkerForConditionalGeneration
    return transformers.AutoProcessor.from_pretrained(folder), kind.from_pretrained(folder).eval()


def inputs(family: str, processor: Any, clip: Clip, instruction: str) -> Any:
    """What ``generate`` takes: the messages, the frames with their times in milliseconds, the audio."""
    assert clip.frames is not None
    frames, times = clip.frames, [round(1000 * time) for time in clip.times]
    if family == "git":
        return {"pixel_values": processor(images=list(frames), return_tensors="pt").pixel_values[None]}
    options: dict[str, Any] = {}
    content: list[dict[str, Any]] = []
    if family in IMAGES:
        for frame, time in zip(frames, clip.times, strict=True):
            content += [{"type": "text", "text": f"At {time:.1f} s:"}, {"type": "image", "image": frame}]
    else:
        content.append({"type": "video", "video": frames})
        milliseconds = round(1000 * clip.duration)
        about = {"total_num_frames": milliseconds, "fps": 1000, "duration": clip.duration, "frames_indices": times}
        options = {"video_metadata": [about], "do_sample_frames": False}
    if family in ("qwen3_vl", "qwen3_5", "qwen_omni"):
        options["cap_pixels_per_frame"] = True
    if family == "qwen_omni":
        options["fps"] = len(times) / clip.duration
    if family in AUDIO and clip.waveform is not None:
        content.append({"type": "audio", "audio": clip.waveform.numpy()})
    content.append({"type": "text", "text": instruction})
    template = {"enable_thinking": False} if family == "qwen3_5" else {}
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=options,
        **template,
    )


def answer(processor: Any, model: Any, given: Any, tokens: int, beams: int = 1) -> str:
    """The text that greedy or beam search gives."""
    found = model.generate(**given, do_sample=False, num_beams=beams, max_new_tokens=tokens)
    cut = given["input_ids"].shape[1] if "input_ids" in given else 1
    return processor.batch_decode(found[:, cut:], skip_special_tokens=True)[0]


def log_probabilities(model: Any, given: Any, tokens: list[int]) -> Tensor:
    """Log-probability of each of ``tokens`` after the prompt, (L,): one pass over everything, no cache."""
    prompt = given["input_ids"]
    more = torch.tensor([tokens])
    whole = dict(given)
    whole["input_ids"] = torch.cat([prompt, more], 1)
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in whole:
            fill = torch.full_like(more, int(name == "attention_mask"))
            whole[name] = torch.cat([whole[name], fill], 1)
    with torch.inference_mode():
        logits = model(**whole, use_cache=False).logits[0]
    logs = logits.float().log_softmax(-1)
    return logs[prompt.shape[1] - 1 : -1].gather(-1, more[0][:, None])[:, 0]
