"""A captioner behind an address, against a real server on loopback that can be made to fail."""

from __future__ import annotations

import base64
import io
import json
import math
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evcap_multimodal import server
from evcap_multimodal.chats import distribution
from evcap_multimodal.served import FAILURES_IN_A_ROW, ServedCaptioner
from PIL import Image

from evcap_cli import console
from evcap_cli.app import run
from evcap_cli.data.lexicon import Lexicon
from evcap_cli.errors import CaptionerError, CaptionerStopped, CheckpointError, UsageError
from evcap_cli.systems.clip_captioner import CaptionerOptions, ClipCaption, Several
from tests.features.films import make_film
from tests.multimodal.conftest import clip
from tests.multimodal.served_model import ANSWER, Model, serving

OPTIONS = CaptionerOptions(lexicon=Lexicon({"joy": ["happily"], "fear": ["afraid"], "sadness": ["sad"]}))


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(server, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.delenv(server.KEY_VARIABLE, raising=False)


def opened(model: Model, options: CaptionerOptions = OPTIONS, name: str = "#tiny") -> ServedCaptioner:
    return ServedCaptioner(model.address + name, options)


@pytest.mark.slow
def test_a_caption_has_the_answer_its_score_and_the_distribution_of_its_emotion() -> None:
    with serving(Model()) as model:
        (result,) = opened(model).caption([clip(0)])
    assert isinstance(result, ClipCaption)
    assert (result.text, result.raw, result.score) == ("A woman is happily dancing.", ANSWER, -0.5)
    assert result.emotion == pytest.approx({"joy": 0.75, "fear": 0.25, "sadness": 0.0})


@pytest.mark.slow
def test_frames_travel_as_jpeg_after_their_times_and_audio_as_wav() -> None:
    with serving(Model()) as model:
        given = clip(3, frames=3)
        opened(model).caption([given])
    parts = model.chats[0]["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url"] * 3 + ["input_audio", "text"]
    assert [part["text"] for part in parts[:6:2]] == [f"Frame at {time:.2f} s:" for time in given.times]
    data = parts[1]["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert given.frames is not None
    assert np.abs(picture.astype(int) - given.frames[0].permute(1, 2, 0).numpy().astype(int)).mean() < 8
    sound = base64.b64decode(parts[6]["input_audio"]["data"])
    assert sound[:4] == b"RIFF"
    assert len(sound) == 44 + 2 * 16_000
    assert model.chats[0]["temperature"] == 0


@pytest.mark.slow
def test_a_server_without_audio_or_probabilities_gets_and_gives_none() -> None:
    def fail(number: int, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
        return (400, {}, b'{"error": "logprobs are not supported"}') if "logprobs" in request else None

    with serving(Model(audio=False, fail=fail)) as model:
        captioner = opened(model)
        results = captioner.caption([clip(0), clip(1)])
    assert not captioner.takes_audio
    assert all(
        isinstance(result, ClipCaption) and result.score is None and result.emotion is None for result in results
    )
    assert all(part["type"] != "input_audio" for chat in model.chats for part in chat["messages"][0]["content"])


@pytest.mark.slow
@pytest.mark.parametrize("failure", [(429, {"Retry-After": "0"}, b"busy"), (503, {}, b""), (0, {}, b"")])
def test_a_busy_server_and_a_cut_connection_are_asked_again(failure: tuple[int, dict[str, str], bytes]) -> None:
    with serving(Model(fail=lambda number, request: failure if number < 2 else None)) as model:
        (result,) = opened(model).caption([clip(0)])
    assert isinstance(result, ClipCaption)
    assert len(model.chats) == 4  # two failures, the caption, the emotion


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        ((400, {}, b'{"error": {"message": "too many images"}}'), "status 400: too many images"),
        ((500, {}, b"Traceback"), "status 500: Traceback"),
        ((200, {}, b"<html>"), "not JSON: <html>"),
        ((200, {}, b'{"choices": []}'), "holds no choices"),
        ((200, {}, b'{"choices": [{"message": {"content": null}}]}'), "without text"),
        ((200, {}, b'{"choices": [{"message": {"content": "<think>hm"}}]}'), "reasoning"),
    ],
)
def test_an_answer_that_is_none_fails_its_clip_alone(failure: tuple[int, dict[str, str], bytes], cause: str) -> None:
    unlike = clip(5, frames=2)

    def fail(number: int, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
        return failure if len(request["messages"][0]["content"]) < 8 else None

    with serving(Model(fail=fail)) as model:
        first, second = opened(model).caption([unlike, clip(0)])
    assert isinstance(first, CaptionerError)
    assert cause in first.message
    assert isinstance(second, ClipCaption)


@pytest.mark.slow
@pytest.mark.parametrize("how", [-1, -2, -3], ids=["silent", "headers byte by byte", "body byte by byte"])
def test_a_server_that_takes_too_long_ends_the_run(how: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TRIES", 2)
    with serving(Model(fail=lambda number, request: (how, {}, b""))) as model:
        captioner = opened(model)
        captioner.server.seconds = 0.2
        with pytest.raises(CaptionerStopped, match=r"no answer within 0\.2 s"):
            captioner.caption([clip(0), clip(1)])
        assert not model.hang.is_set()


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_a_silent_server() -> None:
    def fail(number: int, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        if number == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return (-1, {}, b"")

    with serving(Model(fail=fail)) as model:
        captioner = opened(model)
        with pytest.raises(KeyboardInterrupt):
            captioner.caption([clip(0), clip(1)])
        assert not model.hang.is_set()
        assert not [thread for thread in threading.enumerate() if thread.name == "evcap-requests"]


@pytest.mark.slow
def test_a_server_that_is_gone_ends_the_run() -> None:
    with serving(Model()) as model:
        captioner = opened(model)
    with pytest.raises(CaptionerStopped, match="no answer"):
        captioner.caption([clip(0)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "failure",
    [(400, {}, b'{"error": {"message": "max_tokens must be 16 or more"}}'), (200, {}, b"<html>"), (200, {}, b"{}")],
)
def test_a_refused_question_about_the_emotion_leaves_the_caption(
    failure: tuple[int, dict[str, str], bytes], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(number: int, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes] | None:
        return failure if "top_logprobs" in request else None

    monkeypatch.setattr(console, "_verbosity", console.NORMAL)
    with serving(Model(fail=fail)) as model:
        captioner = opened(model)
        results = [captioner.caption([clip(0)])[0] for _ in range(FAILURES_IN_A_ROW + 2)]
        questions = sum("top_logprobs" in chat for chat in model.chats)
    assert {(result.text, result.emotion) for result in results if isinstance(result, ClipCaption)} == {
        ("A woman is happily dancing.", None)
    }
    assert len(results) == FAILURES_IN_A_ROW + 2
    assert questions == FAILURES_IN_A_ROW
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: {model.address}: the server answers the question about the emotion with ")
    assert "--no-emotion" in line


@pytest.mark.slow
def test_a_server_does_not_take_a_beam_size() -> None:
    with pytest.raises(UsageError, match="--beam-size means nothing"):
        ServedCaptioner("http://127.0.0.1:9/v1#tiny", CaptionerOptions(beam_size=2))


@pytest.mark.slow
def test_failures_one_after_another_end_the_run() -> None:
    with serving(Model(fail=lambda number, request: (400, {}, b"no"))) as model:
        captioner = opened(model)
        with pytest.raises(CaptionerStopped, match="one after another"):
            captioner.caption([clip(number) for number in range(6)])
        # the same captioner goes on once the server does
        model.fail = lambda number, request: None
        (result,) = captioner.caption([clip(0)])
    assert isinstance(result, ClipCaption)


@pytest.mark.slow
def test_wrong_addresses_models_and_keys_are_found_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Model(key="secret-key")) as model:
        with pytest.raises(CheckpointError, match="requests without a key") as refused:
            opened(model)
        assert "EVCAP_API_KEY" in refused.value.message
        monkeypatch.setenv(server.KEY_VARIABLE, "wrong-key")
        with pytest.raises(CheckpointError, match="refuses the key") as refused:
            opened(model)
        assert "wrong-key" not in refused.value.message
        monkeypatch.setenv(server.KEY_VARIABLE, "secret-key")
        with pytest.raises(CheckpointError, match="has no model 'huge'") as wrong:
            opened(model, name="#huge")
        assert "tiny" in wrong.value.message
        assert opened(model, name="").place.model == "tiny"
        model.models.append("other")
        with pytest.raises(UsageError, match="which model"):
            opened(model, name="")
        host = model.address.removeprefix("http://")
    for address in (f"http://user:pass@{host}#tiny", f"http://{host}?key=1#tiny", "http://#tiny", "http://a:b/v1#x"):
        with pytest.raises(UsageError) as wrong_address:
            ServedCaptioner(address, OPTIONS)
        assert "pass" not in wrong_address.value.message.replace("password", "")
    with pytest.raises(CheckpointError, match="no answer"):
        opened(model)


@pytest.mark.slow
def test_a_distribution_needs_tokens_that_begin_one_category() -> None:
    names = ["anger", "anticipation", "joy"]
    assert distribution({" Joy": math.log(0.5), "ang": math.log(0.25), "an": math.log(0.25)}, names) == pytest.approx(
        {"anger": 1 / 3, "anticipation": 0.0, "joy": 2 / 3}
    )
    assert distribution({"an": math.log(0.9), "joy": math.log(0.1)}, names) is None
    assert distribution({}, names) is None


@pytest.mark.slow
def test_the_command_line_captions_through_a_server_and_goes_on_after_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(server.KEY_VARIABLE, "secret-key")
    monkeypatch.setattr(server, "TRIES", 2)
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(3):
        make_film(videos / f"{number}.mp4", frames=8, sound=number != 1)
    (videos / "bad.mp4").write_text("no video")
    calm, broken = tmp_path / "calm.jsonl", tmp_path / "broken.jsonl"

    def command(model: Model, output: Path) -> int:
        call = ["caption", str(videos), "-c", f"{model.address}#tiny", "-o", str(output), "--batch-size", "1"]
        return run(call)

    with serving(Model(key="secret-key")) as model:
        assert command(model, calm) == 3
        model.fail = lambda number, request: (0, {}, b"") if number >= 10 else None
        model.chats.clear()
        model.chats.extend({} for _ in range(8))
        assert command(model, broken) == 3
        assert not broken.exists()
        assert "the server gives no answer" in capfd.readouterr().err
        model.fail = lambda number, request: None
        assert command(model, broken) == 3
    assert broken.read_bytes() == calm.read_bytes()
    records = [json.loads(line) for line in calm.read_text("utf-8").splitlines()]
    assert [record["status"] for record in records] == ["ok", "ok", "ok", "failed"]
    assert records[0]["captions"][0]["text"] == "A woman is happily dancing."
    assert records[0]["captions"][0]["emotion"]["words"] == ["happily"]
    assert records[0]["backbones"] == {}
    assert records[0]["checkpoint"]["name"] == f"{model.address}#tiny"
    assert records[0]["checkpoint"]["style"] == "emotional"
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"secret-key" not in file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("choices", "requests"), [(128, 2), (1, 5), (3, 3), (0, 6)])
def test_several_captions_come_in_one_request_or_one_by_one(choices: int, requests: int) -> None:
    with serving(Model(choices=choices)) as model:
        captioner = opened(model, replace(OPTIONS, emotion=False))
        (found,) = captioner.caption_several([clip(0)], Several(5, seed=10))
        (one,) = captioner.caption([clip(0)])
        assert len(model.chats) == requests + 1
    assert isinstance(found, list)
    # the third sample says what the first caption says, the fourth nothing
    assert [caption.text for caption in found] == ["A woman is happily dancing.", "A woman dances.", "A happy woman."]
    assert found[0] == one
    seeds = {chat["seed"] for chat in model.chats if chat["temperature"]}
    assert min(seeds) == 10
