"""Reading and judging captions, by sentences written by hand."""

from __future__ import annotations

import pytest
from evcap_experiments.caption_judging import ReportedFacts as Facts
from evcap_experiments.caption_judging import judge, read_caption

from evcap_cli.demo.facts import ClipFacts

CHASE = ClipFacts("vid50001", ("dog", "woman"), "chase", "park", "joy", "left", False, False, "joy", 4.0, 1)
WALK = ClipFacts("vid60001", ("man",), "walk", "night", "sadness", "left", False, False, "sadness", 4.0, 1)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("a man is happily walking in the park", Facts(("man",), "walk", "park", ("joy",))),
        ("The lady, sad, takes a walk.", Facts(("woman",), "walk", None, ("sadness",))),
        ("under the stars a kitten is doing a dance", Facts(("cat",), "dance", "night", ())),
        ("there is a lad falling down on the road", Facts(("boy",), "fall", "street", ())),
        ("a dog runs after a woman in fear", Facts(("dog", "woman"), "chase", None, ("fear",))),
        (
            "a woman is chased by an angry dog on the beach",
            Facts(("dog", "woman"), "chase", "beach", ("anger",)),
        ),
        ("a woman runs away from a dog", Facts(("dog", "woman"), "chase", None, ())),
        ("a woman is running away from a dog", Facts(("dog", "woman"), "chase", None, ())),
        ("a boy is giving a girl a parcel", Facts(("boy", "girl"), "give", None, ())),
        ("a boy is giving a gift to a girl", Facts(("boy", "girl"), "give", None, ())),
        ("a boy is given a parcel by a girl", Facts(("girl", "boy"), "give", None, ())),
        ("a boy gets a parcel from a girl at night", Facts(("girl", "boy"), "give", "night", ())),
        ("a cat is cuddling a man with delight", Facts(("cat", "man"), "hug", None, ("joy",))),
        ("a cat is hugged by a man", Facts(("man", "cat"), "hug", None, ())),
        # what is muddled in a caption is not reported
        ("a man is walking and jumping", Facts(("man",), None, None, ())),
        ("a man is walking in the park on the beach", Facts(("man",), "walk", None, ())),
        ("a man chases a woman is hugged by a man", Facts(("man", "woman", "man"), None, None, ())),
        ("a happy man sadly walks", Facts(("man",), "walk", None, ("joy", "sadness"))),
        ("", Facts((), None, None, ())),
        ("the thing of it", Facts((), None, None, ())),
    ],
)
def test_captions_are_read_as_a_person_reads_them(text: str, reported: Facts) -> None:
    assert read_caption(text) == reported


def test_two_emotions_are_none() -> None:
    assert read_caption("a happy man sadly walks").emotion is None
    assert read_caption("a happy man happily walks").emotion == "joy"


def test_who_acts_decides_in_either_voice() -> None:
    for right in ("a dog is happily chasing a woman in the park", "a lady is chased by a cheerful puppy in the park"):
        verdict = judge(CHASE, right)
        assert verdict.action_with_roles_right
        assert verdict.emotion_right
        assert verdict.place_right
    for turned in ("a woman is chasing a dog", "a dog is chased by a woman", "a dog runs away from a woman"):
        verdict = judge(CHASE, turned)
        assert verdict.subjects_right
        assert verdict.action_right
        assert not verdict.roles_right
        assert not verdict.action_with_roles_right


@pytest.mark.parametrize(
    "text",
    [
        "a dog is running",
        "a dog is chasing a dog",
        "a dog is chasing",
        "a dog and a woman",
        "a dog a woman a man chasing",
    ],
)
def test_a_missing_or_surplus_subject_is_wrong(text: str) -> None:
    assert not judge(CHASE, text).action_with_roles_right


def test_silence_about_place_and_emotion_is_no_error() -> None:
    silent, wrong = judge(WALK, "a man is walking"), judge(WALK, "a man is happily walking in the park")
    assert silent.action_with_roles_right
    assert wrong.action_with_roles_right
    assert (silent.emotion_mentioned, silent.emotion_right, silent.place_mentioned, silent.place_right) == (False,) * 4
    assert (wrong.emotion_mentioned, wrong.emotion_right, wrong.place_mentioned, wrong.place_right) == (
        True,
        False,
        True,
        False,
    )


def test_run_is_not_run_after() -> None:
    assert read_caption("a dog is running after a woman").action == "chase"
    assert read_caption("a dog is running").action == "run"
