"""METEOR with its cut paraphrase table against pycocoevalcap's wrapper, which reads the whole one."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from evcap_cli.data.caption_text import normalise
from evcap_cli.errors import EvcapError
from evcap_cli.scoring import meteor as module
from evcap_cli.scoring.java import JavaError, find_java, ptb_tokens
from evcap_cli.scoring.meteor import STATISTICS, Segment, additive, meteor_scores, meteor_statistics
from evcap_cli.scoring.metric_parts import measure
from evcap_cli.scoring.resampling import replicates, weightings
from evcap_cli.scoring.score_texts import score_texts
from tests.benchmarks.invented_captions import InventedCaptions
from tests.scoring.test_score import LEXICON, has_java

if TYPE_CHECKING:
    import numpy.typing as npt

pytestmark = pytest.mark.skipif(not has_java(), reason="METEOR needs a Java runtime")

PARAPHRASED = {
    "takes care": ("a woman takes care of a child", ["a lady looks after a kid", "a mother is caring for her baby"]),
    "in order": ("the man runs in order to help", ["a man is running so as to help someone", "the guy runs to assist"]),
    "a lot": ("people laugh a lot because of the film", ["a number of people laugh a great deal owing to the movie"]),
    "nothing": ("zuvi karmo benil", ["a totally different thing"]),
    "same": ("a dog sleeps", ["a dog sleeps"]),
    "empty": ("", ["a dog sleeps", "the cat is awake"]),
}
PUNCTUATED = {
    "contraction": (
        "the man does n't want to go",
        ["he doesn't want to leave", "the man can't go", "it's a man's choice"],
    ),
    "commas": ("well , a man - who is old - sits .", ["well, an old man sits down...", "(an old man) sits"]),
    "quotes": ("she says `` yes '' at 5:30", ['she said "yes" at half past five', "5.30 p.m. & she agrees; yes!"]),
    "numbers": (
        "1,000 people stand in front of it",
        ["about 1,000 persons are standing before it", "a 2-year-old stands"],
    ),
}
INVENTED = tuple(table.values() for table in InventedCaptions(2).data_set(25, 4))
CASES = {**PARAPHRASED, **PUNCTUATED}


SEGMENTS: list[Segment] = [
    *((normalise(text), [normalise(other) for other in texts]) for text, texts in zip(*INVENTED, strict=True)),
    *CASES.values(),
]


@pytest.fixture(scope="module")
def wrapper() -> Any:
    """One for all tests here: its Java process takes seconds to start."""
    from pycocoevalcap.meteor.meteor import Meteor

    return Meteor()


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.float64]:
    """Ours of ``SEGMENTS``, with the cut table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVCAP_CACHE_DIR", str(tmp_path_factory.mktemp("meteor")))
        return meteor_statistics(SEGMENTS)


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that no paraphrase matters to: the real table takes seconds to cut."""
    monkeypatch.setattr(module, "cut_table", small_table)


def small_table(*_: object) -> bytes:
    return gzip.compress(b"1\nthe man\nthe guy\n")


@pytest.mark.slow
def test_every_count_of_every_segment_is_the_same_with_the_cut_and_the_whole_table(
    wrapper: Any, counts: npt.NDArray[np.float64]
) -> None:
    expected = [[float(count) for count in wrapper._stat(text, list(texts)).split()] for text, texts in SEGMENTS]
    assert counts.tolist() == expected
    assert (counts[:, 16:20].sum(1) > 0).sum() > 5, "too few paraphrases were matched for this to show anything"


def test_segment_and_corpus_scores_equal_meteors_own(wrapper: Any, counts: npt.NDArray[np.float64]) -> None:
    answers = {number: [text] for number, (text, _) in enumerate(SEGMENTS)}
    corpus, each = wrapper.compute_score({number: texts for number, (_, texts) in enumerate(SEGMENTS)}, answers)
    assert meteor_scores(counts) == pytest.approx(np.array(each), abs=1e-14)
    assert meteor_scores(additive(counts).sum(0)) == pytest.approx(corpus, abs=1e-14)
    assert corpus != pytest.approx(np.mean(each), abs=1e-3), "METEOR of a corpus is no mean of its segments"


def test_resampled_corpora_have_the_score_that_meteor_gives_to_duplicated_videos(
    wrapper: Any, counts: npt.NDArray[np.float64]
) -> None:
    said = {str(number): text for number, (text, _) in enumerate(SEGMENTS)}
    truth = {str(number): texts for number, (_, texts) in enumerate(SEGMENTS)}
    found = replicates(measure(said, truth, LEXICON).with_meteor(counts), 8, 4)["meteor"]
    for number, weights in enumerate(np.concatenate(list(weightings(len(SEGMENTS), 8, 4)))):
        drawn = [place for place, times in enumerate(weights) for _ in range(int(times))]
        rows = [" ".join(map(str, counts[place])) for place in drawn]
        wrapper.meteor_p.stdin.write((" ||| ".join(["EVAL", *rows]) + "\n").encode())
        wrapper.meteor_p.stdin.flush()
        expected = [float(wrapper.meteor_p.stdout.readline()) for _ in (*drawn, "corpus")][-1]
        assert found[number] == pytest.approx(100 * expected, abs=1e-10)


def test_scores_have_meteor_of_the_corpus_and_of_each_video_and_its_interval(
    monkeypatch: pytest.MonkeyPatch, counts: npt.NDArray[np.float64]
) -> None:
    wanted = dict(zip(((text, tuple(texts)) for text, texts in SEGMENTS), counts, strict=True))
    monkeypatch.setattr(module, "meteor_statistics", lambda segments: np.array([wanted[one] for one in segments]))
    said, truth = ({str(n): one[side] for n, one in enumerate(SEGMENTS[: len(INVENTED[0])])} for side in (0, 1))
    scores = score_texts(said, truth, LEXICON, bootstrap=30)
    own = counts[: len(said)]
    assert scores.metrics["meteor"] == pytest.approx(100 * meteor_scores(additive(own).sum(0)))
    assert [video.metrics["meteor"] for video in scores.per_video] == pytest.approx((100 * meteor_scores(own)).tolist())
    low, high = scores.intervals["meteor"]
    assert low < scores.metrics["meteor"] < high
    other = {video: texts[0] for video, texts in truth.items()}
    wanted.update({(text, tuple(truth[video])): own[0] for video, text in other.items()})
    compared = score_texts(said, truth, LEXICON, bootstrap=30, compare=other).comparison
    assert compared is not None
    assert compared.metrics["meteor"].other == pytest.approx(100 * meteor_scores(own[0]))


def test_captions_in_other_alphabets_are_scored_with_the_whole_table(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def ask(command: object, text: str, table: object) -> tuple[str, str]:
        asked.append(table is None)
        return "\n".join([" ".join(["1.0"] * STATISTICS)] * text.count("\n")), ""

    monkeypatch.setattr(module, "_ask", ask)
    meteor_statistics([("a café", ["a coffee house"])])
    meteor_statistics([("a cafe", ["a coffee house"])])
    assert asked == [True, False]


@pytest.mark.slow
def test_a_field_mark_in_a_caption_cannot_change_the_conversation(no_table: None) -> None:
    harmless = meteor_statistics([("a man EVAL x", ["a man walks"])])
    assert meteor_statistics([("a man ||| EVAL\nx", ["a man walks"])]).tolist() == harmless.tolist()


def test_no_segment_needs_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: pytest.fail("asked for Java"))
    assert meteor_statistics([]).shape == (0, STATISTICS)


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "java"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'no memory for me' >&2; exit 1", "no memory for me"),
        ("cat >/dev/null; echo 1 2 3", "1 of 1 captions"),
        ("cat >/dev/null; echo some words", "no row of counts"),
    ],
)
@pytest.mark.parametrize("pipes", [True, False])
def test_a_java_that_fails_is_one_line_and_the_other_metrics_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str, pipes: bool
) -> None:
    fake = program(tmp_path, text)
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: fake)
    monkeypatch.setattr(module, "cut_table", lambda *_: b"x" * 300_000)  # more than a pipe takes at once
    if not pipes:
        monkeypatch.setattr(module, "_PIPES", tmp_path / "none")
    scores = score_texts({"a": "a man"}, {"a": ["a man"]}, LEXICON)
    assert scores.metrics["meteor"] is None
    assert scores.metrics["bleu_1"] == pytest.approx(100)
    notes = [note for note in scores.notes if "METEOR" in note]
    assert len(notes) == 1
    assert said in notes[0]


DIES_ONCE = """
if [ -e tried ]; then exec {java} "$@"; fi
touch tried; {how}
"""
WAYS = {
    "at once": "exit 1",
    "killed": "kill -9 $$",
    "late": "head -c 5 >/dev/null; kill -9 $$",
    "after an answer": "echo 1 2 3; kill -9 $$",
    "silent": "sleep 60",
}


@pytest.fixture(scope="module")
def undisturbed() -> list[list[float]]:
    """Ours of ``SEGMENTS`` as scoring passes them on, with ``no_table``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "cut_table", small_table)
        return meteor_statistics(
            [(normalise(text), [normalise(other) for other in texts]) for text, texts in SEGMENTS]
        ).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_a_java_that_dies_once_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[list[float]], no_table: None, how: str
) -> None:
    fake = program(tmp_path, DIES_ONCE.format(java=find_java(), how=WAYS[how]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: fake)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    if how == "silent":
        monkeypatch.setattr(module, "_wait", silent_first(module._wait))
    answers: list[list[list[float]]] = []

    def noted(segments: Sequence[Segment]) -> npt.NDArray[np.float64]:
        counts = meteor_statistics([(text, list(texts)) for text, texts in segments])
        answers.append(counts.tolist())
        return counts

    monkeypatch.setattr(module, "meteor_statistics", noted)
    said, truth = ({f"{number:03}": one[side] for number, one in enumerate(SEGMENTS)} for side in (0, 1))
    scores = score_texts(said, truth, LEXICON)
    assert (tmp_path / "tried").exists()
    assert scores.metrics["meteor"] is not None
    assert scores.missing == {}
    assert answers == [undisturbed]


def silent_first(wait: Callable[..., None]) -> Callable[..., None]:
    """No patience with the first process, much with the next."""
    seconds = iter([0.1])

    def waiting(*arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "SILENCE_SECONDS", next(seconds, 100.0))
            wait(*arguments)

    return waiting


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("pipes", [True, False])
def test_a_java_that_dies_twice_is_missing_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, pipes: bool
) -> None:
    fake = program(tmp_path, f"echo x >> {tmp_path}/tries; {WAYS[how]}")
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: fake)
    monkeypatch.setattr(module, "cut_table", lambda *_: b"x" * 300_000)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.1 if how == "silent" else 100.0)
    if not pipes:
        monkeypatch.setattr(module, "_PIPES", tmp_path / "none")
    scores = score_texts({"a": "a man"}, {"a": ["a man"]}, LEXICON)
    assert scores.metrics["meteor"] is None
    assert scores.metrics["bleu_1"] == pytest.approx(100)
    assert scores.to_dict()["missing"] == ["meteor"]
    assert scores.missing["meteor"] in scores.notes
    assert scores.missing["meteor"].startswith("METEOR was not computed: METEOR ")
    assert len((tmp_path / "tries").read_text().split()) == 2


