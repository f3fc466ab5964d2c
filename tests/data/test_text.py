from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcap_cli.data.caption_text import normalise, tokens


def test_the_paper_protocol_deletes_punctuation_rather_than_splitting_at_it() -> None:
    assert tokens("A man doesn't smile , happily.") == ["a", "man", "doesnt", "smile", "happily"]


def test_non_ascii_characters_are_dropped_before_anything_else() -> None:
    assert normalise("caf\u00e9 \u201cnice\u201d  na\u00efve") == "caf nice nave"


def test_captions_are_cut_at_fifteen_words() -> None:
    assert tokens(" ".join(map(str, range(20)))) == [str(n) for n in range(15)]
    assert len(tokens(" ".join(map(str, range(20))), None)) == 20


@pytest.mark.slow
@given(st.text())
def test_normalising_matches_a_character_by_character_reading(text: str) -> None:
    kept = "".join(c.lower() for c in text if ord(c) < 128 and c not in string.punctuation)
    assert tokens(text, None) == [w for w in re.split(r"[\s\x1c-\x1f]+", kept) if w]
    assert normalise(normalise(text)) == normalise(text)
