"""How reading threads are kept from running ahead: a queue bounded by bytes, and waiting for the videos before.

The queue alone does not bound what is in memory: a reader ahead of the others would fill the run with features of
segments that cannot be handed out yet.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Generic, TypeVar

Message = TypeVar("Message")

QUEUE_BYTES: Final = 64 << 20
"""Pictures that wait for a model: two windows of thirty moments at full speed, whatever the videos' length."""


class Stopped(Exception):
    """The run is over: whoever puts shall end."""


class Abandoned(Exception):
    """The video being read has failed elsewhere: go on with the next."""


class ByteQueue(Generic[Message]):
    """First in, first out; ``put`` waits while more than ``limit`` bytes are queued."""

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self.limit = limit
        self._changed = threading.Condition()
        self._messages: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._stopped = False

    def put(self, message: Message, size: int = 0) -> None:
        """Queue a message of ``size`` bytes; a single one may exceed the limit.

        Raises:
            Stopped: ``stop`` was called.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or not size or self._bytes + size <= self.limit or not self._bytes
            )
            if self._stopped:
                raise Stopped
            self._messages.append((message, size))
            self._bytes += size
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> Message | None:
        """The oldest message; waits for one, or None after ``timeout`` seconds."""
        with self._changed:
            # a short time-out keeps Ctrl-C working where waits cannot be interrupted
            while not self._messages:
                self._changed.wait(0.5 if timeout is None else timeout)
                if timeout is not None and not self._messages:
                    return None
            message, size = self._messages.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return message

    def empty(self) -> bool:
        """Whether nothing is queued right now."""
        with self._changed:
            return not self._messages

    def stop(self) -> None:
        """Let every ``put`` raise, now and later."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


class Backpressure:
    """Which video is next to be handed out, and which ones are not needed any more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._head = 0
        self._stopped = False
        self._abandoned: set[int] = set()

    def advance(self, head: int) -> None:
        """``head`` is next."""
        with self._changed:
            self._head = head
            self._changed.notify_all()

    def stop(self) -> None:
        """Let every wait end with ``Stopped``."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def abandon(self, video: int) -> None:
        """Let the reader of ``video`` stop at its next frame."""
        with self._changed:
            self._abandoned.add(video)
            self._changed.notify_all()

    def check(self, video: int) -> None:
        """Raises: Stopped, Abandoned."""
        if self._stopped:
            raise Stopped
        if video in self._abandoned:
            raise Abandoned

    def is_next(self, video: int) -> bool:
        """Whether ``video`` is next."""
        return self._head >= video

    def wait(self, video: int) -> None:
        """Until ``video`` is next."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._head >= video or video in self._abandoned)
        self.check(video)
