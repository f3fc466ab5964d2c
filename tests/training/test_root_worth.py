"""What a data root is worth: figures against captions counted by hand, advice where a figure is poor."""

from __future__ import annotations

from pathlib import Path

from evcap_cli.data.lexicon import Lexicon
from evcap_cli.training.root_worth import Worth, in_both_by_bytes, leak_advice, worth, worth_advice, worth_lines

LEXICON = Lexicon({"joy": ["joy", "happily"], "fear": ["scared"], "gloom": ["gloomy", "joy"]})
TRAIN = {
    "a": ["a dog runs happily", "A dog, a joy!"],
    "b": ["the sea", " ".join(["wave"] * 16), "the dog runs"],
    "none": [],
}


def test_the_figures_are_those_counted_by_hand() -> None:
    found = worth(TRAIN, LEXICON, [("a", "t")])
    assert found is not None
    assert (found.videos, found.captions, found.fewest, found.most) == (2, 5, 2, 3)
    assert (found.emotional, found.cut) == (2, 1)
    # happily is joy; joy is joy and gloom
    assert (found.categories, found.category_count, found.emotion_words, found.emotion_word_count) == (2, 3, 2, 4)
    # a, dog, runs, the: in several captions; happily, joy, sea, wave: in one
    assert (found.words, found.once) == (8, 4)
    assert list(worth_lines(found)) == [
        "2.5 captions a video (2 to 3), 40 % with an emotion word, 20 % longer than 15 words",
        "2 of 3 emotion categories and 2 of 4 emotion words are in the captions",
        "4 of 8 words stand in one caption only",
        "1 test video with the bytes of a training video",
    ]
    assert worth({"a": []}, LEXICON) is None


def figures(**changes: int) -> Worth:
    good = {"videos": 100, "captions": 500, "fewest": 5, "most": 5, "emotional": 400, "categories": 30, "words": 1000}
    more = {"category_count": 34, "emotion_words": 80, "emotion_word_count": 225, "once": 300, "cut": 5}
    return Worth(**{**good, **more, **changes})


def test_each_poor_figure_has_one_line_of_advice_and_good_ones_none() -> None:
    assert list(worth_advice(figures())) == []
    assert leak_advice(figures()) is None
    poor = {
        "add videos, or": figures(videos=49, captions=245, emotional=200),
        "let several people": figures(captions=199, emotional=150),
        "use words of the lexicon": figures(emotional=149, categories=1),
        "give a lexicon of the categories": figures(categories=16),
        "set min_count = 2": figures(once=501),
        "shorten them": figures(cut=51),
    }
    for step, found in poor.items():
        (advice,) = worth_advice(found)
        assert advice[1].startswith(step)


def test_videos_of_the_same_bytes_and_parts_of_one_file_are_found_in_both_splits(tmp_path: Path) -> None:
    files = {}
    for name, content in {
        "a": b"one",
        "b": b"two",
        "c": b"one",
        "d": b"three",
        "e": b"six",
        "f": b"",
        "g": b"",
    }.items():
        files[name] = tmp_path / f"{name}.mp4"
        files[name].write_bytes(content)
    files["a1"] = files["a2"] = files["a"]
    files["gone"] = tmp_path / "gone.mp4"
    found = in_both_by_bytes(files, ["a1", "b", "d", "f", "gone", "none"], ["c", "a2", "e", "b", "g", "gone"])
    assert found == [("a1", "c"), ("a1", "a2")]
    advice = leak_advice(figures(same_bytes=found))  # type: ignore[arg-type]
    assert advice is not None
    assert advice[0] == "2 test videos are training videos by the bytes of the file: c is a1, a2 is a1"