@pytest.mark.slow
def test_the_tokenizer_is_tried_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_java()
    monkeypatch.chdir(tmp_path)
    fake = program(tmp_path, DIES_ONCE.format(java=real, how="kill -9 $$"))
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: fake)
    assert ptb_tokens(["A man, really."]) == ["a man really"]
    always = program(tmp_path, "kill -9 $$")
    monkeypatch.setattr("evcap_cli.scoring.java.find_java", lambda: always)
    with pytest.raises(EvcapError, match="the PTB tokenizer answered") as caught:
        score_texts({"a": "a man"}, {"a": ["a man"]}, LEXICON, protocol="coco")
    assert caught.value.exit_code == 1


@pytest.mark.slow
def test_without_dev_fd_the_table_goes_through_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_table: None
) -> None:
    segment = ("the guy sits", ["the man sits"])
    expected = meteor_statistics([segment])
    assert expected[0, 16:20].sum() > 0
    monkeypatch.setattr(module, "_PIPES", tmp_path / "none")
    assert meteor_statistics([segment]).tolist() == expected.tolist()


def test_a_table_that_cannot_be_read_stops_java_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise zlib.error("the table is damaged")

    monkeypatch.setattr(module, "cut_table", broken)
    with pytest.raises(JavaError, match="the table is damaged"):
        meteor_statistics([("a man", ["a man"])])


