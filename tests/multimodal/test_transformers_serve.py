"""``transformers serve`` with a tiny model: captions are the texts of the same model called with the same messages."""

from __future__ import annotations

import base64
import copy
import io
import shutil
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from evcap_multimodal.answers import caption_text
from PIL import Image

from evcap_cli.systems.captioners import open_captioner
from evcap_cli.systems.clip_captioner import CaptionerOptions, ClipCaption
from tests.commands.small import evcap, records
from tests.features.films import make_film
from tests.multimodal import direct
from tests.multimodal.conftest import LEXICON, clip

LACKING = [name for name in ("fastapi", "uvicorn", "openai") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(LACKING), reason=f"transformers serve lacks {', '.join(LACKING)}: pip install -e '.[test]'"
    ),
]
READS_WAV = all(find_spec(name) is not None for name in ("soundfile", "soxr"))
"""Whether the server can read WAV."""
WORDS = 2
MOST_TOKENS = 24
"""An answer of a random model has no end."""
START_SECONDS = 60
Bodies = list[dict[str, Any]]


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The server on a free port of loopback; gives the address of its model."""
    from transformers.cli.serve import Serve

    logger = transformers.utils.logging.get_logger("transformers")
    level = logger.level
    serve = Serve(str(folder), device="cpu", host="127.0.0.1", port=0, log_level="error", non_blocking=True)
    try:
        end = time.monotonic() + START_SECONDS
        while not serve.server.started:
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.01)
        port = serve.server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1#{folder}"
    finally:
        serve.kill_server()
        logger.setLevel(level)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Bodies:
    """Requests as the server answers them, with the limit of tokens lowered."""
    from transformers.cli.serving.chat_completion import ChatCompletionHandler

    bodies: Bodies = []
    plain = ChatCompletionHandler.handle_request

    async def recording(self: Any, body: dict[str, Any], request_id: str) -> Any:
        body["max_tokens"] = min(body["max_tokens"], MOST_TOKENS)
        bodies.append(copy.deepcopy(body))
        return await plain(self, body, request_id)

    monkeypatch.setattr(ChatCompletionHandler, "handle_request", recording)
    return bodies


def part(given: dict[str, Any]) -> dict[str, Any]:
    """A part of a message as a processor takes it: JPEG and WAV decoded."""
    if given["type"] == "image_url":
        data = base64.b64decode(given["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        return {"type": "image", "image": Image.open(io.BytesIO(data)).convert("RGB")}
    if given["type"] == "input_audio":
        with wave.open(io.BytesIO(base64.b64decode(given["input_audio"]["data"]))) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
        return {"type": "audio", "audio": samples}
    return given


def called_directly(processor: Any, model: Any, body: dict[str, Any]) -> str:
    """The text that the model gives to the messages of a request."""
    messages = [
        {"role": message["role"], "content": [part(given) for given in message["content"]]}
        for message in body["messages"]
    ]
    inputs = processor.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    return direct.answer(processor, model, inputs, body["max_tokens"])


@pytest.mark.parametrize("family", ["smolvlm", "gemma4"])
def test_captions_through_the_server_are_the_models_own_texts(
    family: str, folder_of: Callable[[str], Path], received: Bodies, tmp_path: Path
) -> None:
    folder, videos = Path(shutil.copytree(folder_of(family), tmp_path / family)), tmp_path / "videos"
    # with this the server finds where the answer of a Gemma begins
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|assistant|>", "<|turn>model"))
    videos.mkdir()
    for number in range(2):
        make_film(videos / f"{number}.mp4", frames=4, fps=2, sound=number == 0, seed=number)
    output = tmp_path / "out.jsonl"
    with serving(folder) as address:
        call = ["caption", videos, "-c", address, "-o", output, "--max-words", WORDS, "--no-emotion"]
        assert evcap(*call, "--batch-size", 1) == 0
        asked = [body for body in received if body["max_tokens"] > 1]
        received.clear()
        captioner = open_captioner(address, CaptionerOptions(max_words=WORDS, emotion=False, lexicon=LEXICON))
        assert captioner is not None
        (result,) = captioner.caption([clip(3, frames=2)])
        (last,) = [body for body in received if body["max_tokens"] > 1]

    processor, model = direct.loaded(family, folder)
    assert isinstance(result, ClipCaption)
    # where the server searches answers for tool calls, it takes spaces off their ends
    assert result.raw.strip() == called_directly(processor, model, last).strip()
    found = records(output)
    assert len(found) == len(asked) == 2
    for record, body in zip(found, asked, strict=True):
        content = body["messages"][0]["content"]
        times = [given["text"] for given in content if given["type"] == "text"][:-1]
        assert times == [f"Frame at {number / 2:.2f} s:" for number in range(4)]
        assert [given["type"] for given in content].count("image_url") == 4
        text = caption_text(called_directly(processor, model, body), WORDS)
        assert [caption["text"] for caption in record["captions"]] == [text]
        assert record["captions"][0]["score"] is None
        assert record["checkpoint"]["name"] == address
    audio = ["input_audio" in {given["type"] for given in body["messages"][0]["content"]} for body in asked]
    assert not audio[1]
    if family == "gemma4":
        assert audio[0] == READS_WAV
