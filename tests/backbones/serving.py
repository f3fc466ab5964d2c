"""A server of weights on this machine, and a small backbone that loads what it serves as the bundled ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import torch
from torch import Tensor

from evcap_cli import Backbone, BackboneSpec, FrameInput, WeightsSource
from evcap_cli.backbones import weights as room
from evcap_cli.backbones.downloading import fetch


class Server(BaseHTTPRequestHandler):
    """Sends ``content``; the path says what goes wrong."""

    requested: ClassVar[list[str]] = []
    content: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        Server.requested.append(self.path)
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        if "unsized" not in self.path:
            self.send_header("Content-Length", str(len(Server.content)))
        self.end_headers()
        self.wfile.write(Server.content[: len(Server.content) // 2] if "cut" in self.path else Server.content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(content: bytes) -> Iterator[str]:
    """Serve ``content`` under every path of the address that is handed out."""
    Server.content = content
    Server.requested.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Net(Backbone):
    """Mean colours through a linear layer; ``net:wide`` is another architecture."""

    spec = BackboneSpec("net", "appearance", 4, "1", FrameInput(size=(8, 8)), license="MIT")
    address: ClassVar[str] = "http://127.0.0.1:9"
    file: ClassVar[str] = "net.pth"

    @classmethod
    def spec_for(cls, variant: str | None, options: Mapping[str, str]) -> BackboneSpec:
        if variant not in (None, "wide") or options:
            raise ValueError(f"net has no variant {variant!r} or option {sorted(options)}")
        return cls.spec

    def build(self) -> torch.nn.Module:
        return torch.nn.Linear(12 if self.variant == "wide" else 3, 4)

    def weights_source(self) -> WeightsSource:
        return WeightsSource("Net weights V1", f"{self.address}/{self.file}", "CC0-1.0")

    def fetch_weights(self) -> None:
        fetch(self.weights_source())

    def import_state(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if not all(name.startswith("module.") for name in tensors):
            raise ValueError("the names of its tensors do not start with module.")
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}

    def check_state(self, tensors: Mapping[str, Tensor]) -> None:
        room.load_strictly(self.build(), tensors, source="net")

    def load(self, weights: str | None, device: torch.device, dtype: torch.dtype) -> None:
        seed = room.random_seed(weights)
        if seed is not None:
            with room.seeded(seed):
                model = self.build()
        else:
            model = self.build()
            path = fetch(self.weights_source()) if weights is None else weights
            tensors = self.import_state(room.read_legacy(path)) if weights is None else room.read_tensors(path)
            room.load_strictly(model, tensors, source=str(path))
        self.weights_digest = room.state_digest(model.state_dict())
        self.model = model.eval().requires_grad_(False).to(device, dtype)

    def extract(self, batch: Tensor) -> Tensor:
        pixels = torch.nn.functional.adaptive_avg_pool2d(batch, 2 if self.variant == "wide" else 1)
        return self.model(pixels.flatten(1))
