from __future__ import annotations

import pytest

from evcap_cli.captioner.tokens import END, PAD, START, UNK
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import DataError


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.from_captions([["a", "cat"], ["a", "dog"], ["the", "dog"]])


def test_frequent_words_come_first_and_ties_are_alphabetical(vocabulary: Vocabulary) -> None:
    assert vocabulary.words[4:] == ("a", "dog", "cat", "the")


def test_rare_words_are_left_out() -> None:
    assert len(Vocabulary.from_captions([["a", "cat"], ["a"]], min_count=2)) == 5


def test_unknown_words_become_the_unknown_token_and_the_end_mark_follows(vocabulary: Vocabulary) -> None:
    assert vocabulary.encode(["a", "zebra"]) == [4, UNK, END]
    assert vocabulary.encode(["a"], end=False) == [4]


def test_decoding_stops_at_the_end_mark_and_hides_special_tokens(vocabulary: Vocabulary) -> None:
    assert vocabulary.decode([START, 4, UNK, 5, END, 6, PAD]) == ["a", "dog"]


def test_json_keeps_every_id(vocabulary: Vocabulary) -> None:
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


@pytest.mark.parametrize("text", ["", "[]", '{"words": ["a"]}', '{"words": 3}'])
def test_what_is_not_a_vocabulary_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError):
        Vocabulary.from_json(text)


def test_a_word_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' stands twice"):
        Vocabulary(["a", "a"])
