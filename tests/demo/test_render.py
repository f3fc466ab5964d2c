"""Clips as files: what comes out of the encoder is what the facts say, and nothing more."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from evcap_cli.demo import render
from evcap_cli.demo.facts import EMOTIONS, PAIR_ACTIONS, PLACES, SOLO_ACTIONS, SUBJECTS, ClipFacts
from evcap_cli.demo.figure_styles import COVERS
from evcap_cli.demo.render import HEIGHT, WIDTH, draw_frames, frame_count, render_clip

SOLO = ClipFacts("vid51234", ("man",), "walk", "park", "joy", "left", False, False, "joy", 3.0, 7)
PAIR = replace(SOLO, subjects=("girl", "cat"), action="hug")


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def drawn(facts: ClipFacts, every: int = 9) -> np.ndarray:
    return np.stack([pixels for index, pixels in enumerate(draw_frames(facts)) if index % every == 0])


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3.0, 4.3])
def test_a_clip_has_the_stated_duration_size_and_sound(tmp_path: Path, seconds: float) -> None:
    facts = replace(SOLO, seconds=seconds)
    render_clip(facts, tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, audio.rate) == (WIDTH, HEIGHT, 16000)
        assert abs(video.duration * video.time_base - Fraction(seconds)) < Fraction(1, 20)
        assert abs(audio.duration * audio.time_base - video.duration * video.time_base) < Fraction(1, 5)
        frames = list(container.decode(video=0))
    assert len(frames) == frame_count(facts)
    assert frames[0].time == 0.0


@pytest.mark.slow
def test_a_silent_clip_has_no_sound_track_and_the_same_picture(tmp_path: Path) -> None:
    render_clip(SOLO, tmp_path / "a.mp4")
    render_clip(replace(SOLO, silent=True), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not container.streams.audio
    assert np.array_equal(decoded(tmp_path / "a.mp4"), decoded(tmp_path / "b.mp4"))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_and_another_seed_another_one(tmp_path: Path) -> None:
    for name, facts in (("a", PAIR), ("b", PAIR), ("c", replace(PAIR, seed=8))):
        render_clip(facts, tmp_path / f"{name}.mp4")
    first, second, other = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert first == second
    assert first != other


@pytest.mark.slow
@pytest.mark.parametrize("base", [SOLO, PAIR], ids=["solo", "pair"])
def test_a_hidden_clip_shows_its_mood_and_nothing_of_its_emotion(base: ClipFacts) -> None:
    clips = [drawn(replace(base, hidden=True, mood="fear", emotion=emotion)) for emotion in EMOTIONS]
    assert all(np.array_equal(clips[0], clip) for clip in clips[1:])
    assert not np.array_equal(clips[0], drawn(replace(base, hidden=True, mood="joy")))


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_hidden_face_is_never_drawn(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faces: list[str] = []
    monkeypatch.setattr("evcap_cli.demo.heads.draw_face", lambda _brush, emotion, _t, **_: faces.append(emotion))
    covers = set()
    for seed in range(16):
        facts = replace(SOLO, subjects=(subject,), seed=seed, hidden=True, seconds=0.08)
        covers.update(style.cover for style in render._looks(facts))
        list(draw_frames(facts))
    assert covers == set(COVERS)
    assert not faces
    list(draw_frames(replace(SOLO, subjects=(subject,), seconds=0.08)))
    assert faces == ["joy"]


@pytest.mark.slow
def test_each_emotion_looks_different_where_it_may_be_seen() -> None:
    shown = [drawn(replace(SOLO, emotion=emotion), 40)[0].astype(float) for emotion in EMOTIONS]
    for index, one in enumerate(shown):
        for other in shown[:index]:
            assert np.abs(one - other).max(-1).mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("action", PAIR_ACTIONS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_actors_side_of_the_decoded_picture_moves_more(tmp_path: Path, action: str, side: str) -> None:
    for seed in (1, 2):
        subjects = (SUBJECTS[seed], SUBJECTS[seed + 3])
        facts = replace(PAIR, subjects=subjects, action=action, actor_side=side, seed=seed, hidden=seed == 1)
        render_clip(facts, tmp_path / "clip.mp4")
        moved = np.abs(np.diff(decoded(tmp_path / "clip.mp4").astype(np.float32).mean(-1), axis=0))
        moved = np.where(moved > 12, moved, 0.0)  # grain and rain do not count
        halves = {"left": moved[:, :, : WIDTH // 2].mean(), "right": moved[:, :, WIDTH // 2 :].mean()}
        other = "right" if side == "left" else "left"
        assert halves[side] > 1.2 * halves[other]


@pytest.mark.slow
def test_every_fact_can_be_drawn() -> None:
    seed = 0
    for action in (*SOLO_ACTIONS, *PAIR_ACTIONS):
        for subject, partner in zip(SUBJECTS, (*SUBJECTS[1:], SUBJECTS[0]), strict=True):
            seed += 1
            who = (subject, partner) if action in PAIR_ACTIONS else (subject,)
            emotion, place = EMOTIONS[seed % 8], PLACES[seed % 5]
            facts = ClipFacts(
                "vid11111", who, action, place, emotion, "right", seed % 3 == 0, False, emotion, 0.24, seed
            )
            frames = list(draw_frames(facts))
            assert len(frames) == 3
            assert all(frame.shape == (HEIGHT, WIDTH, 3) and frame.std() > 10 for frame in frames)


def test_an_interrupted_rendering_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "sound_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        render_clip(replace(SOLO, seconds=0.4), tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
