"""Many descriptors that flux-shell's reactor watches as one: they come and go, and want to be read or written.

Used by the sockets of links: what `shell/stream.py` asks of a loop.
"""

from __future__ import annotations

import select
from collections.abc import Callable

from fluxpmix.shell.flux.api import Shell


class Polling:
    """Descriptors and what to call when they are ready."""

    def __init__(self, api: Shell) -> None:
        self._api = api
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._watcher = api.watch(self._epoll.fileno(), self._look)

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call `call(events)` when `fd` is ready."""
        self._epoll.register(fd, events)
        self._calls[fd] = call

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events on `fd`."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Do not watch `fd` any more."""
        self._epoll.unregister(fd)
        del self._calls[fd]

    def close(self) -> None:
        """Stop watching."""
        self._api.stop_watching(self._watcher)
        self._epoll.close()

    def _look(self) -> None:
        for fd, events in self._epoll.poll(0):
            call = self._calls.get(fd)  # an earlier one may have ended it
            if call is not None:
                call(events)
