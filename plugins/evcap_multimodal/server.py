"""Requests to an OpenAI-compatible server: its address, a limit of time for each request, retries, the key.

The key comes from ``EVCAP_API_KEY`` alone and appears nowhere else. What requests and answers hold is in ``chats.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from evcap_cli.errors import CaptionerStopped, UsageError

T = TypeVar("T")

KEY_VARIABLE: Final = "EVCAP_API_KEY"
REQUEST_SECONDS: Final = 120.0
"""From the first byte of a request to the last byte of its answer."""
CHECK_SECONDS: Final = 20.0
"""For questions that cost the server nothing, such as which models it has."""
TRIES: Final = 5
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
KEY_REFUSED: Final = frozenset({401, 403})
LONGEST_QUOTE: Final = 200
"""Letters of what a server said."""


@dataclass(frozen=True)
class ServerAddress:
    """``http://HOST:PORT/v1#MODEL``.

    Args:
        base: without a slash at its end.
        model: empty: the only one that the server has.
    """

    base: str
    model: str

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Read an address.

        Raises:
            UsageError: it names no host, or holds a user, password or query.
        """
        parts = urlsplit(text)
        example = "for example -c http://127.0.0.1:8000/v1#MODEL"
        try:
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError("is not the address of a server", path=text.partition("#")[0][:200], hint=example)
        if parts.username is not None or parts.password is not None or parts.query:
            raise UsageError(
                f"the address of a server holds a password or a query: {parts.scheme}://{host}/...",
                hint=f"put the key into the variable {KEY_VARIABLE}; {example}",
            )
        return cls(text.partition("#")[0].rstrip("/"), parts.fragment)

    def __str__(self) -> str:
        return f"{self.base}#{self.model}"


class Refused(Exception):
    """The server answered, but not with what was requested: ``status`` 0 where the answer made no sense."""

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(cause)
        self.status, self.cause = status, cause


class Server:
    """Requests to one server: limits of time, retries with growing pauses, answers as plain values.

    Args:
        base: of every address.
        key: sent as a bearer token; None: none.
    """

    client: Any

    def __init__(self, base: str, key: str | None) -> None:
        self.base, self.key = base, key
        self.seconds = REQUEST_SECONDS
        self.http = _http()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work``, which may send requests; an exception here, such as Ctrl-C, ends those under way.

        The event loop has a thread of its own: a notebook has one that runs already.
        """
        from anyio.from_thread import start_blocking_portal

        async def connected() -> T:
            headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
            # no redirects: an answer must not send frames to another address
            async with self.http.AsyncClient(headers=headers, timeout=None, follow_redirects=False) as self.client:
                return await work()

        with start_blocking_portal(name="evcap-requests") as portal:
            return portal.call(connected)

    async def get(self, path: str) -> Any:
        """The JSON of one address, requested once.

        Raises:
            Refused: another answer. CaptionerStopped: none, or the key is refused.
        """
        seconds = min(self.seconds, CHECK_SECONDS)
        try:
            return self._answer(await self._whole(self.client.get(self.base + path), seconds))
        except self._broken as problem:
            raise self._gone(problem, seconds) from None

    async def post(self, path: str, content: Mapping[str, Any], tries: int | None = None) -> Any:
        """The JSON that ``content`` is answered with; a busy server gets the request again.

        Raises:
            Refused: another answer. CaptionerStopped: none, or the key is refused.
        """
        tries = tries or TRIES
        number = 0
        while True:
            pause = min(FIRST_PAUSE_SECONDS * 2**number, LONGEST_PAUSE_SECONDS)
            number += 1
            try:
                response = await self._whole(self.client.post(self.base + path, json=content), self.seconds)
            except self._broken as problem:
                if number == tries:
                    raise self._gone(problem, self.seconds) from None
            else:
                if response.status_code not in TRY_AGAIN or number == tries:
                    return self._answer(response)
                pause = max(pause, _retry_after(response.headers.get("retry-after")))
            await asyncio.sleep(pause)

    @staticmethod
    async def _whole(request: Awaitable[Any], seconds: float) -> Any:
        # the client's own limits begin again with every byte that arrives
        async with asyncio.timeout(seconds):
            return await request

    @property
    def _broken(self) -> tuple[type[Exception], ...]:
        return (self.http.RequestError, self.http.InvalidURL, OSError)

    def _answer(self, response: Any) -> Any:
        status = int(response.status_code)
        if status in KEY_REFUSED:
            refused = f"the key in {KEY_VARIABLE}" if self.key else "requests without a key"
            raise CaptionerStopped(
                f"the server refuses {refused} (status {status})", path=self.base, hint=f"set {KEY_VARIABLE}"
            )
        if status != 200:
            raise Refused(status, f"status {status}: {self._public(_complaint(response))}")
        try:
            return response.json()
        except ValueError:
            raise Refused(0, f"an answer that is not JSON: {self._public(response.text)}") from None

    def _gone(self, problem: Exception, seconds: float) -> CaptionerStopped:
        if isinstance(problem, TimeoutError):
            cause = f"no answer within {seconds:g} s"
        else:
            cause = f"no answer ({self._public(str(problem)) or type(problem).__name__})"
        return CaptionerStopped(
            f"the server gives {cause}", path=self.base, hint="see that it runs; the same command goes on"
        )

    def _public(self, text: str) -> str:
        """What a server said, short, in one line and without the key."""
        text = text.replace(self.key, "***") if self.key else text
        return " ".join(text.split())[:LONGEST_QUOTE]


def _complaint(response: Any) -> str:
    """What the server says went wrong."""
    try:
        content = response.json()
    except ValueError:
        return str(response.text)
    error = content.get("error", content.get("detail", content)) if isinstance(content, dict) else content
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _retry_after(text: str | None) -> float:
    """Seconds that a busy server wants to be left alone."""
    try:
        return min(max(float(text or 0), 0.0), LONGEST_PAUSE_SECONDS)
    except ValueError:
        return 0.0


def _http() -> Any:
    """The HTTP library that huggingface_hub brings: httpx, or its successor of the same interface."""
    from importlib import import_module

    from huggingface_hub import get_session

    return import_module(type(get_session()).__module__.partition(".")[0])
