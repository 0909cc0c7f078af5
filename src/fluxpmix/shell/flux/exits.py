"""Hears of a task's end as soon as it is dead: before flux-shell says so, and before libpmix's next request counts.

Used by `plugin.py`. flux-shell reports an end (task.exit) when it has also read all of the task's output. In
the meantime libpmix, whose connection to the task is gone, leaves the task out of fences that begin, and
a host that has not heard of the death would take such a fence for complete. Linux 5.3 and newer (pidfd_open(2));
elsewhere flux-shell's own word comes first.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fluxpmix.pmix.light import suppress
from fluxpmix.shell.flux.api import Shell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CORE_DUMPED = 0x80


class Exits:
    """Watches tasks; `gone(rank, wait_status)` is told of each once."""

    def __init__(self, api: Shell, gone: Callable[[int, int], None]) -> None:
        self._api = api
        self._gone = gone
        self._tasks: dict[int, tuple[int, int]] = {}  # by descriptor: rank and process
        self._epoll: Any = None
        self._watcher: Any = None

    def watch(self, rank: int, pid: int) -> None:
        """Watch task `rank`, a child of this process."""
        try:
            fd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return
        if self._epoll is None:
            import select

            self._epoll = select.epoll()
            self._watcher = self._api.watch(self._epoll.fileno(), self.look)
        self._epoll.register(fd, 1)  # EPOLLIN
        self._tasks[fd] = rank, pid

    def look(self) -> None:
        """Tell of those that have ended since; costs one system call where none has."""
        if not self._tasks:
            return
        for fd, _ in self._epoll.poll(0):
            rank, pid = self._tasks.pop(fd)
            self._epoll.unregister(fd)
            os.close(fd)
            with suppress(ChildProcessError):  # flux-shell has waited for it, and will say so
                # Left waitable: it is flux-shell's child.
                found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if found is not None:
                    self._gone(rank, _wait_status(found))

    def close(self) -> None:
        """Watch nobody any more."""
        for fd in self._tasks:
            os.close(fd)
        self._tasks.clear()
        if self._epoll is not None:
            self._api.stop_watching(self._watcher)
            self._epoll.close()
            self._epoll = None


def _wait_status(found: os.waitid_result) -> int:
    """Return what `waitpid` would have given."""
    if found.si_code == os.CLD_EXITED:
        return found.si_status << 8
    return found.si_status | (_CORE_DUMPED if found.si_code == os.CLD_DUMPED else 0)
