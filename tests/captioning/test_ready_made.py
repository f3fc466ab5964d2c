"""Ready-made captioners through the command line and the library: same outputs, journal and segments."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import jsonschema
import numpy as np
import pytest
import torch
from evcap_multimodal.captioner import MultimodalCaptioner

import evcap_cli as evcap
from evcap_cli import plugins
from evcap_cli.app import run
from evcap_cli.data.emvidcap import DataRoot
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CaptionerError, VideoError
from evcap_cli.features.raw_clips import RawClips, RawRequest
from evcap_cli.systems.captioner_spec import CaptionerSpec
from evcap_cli.systems.clip_captioner import (
    CaptionerIdentity,
    CaptionerOptions,
    Clip,
    ClipCaption,
    ClipCaptioner,
    FrameRequest,
    Reads,
)
from tests.features.films import make_film
from tests.multimodal import tiny
from tests.systems.test_clip_captioner import SPEC

SCHEMA = Path(__file__).parents[2] / "docs" / "record.schema.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder_of("qwen3_vl", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(3):
        make_film(folder / f"{number} ü.mp4", frames=30, sound=number != 1, seed=number)
    make_film(folder / "one.mp4", frames=1, sound=False)
    (folder / "bad.mp4").write_text("no video")
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_captions_do_not_depend_on_batches_workers_or_segments_of_others(
    model: Path, videos: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    call = ["caption", str(videos), "-c", str(model), "--max-words", "3", "--segment", "fixed:0.75"]
    assert run([*call, "-o", str(first), "-o", str(tmp_path / "a.srt")]) == 3
    assert run([*call, "-o", str(second), "--batch-size", "1", "--workers", "1"]) == 3
    assert first.read_bytes() == second.read_bytes()
    schema = json.loads(SCHEMA.read_text("utf-8"))
    records = lines(first)
    for record in records:
        jsonschema.validate(record, schema)
    assert [record["status"] for record in records] == ["ok", "ok", "ok", "failed", "ok"]
    assert [len(record["captions"]) for record in records] == [2, 2, 2, 0, 1]  # type: ignore[arg-type]
    assert "-->" in (tmp_path / "a.srt").read_text("utf-8")


@pytest.mark.slow
def test_a_record_says_what_the_model_says_when_it_is_called_directly(model: Path, videos: Path) -> None:
    path = videos / "0 ü.mp4"
    captioner = evcap.load_captioner(model, max_words=3)
    record = captioner.caption(path)
    direct = MultimodalCaptioner(str(model), CaptionerOptions(max_words=3, lexicon=Lexicon.general()))
    direct.load(torch.device("cpu"), torch.float32)
    assert direct.reads.frames is not None
    request = RawRequest(moments=direct.reads.frames.count, longest_side=direct.reads.frames.longest_side)
    raw = next(iter(RawClips(request).run([path])))
    frames = torch.from_numpy(raw.frames).permute(0, 3, 1, 2)  # type: ignore[union-attr,arg-type]
    (result,) = direct.caption([Clip(1.5, frames, raw.times)])  # type: ignore[union-attr]
    assert isinstance(result, ClipCaption)
    assert record.captions[0].text == result.text
    assert record.captions[0].score == pytest.approx(result.score, abs=1e-4)
    assert result.emotion is not None
    best = max(result.emotion, key=result.emotion.__getitem__)
    assert record.captions[0].emotion is not None
    assert record.captions[0].emotion.category == best
    assert record.backbones == {}
    assert record.checkpoint is not None
    assert (record.checkpoint["name"], record.checkpoint["style"]) == (model.name, "emotional")


@pytest.mark.slow
def test_a_rerun_after_a_stop_gives_the_same_bytes(
    model: Path, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["caption", str(videos), "-c", str(model), "--max-words", "3", "--batch-size", "1"]
    assert run([*call, "-o", str(tmp_path / "calm.jsonl")]) == 3
    plain = MultimodalCaptioner.caption
    count = 0

    def stopping(self: MultimodalCaptioner, clips: list[Clip]) -> object:
        nonlocal count
        count += 1
        if count == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(self, clips)

    monkeypatch.setattr(MultimodalCaptioner, "caption", stopping)
    stopped = tmp_path / "stopped.jsonl"
    assert run([*call, "-o", str(stopped)]) == 130
    assert not stopped.exists()
    assert run([*call, "-o", str(stopped)]) == 3
    assert count < 3 + 4
    assert stopped.read_bytes() == (tmp_path / "calm.jsonl").read_bytes()


class Dazzled(ClipCaptioner):
    """Has no word for a clip that begins bright."""

    reads = Reads(frames=FrameRequest(1, 32))
    identity = CaptionerIdentity("dazzled", "1")
    brightest = 128

    def load(self, device: torch.device, dtype: torch.dtype) -> None: ...

    def caption(self, clips: Sequence[Clip]) -> list[ClipCaption | VideoError]:
        answers: list[ClipCaption | VideoError] = []
        for clip in clips:
            assert clip.frames is not None
            bright = float(clip.frames.float().mean()) > self.brightest
            answers.append(CaptionerError("too bright", hint="dim it") if bright else ClipCaption("a dark room"))
        return answers


def registered(monkeypatch: pytest.MonkeyPatch, name: str, cls: type[ClipCaptioner]) -> None:
    spec = CaptionerSpec(name, "", f"{__name__}:{cls.__name__}")
    monkeypatch.setitem(plugins.registry().captioners, name, spec)
    monkeypatch.setitem(plugins.registry().origin, ("captioner", name), f"evcap-{name}")


def shades(path: Path, *seconds: int) -> Path:
    """A film of one grey level a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for shade in np.repeat(seconds, 10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8))))
        container.mux(stream.encode())
    return path


