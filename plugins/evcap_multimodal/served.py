"""A captioner behind an address: any OpenAI-compatible server, such as vLLM, SGLang, llama.cpp, Ollama or transformers.

``server.py`` sends the requests, ``chats.py`` writes and reads what is in them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import console
from evcap_cli.backbones.identity import digest_of
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CaptionerError, CaptionerStopped, CheckpointError, UsageError, VideoError
from evcap_cli.systems.clip_captioner import (
    CaptionerIdentity,
    CaptionerOptions,
    Clip,
    ClipCaption,
    FrameRequest,
    Reads,
    Several,
    SeveralCaptioner,
    WaveformRequest,
)
from evcap_multimodal.answers import caption_text
from evcap_multimodal.chats import (
    audio_part,
    chat,
    choices_of,
    distribution,
    first_alternatives,
    frame_parts,
    score_of,
    text_of,
)
from evcap_multimodal.prompts import emotion_question, instruction
from evcap_multimodal.server import KEY_VARIABLE, Refused, Server, ServerAddress

if TYPE_CHECKING:
    import torch

REQUESTS_AT_ONCE: Final = 8
FAILURES_IN_A_ROW: Final = 5
"""So many clips that fail one after another end the run: the server is broken, not the clips. So many questions about
the emotion that are refused one after another are the last ones."""
TOKENS_A_WORD: Final = 4
REASONING_TOKENS: Final = 512
"""A server that reasons before it answers needs room for it; the end mark ends other answers far earlier."""
ALTERNATIVES: Final = 20
"""Most probable first tokens that are requested of the answer about the emotion: as many as servers give."""
SILENCE_SECONDS: Final = 0.25
TEMPERATURE: Final = 0.8
"""Of captions after the first one of a clip; the first is what the server finds most probable."""
_CHATS: Final = "/chat/completions"
_WHERE: Final = "the address ends in /v1 for most servers"


class ServedCaptioner(SeveralCaptioner):
    """Captions by a server; its text is the server's, what was received once is kept like any caption.

    Raises:
        CheckpointError, UsageError: no server, no such model, several and none is named, or a beam search is requested.
    """

    clips_a_batch = REQUESTS_AT_ONCE
    takes_instructions = True

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        super().__init__(address, options)
        if options.beam_size != 1:
            raise UsageError("a server searches in its own way: --beam-size means nothing", hint="leave it out")
        place = ServerAddress.parse(address)
        self.server = Server(place.base, os.environ.get(KEY_VARIABLE) or None)

        async def questions() -> tuple[str, bool]:
            model = await self._model(place)
            return model, await self._takes_audio(model)

        try:
            model, self.takes_audio = self.server.run(questions)
        except CaptionerStopped as problem:  # nothing is under way yet: a wrong call
            raise CheckpointError(problem.cause, path=problem.path, hint=problem.hint) from None
        self.place = ServerAddress(place.base, model)
        self.reads = Reads(frames=FrameRequest(count=16, longest_side=512), waveform=WaveformRequest())
        self.lexicon = options.lexicon or Lexicon.general()
        self.instruction = instruction(options, self.lexicon)
        self.question = emotion_question(self.lexicon.categories)
        self.gives_probabilities = self.gives_several = True
        self.failures = self.refusals = 0
        self.warned = False

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
        found = self.caption_several(clips, Several())
        return [result if isinstance(result, VideoError) else result[0] for result in found]

    def caption_several(self, clips: Sequence[Clip], several: Several) -> list[list[ClipCaption] | VideoError]:
        """The server's caption of each clip, and samples; several clips at once.

        Raises:
            CaptionerStopped: the server does not answer any more.
        """

        async def together() -> list[list[ClipCaption] | VideoError]:
            free = asyncio.Semaphore(REQUESTS_AT_ONCE)
            return list(await asyncio.gather(*(self._caption(clip, several, free) for clip in clips)))

        return self.server.run(together)

    async def _caption(self, clip: Clip, several: Several, free: asyncio.Semaphore) -> list[ClipCaption] | VideoError:
        async with free:
            content = await asyncio.to_thread(self._content, clip)
            try:
                answer = await self._answer(content)
                raw, score = text_of(answer), score_of(answer)
                text = caption_text(raw, self.options.max_words)
                further = await self._further(content, several)
            except Refused as problem:
                return self._failed(problem)
            except CaptionerError as problem:
                return problem
            self.failures = 0
            emotion = await self._emotion(content)
        found = {text: ClipCaption(text, score, emotion, raw)}
        for answer in further:
            try:
                raw, score = text_of(answer), score_of(answer)
                text = caption_text(raw, self.options.max_words)
            except (Refused, CaptionerError):
                continue  # one sample that says nothing
            found.setdefault(text, ClipCaption(text, score, emotion, raw))
        return list(found.values())

    async def _answer(self, content: Sequence[Mapping[str, Any]], **more: Any) -> Any:
        """The server's answer to the instruction."""
        budget = TOKENS_A_WORD * self.options.max_words + REASONING_TOKENS
        return await self._ask(content, self.instruction, max_tokens=budget, logprobs=self.gives_probabilities, **more)

    async def _further(self, content: Sequence[Mapping[str, Any]], several: Several) -> list[Any]:
        """``several.count`` - 1 samples, as answers of one choice each.

        They come in one request where the server gives several choices, else one by one.

        Raises:
            Refused, CaptionerStopped: see ``Server.post``.
        """
        found: list[Any] = []
        while len(found) < several.count - 1:
            lacking = several.count - 1 - len(found)
            number = {"n": lacking} if self.gives_several and lacking > 1 else {}
            try:
                answer = await self._answer(content, temperature=TEMPERATURE, seed=several.seed + len(found), **number)
            except Refused as problem:
                if not number or problem.status not in (400, 422):
                    raise
                self.gives_several = False
                continue
            given = choices_of(answer)
            self.gives_several = self.gives_several and (not number or len(given) > 1)
            found += [{"choices": [choice]} for choice in given[:lacking]]
        return found

    def _failed(self, problem: Refused) -> VideoError:
        """The error of one clip.

        Raises:
            CaptionerStopped: too many have failed one after another.
        """
        self.failures += 1
        if self.failures >= FAILURES_IN_A_ROW:
            cause = f"the server failed {self.failures} clips one after another (the last with {problem.cause})"
            raise CaptionerStopped(cause, path=self.place.base, hint="see its log; then the same command goes on")
        return CaptionerError(f"the server answered with {problem.cause}", hint="see the log of the server")

    async def _ask(
        self, content: Sequence[Mapping[str, Any]], question: str, *, logprobs: bool = False, **more: Any
    ) -> Any:
        """One chat; a server that knows no log-probabilities gets no more requests for them."""
        request = {**chat(self.place.model, content, question), "seed": 0, **more}
        if logprobs:
            try:
                return await self.server.post(_CHATS, {**request, "logprobs": True})
            except Refused as problem:
                if problem.status != 400 or "logprob" not in problem.cause.lower():
                    raise
                self.gives_probabilities = False
                request.pop("top_logprobs", None)
        return await self.server.post(_CHATS, request)

    def _content(self, clip: Clip) -> list[dict[str, Any]]:
        """Frames, each after its time, and the audio."""
        parts = [] if clip.frames is None else frame_parts(clip.times, clip.frames)
        if self.takes_audio and clip.waveform is not None and self.reads.waveform is not None:
            parts.append(audio_part(clip.waveform, self.reads.waveform.rate))
        return parts

    async def _emotion(self, content: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
        """The probability of each category as the first token of the answer; None where the server gives none."""
        if not self.options.emotion or not self.gives_probabilities or self.refusals >= FAILURES_IN_A_ROW:
            return None
        try:
            answer = await self._ask(content, self.question, logprobs=True, top_logprobs=ALTERNATIVES, max_tokens=8)
            found = distribution(first_alternatives(answer), self.lexicon.categories)
        except Refused as problem:
            # the caption is there, and worth having without
            self.refusals += 1
            if not self.warned:
                self.warned = True
                console.warn(
                    f"{self.place.base}: the server answers the question about the emotion with {problem.cause}:"
                    " such captions have no probabilities of emotions; --no-emotion leaves the question out"
                )
            return None
        self.refusals = 0
        return found

    async def _model(self, place: ServerAddress) -> str:
        """The model to request.

        Raises:
            CheckpointError, UsageError: no server, no such model, or several and none is named.
        """
        try:
            listed = [str(entry["id"]) for entry in (await self.server.get("/models"))["data"]]
        except Refused as problem:
            if problem.status == 404 and place.model:
                listed = []
            else:
                raise CheckpointError(
                    f"is no OpenAI-compatible server ({problem.cause})", path=place.base, hint=_WHERE
                ) from None
        except (KeyError, TypeError):
            raise CheckpointError("lists no models", path=place.base, hint=_WHERE) from None
        if place.model in listed:
            return place.model
        if not place.model:
            if len(listed) == 1:
                return listed[0]
            some = ", ".join(listed[:5]) or "none"
            raise UsageError("which model?", path=place.base, hint=f"add #MODEL, one of: {some}")
        # some servers load models that they do not list
        try:
            await self.server.post(_CHATS, {**chat(place.model, [], "Say yes."), "max_tokens": 1}, tries=2)
        except Refused as problem:
            some = f"; it lists {', '.join(listed[:5])}" if listed else ""
            raise CheckpointError(
                f"has no model {place.model!r} ({problem.cause})", path=place.base, hint=f"check the part after #{some}"
            ) from None
        return place.model

    async def _takes_audio(self, model: str) -> bool:
        """Whether the server takes a quarter of a second of silence as an input."""
        import torch

        rate = WaveformRequest().rate
        silence = audio_part(torch.zeros(round(rate * SILENCE_SECONDS)), rate)
        try:
            await self.server.post(_CHATS, {**chat(model, [silence], "Is this silent?"), "max_tokens": 1}, tries=1)
        except (Refused, CaptionerStopped):
            return False
        return True
