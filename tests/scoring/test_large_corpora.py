"""Scores of a corpus are the same to the last bit however it is cut into blocks, and texts need little memory."""

from __future__ import annotations

import tracemalloc

import pytest

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.scoring import bleu_rouge_cider, ngrams, score_texts
from tests.benchmarks.invented_captions import InventedCaptions

LEXICON = Lexicon({"joy": ["happily", "joy"], "sadness": ["sadly", "crying"]})


def scored(videos: int, references: int) -> str:
    captions, truth = InventedCaptions(1).data_set(videos, references)
    names = list(captions)
    captions[names[0]] = ""  # no n-gram
    captions[names[1]] = "happily"  # and one of a single word
    truth[names[2]] = truth[names[2]][:1]
    found = score_texts.score_texts(
        captions, truth, LEXICON, meteor=False, bootstrap=5, compare=dict(reversed(captions.items())), human=True
    )
    return repr((found.to_dict(), [video.to_dict() for video in found.per_video]))


@pytest.mark.parametrize("words", [1, 40, 300])
def test_blocks_change_nothing(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored(30, 3)
    monkeypatch.setattr(ngrams, "BLOCK_WORDS", words)
    monkeypatch.setattr(ngrams, "_MERGED", 7)
    assert scored(30, 3) == whole
    monkeypatch.setattr(bleu_rouge_cider, "KEPT_WORDS", 0)
    monkeypatch.setattr(score_texts, "KEPT_VIDEOS", 0)
    assert scored(30, 3) == whole


def grams_of(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[at : at + n]) for n in (1, 2, 3, 4) for at in range(len(words) - n + 1)}


def test_frequencies_are_counted_videos() -> None:
    captions, truth = InventedCaptions(2).data_set(12, 2)
    corpus = ngrams.Corpus.of(captions, truth)
    found = ngrams.Frequencies.of(corpus)
    videos = [set().union(*map(grams_of, truth[video])) for video in captions]
    expected = [sum(gram in grams for grams in videos) for gram in set().union(*videos)]
    assert sorted(found.counts.tolist()) == sorted(expected)
    # of one caption, as a block of its own
    for number, text in enumerate(captions.values()):
        block = corpus.block(number, number + 1)
        own = block.hypotheses[1]
        places = found.places(block)[own]
        counts = [0 if place < 0 else int(found.counts[place]) for place in places]
        assert sorted(counts) == sorted(sum(gram in grams for grams in videos) for gram in grams_of(text))


def test_scores_of_videos_are_read_like_a_list() -> None:
    captions, truth = InventedCaptions(3).data_set(4, 2)
    found = score_texts.score_texts(captions, truth, LEXICON, meteor=False).per_video
    assert [video.video for video in found] == list(captions)
    assert found[-1] == list(found)[-1]
    assert found[1:3] == list(found)[1:3]
    with pytest.raises(IndexError):
        found[4]


@pytest.mark.slow
def test_memory_grows_by_little_a_video(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams, "BLOCK_WORDS", 2000)
    monkeypatch.setattr(ngrams, "_MERGED", 2000)
    monkeypatch.setattr(bleu_rouge_cider, "KEPT_WORDS", 0)
    monkeypatch.setattr(score_texts, "KEPT_VIDEOS", 0)

    def peak(videos: int) -> int:
        captions, truth = InventedCaptions(4).data_set(videos, 3)
        tracemalloc.start()
        try:
            score_texts.score_texts(captions, truth, LEXICON, meteor=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)
    few, many = peak(300), peak(1500)
    # texts as words, and n-grams as rows of numbers, would take more than ten thousand
    assert many - few < 4000 * 1200
