"""A captioner behind an address: any OpenAI-compatible server, such as vLLM, SGLang, llama.cpp, Ollama or transformers.

Frames travel as JPEG data addresses with their times in the text, audio as WAV where the server takes it. The key comes
from ``EVCAP_API_KEY`` alone and appears nowhere else.
"""

from __future__ import annotations

import base64
import io
import math
import os
import threading
import wave
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from evcap_cli.backbones.identity import digest_of
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CaptionerError, CaptionerStopped, CheckpointError, UsageError, VideoError
from evcap_cli.systems.clip_captioner import (
    CaptionerIdentity,
    CaptionerOptions,
    Clip,
    ClipCaption,
    ClipCaptioner,
    FrameRequest,
    Reads,
    WaveformRequest,
)
from evcap_multimodal.answers import caption_text
from evcap_multimodal.prompts import emotion_question, instruction

if TYPE_CHECKING:
    import torch
    from torch import Tensor

KEY_VARIABLE: Final = "EVCAP_API_KEY"
REQUESTS_AT_ONCE: Final = 8
REQUEST_SECONDS: Final = 120.0
CHECK_SECONDS: Final = 20.0
"""For questions that cost the server nothing, such as which models it has."""
TRIES: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
FAILURES_IN_A_ROW: Final = 5
"""So many clips that fail one after another end the run: the server is broken, not the clips."""
TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
KEY_REFUSED: Final = frozenset({401, 403})
TOKENS_A_WORD: Final = 4
REASONING_TOKENS: Final = 512
"""A server that reasons before it answers needs room for it; the end mark ends other answers far earlier."""
JPEG_QUALITY: Final = 90
LONGEST_QUOTE: Final = 200
"""Letters of what a server said."""
ALTERNATIVES: Final = 20
"""Most probable first tokens that are requested of the answer about the emotion: as many as servers give."""
LEAST_SHARE: Final = 0.5
"""Of the probability must be on tokens that begin one category, or the distribution means nothing."""
SILENCE_SECONDS: Final = 0.25


@dataclass(frozen=True)
class ServerAddress:
    """``http://HOST:PORT/v1#MODEL``.

    Args:
        base: without a slash at its end.
        model: empty: the only one that the server has.
    """

    base: str
    model: str

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Read an address.

        Raises:
            UsageError: it names no host, or holds a user, password or query.
        """
        parts = urlsplit(text)
        example = "for example -c http://127.0.0.1:8000/v1#MODEL"
        try:
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError("is not the address of a server", path=text.partition("#")[0][:200], hint=example)
        if parts.username is not None or parts.password is not None or parts.query:
            raise UsageError(
                f"the address of a server holds a password or a query: {parts.scheme}://{host}/...",
                hint=f"put the key into the variable {KEY_VARIABLE}; {example}",
            )
        return cls(text.partition("#")[0].rstrip("/"), parts.fragment)

    def __str__(self) -> str:
        return f"{self.base}#{self.model}"


class _Refused(Exception):
    """The server answered, but not with a caption: ``status`` 0 where the answer made no sense."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status, self.cause = status, cause


class Server:
    """Requests to one server: time limits, retries with growing pauses, answers as plain values.

    Args:
        base: of every address.
        key: sent as a bearer token; None: none.
        seconds: a request may take.
    """

    def __init__(self, base: str, key: str | None, seconds: float = REQUEST_SECONDS) -> None:
        self.base, self.key, self.seconds = base, key, seconds
        self.http = _http()
        self.open()

    def open(self) -> None:
        """Make the client; again after ``close``."""
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        # no redirects: an answer must not send frames to another address
        self.client = self.http.Client(headers=headers, timeout=self.seconds, follow_redirects=False)
        self.stopped = threading.Event()

    def get(self, path: str) -> Any:
        """The JSON of one address, requested once.

        Raises:
            _Refused: another answer. CaptionerStopped: none, or the key is refused.
        """
        try:
            return self._answer(self.client.get(self.base + path, timeout=min(self.seconds, CHECK_SECONDS)))
        except self._broken as problem:
            raise self._gone(problem) from None

    def post(self, path: str, content: Mapping[str, Any], tries: int | None = None) -> Any:
        """The JSON that ``content`` is answered with; a busy server gets the request again.

        Raises:
            _Refused: another answer. CaptionerStopped: none, or the key is refused.
        """
        tries = tries or TRIES
        for number in range(tries):
            pause = min(FIRST_PAUSE_SECONDS * 2**number, LONGEST_PAUSE_SECONDS)
            try:
                response = self.client.post(self.base + path, json=content)
                if response.status_code not in TRY_AGAIN or number == tries - 1:
                    return self._answer(response)
                pause = max(pause, _retry_after(response.headers.get("retry-after")))
            except self._broken as problem:
                if number == tries - 1:
                    raise self._gone(problem) from None
            if self.stopped.wait(pause):
                break
        raise CaptionerStopped("the run ended during a request", path=self.base)

    def close(self) -> None:
        """End requests under way; nothing is sent until ``open``."""
        self.stopped.set()
        self.client.close()

    @property
    def _broken(self) -> tuple[type[Exception], ...]:
        # a client that was closed under a request raises RuntimeError
        return (self.http.TransportError, self.http.InvalidURL, OSError, RuntimeError)

    def _answer(self, response: Any) -> Any:
        status = int(response.status_code)
        if status in KEY_REFUSED:
            refused = f"the key in {KEY_VARIABLE}" if self.key else "requests without a key"
            raise CaptionerStopped(
                f"the server refuses {refused} (status {status})", path=self.base, hint=f"set {KEY_VARIABLE}"
            )
        if status != 200:
            raise _Refused(status, f"status {status}: {self._public(_complaint(response))}")
        try:
            return response.json()
        except ValueError:
            raise _Refused(0, f"an answer that is not JSON: {self._public(response.text)}") from None

    def _gone(self, problem: Exception) -> CaptionerStopped:
        slow = isinstance(problem, self.http.TimeoutException)
        cause = f"no answer within {self.seconds:g} s" if slow else f"no answer ({self._public(str(problem))})"
        return CaptionerStopped(
            f"the server gives {cause}", path=self.base, hint="see that it runs; the same command goes on"
        )

    def _public(self, text: str) -> str:
        """What a server said, short, in one line and without the key."""
        text = text.replace(self.key, "***") if self.key else text
        return " ".join(text.split())[:LONGEST_QUOTE]


