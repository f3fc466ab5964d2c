"""The variant world: next to the usual one, which stays what it was; only emotions and places are common to both."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from evcap_experiments.caption_judging import judge, read_caption

from evcap_cli.data.caption_text import tokens
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.demo.facts import CAST, EMOTIONS, PLACES, VARIANT_CAST, ClipFacts
from evcap_cli.demo.grammar import caption_spread, write_captions
from evcap_cli.demo.layout import read_world, write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.demo.render import HEIGHT, WIDTH, draw_frames, render_clip
from evcap_cli.demo.variant_wording import VARIANT_WORDING, wording_of
from evcap_cli.demo.wording import DEMO_LEXICON, WORDING
from tests.commands.small import evcap
from tests.demo.test_grammar import _searched

FACTS = make_facts(400, 8, variant=True)
CAPTIONS = {clip.id: write_captions(clip) for clip in FACTS}


def words(captions: dict[str, list[str]]) -> set[str]:
    return {word for texts in captions.values() for text in texts for word in text.split()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        # of all captions, computed by the version before there was a variant
        (1, "82e14b222dffcfac191103a20807a785beb98822dc59b9fffb8bc04999381a45"),
        (9, "18109f652a1a7524da0909c0dc3e3b19b067bcdb4b667bf3b10616756b1d9cb7"),
    ],
)
def test_the_captions_of_the_usual_worlds_keep_their_bytes(seed: int, digest: str) -> None:
    facts = make_facts(300, seed)
    assert not any("variant" in clip.to_dict() for clip in facts)
    lines = "\n".join(text for clip in facts for text in write_captions(clip))
    assert hashlib.sha256(lines.encode()).hexdigest() == digest


@pytest.mark.slow
def test_subjects_actions_and_words_are_others() -> None:
    assert not {*CAST.subjects, *CAST.solo_actions, *CAST.pair_actions} & {
        *VARIANT_CAST.subjects,
        *VARIANT_CAST.solo_actions,
        *VARIANT_CAST.pair_actions,
    }
    common = words(CAPTIONS) & words({clip.id: write_captions(clip) for clip in make_facts(400, 8)})
    kinds = (WORDING.subjects, WORDING.places)
    named = {word for kind in kinds for of in kind.values() for _, text in of for word in text.split()}
    assert not {word for word in common if len(word) > 3} & (named | set(DEMO_LEXICON.words))
    assert len(common) < 0.25 * len(words(CAPTIONS))
    lexicon = VARIANT_WORDING.lexicon
    assert lexicon.categories == DEMO_LEXICON.categories == EMOTIONS
    assert not set(lexicon.words) & set(DEMO_LEXICON.words)
    assert lexicon.entries == len(lexicon.words)


def test_every_subject_does_everything_equally_often() -> None:
    alone = Counter((clip.subjects[0], clip.action) for clip in FACTS if len(clip.subjects) == 1)
    together = {(clip.subjects, clip.action) for clip in FACTS if len(clip.subjects) == 2}
    assert alone.keys() == set(product(VARIANT_CAST.subjects, VARIANT_CAST.solo_actions))
    assert max(alone.values()) - min(alone.values()) <= 1
    assert together <= set(product(permutations(VARIANT_CAST.subjects, 2), VARIANT_CAST.pair_actions))
    assert set(Counter(clip.emotion for clip in FACTS).values()) == {50}


@pytest.mark.slow
def test_every_caption_is_true_and_says_who_does_what() -> None:
    for clip in FACTS:
        for text in CAPTIONS[clip.id]:
            verdict = judge(clip, text)
            assert text == " ".join(tokens(text))
            assert verdict.action_with_roles_right, text
            assert verdict.place_right or not verdict.place_mentioned, text
            assert verdict.emotion_right or not verdict.emotion_mentioned, text
            assert not read_caption(text).emotions, text  # no word of the usual lexicon
            assert not any(f" a {vowel}" in f" {text}" for vowel in "aeiou"), text


@pytest.mark.slow
def test_a_search_of_the_exact_distribution_tells_everything() -> None:
    for clip in {clip.emotion: clip for clip in FACTS if len(clip.subjects) == 1}.values():
        verdict = judge(clip, _searched(caption_spread(clip)))
        assert verdict.action_with_roles_right
        assert verdict.emotion_right
        assert verdict.place_right


def test_a_world_is_read_back_with_its_lexicon(tmp_path: Path) -> None:
    world = write_world(tmp_path, FACTS[:20], render=False)
    assert read_world(tmp_path) == world
    assert all(clip.variant for clip in read_world(tmp_path).facts)
    assert DataRoot.open(tmp_path).lexicon == wording_of(variant=True).lexicon


@pytest.mark.slow
def test_every_fact_can_be_drawn(tmp_path: Path) -> None:
    number = 0
    for action in (*VARIANT_CAST.solo_actions, *VARIANT_CAST.pair_actions):
        for who, other in zip(VARIANT_CAST.subjects, (*VARIANT_CAST.subjects[1:], "robot"), strict=True):
            number += 1
            subjects = (who, other) if action in VARIANT_CAST.pair_actions else (who,)
            emotion = EMOTIONS[number % 8]
            at = ("vid11111", subjects, action, PLACES[number % 5], emotion, "right", number % 3 == 0, False, emotion)
            frames = list(draw_frames(ClipFacts(*at, 0.24, number, variant=True)))  # type: ignore[arg-type]
            assert len(frames) == 3
            assert all(frame.shape == (HEIGHT, WIDTH, 3) and frame.std() > 10 for frame in frames)
            assert not np.array_equal(frames[0], frames[2])
    short = replace(FACTS[0], seconds=0.5)
    for name in "ab":
        render_clip(short, tmp_path / f"{name}.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("subject", VARIANT_CAST.subjects)
def test_a_hidden_face_is_never_drawn(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faces: list[str] = []
    monkeypatch.setattr("evcap_cli.demo.cutouts.draw_face", lambda _brush, emotion, _t, **_: faces.append(emotion))
    facts = replace(FACTS[0], subjects=(subject,), action="bow", hidden=True, emotion="joy", seconds=0.08)
    list(draw_frames(facts))
    assert not faces
    list(draw_frames(replace(facts, hidden=False)))
    assert faces == ["joy"]


def test_the_command_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.demo.layout._render_missing", lambda *_: None)
    assert evcap("demo-world", tmp_path, "--videos", 10, "--variant") == 0
    assert list(read_world(tmp_path).facts) == make_facts(10, 1, variant=True)
    assert evcap("demo-world", tmp_path, "--videos", 10) == 2