def test_a_segment_without_a_caption_fails_its_video_and_is_named_and_the_others_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "dazzled", Dazzled)
    film, output, subtitles = shades(tmp_path / "film.mp4", 5, 250, 5), tmp_path / "a.jsonl", tmp_path / "a.srt"
    call = ["caption", str(film), "-c", "dazzled", "--segment", "fixed:1", "-o", str(output), "-o", str(subtitles)]
    assert run([*call, "-o", str(tmp_path / "a.html"), "-o", f"{tmp_path}/tree/"]) == 1
    said = "1.00 s to 2.00 s: too bright; dim it"
    assert f"error: {film}: {said}" in capfd.readouterr().err
    (record,) = lines(output)
    jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))
    assert (record["status"], record["error"]) == ("failed", {"code": "captioner", "message": said})
    assert [caption["start"] for caption in record["captions"]] == [0.0, 2.0]  # type: ignore[attr-defined]
    assert subtitles.read_text("utf-8").count("a dark room") == 2
    page = (tmp_path / "a.html").read_text("utf-8")
    assert page.count('<div class="caption') == 2
    assert said in page
    assert not (tmp_path / "tree" / "film.mp4.srt").exists()

    # without the failure, a retry captions the whole video
    monkeypatch.setattr(Dazzled, "brightest", 256)
    assert run([*call, "--retry-failed"]) == 0
    assert [len(record["captions"]) for record in lines(output)] == [3]  # type: ignore[arg-type]


def test_a_video_counts_its_segments_without_a_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "dazzled", Dazzled)
    film = shades(tmp_path / "film.mp4", 250, 5, 250, 250)
    pieces = evcap.load_captioner("dazzled", segment="fixed:1").caption(film)
    assert pieces.error == {
        "code": "captioner",
        "message": "0.00 s to 1.00 s: too bright (and 2 more segments); dim it",
    }
    assert [caption.start for caption in pieces.captions] == [1.0]
    whole = evcap.load_captioner("dazzled").caption(shades(tmp_path / "short.mp4", 250))
    assert whole.error == {"code": "captioner", "message": "too bright; dim it"}
    assert whole.captions == ()


class Clumsy(Dazzled):
    """Breaks its contract in many ways, by how dark a clip is."""

    def caption(self, clips: Sequence[Clip]) -> list[Any]:
        answers: list[Any] = [ClipCaption("a dark room") for _ in clips]
        for number, clip in enumerate(clips):
            assert clip.frames is not None
            shade = float(clip.frames.float().mean())
            if shade > 220:
                raise KeyError("shade")
            if shade > 180:
                raise SystemExit("too bright")
            if shade > 140:
                answers[number] = ClipCaption(" ")
            elif shade > 100:
                answers[number] = ClipCaption("a room", emotion={"joy": 1.0})
            elif shade > 60:
                return answers[1:]
        return answers


@pytest.mark.slow
def test_what_a_captioner_does_against_its_contract_fails_the_videos_that_it_does_so_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(monkeypatch, "clumsy", Clumsy)
    films = [shades(tmp_path / f"{shade}.mp4", shade) for shade in (5, 250, 10, 200, 160, 120, 80, 15)]
    records = list(evcap.load_captioner("clumsy").caption_many(films))
    assert [record.status for record in records] == ["ok", "failed", "ok", *["failed"] * 4, "ok"]
    errors = [record.error for record in records if record.error is not None]
    assert {error["code"] for error in errors} == {"captioner"}
    said = ("KeyError: 'shade'", "sys.exit('too bright')", "no text", "other categories", "1 clips went in, 0 captions")
    for error, part in zip(errors, said, strict=True):
        assert part in error["message"]


