"""Ids of the special tokens: one place for the vocabulary, which files them first, and the decoder, which has no words.

Free of torch, so that reading a vocabulary costs nothing.
"""

from __future__ import annotations

from typing import Final

PAD: Final = 0
"""Fills a row of token ids after its end mark."""
START: Final = 1
"""Precedes the first word; an input, never emitted."""
END: Final = 2
"""The end mark: emitted, scored and trained like a word."""
UNK: Final = 3
"""Stands for a word outside the vocabulary; an input in training, never emitted."""

SPECIALS: Final = ("<pad>", "<start>", "<end>", "<unk>")
"""Their spellings, in the order of their ids."""
