"""Where a run takes its videos from, one by one: a list that is there, or a queue that others fill meanwhile."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from typing_extensions import override

Item = TypeVar("Item")
Other = TypeVar("Other")

CHECK_SECONDS = 0.5
"""A short time-out keeps Ctrl-C working where waits cannot be interrupted."""


class Feed(ABC, Generic[Item]):
    """What is to be done, in the order in which it is taken.

    Attributes:
        most: how many items there are at most; None: nobody knows yet.
    """

    most: int | None = None

    @abstractmethod
    def take(self, *, wait: bool) -> Item | None:
        """The next item; None: there is none right now, or with ``wait`` none will come."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether no item will come."""

    def beat(self) -> None:
        """The run that takes from this feed has made progress."""

    def mapped(self, change: Callable[[Item], Other]) -> Feed[Other]:
        """The same feed of other items: ``change`` is called once for each that is taken."""
        return _Mapped(self, change)


class ListFeed(Feed[Item]):
    """Items that are all there; a sequence, which may lie on disk, is read as they are taken."""

    def __init__(self, items: Iterable[Item]) -> None:
        known = items if isinstance(items, Sequence) else list(items)
        self.most = self._left = len(known)
        self._items = iter(known)

    @override
    def take(self, *, wait: bool) -> Item | None:
        self._left -= self._left > 0
        return next(self._items, None)

    @property
    @override
    def ended(self) -> bool:
        return self._left == 0


class QueueFeed(Feed[Item]):
    """Items that another thread puts in; ``progress`` counts what the run has done with them.

    One thread takes, any number may put.
    """

    def __init__(self) -> None:
        self.progress = 0
        self._changed = threading.Condition()
        self._items: deque[Item] = deque()
        self._closed = False

    def put(self, items: Iterable[Item]) -> None:
        """Add items."""
        with self._changed:
            self._items.extend(items)
            self._changed.notify_all()

    @property
    def filled(self) -> bool:
        """Whether an item is there."""
        with self._changed:
            return bool(self._items)

    def close(self) -> None:
        """No item will be put any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @override
    def take(self, *, wait: bool) -> Item | None:
        with self._changed:
            while wait and not self._items and not self._closed:
                self._changed.wait(CHECK_SECONDS)
            return self._items.popleft() if self._items else None

    @property
    @override
    def ended(self) -> bool:
        with self._changed:
            return self._closed and not self._items

    @override
    def beat(self) -> None:
        self.progress += 1


class _Mapped(Feed[Other], Generic[Item, Other]):
    def __init__(self, feed: Feed[Item], change: Callable[[Item], Other]) -> None:
        self._feed, self._change = feed, change
        self.most = feed.most

    @override
    def take(self, *, wait: bool) -> Other | None:
        item = self._feed.take(wait=wait)
        return None if item is None else self._change(item)

    @property
    @override
    def ended(self) -> bool:
        return self._feed.ended

    @override
    def beat(self) -> None:
        self._feed.beat()
