"""What a model is instructed to do: the styles of captions, and the question about the emotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from evcap_cli.data.lexicon import Lexicon
    from evcap_cli.systems.clip_captioner import CaptionerOptions

_LENGTH: Final = "in one sentence of at most {words} words"
_END: Final = "Answer with the sentence alone."
_EMOTIONAL: Final = f"Describe this video {_LENGTH}: who does what, and which emotion it conveys. {_END}"
_FACTUAL: Final = f"Describe this video {_LENGTH}: who does what. {_END}"
_LEXICON: Final = (
    f"Describe this video {_LENGTH}: who does what, and which emotion it conveys. "
    f"Name the emotion with one or two of these words: {{lexicon}}. {_END}"
)
_QUESTION: Final = (
    "Which one of these emotions does this video convey most: {categories}? "
    "Answer with that word alone, spelled as in the list."
)


def instruction(options: CaptionerOptions, lexicon: Lexicon) -> str:
    """What the model is instructed to write: the user's own prompt as it is, or that of the style."""
    if options.prompt is not None:
        return options.prompt.strip()
    template = {"emotional": _EMOTIONAL, "factual": _FACTUAL, "emotional-lexicon": _LEXICON}[options.style]
    return template.format(words=options.max_words, lexicon=", ".join(lexicon.words))


def emotion_question(categories: Sequence[str]) -> str:
    """The question that one of ``categories`` answers."""
    return _QUESTION.format(categories=", ".join(categories))
