from __future__ import annotations

from pathlib import Path

import pytest

from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.special_tokens import END, PAD, START, UNK
from evcap_cli.data.vocabulary import Vocabulary
from evcap_cli.errors import DataError
from evcap_cli.training.run_preparation import prepare
from tests.training import toy


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


@pytest.mark.slow
def test_no_word_of_test_captions_or_of_held_out_videos_is_in_the_vocabulary_of_a_run(tmp_path: Path) -> None:
    """Only what a run learns from names words: each caption here has a word of its own."""
    rows = {
        "trainval": [f"vid{n}\ta happy man and train{n}word" for n in range(18)],
        "test": ["vid3\tleakword", "vid900\ttestword"],
    }
    for split, lines in rows.items():
        text = "\n".join(["VideoID\tEmCaptions", *lines]) + "\n"
        (tmp_path / f"EmVideo_{split}_captions.csv").write_text(text)
    root = DataRoot.open(tmp_path)
    assert root.test.keys() == {"vid3", "vid900"}
    prepared = prepare(toy.recipe(), root.train, toy.LEXICON, toy.source())
    held = set(prepared.validation_captions)
    assert held
    own = {video: f"train{video.removeprefix('vid')}word" for video in root.train}
    for video, word in own.items():
        assert (word in prepared.vocabulary) == (video not in held)
    assert "leakword" not in prepared.vocabulary
    assert "testword" not in prepared.vocabulary
    assert prepared.vocabulary.encode(["testword"], end=False) == [UNK]
