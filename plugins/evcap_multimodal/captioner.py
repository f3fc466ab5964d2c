"""The captioner of multimodal models: clips to inputs, equal shapes together, answers to captions.

Notation: B clips of a batch, P tokens of a prompt, N_c categories of the lexicon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from evcap_cli import console, plugin_calls
from evcap_cli.backbones.identity import digest_of
from evcap_cli.checkpoints.hub import HUB_PREFIX
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.devices import out_of_memory
from evcap_cli.errors import CaptionerError, OutOfMemory, UsageError, VideoError, one_line
from evcap_cli.systems.clip_captioner import (
    CaptionerIdentity,
    CaptionerOptions,
    Clip,
    ClipCaption,
    Several,
    SeveralCaptioner,
)
from evcap_multimodal import caches, emotions, folders, sampling
from evcap_multimodal.answers import begins_reasoning, caption_text
from evcap_multimodal.families import Family, family_class
from evcap_multimodal.generation import Generated, generate
from evcap_multimodal.loading import check_packages, load_model, load_processor
from evcap_multimodal.prompts import emotion_question, instruction

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor

Result = list[ClipCaption] | VideoError
"""Captions of a clip, the best first, or why it has none."""
TOKENS_A_WORD: Final = 4
"""Of an answer's budget: names and rare words take several tokens; the end mark ends most answers far earlier."""
MORE_TOKENS: Final = 8


@dataclass
class Prepared:
    """One clip as the model takes it.

    Args:
        number: of the clip.
        clip: adjusted to the family.
        prompt: its chat as text.
        inputs: of the model, a batch of one.
    """

    number: int
    clip: Clip
    prompt: str
    inputs: dict[str, Tensor]

    @property
    def signature(self) -> tuple[object, ...]:
        """Clips with the same one can share a batch without padding."""
        return tuple((name, *value.shape, value.dtype) for name, value in sorted(self.inputs.items()))


