"""Input for spawned tasks of one shell that PMIx_IOF_push brings. Standard 4.2, section 18.5.

Those that PMIX_STDIN_TGT named have a pipe from the helper that runs them (`starter.py`), which keeps what does not fit
yet, and knows whether a task has closed its end; so its word is waited for. The others have no input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.pmix.status import Status
from fluxpmix.shell.flux.starter import FEED


class SpawnedInput:
    """What is on its way to them; `send` tells the helper."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._readers: set[int] = set()  # numbers of those that run
        self._waiting: dict[int, Callable[[int], None]] = {}  # by ticket
        self._tickets = 0

    def add(self, number: int) -> None:
        """A task is to have an input."""
        self._readers.add(number)

    def forget(self, number: int) -> None:
        """A task is gone."""
        self._readers.discard(number)

    def feed(self, numbers: Sequence[int], data: bytes, done: Callable[[int], None]) -> None:
        """Give data to tasks, b"": the end. `done(status)` is told: success where one of them takes it."""
        readers = [number for number in numbers if number in self._readers]
        if not readers:
            done(Status.ERR_NOT_AVAILABLE)
            return
        self._tickets += 1
        self._waiting[self._tickets] = done
        self._send(FEED, self._tickets, readers, data)

    def fed(self, ticket: int, taken: bool) -> None:
        """The helper has given it to tasks, or they do not take it."""
        self._waiting.pop(ticket)(Status.SUCCESS if taken else Status.ERR_NOT_AVAILABLE)

    def helper_gone(self) -> None:
        """Nobody will be given anything any more."""
        self._readers.clear()
        while self._waiting:
            self._waiting.popitem()[1](Status.ERR_NOT_AVAILABLE)
