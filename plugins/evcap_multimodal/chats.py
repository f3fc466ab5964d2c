"""What chats with a server hold: frames as JPEG data addresses, audio as WAV; text, score and probabilities of answers.

Whatever a server answers is read with suspicion: a value that is not of its kind is no value.
"""

from __future__ import annotations

import base64
import io
import math
import wave
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from evcap_multimodal.server import Refused

if TYPE_CHECKING:
    from torch import Tensor

JPEG_QUALITY: Final = 90
LEAST_SHARE: Final = 0.5
"""Of the probability must be on tokens that begin one category, or the distribution means nothing."""


def chat(model: str, content: Sequence[Mapping[str, Any]], question: str) -> dict[str, Any]:
    """A request for the most probable answer to ``question`` about ``content``."""
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
    return {"model": model, "messages": messages, "temperature": 0}


def frame_parts(times: Sequence[float], frames: Tensor) -> list[dict[str, Any]]:
    """Frames (T, 3, H, W) uint8, each after its time in seconds."""
    parts: list[dict[str, Any]] = []
    for moment, frame in zip(times, frames, strict=True):
        parts.append({"type": "text", "text": f"Frame at {moment:.2f} s:"})
        parts.append({"type": "image_url", "image_url": {"url": jpeg_address(frame)}})
    return parts


def jpeg_address(frame: Tensor) -> str:
    """A frame (3, H, W) uint8 as a data address."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(data, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def audio_part(waveform: Tensor, rate: int) -> dict[str, Any]:
    """Samples (S,) in -1..1 as 16-bit WAV."""
    import torch

    samples = (waveform.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data.getvalue()).decode(), "format": "wav"}}


def choices_of(answer: Any) -> list[Any]:
    """The choices of an answer, at least one.

    Raises:
        Refused: there is none.
    """
    found = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not found:
        raise Refused(0, "JSON that holds no choices")
    return found


def text_of(answer: Any) -> str:
    """The text of an answer.

    Raises:
        Refused: there is none.
    """
    message = _choice(answer).get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise Refused(0, "a message without text")
    return text


def score_of(answer: Any) -> float | None:
    """Mean log-probability of the answer's tokens; None where the server gives none."""
    values = [token.get("logprob") for token in _tokens(answer)]
    known = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def first_alternatives(answer: Any) -> dict[str, float]:
    """Log-probabilities of the tokens in place of the first one that is not blank."""
    for token in _tokens(answer):
        if str(token.get("token", "")).strip():
            listed = token.get("top_logprobs")
            entries = listed if isinstance(listed, list) else []
            return {
                str(entry.get("token", "")): float(entry["logprob"])
                for entry in entries
                if isinstance(entry, dict) and isinstance(entry.get("logprob"), int | float)
            }
    return {}


def distribution(alternatives: Mapping[str, float], categories: Sequence[str]) -> dict[str, float] | None:
    """Probabilities of categories from those of first tokens; they sum to 1.

    Args:
        alternatives: token -> log-probability.
        categories: of the lexicon.

    Returns:
        None where less than ``LEAST_SHARE`` of the probability is on tokens that begin exactly one category.
    """
    found = dict.fromkeys(categories, 0.0)
    for token, value in alternatives.items():
        begun = token.strip(" \u0120\u2581\n\"'*`").lower()
        fitting = [category for category in categories if begun and category.lower().startswith(begun)]
        if len(fitting) == 1:
            found[fitting[0]] += math.exp(min(value, 0.0))
    total = math.fsum(found.values())
    return {category: value / total for category, value in found.items()} if total >= LEAST_SHARE else None


def _choice(answer: Any) -> Mapping[str, Any]:
    """The first choice of a chat.

    Raises:
        Refused: there is none.
    """
    choice = choices_of(answer)[0]
    if isinstance(choice, dict):
        return choice
    raise Refused(0, "JSON that holds no choices")


def _tokens(answer: Any) -> list[Mapping[str, Any]]:
    """The tokens of an answer with their log-probabilities; empty where the server gives none."""
    found = _choice(answer).get("logprobs")
    tokens = found.get("content") if isinstance(found, dict) else None
    return [token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []
