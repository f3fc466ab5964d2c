"""Clips whose sound contradicts the picture: drawn next to the usual worlds, which stay what they were."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evcap_experiments.oracle import oracle_features

from evcap_cli.demo import render
from evcap_cli.demo.facts import EMOTIONS, ClipFacts
from evcap_cli.demo.layout import read_world, write_world
from evcap_cli.demo.make_facts import make_facts
from evcap_cli.demo.sound import Signal, sound_of
from evcap_cli.errors import UsageError
from tests.commands.small import evcap

CONFLICT = make_facts(224, 43, conflict=1.0)


@pytest.mark.parametrize(
    ("seed", "digest"),
    [
        # of facts.jsonl's values, computed by the version before there was a conflict condition
        (1, "ecd165ff9f597d463400b7e33a7773066d791af4fd5995a8b5bbc7954674a134"),
        (3, "d18bd8b05c5eab1ec458a99b91feb773fa360723789a1828749ff29559dc66a4"),
        (7_000_003, "f9623cad78decfbb7b68e4dd4b917f1d97bc5fdbda95aed01cc35a7fc097ba85"),
    ],
)
def test_the_worlds_without_conflict_keep_their_bytes(seed: int, digest: str) -> None:
    lines = "".join(json.dumps(clip.to_dict()) + "\n" for clip in make_facts(300, seed))
    assert hashlib.sha256(lines.encode()).hexdigest() == digest


def test_face_and_colours_show_one_emotion_and_the_sound_tells_every_other_equally_often() -> None:
    assert all(clip.audio_emotion not in (None, clip.emotion) and clip.mood == clip.emotion for clip in CONFLICT)
    assert not any(clip.hidden or clip.silent for clip in CONFLICT)
    steps = Counter((EMOTIONS.index(clip.sounding) - EMOTIONS.index(clip.emotion)) % 8 for clip in CONFLICT)
    assert set(steps.values()) == {32}
    assert set(Counter(clip.emotion for clip in CONFLICT).values()) == {28}


def test_a_share_changes_the_chosen_clips_only_and_spreads_over_the_emotions() -> None:
    plain, some = make_facts(200, 5), make_facts(200, 5, conflict=0.2)
    changed = [(before, after) for before, after in zip(plain, some, strict=True) if before != after]
    assert len(changed) == 40 == sum(clip.audio_emotion is not None for clip in some)
    for before, after in changed:
        same = {"hidden": before.hidden, "silent": before.silent, "mood": before.mood, "audio_emotion": None}
        assert replace(after, **same) == before  # type: ignore[arg-type]
    assert set(Counter(after.emotion for _, after in changed).values()) == {5}


def test_the_share_has_bounds() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        make_facts(10, 1, conflict=1.5)


@pytest.mark.slow
def test_the_picture_is_drawn_by_the_face_and_the_sound_by_its_own_emotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ClipFacts("vid50001", ("dog",), "jump", "park", "joy", "left", False, False, "joy", 0.5, 7)
    torn = replace(shown, audio_emotion="anger")
    for one, other in zip(render.draw_frames(shown), render.draw_frames(torn), strict=True):
        assert np.array_equal(one, other)
    emotions: list[str] = []

    def noted(emotion: str, samples: int, rng: np.random.Generator) -> Signal:
        emotions.append(emotion)
        return sound_of(emotion, samples, rng)

    monkeypatch.setattr(render, "sound_of", noted)
    render.render_clip(shown, tmp_path / "shown.mp4")
    render.render_clip(torn, tmp_path / "torn.mp4")
    assert emotions == ["joy", "anger"]


def test_oracle_features_differ_in_the_sound_only() -> None:
    torn = CONFLICT[0]
    one, other = oracle_features(torn).streams, oracle_features(replace(torn, audio_emotion=None)).streams
    assert [kind for kind in one if not torch.equal(one[kind].values, other[kind].values)] == ["audio"]


def test_what_is_heard_is_in_the_facts_file_of_those_clips_and_reads_back(tmp_path: Path) -> None:
    facts = make_facts(40, 9, conflict=0.5)
    write_world(tmp_path, facts, render=False)
    rows = [json.loads(line) for line in (tmp_path / "facts.jsonl").read_text().splitlines()]
    assert sum("heard" in row for row in rows) == 20
    assert list(read_world(tmp_path).facts) == facts


def test_the_command_draws_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evcap_cli.demo.layout._render_missing", lambda *_: None)
    assert evcap("demo-world", tmp_path / "w", "--videos", 10, "--conflict", 1) == 0
    assert all(clip.audio_emotion for clip in read_world(tmp_path / "w").facts)
    assert evcap("demo-world", tmp_path / "v", "--videos", 10) == 0
    assert not any(clip.audio_emotion for clip in read_world(tmp_path / "v").facts)
