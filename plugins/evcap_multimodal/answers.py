"""From what a model wrote to a caption: no reasoning, no markup, one sentence of at most so many words."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from evcap_cli.errors import CaptionerError

_REASONING: Final = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>thought", "<channel|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Where families begin and end their reasoning."""
_MARKUP: Final = re.compile(r"<[^<>]*>|\{[^{}]*\}|\[/?[A-Z_]+\]|```\w*|[*_`#~|]{1,3}(?=\S)|(?<=\S)[*_`#~|]{1,3}")
"""Tags, braces of subtitle formats, special tokens and the signs of Markdown."""
_LABEL: Final = re.compile(
    r"^\W*(?:(?:the |one |here is (?:the|a) )?(?:caption|sentence|answer|description))\s*:\s*", re.IGNORECASE
)
_SENTENCE: Final = re.compile(
    r"(?:(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bMrs)(?<!\b\w)\.|[!?…])[\"'”’)\]]*(?=\s+(?![a-z])|\s*$)|[。！？]"
)
"""The end of a sentence: no abbreviation, and what follows begins like another one."""
_HINT: Final = "try another prompt with --prompt, or a larger --max-words"


def caption_text(answer: str, max_words: int, *, reasoning_open: bool = False) -> str:
    """The caption that an answer holds.

    Args:
        answer: with its special tokens, some of which mark reasoning.
        max_words: what comes later is cut off.
        reasoning_open: the prompt ended within a reasoning block.

    Raises:
        CaptionerError: there is nothing but reasoning, or nothing at all.
    """
    text = without_reasoning(answer, reasoning_open=reasoning_open)
    lines = (_plain(line) for line in text.splitlines())
    line = next((line for line in lines if any(sign.isalnum() for sign in line)), "")
    end = _SENTENCE.search(line)
    sentence = line if end is None else line[: end.end()]
    sentence = _unquoted(sentence.strip())
    words = sentence.split()
    if len(words) > max_words:
        sentence = " ".join(words[:max_words]).rstrip(",;:-–—(")
    if not any(sign.isalnum() for sign in sentence):
        raise CaptionerError("the model gave an empty answer", hint=_HINT)
    return sentence


def without_reasoning(answer: str, *, reasoning_open: bool = False) -> str:
    """An answer without its closed reasoning blocks.

    Raises:
        CaptionerError: a block is not closed: the tokens ran out before the answer began.
    """
    text = answer
    if reasoning_open:
        ends = [text.find(end) + len(end) for _, end in _REASONING if end in text]
        if not ends:
            raise _endless()
        text = text[min(ends) :]
    for begin, end in _REASONING:
        while begin in text:
            before, _, rest = text.partition(begin)
            _, closed, after = rest.partition(end)
            if not closed:
                raise _endless()
            text = before + after
        # the block's begin may be part of the prompt
        text = text.rpartition(end)[2]
    return text


def begins_reasoning(prompt: str) -> bool:
    """Whether a prompt ends within a reasoning block, so that the answer begins in it."""
    return any(prompt.rfind(begin) > prompt.rfind(end) for begin, end in _REASONING)


def _endless() -> CaptionerError:
    return CaptionerError("the model's answer ends within its reasoning", hint="take a model that answers directly")


def _plain(line: str) -> str:
    """A line without markup, control characters and what subtitle formats read as syntax."""
    text = _MARKUP.sub("", line).replace("-->", " ").translate({ord(sign): None for sign in "<>{}\ufffd"})
    text = "".join(sign if unicodedata.category(sign)[0] != "C" else " " for sign in text)
    text = re.sub(r"^\s*(?:[-•*]|\d+[.)])\s+", "", text)
    return " ".join(_LABEL.sub("", text).split())


def _unquoted(sentence: str) -> str:
    """A sentence without quotes around all of it, and without those that lost their partner in the cut."""
    for begin, end in (('"', '"'), ("“", "”")):
        inside = sentence.removesuffix(".").removesuffix(end).removeprefix(begin)
        around = sentence.startswith(begin) and sentence.rstrip(".").endswith(end) and begin not in inside
        if around or (sentence.count(begin) + sentence.count(end)) % (4 if begin == end else 2):
            sentence = sentence.replace(begin, "").replace(end, "")
    return sentence.strip()
