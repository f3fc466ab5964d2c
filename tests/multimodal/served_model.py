"""A server of the OpenAI kind on loopback that answers by rule and can be made to fail."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = "A woman is happily dancing. She waves."
SAMPLES = ("A woman dances.", "**A happy woman.**", "A woman is happily dancing.", "", "Somebody dances.")
"""What it writes at a temperature, by seed."""


@dataclass
class Model:
    """What the server does.

    Args:
        key: that requests must bring; None: none.
        fail: called with the number of the chat and the request; returns (status, headers, body), or None to answer.
            Status 0 cuts the connection, -1 gives no answer; -2 and -3 give headers or a body byte by byte.
        logprobs: whether answers have log-probabilities.
        audio: whether audio is accepted.
        choices: most choices of an answer; 0: a request for several is refused.
    """

    key: str | None = None
    fail: Callable[[int, dict[str, Any]], tuple[int, dict[str, str], bytes] | None] = lambda number, request: None
    logprobs: bool = True
    audio: bool = True
    choices: int = 128
    models: list[str] = field(default_factory=lambda: ["tiny"])
    chats: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""
    hang: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        question = request["messages"][0]["content"][-1]["text"]
        emotion = question.startswith("Which one")
        text = "joy" if emotion else ANSWER
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}}
        if self.logprobs and request.get("logprobs"):
            top = [("joy", 0.6), ("fear", 0.2), ("The", 0.1)] if request.get("top_logprobs") else []
            listed = [{"token": token, "logprob": math.log(value)} for token, value in top]
            choice["logprobs"] = {
                "content": [{"token": word, "logprob": -0.5, "top_logprobs": listed} for word in text.split()]
            }
        if request.get("temperature"):
            drawn = range(request["seed"], request["seed"] + min(request.get("n", 1), max(self.choices, 1)))
            return {"choices": [{**choice, "message": {"content": SAMPLES[n % len(SAMPLES)]}} for n in drawn]}
        return {"choices": [choice]}


@contextmanager
def serving(model: Model) -> Iterator[Model]:
    lock = threading.Lock()
    open_connections: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            open_connections.append(self.connection)

        def log_message(self, *_: Any) -> None:
            pass

        def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def trickle(self, status: bytes, *, in_headers: bool) -> None:
            self.close_connection = True
            self.wfile.write(status if in_headers else status + b"Content-Length: 99999\r\n\r\n")
            with suppress(OSError):
                while not model.hang.wait(0.02):
                    self.wfile.write(b"X: y\r\n" if in_headers else b" ")

        def allowed(self) -> bool:
            if model.key is None or self.headers.get("Authorization") == f"Bearer {model.key}":
                return True
            given = self.headers.get("Authorization", "none")
            self.reply(401, json.dumps({"error": {"message": f"wrong key {given}"}}).encode())
            return False

        def do_GET(self) -> None:
            if self.allowed():
                self.reply(200, json.dumps({"data": [{"id": name} for name in model.models]}).encode())

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.allowed():
                return
            kinds = {part["type"] for part in request["messages"][0]["content"]}
            if "input_audio" in kinds and not model.audio:
                self.reply(400, b'{"error": {"message": "no audio here"}}')
                return
            if request["model"] not in model.models:
                self.reply(404, json.dumps({"error": {"message": f"no model {request['model']}"}}).encode())
                return
            if request.get("max_tokens") == 1:  # a question before the run
                self.reply(200, json.dumps(model.answer(request)).encode())
                return
            with lock:
                number = len(model.chats)
                model.chats.append(request)
            failure = model.fail(number, request)
            if request.get("n", 1) > 1 and not model.choices:
                failure = (400, {}, b'{"error": "n must be 1"}')
            if failure is None:
                self.reply(200, json.dumps(model.answer(request)).encode())
            elif failure[0] == 0:  # cut the connection
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif failure[0] == -1:
                model.hang.wait(30)
            elif failure[0] < 0:
                self.trickle(b"HTTP/1.1 200 OK\r\n", in_headers=failure[0] == -2)
            else:
                self.reply(failure[0], failure[2], failure[1])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    model.address = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield model
    finally:
        model.hang.set()
        server.shutdown()
        server.server_close()
        for connection in open_connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join(5)