class MultimodalCaptioner(SeveralCaptioner):
    """Captions by an image-or-video-text-to-text model of transformers.

    Raises:
        CheckpointError: the address names no model that can caption, or it cannot be had.
    """

    processor: Any
    model: Any

    def __init__(self, address: str, options: CaptionerOptions) -> None:
        super().__init__(address, options)
        self.folder = folders.open_folder(address)
        self.family = family_class(self.folder.model_type)(self.folder.config, options.frames)
        check_packages(self.family, address)
        self.reads = self.family.reads()
        self.takes_instructions = self.family.takes_instructions
        self.lexicon = options.lexicon or Lexicon.general()
        self.instruction = instruction(options, self.lexicon)
        self.question = emotion_question(self.lexicon.categories)
        self.batch_size = (options.batch_size or self.clips_a_batch) if self.family.batches else 1
        self.predicts_emotion = options.emotion and self.family.takes_instructions
        self._identity: CaptionerIdentity | None = None

    @classmethod
    def check(cls, address: str, options: CaptionerOptions) -> None:  # noqa: ARG003  nothing of them can be wrong
        config = folders.check(address)
        check_packages(family_class(str(config["model_type"])), address)

    @classmethod
    def local_copy(cls, address: str) -> Path | None:
        return folders.local_copy(address)

    @classmethod
    def fetch(cls, address: str) -> Path:
        if not address.startswith(HUB_PREFIX):
            raise UsageError(
                "names no model that can be downloaded",
                path=address,
                hint=f"give {HUB_PREFIX}ORG/NAME, or a name that `evcap weights list` shows, such as smolvlm2",
            )
        return folders.fetch(address).path

    @property
    def identity(self) -> CaptionerIdentity:
        """Name, revision and digest of the files, style and digest of the prompt; computed once."""
        if self._identity is None:
            instructed = self.family.takes_instructions
            self._identity = CaptionerIdentity(
                name=self.folder.name,
                digest=self.folder.digest(),
                revision=self.folder.revision,
                style=self.options.style_name if instructed else None,
                prompt_digest=digest_of(self.instruction) if instructed else None,
            )
        return self._identity

    def load(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.processor = load_processor(self.folder, self.family, self.address)
        self.model = load_model(self.folder, self.family, device, dtype, self.address)
        self.tokenizer: Any = self.processor.tokenizer
        self.categories = [self._tokens(self.family.answer_start + category) for category in self.lexicon.categories]

    def caption(self, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        """One result a clip; see ``ClipCaptioner.caption``."""
        found = self.caption_several(clips, Several())
        return [result if isinstance(result, VideoError) else result[0] for result in found]

    def caption_several(self, clips: Sequence[Clip], several: Several) -> list[Result]:
        """The most probable caption of each clip, and samples; see ``SeveralCaptioner.caption_several``."""
        import torch

        results: dict[int, Result] = {}
        groups: dict[tuple[object, ...], list[Prepared]] = {}
        for number, clip in enumerate(clips):
            try:
                prepared = self.prepared(clip, number)
            except Exception as problem:  # a processor of transformers may raise anything
                results[number] = _failure(problem, "prepare")
            else:
                groups.setdefault(prepared.signature, []).append(prepared)
        with torch.inference_mode():
            for group in groups.values():
                self._caption_alike(group, several, results)
        return [results[number] for number in range(len(clips))]

    def prepared(self, clip: Clip, number: int = 0) -> Prepared:
        """A clip as the model takes it; whatever the processor finds wrong with it is raised."""
        adjusted = self.family.adjust(clip)
        prompt = self.family.prompt(self.processor, adjusted, self.instruction)
        return Prepared(number, adjusted, prompt, self.family.inputs(self.processor, adjusted, prompt))

    def _caption_alike(self, waiting: Sequence[Prepared], several: Several, results: dict[int, Result]) -> None:
        """Caption clips of equal shapes in batches; one that does not fit into memory is halved, for good."""
        import torch

        queue = list(waiting)
        while queue:
            batch, queue = queue[: self.batch_size], queue[self.batch_size :]
            try:
                found = self._caption_batch(batch, several)
            except Exception as problem:
                full = out_of_memory(problem)
                if full and self.device.type == "cuda":
                    torch.cuda.empty_cache()
                if len(batch) == 1:
                    results[batch[0].number] = _failure(problem, "caption")
                elif full:
                    self.batch_size = (len(batch) + 1) // 2
                    queue = batch + queue
                else:
                    for prepared in batch:  # one of them must not take the others with it
                        self._caption_alike([prepared], several, results)
                continue
            results.update(zip((prepared.number for prepared in batch), found, strict=True))

    @property
    def _most_tokens(self) -> int:
        return TOKENS_A_WORD * self.options.max_words + MORE_TOKENS

    def _caption_batch(self, batch: Sequence[Prepared], several: Several) -> list[Result]:
        inputs = self._to_device(batch)
        answers = generate(
            self.model,
            inputs,
            max_tokens=self._most_tokens,
            beams=self.options.beam_size,
            pad_token=self.tokenizer.pad_token_id,
            keep_cache=(self.predicts_emotion or several.count > 1) and self.family.shares_cache,
        )
        further = self._further(inputs, answers, several) if several.count > 1 else [[] for _ in batch]
        distributions = self._emotions(batch, inputs, answers) if self.predicts_emotion else None
        return [
            self._results(
                prepared,
                [(answers.tokens[row], answers.scores[row]), *further[row]][: several.count],
                distributions[row] if distributions else None,
            )
            for row, prepared in enumerate(batch)
        ]

    def _further(
        self, inputs: dict[str, Any], answers: Generated, several: Several
    ) -> list[list[tuple[Tensor, float | None]]]:
        """Tokens and scores of ``several.count`` - 1 answers to each prompt after the best one.

        They are drawn where the cache can be cut down to the prompt; elsewhere they are the best of a wider beam, for
        which the frames are encoded again.
        """
        beams = self.options.beam_size
        prefix = None
        if answers.cache is not None and self.family.shares_cache:
            prefix = caches.prefix(self.model, answers.cache, inputs["input_ids"].shape[1], beams)
        if prefix is not None:
            prompts = emotions.Prompts(prefix, answers.first, emotions.offsets_of(self.model, beams))
            drawn = sampling.draw(
                self.model, prompts, count=several.count - 1, seed=several.seed, max_tokens=self._most_tokens
            )
            return [list(found) for found in drawn]
        found = generate(
            self.model,
            inputs,
            max_tokens=self._most_tokens,
            beams=max(beams, several.count),
            answers=several.count,
            pad_token=self.tokenizer.pad_token_id,
        )
        rows = list(zip(found.tokens, found.scores, strict=True))
        return [rows[first : first + several.count] for first in range(0, len(rows), several.count)]

    def _results(
        self,
        prepared: Prepared,
        answers: Sequence[tuple[Tensor, float | None]],
        distribution: Sequence[float] | None,
    ) -> Result:
        """Different captions in the order of ``answers``; the first answer must be one."""
        found: dict[str, ClipCaption] = {}
        for tokens, score in answers:
            result = self._result(prepared, tokens, score, distribution)
            if isinstance(result, ClipCaption):
                found.setdefault(result.text, result)
            elif not found:
                return result
        return list(found.values())

    def _to_device(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        import torch

        def moved(tensor: Tensor) -> Tensor:
            kind = self.dtype if tensor.is_floating_point() else None
            return tensor.to(self.device, kind)

        first = batch[0].inputs
        if len(batch) == 1:
            return {name: moved(value) for name, value in first.items()}
        return {name: moved(torch.cat([prepared.inputs[name] for prepared in batch])) for name in first}

    def _result(
        self, prepared: Prepared, tokens: Tensor, score: float | None, distribution: Sequence[float] | None
    ) -> ClipCaption | VideoError:
        raw = self.tokenizer.decode(tokens, skip_special_tokens=True)
        # some families mark their reasoning with special tokens
        marked = self.tokenizer.decode(tokens, skip_special_tokens=False)
        try:
            text = caption_text(
                self._without_specials(marked),
                self.options.max_words,
                reasoning_open=begins_reasoning(prepared.prompt),
            )
        except CaptionerError as problem:
            return problem
        emotion = None if distribution is None else dict(zip(self.lexicon.categories, distribution, strict=True))
        return ClipCaption(text, score, emotion, raw)

    def _without_specials(self, text: str) -> str:
        """Without the tokens that fill and end answers."""
        for token in (self.tokenizer.pad_token, self.tokenizer.eos_token, self.tokenizer.bos_token):
            if token:
                text = text.replace(token, "")
        return text

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def _emotions(
        self, batch: Sequence[Prepared], inputs: dict[str, Any], answers: Generated
    ) -> list[list[float]] | None:
        """The distribution of each clip of a batch; None where this model cannot say."""
        found = self._from_cache(batch, inputs, answers)
        if found is not None:
            return found
        answers.cache = None
        try:
            return [found for prepared in batch for found in self._encoded_again(prepared)]
        except Exception as problem:
            if out_of_memory(problem) or type(self.family) is not Family:
                raise
            # nobody tried this family: its captions are worth having without
            self.predicts_emotion = False
            plugin_calls.show_traceback(problem)
            console.warn(f"{self.address} predicts no emotions ({one_line(problem)}): captions go on without")
            return None

    def _from_cache(
        self, batch: Sequence[Prepared], inputs: dict[str, Any], answers: Generated
    ) -> list[list[float]] | None:
        """The question after the prefix that its prompt shares with the caption's; None where nothing can be shared."""
        import torch

        if answers.cache is None or not self.family.shares_cache:
            return None
        start, tail = self.family.tail(self.processor, batch[0].prompt)
        other = self.family.prompt(self.processor, batch[0].clip, self.question)
        other_start, other_tail = self.family.tail(self.processor, other)
        tokens = torch.tensor(self._tokens(tail), device=self.device)
        ids = inputs["input_ids"]
        if start != other_start or not bool((ids[:, -len(tokens) :] == tokens).all()):
            return None
        beams = self.options.beam_size
        prefix = caches.prefix(self.model, answers.cache, ids.shape[1] - len(tokens), beams)
        if prefix is None:
            return None
        answers.cache = None  # the prefix is a view of it, or a copy
        return emotions.after_prefix(
            self.model,
            prefix,
            self._tokens(other_tail),
            self.categories,
            emotions.offsets_of(self.model, beams),
            len(batch),
        )

    def _encoded_again(self, prepared: Prepared) -> list[list[float]]:
        """The distribution of one clip, its frames encoded with the question."""
        prompt = self.family.prompt(self.processor, prepared.clip, self.question)
        inputs = self.family.inputs(self.processor, prepared.clip, prompt)
        again = self._to_device([Prepared(0, prepared.clip, prompt, inputs)])
        answer = generate(self.model, again, max_tokens=1, pad_token=self.tokenizer.pad_token_id)
        prompts = emotions.Prompts(answer.cache, answer.first, emotions.offsets_of(self.model))
        return emotions.probabilities(self.model, prompts, self.categories)


def _failure(problem: Exception, step: str) -> VideoError:
    """What went wrong with one clip, typed."""
    if isinstance(problem, VideoError):
        return problem
    if out_of_memory(problem):
        return OutOfMemory("the model ran out of memory", hint="take a smaller model, another --device or --dtype bf16")
    plugin_calls.show_traceback(problem)
    return CaptionerError(
        f"the model could not {step} this clip ({one_line(problem)})", hint="set EVCAP_DEBUG=1 for the whole story"
    )