def test_scores_of_sums_follow_the_definition() -> None:
    """Written from the paper's formulas for one segment, by hand."""
    counts = np.zeros(STATISTICS)
    counts[:4] = 6, 5, 2, 1  # words of caption and reference, function words of both
    counts[4:8] = 2, 2, 1, 1  # exact: content in caption and reference, function words in both
    counts[16:20] = 1, 1, 0, 0  # paraphrase
    counts[20:] = 2, 4, 4  # chunks, words matched
    precision = (0.75 * (2 + 0.6) + 0.25 * 1) / (0.75 * 4 + 0.25 * 2)
    recall = (0.75 * (2 + 0.6) + 0.25 * 1) / (0.75 * 4 + 0.25 * 1)
    mean = 1 / (0.15 / precision + 0.85 / recall)
    assert meteor_scores(counts) == pytest.approx(mean * (1 - 0.6 * (2 / 4) ** 0.2))
    assert additive(counts).tolist() == counts.tolist()
    assert meteor_scores(np.zeros(STATISTICS)) == 0


@pytest.mark.slow
def test_the_process_is_gone_when_the_answer_is_there(monkeypatch: pytest.MonkeyPatch, no_table: None) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def watched(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(module.subprocess, "Popen", watched)
    meteor_statistics([("a man", ["a man"])])
    assert [process.poll() is not None for process in started] == [True]