class ServedCaptioner(ClipCaptioner):
    """Captions by a server; its text is the server's, what was received once is kept like any caption."""

    clips_a_batch = REQUESTS_AT_ONCE

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        super().__init__(address, options)
        place = ServerAddress.parse(address)
        self.server = Server(place.base, os.environ.get(KEY_VARIABLE) or None)
        try:
            self.place = ServerAddress(place.base, self._model(place))
        except CaptionerStopped as problem:  # nothing is under way yet: a wrong call
            raise CheckpointError(problem.cause, path=problem.path, hint=problem.hint) from None
        self.reads = Reads(frames=FrameRequest(count=16, longest_side=512), waveform=WaveformRequest())
        self.lexicon = options.lexicon or Lexicon.general()
        self.instruction = instruction(options, self.lexicon)
        self.question = emotion_question(self.lexicon.categories)
        self.takes_audio = self._takes_audio()
        self.gives_probabilities = True
        self.failures = 0

    @property
    def identity(self) -> CaptionerIdentity:
        name = str(self.place)
        return CaptionerIdentity(
            name=name,
            digest=digest_of([name, self.takes_audio]),
            style=self.options.style_name,
            prompt_digest=digest_of(self.instruction),
        )

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        """Nothing: the server has loaded the model."""

    def caption(self, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        """One result a clip; several requests run at once.

        Raises:
            CaptionerStopped: the server does not answer any more.
        """
        pool = ThreadPoolExecutor(max(1, min(len(clips), REQUESTS_AT_ONCE)), "evcap-request")
        try:
            return list(pool.map(self._caption, clips))
        except BaseException:
            self.server.close()  # wakes threads that wait for an answer
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            if self.server.stopped.is_set():
                self.server.open()  # a library call may caption again

    def _caption(self, clip: Clip) -> ClipCaption | VideoError:
        content = self._content(clip)
        budget = TOKENS_A_WORD * self.options.max_words + REASONING_TOKENS
        try:
            answer = self._ask(content, self.instruction, max_tokens=budget, logprobs=self.gives_probabilities)
            raw, score = _text(answer), _score(answer)
            text = caption_text(raw, self.options.max_words)
            emotion = self._emotion(content) if self.options.emotion and self.gives_probabilities else None
        except _Refused as problem:
            return self._failed(problem)
        except CaptionerError as problem:
            return problem
        self.failures = 0
        return ClipCaption(text, score, emotion, raw)

    def _failed(self, problem: _Refused) -> VideoError:
        """The error of one clip.

        Raises:
            CaptionerStopped: too many have failed one after another.
        """
        self.failures += 1
        if self.failures >= FAILURES_IN_A_ROW:
            cause = f"the server failed {self.failures} clips one after another (the last with {problem.cause})"
            raise CaptionerStopped(cause, path=self.place.base, hint="see its log; then the same command goes on")
        return CaptionerError(f"the server answered with {problem.cause}", hint="see the log of the server")

    def _ask(self, content: Sequence[Mapping[str, Any]], question: str, *, logprobs: bool = False, **more: Any) -> Any:
        """One chat; a server that knows no log-probabilities gets no more requests for them."""
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        request = {"model": self.place.model, "messages": messages, "temperature": 0, "seed": 0, **more}
        if logprobs:
            try:
                return self.server.post("/chat/completions", {**request, "logprobs": True})
            except _Refused as problem:
                if problem.status != 400 or "logprob" not in problem.cause.lower():
                    raise
                self.gives_probabilities = False
                request.pop("top_logprobs", None)
        return self.server.post("/chat/completions", request)

    def _content(self, clip: Clip) -> list[dict[str, Any]]:
        """Frames, each after its time, and the audio."""
        parts: list[dict[str, Any]] = []
        if clip.frames is not None:
            for moment, frame in zip(clip.times, clip.frames, strict=True):
                parts.append({"type": "text", "text": f"Frame at {moment:.2f} s:"})
                parts.append({"type": "image_url", "image_url": {"url": jpeg_address(frame)}})
        if self.takes_audio and clip.waveform is not None and self.reads.waveform is not None:
            parts.append(_audio_part(clip.waveform, self.reads.waveform.rate))
        return parts

    def _emotion(self, content: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
        """The probability of each category as the first token of the answer; None where the server gives none."""
        answer = self._ask(content, self.question, logprobs=True, top_logprobs=ALTERNATIVES, max_tokens=8)
        return distribution(_first_alternatives(answer), self.lexicon.categories)

    def _model(self, place: ServerAddress) -> str:
        """The model to ask for.

        Raises:
            CheckpointError, UsageError: no server, no such model, or several and none is named.
        """
        try:
            listed = [str(entry["id"]) for entry in self.server.get("/models")["data"]]
        except _Refused as problem:
            if problem.status == 404 and place.model:
                listed = []
            else:
                raise CheckpointError(
                    f"is no OpenAI-compatible server ({problem.cause})",
                    path=place.base,
                    hint="the address ends in /v1 for most servers",
                ) from None
        except (KeyError, TypeError):
            raise CheckpointError(
                "lists no models", path=place.base, hint="the address ends in /v1 for most servers"
            ) from None
        if place.model in listed:
            return place.model
        if not place.model:
            if len(listed) == 1:
                return listed[0]
            some = ", ".join(listed[:5]) or "none"
            raise UsageError("which model?", path=place.base, hint=f"add #MODEL, one of: {some}")
        # some servers load models that they do not list
        try:
            self.server.post("/chat/completions", _tiny(place.model, [{"type": "text", "text": "Say yes."}]), tries=2)
        except _Refused as problem:
            some = f"; it lists {', '.join(listed[:5])}" if listed else ""
            raise CheckpointError(
                f"has no model {place.model!r} ({problem.cause})", path=place.base, hint=f"check the part after #{some}"
            ) from None
        return place.model

    def _takes_audio(self) -> bool:
        """Whether the server takes a quarter of a second of silence as an input."""
        import torch

        rate = WaveformRequest().rate
        part = _audio_part(torch.zeros(round(rate * SILENCE_SECONDS)), rate)
        question = {"type": "text", "text": "Is this silent?"}
        try:
            self.server.post("/chat/completions", _tiny(self.place.model, [part, question]), tries=1)
        except (_Refused, CaptionerStopped):
            return False
        return True


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
            found[fitting[0]] += math.exp(value)
    total = math.fsum(found.values())
    return {category: value / total for category, value in found.items()} if total >= LEAST_SHARE else None


def jpeg_address(frame: Tensor) -> str:
    """A frame (3, H, W) uint8 as a data address."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(data, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _audio_part(waveform: Tensor, rate: int) -> dict[str, Any]:
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


def _tiny(model: str, content: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": list(content)}], "max_tokens": 1, "temperature": 0}


def _choice(answer: Any) -> Mapping[str, Any]:
    """The first choice of a chat.

    Raises:
        _Refused: there is none.
    """
    try:
        choice = answer["choices"][0]
        if isinstance(choice, dict):
            return choice
    except (KeyError, TypeError, IndexError):
        pass
    raise _Refused(0, "JSON that holds no choices")


def _text(answer: Any) -> str:
    message = _choice(answer).get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise _Refused(0, "a message without text")
    return text


def _tokens(answer: Any) -> list[Mapping[str, Any]]:
    """The tokens of an answer with their log-probabilities; empty where the server gives none."""
    found = _choice(answer).get("logprobs")
    tokens = found.get("content") if isinstance(found, dict) else None
    return [token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []


def _score(answer: Any) -> float | None:
    """Mean log-probability of the answer's tokens."""
    values = [token.get("logprob") for token in _tokens(answer)]
    known = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _first_alternatives(answer: Any) -> dict[str, float]:
    """Most probable tokens in place of the first one that is not blank."""
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


def _complaint(response: Any) -> str:
    """What the server says went wrong."""
    try:
        content = response.json()
    except ValueError:
        return str(response.text)
    error = content.get("error", content.get("detail", content)) if isinstance(content, dict) else content
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _retry_after(text: str | None) -> float:
    """Seconds that a busy server wants to be left alone."""
    try:
        return min(max(float(text or 0), 0.0), LONGEST_PAUSE_SECONDS)
    except ValueError:
        return 0.0


def _http() -> Any:
    """The HTTP library that huggingface_hub brings: httpx, or its successor of the same interface."""
    from importlib import import_module

    from huggingface_hub import get_session

    return import_module(type(get_session()).__module__.partition(".")[0])
