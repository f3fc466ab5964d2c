"""What a loaded captioner says of clips: one plain sentence each, whatever the clip and its neighbours are."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from evcap_cli.conformance.captioner_candidate import CLIPS, FEW_WORDS
from evcap_cli.conformance.checks import Broken, Check, NotApplicable, check
from evcap_cli.conformance.comparing import BATCH_TOLERANCE, REPEAT_TOLERANCE
from evcap_cli.conformance.features import torch_settings
from evcap_cli.systems.clip_captioner import OWN_PROMPT, CaptionerIdentity, ClipCaption

if TYPE_CHECKING:
    from evcap_cli.conformance.captioner_candidate import CaptionerCandidate
    from evcap_cli.systems.clip_captioner import Clip

CHECKS: Final[list[Check[CaptionerCandidate]]] = []

SUM_TOLERANCE: Final = 1e-3
"""Of a distribution in half precision."""
WIDE: Final = 300
"""Width to height of the widest pictures that a run must bear."""
SHORT_SECONDS: Final = 0.05
_MARKUP: Final = re.compile(r"<[^<>]*>|\{[^{}]*\}")
_QUOTED: Final = 60
"""Letters of a caption or of what was printed that a result shows."""


@check(CHECKS, "loading", "loads, says what it is and leaves torch's settings alone", needs=("opening",))
def _loading(candidate: CaptionerCandidate) -> str:
    before = torch_settings()
    captioner = candidate.captioner
    changed = [name for name, value in torch_settings().items() if value != before[name]]
    if changed:
        raise Broken(f"load changed torch's {', '.join(changed)} for the whole program")
    identity = captioner.identity
    if not isinstance(identity, CaptionerIdentity):
        raise Broken(f"identity is {type(identity).__name__}, not a CaptionerIdentity")
    if not identity.name or not identity.digest:
        raise Broken("identity has no name or no digest: a rerun cannot see that captions would differ")
    return identity.name


@check(CHECKS, "caption", "gives each clip one plain sentence", needs=("loading",))
def _caption(candidate: CaptionerCandidate) -> str:
    for found in candidate.together:
        _check_text(found)
    return _quoted(candidate.together[0].text)


def _check_text(found: ClipCaption) -> None:
    text = found.text
    if not isinstance(text, str) or not any(sign.isalnum() for sign in text):
        raise Broken(f"the text {text!r} has no words")
    if text != text.strip() or any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in text):
        raise Broken(f"the text {_quoted(text)} is not one line without blanks at its ends")
    if _MARKUP.search(text):
        raise Broken(f"the text {_quoted(text)} holds markup: subtitles would show or obey it")


@check(CHECKS, "score", "gives mean log-probabilities, or None", needs=("caption",))
def _score(candidate: CaptionerCandidate) -> str:
    scores = [found.score for found in candidate.together]
    if all(score is None for score in scores):
        raise NotApplicable("it gives none")
    for score in scores:
        if not isinstance(score, float) or not math.isfinite(score) or score > REPEAT_TOLERANCE:
            raise Broken(f"the score {score!r} is no mean log-probability: a finite number of at most 0")
    return f"{scores[0]:.2f}"


@check(
    CHECKS, "emotion", "gives each category of the lexicon a probability, which sum to one, or None", needs=("caption",)
)
def _emotion(candidate: CaptionerCandidate) -> None:
    if all(found.emotion is None for found in candidate.together):
        raise NotApplicable("it gives none")
    lexicon = candidate.options.lexicon
    categories = () if lexicon is None else tuple(lexicon.categories)
    for found in candidate.together:
        if found.emotion is None:
            continue
        if tuple(found.emotion) != categories:
            raise Broken(f"has the categories {', '.join(found.emotion)}; the lexicon's are {', '.join(categories)}")
        if not all(isinstance(value, float) and 0 <= value <= 1 + SUM_TOLERANCE for value in found.emotion.values()):
            raise Broken(f"holds a probability that is none: {dict(found.emotion)}")
        total = math.fsum(found.emotion.values())
        if abs(total - 1) > SUM_TOLERANCE:
            raise Broken(f"sums to {total:.3f}, not to 1")


@check(CHECKS, "no-emotion", "gives no probabilities with --no-emotion", needs=("emotion",))
def _no_emotion(candidate: CaptionerCandidate) -> None:
    _, captions = candidate.limited
    if any(found.emotion is not None for found in captions):
        raise Broken("predicts emotions though options.emotion is False")


@check(CHECKS, "max-words", "keeps to --max-words", needs=("caption",))
def _max_words(candidate: CaptionerCandidate) -> None:
    for captions, most in ((candidate.together, candidate.options.max_words), (candidate.limited[1], FEW_WORDS)):
        long = next((found.text for found in captions if len(found.text.split()) > most), None)
        if long is not None:
            raise Broken(f"says {_quoted(long)} with options.max_words = {most}")


@check(
    CHECKS, "instructions", "follows --style and --prompt, or says that it takes no instructions", needs=("caption",)
)
def _instructions(candidate: CaptionerCandidate) -> None:
    captioner = candidate.captioner
    first = captioner.identity
    if not captioner.takes_instructions:
        if first.style is not None or first.prompt_digest is not None:
            raise Broken("identity names a style or prompt; set takes_instructions = True, or leave them out")
        raise NotApplicable("it takes none; evcap refuses --style and --prompt")
    if first.style != candidate.options.style_name or not first.prompt_digest:
        raise Broken(f"identity must name the style {candidate.options.style_name!r} and a digest of the prompt")
    other = candidate.limited[0].identity
    if other.style != OWN_PROMPT or other.prompt_digest == first.prompt_digest:
        raise Broken("identity does not change with --prompt: a rerun would mix captions of two prompts")


@check(CHECKS, "repeatable", "gives the same captions for the same batch", needs=("caption",))
def _repeatable(candidate: CaptionerCandidate) -> str:
    again = candidate.caption(candidate.captioner, candidate.clips())
    return _same(candidate.together, again, REPEAT_TOLERANCE, "do not sample, call eval() in load")


@check(CHECKS, "fresh-instance", "gives the same captions in a new instance", needs=("repeatable",))
def _fresh_instance(candidate: CaptionerCandidate) -> str:
    other = candidate.loaded()
    if other.identity != candidate.captioner.identity:
        raise Broken(f"two instances have the identities {candidate.captioner.identity} and {other.identity}")
    again = candidate.caption(other, candidate.clips())
    return _same(candidate.together, again, REPEAT_TOLERANCE, "keep nothing of the clips before")


@check(CHECKS, "neighbours", "a caption does not depend on the clips next to it", needs=("repeatable",))
def _neighbours(candidate: CaptionerCandidate) -> str:
    """The first clip with others, one of them of another length and shape, in a batch of the same size."""
    clips = [candidate.clip(0), candidate.clip(11), candidate.clip(12, frames=1, size=(96, 40), audio_seconds=0)]
    first, *_ = candidate.results(candidate.captioner, clips)
    if not isinstance(first, ClipCaption):
        raise Broken(f"gave no caption next to other clips: {first.message}")
    return _same(candidate.together[:1], [first], BATCH_TOLERANCE, "fill no clip up to the length of others")


@check(CHECKS, "batch-size", "a caption does not depend on the size of its batch or its place", needs=("repeatable",))
def _batch_size(candidate: CaptionerCandidate) -> str:
    """The first clip alone, and at another place of a batch of another size."""
    clips = candidate.clips()
    alone = candidate.caption(candidate.captioner, clips[:1])
    elsewhere = candidate.caption(candidate.captioner, [clips[CLIPS - 1], clips[0]])
    hint = "no clip may depend on the others"
    _same(candidate.together[:1], alone, BATCH_TOLERANCE, hint)
    return _same(candidate.together[:1], elsewhere[1:], BATCH_TOLERANCE, hint)


@check(CHECKS, "few-frames", "captions a clip of one frame, and of fewer frames than it reads", needs=("caption",))
def _few_frames(candidate: CaptionerCandidate) -> None:
    frames = candidate.captioner.reads.frames
    if frames is None:
        raise NotApplicable("it reads no frames")
    for count in sorted({1, max(1, frames.count - 1)}):
        _captions(candidate, candidate.clip(0, frames=count), f"a clip of {count} of {frames.count} frames")


@check(CHECKS, "aspect", f"captions frames {WIDE} times as wide as high, and as high as wide", needs=("caption",))
def _aspect(candidate: CaptionerCandidate) -> None:
    if candidate.captioner.reads.frames is None:
        raise NotApplicable("it reads no frames")
    for size in ((4, 4 * WIDE), (4 * WIDE, 4)):
        height, width = candidate.captioner.reads.frames.size(*size)
        _captions(candidate, candidate.clip(0, size=size), f"frames of {width} x {height} pixels")


@check(CHECKS, "no-audio", "captions a clip without audio", needs=("caption",))
def _no_audio(candidate: CaptionerCandidate) -> None:
    if not candidate.reads_audio:
        raise NotApplicable("it reads no audio")
    _captions(candidate, candidate.clip(0, audio_seconds=0), "a clip without audio")


@check(CHECKS, "short-audio", "captions a clip with hardly any audio", needs=("caption",))
def _short_audio(candidate: CaptionerCandidate) -> None:
    if not candidate.reads_audio:
        raise NotApplicable("it reads no audio")
    _captions(candidate, candidate.clip(0, audio_seconds=SHORT_SECONDS), f"{SHORT_SECONDS} s of audio")


@check(CHECKS, "standard-output", "prints nothing on standard output", needs=("caption",))
def _standard_output(candidate: CaptionerCandidate) -> None:
    """In every call before: data goes there."""
    if candidate.printed:
        raise Broken(f"printed {_quoted(candidate.printed[0])}; use logging, or print to sys.stderr")


def _captions(candidate: CaptionerCandidate, clip: Clip, what: str) -> None:
    """See that a clip gets a caption.

    Raises:
        Broken: it does not; the text says for what.
    """
    try:
        (found,) = candidate.caption(candidate.captioner, [clip])
        _check_text(found)
    except Broken as problem:
        raise Broken(f"for {what}: {problem}") from problem


def _same(first: Sequence[ClipCaption], again: Sequence[ClipCaption], tolerance: float, hint: str) -> str:
    """Captions are the same: texts to the letter, scores and probabilities to ``tolerance``."""
    largest = 0.0
    for one, other in zip(first, again, strict=True):
        if one.text != other.text:
            raise Broken(f"{_quoted(other.text)} in place of {_quoted(one.text)}; {hint}")
        largest = max(largest, _difference([one.score], [other.score]))
        emotions = [list((found.emotion or {}).values()) for found in (one, other)]
        largest = max(largest, _difference(*emotions))
    if not largest <= tolerance:
        raise Broken(f"score or emotion differs by {largest:.1e}, at most {tolerance:.0e} is allowed; {hint}")
    return f"differs by {largest:.0e}" if largest else "to the bit"


def _difference(first: Sequence[float | None], again: Sequence[float | None]) -> float:
    if len(first) != len(again) or any((a is None) != (b is None) for a, b in zip(first, again, strict=False)):
        return math.inf
    return max((abs(a - b) for a, b in zip(first, again, strict=True) if a is not None and b is not None), default=0.0)


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _QUOTED else f"{line[:_QUOTED]}...")
