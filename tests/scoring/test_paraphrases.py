from __future__ import annotations

import gzip
import os
import random
import re
import zlib
from pathlib import Path

import pytest

from evcap_cli.scoring import paraphrases
from evcap_cli.scoring.paraphrases import KEPT_TABLES, can_cut, cut_table

WORDS = (
    "man",
    "woman",
    "is",
    "a",
    "the",
    "looks",
    "after",
    "takes",
    "care",
    "of",
    "n't",
    "'s",
    ",",
    "ten",
    "1,000",
    "x",
)
Row = tuple[str, str, str]


def made_table(path: Path, rows: list[Row]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines("\n".join(row) + "\n" for row in rows)
    return path


def invented_rows(seed: int, number: int = 3000) -> list[Row]:
    draw = random.Random(seed)

    def phrase() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 4)))

    return sorted(((f"{draw.random():.3f}", phrase(), phrase()) for _ in range(number)), key=lambda row: row[1])


def cut(table: Path, captions: list[str], references: list[str], root: Path) -> list[tuple[str, str]]:
    """The pairs of phrases that were kept; what METEOR skips, each pair's first line, is left out."""
    lines = gzip.decompress(cut_table(table, captions, references, root)).decode().split("\n")[:-1]
    return list(zip(lines[1::3], lines[2::3], strict=True))


def runs(text: str) -> str:
    """Words of a text or phrase, each between spaces, punctuation left out."""
    return f" {' '.join(re.findall('[a-z0-9]+', text.lower()))} "


def needed(rows: list[Row], captions: list[str], references: list[str]) -> list[tuple[str, str]]:
    """Pairs that can match, told slowly: one phrase in a reference, the other in a caption, either way round."""

    def inside(phrase: str, texts: list[str]) -> bool:
        return any(runs(phrase) in runs(text) for text in texts)

    return [
        (one, two)
        for _, one, two in rows
        if (inside(one, references) and inside(two, captions)) or (inside(one, captions) and inside(two, references))
    ]


PLAIN = (["a man takes care of x", "the woman"], ["a woman looks after the man", "ten men", "the man is ten"])
ODD = (["a man does n't care of 1,000", "the woman's"], ["a woman looks after 1,000", "man 's , ten"])


@pytest.mark.slow
@pytest.mark.parametrize("texts", [PLAIN, ODD], ids=["plain", "punctuated"])
@pytest.mark.parametrize("block", [16, 1000, 1 << 20])
def test_every_row_that_can_match_is_kept_in_order_and_few_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: tuple[list[str], list[str]], block: int
) -> None:
    monkeypatch.setattr(paraphrases, "_BLOCK_BYTES", block)
    rows = invented_rows(1)
    kept = cut(made_table(tmp_path / "t.gz", rows), *texts, tmp_path / "cache")
    expected = needed(rows, *texts)
    if texts is PLAIN:  # a phrase with punctuation matches no text without
        expected = [pair for pair in expected if re.fullmatch("[a-z0-9 ]+", " ".join(pair))]
    pairs = [row[1:] for row in rows]
    assert kept == [pair for pair in pairs if pair in set(kept)]
    assert set(expected) <= set(kept)
    assert len(kept) <= len(expected) + 30
    assert len(expected) > 20


def test_long_phrases_that_share_their_ends_are_told_apart_or_kept(tmp_path: Path) -> None:
    phrase = "the woman looks after the man"
    phrases = (phrase, phrase.replace("looks", "ooklo"), f"{phrase} is")
    table = made_table(tmp_path / "t.gz", [("0.1", text, "a man") for text in phrases])
    kept = cut(table, ["a man"], [f"here {phrase} a lot"], tmp_path / "cache")
    assert (phrase, "a man") in kept
    assert (f"{phrase} is", "a man") not in kept


@pytest.mark.parametrize("row", [("0.1", "one couple", "a couple"), ("0.1", "a couple", "one couple")])
def test_a_pair_counts_whichever_phrase_the_table_has_first(tmp_path: Path, row: Row) -> None:
    table = made_table(tmp_path / "t.gz", [row, ("0.1", "a couple", "a couple"), ("0.1", "one couple", "one couple")])
    kept = cut(table, ["one couple sits"], ["a couple is sitting"], tmp_path / "cache")
    assert kept == [row[1:]]


def test_a_second_set_of_captions_reads_the_kept_table_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = invented_rows(2)
    table = made_table(tmp_path / "t.gz", rows)
    captions, references = PLAIN
    cut(table, captions, references, tmp_path / "cache")
    fresh = cut(table, ["woman takes the x"], references, tmp_path / "elsewhere")
    monkeypatch.setattr(paraphrases, "_blocks", lambda *_: pytest.fail("the whole table was read"))
    assert cut(table, ["woman takes the x"], references[::-1] * 2, tmp_path / "cache") == fresh
    with pytest.raises(pytest.fail.Exception):
        cut(table, captions, [*references, "another one"], tmp_path / "cache")


def test_another_table_is_cut_anew(tmp_path: Path) -> None:
    table = made_table(tmp_path / "t.gz", [("0.1", "the man", "a man")])
    assert len(cut(table, ["a man"], ["the man"], tmp_path / "cache")) == 1
    made_table(table, [("0.1", "the man", "a man"), ("0.1", "the man", "man")])
    assert len(cut(table, ["a man"], ["the man"], tmp_path / "cache")) == 2


@pytest.mark.parametrize("damage", ["cut short", "one byte", "empty", "other text"])
def test_a_damaged_kept_table_is_made_again(tmp_path: Path, damage: str) -> None:
    table = made_table(tmp_path / "t.gz", invented_rows(3))
    expected = cut(table, *PLAIN, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "meteor").iterdir()
    whole = kept.read_bytes()
    broken = {
        "cut short": whole[:-9],
        "one byte": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        "empty": b"",
        "other text": b"hello\n" + zlib.compress(b"0.1\na man\na man\n"),
    }[damage]
    kept.write_bytes(broken)
    assert cut(table, *PLAIN, tmp_path / "cache") == expected
    assert kept.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    table = made_table(tmp_path / "t.gz", invented_rows(4))
    (tmp_path / "file").write_text("in the way")
    assert cut(table, *PLAIN, tmp_path / "file") == cut(table, *PLAIN, tmp_path / "cache")
    assert (tmp_path / "file").read_text() == "in the way"


def test_only_the_latest_tables_are_kept_and_no_temporary_file(tmp_path: Path) -> None:
    table = made_table(tmp_path / "t.gz", [("0.1", "the man", "a man")])
    for number in range(KEPT_TABLES + 3):
        cut(table, ["a man"], [f"the man {number}"], tmp_path)
        newest = max((tmp_path / "meteor").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (number, number))
    assert len(list((tmp_path / "meteor").iterdir())) == KEPT_TABLES


def test_a_damaged_table_is_an_error_and_nothing_is_kept(tmp_path: Path) -> None:
    table = made_table(tmp_path / "t.gz", invented_rows(5))
    whole = table.read_bytes()
    for broken in (whole[: len(whole) // 2], b"no gzip at all"):
        table.write_bytes(broken)
        with pytest.raises(zlib.error):
            cut(table, *PLAIN, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_texts_in_other_alphabets_are_not_cut_for() -> None:
    assert can_cut(["a man", "it's 5!"])
    assert not can_cut(["a man", "un café"])