def test_instructions_for_a_captioner_that_takes_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    registered(monkeypatch, "dazzled", Dazzled)
    film, prompt = shades(tmp_path / "film.mp4", 5), tmp_path / "prompt.txt"
    prompt.write_text("Say what you see.", "utf-8")
    for more in (["--style", "factual"], ["--prompt", str(prompt)]):
        assert run(["caption", str(film), "-c", "dazzled", "-o", str(tmp_path / "x.srt"), *more]) == 2
        error = capfd.readouterr().err
        assert f"{more[0]} means nothing for dazzled, which takes no instructions" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--backbone", "lite"], "--backbone"),
        (["--audio", "lite-audio"], "--audio means nothing"),
        (["--weights", "clip=random:1"], "--weights"),
        (["--rerank", "consensus=1"], "--rerank"),
        (["--length-penalty", "1"], "--length-penalty"),
        (["--sampling", "epan"], "--sampling"),
    ],
)
def test_options_of_trained_checkpoints_are_refused(
    model: Path, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str], named: str
) -> None:
    assert run(["caption", str(videos), "-c", str(model), "-o", str(tmp_path / "x.srt"), *more]) == 2
    error = capfd.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--style", "factual"], ["--no-emotion"]])
def test_options_of_ready_made_captioners_are_refused_for_checkpoints(
    videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert run(["caption", str(videos), "-o", str(tmp_path / "x.srt"), *more]) == 2
    assert more[0] in capfd.readouterr().err


@pytest.mark.slow
def test_explain_refuses_a_ready_made_captioner(
    model: Path, videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["explain", str(videos / "0 ü.mp4"), "-c", str(model), "-o", str(tmp_path / "x.html")]) == 2
    assert "ready-made captioner" in capfd.readouterr().err


@pytest.mark.slow
def test_a_prompt_of_ones_own_and_no_emotion(model: Path, videos: Path, tmp_path: Path) -> None:
    prompt, output = tmp_path / "prompt.txt", tmp_path / "x.jsonl"
    prompt.write_text("Say what you see.", "utf-8")
    call = ["caption", str(videos / "0 ü.mp4"), "-c", str(model), "-o", str(output), "--max-words", "2", "--no-emotion"]
    assert run([*call, "--prompt", str(prompt)]) == 0
    (record,) = lines(output)
    assert record["checkpoint"]["style"] == "file"  # type: ignore[index]
    prompt.write_text(" \n", "utf-8")
    assert run([*call, "--prompt", str(prompt)]) == 2


@pytest.mark.slow
def test_the_list_of_plugins_names_ready_made_captioners(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out) if row["kind"] == "captioner"}
    assert {"smolvlm2", "qwen3-vl", "gemma-4", "served"} <= set(rows)
    assert "2.0 GB" in rows["smolvlm2"]["description"]
    assert rows["gemma-4"]["takes_audio"] is True


@pytest.mark.slow
def test_labels_are_the_caption_and_samples_that_differ_from_it(model: Path, videos: Path, tmp_path: Path) -> None:
    call = ["-c", str(model), "--max-words", "3"]
    root, other = tmp_path / "root", tmp_path / "other"
    assert run(["label", str(videos), *call, "-o", str(root), "--captions", "3", "--test-share", "0"]) == 3
    found = DataRoot.open(root)
    assert set(found.train) == {"0_ü", "1_ü", "2_ü", "one"}
    assert {len(captions) for captions in found.train.values()} == {3}
    assert found.labels_by == model.name
    assert run(["caption", str(videos), *call, "-o", str(tmp_path / "x.jsonl")]) == 3
    first = [record["captions"][0]["text"] for record in lines(tmp_path / "x.jsonl") if record["captions"]]  # type: ignore[index]
    assert [captions[0] for captions in found.train.values()] == first
    again = ["label", str(videos), *call, "-o", str(other), "--captions", "3", "--test-share", "0", "--workers", "1"]
    assert run([*again, "--batch-size", "1"]) == 3
    assert DataRoot.open(other).train == found.train


@pytest.mark.slow
def test_a_captioner_that_writes_one_caption_is_told_from_one_that_writes_several(
    videos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = plugins.captioners()
    monkeypatch.setattr(plugins, "captioners", lambda: {**known, "constant": SPEC})
    monkeypatch.setattr(plugins, "captioner", lambda name: SPEC)
    call = ["label", str(videos), "-c", "constant://one", "-o", str(tmp_path / "root")]
    for more, step in (
        (["--captions", "5"], "--captions 1"),
        (["--min-agreement", "0.1"], "--captions 1 and no --min-agreement"),
        (["--min-agreement", "0.1", "--captions", "1"], "no --min-agreement"),
    ):
        assert run([*call, *more]) == 2
        error = capfd.readouterr().err
        assert f"constant: writes one caption a video, not several; give {step}, or take another" in error
        assert error.count("\n") == 1
    assert run([*call, "--min-familiarity", "0.1"]) == 2
    assert "constant: has no summary of training videos" in capfd.readouterr().err
    assert run(call) == 3
    assert "constant: writes one caption a video, not several" in capfd.readouterr().err
    assert {len(captions) for captions in DataRoot.open(tmp_path / "root").train.values()} == {1}
