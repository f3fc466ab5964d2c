from __future__ import annotations

import os
from pathlib import Path

import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import DataError

TABLE = {"shy": ["shy", "timid"], "fear": ["fear", "afraid", "timid"]}


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon(TABLE, name="tiny")


def test_categories_are_sorted_and_words_are_distinct(lexicon: Lexicon) -> None:
    assert lexicon.categories == ("fear", "shy")
    assert lexicon.words == ("afraid", "fear", "shy", "timid")
    assert lexicon.entries == 5


def test_a_word_in_two_categories_counts_for_the_first_in_hypotheses_and_for_both_in_references(
    lexicon: Lexicon,
) -> None:
    assert lexicon.first_category("timid") == 0
    assert lexicon.mentioned_categories(["a", "timid", "boy"]) == {0, 1}
    assert lexicon.first_category("boy") is None


def test_the_mask_gives_each_word_to_one_category(lexicon: Lexicon) -> None:
    mask = lexicon.mask()
    assert mask.shape == (2, 4)
    assert mask.sum(0).tolist() == [1, 1, 1, 1]
    assert mask[0].tolist() == [True, True, False, True]


def test_json_round_trip_keeps_the_digest_and_the_name(lexicon: Lexicon) -> None:
    again = Lexicon.from_json(lexicon.to_json())
    assert (again.name, again.digest) == ("tiny", lexicon.digest)


def test_the_digest_knows_the_words_not_the_name() -> None:
    assert Lexicon(TABLE, name="a").digest == Lexicon(TABLE, name="b").digest
    assert Lexicon(TABLE).digest != Lexicon({**TABLE, "joy": ["joy"]}).digest


@pytest.mark.parametrize("place", ["", "sentiment-words-E", "EmotionEval/sentiment-words-E", "a/b/sentiment-words-E"])
def test_word_lists_are_found_in_and_below_a_data_root(tmp_path: Path, place: str, lexicon: Lexicon) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    for category, words in TABLE.items():
        (folder / f"{category}.txt").write_text("\r\n".join(word.upper() for word in words) + "\r\n\n", "utf-8")
    assert Lexicon.from_folder(tmp_path) == lexicon
    assert not Lexicon.from_folder(tmp_path).official


def test_a_folder_without_word_lists_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sentiment-words-E"):
        Lexicon.from_folder(tmp_path)


def test_the_general_lexicon_has_34_categories_whose_names_are_words_of_theirs() -> None:
    general = Lexicon.general()
    assert len(general.categories) == 34
    assert all(name in general.table[name] for name in general.categories)
    assert not general.official


def test_a_folder_is_one_of_word_lists_only_if_it_holds_nothing_else(tmp_path: Path, lexicon: Lexicon) -> None:
    for category, words in TABLE.items():
        (tmp_path / f"{category}.txt").write_text("\n".join(words))
    (tmp_path / "._joy.txt").write_bytes(b"\x00\x05\x16\x07")
    assert Lexicon.from_folder(tmp_path) == lexicon
    for name, text in (("notes.txt", "two words\n"), ("captions.csv", "a\n"), ("big.txt", "a\n" * 100_000)):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="no lexicon found"):
            Lexicon.from_folder(tmp_path)
        (tmp_path / name).unlink()


def test_word_lists_that_are_empty_or_no_text_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "sentiment-words-E"
    folder.mkdir()
    (folder / "joy.txt").write_text("\n")
    with pytest.raises(DataError, match=r"sentiment-words-E: the lexicon holds no word; copy"):
        Lexicon.from_folder(tmp_path)
    (folder / "joy.txt").write_bytes(b"jo\xff")
    with pytest.raises(DataError, match=r"joy\.txt: line 1 is not UTF-8 .* save the file as UTF-8"):
        Lexicon.from_folder(tmp_path)


def test_the_official_place_comes_before_another_copy(tmp_path: Path, lexicon: Lexicon) -> None:
    for place, table in (("a", {"joy": ["glad"]}), ("EmotionEval", TABLE)):
        for category, words in table.items():
            (tmp_path / place / "sentiment-words-E").mkdir(parents=True, exist_ok=True)
            (tmp_path / place / "sentiment-words-E" / f"{category}.txt").write_text("\n".join(words))
    assert Lexicon.from_folder(tmp_path) == lexicon


def test_a_pipe_among_word_lists_is_refused_without_waiting(tmp_path: Path) -> None:
    folder = tmp_path / "sentiment-words-E"
    folder.mkdir()
    (folder / "joy.txt").write_text("happy\n")
    os.mkfifo(folder / "sadness.txt")
    with pytest.raises(DataError, match=r"sadness.txt: is a pipe, not a file"):
        Lexicon.from_folder(tmp_path)
