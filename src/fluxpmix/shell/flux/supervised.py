"""The plugin's end of the processes that stand in front of tasks, where these may be restarted (-o pmix.restarts).

`supervisor.c` is the other end: it starts a task's program, says which process that is and how it has ended, and waits
to be told what then. One that has failed is held back where the job goes on without it (-o exit-timeout=none), until
it is restarted or all others have ended too; flux-shell hears nothing of its end meanwhile. `plugin.py` makes one of
these, and hears from it of each program as of a task.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable, Collection
from struct import Struct

from fluxpmix.host.effects import Level
from fluxpmix.pmix.light import signal, suppress
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ShellError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORD = Struct("@ii504s")
# What a supervisor says, and what it is told.
_RUNS, _ENDED, _SIGNAL, _AGAIN, _GO = 1, 2, 3, 4, 5
_LONGEST = 503  # bytes of a checkpoint's name
_AT_ONCE = 2.0  # seconds for a supervisor to say how a program has ended that has
_BACKLOG = 4096
_PEER = Struct("@iII")  # SO_PEERCRED: process, user, group


class _Task:
    """A task's supervisor, by its connection."""

    __slots__ = ("ended", "held", "link", "pid", "pidfd", "rank", "retired")

    def __init__(self, rank: int, link: Any) -> None:
        self.rank = rank
        self.link = link
        self.pid = 0  # the program's
        self.pidfd = -1
        self.ended = False
        self.held = False
        self.retired = False  # it is to be started again


class Supervised:
    """The tasks of this shell; `started(rank, pid)` and `gone(rank, wait_status)` are told of each incarnation."""

    def __init__(
        self, api: Shell, started: Callable[[int, int], None], gone: Callable[[int, int], None], goes_on: bool
    ) -> None:
        """`goes_on`: the job goes on when a task fails, which is then held back. Raises `ShellError`, OSError."""
        import select

        self._api = api
        self._started = started
        self._gone = gone
        self._goes_on = goes_on
        self._over = False  # whether all have ended, and nobody is held back any more
        self._expected: dict[int, int] = {}  # rank by the process of its supervisor
        self._tasks: dict[int, _Task] = {}  # by rank
        self._fds: dict[int, _Task] = {}  # by descriptor, of connections and of processes
        name = f"fluxpmix.{os.getpid()}.{os.urandom(16).hex()}"
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._listener.bind(f"\0{name}")
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._watcher = api.watch(self._epoll.fileno(), self.look)
        if not api.supervise(name, api.option("nosetpgrp") in (None, 0, False)):
            raise ShellError("-o pmix.restarts: flux-shell lets nothing stand in front of tasks")

    def expect(self, rank: int, pid: int) -> None:
        """Task `rank` is process `pid` to flux-shell."""
        self._expected[pid] = rank

    def __contains__(self, rank: int) -> bool:
        return rank in self._tasks

    # -- what is to be done --------------------------------------------------------------------------

    def retire(self, ranks: Collection[int]) -> None:
        """Kill those that run: they are to be started again."""
        for rank in ranks:
            task = self._tasks.get(rank)
            if task is not None and not task.ended:
                task.retired = True
                self._say(task, _SIGNAL, int(signal.SIGKILL))

    def restart(self, rank: int, checkpoint: str) -> None:
        """Start a program again that has ended. Raises OSError, ValueError."""
        text, task = checkpoint.encode(), self._tasks.get(rank)
        if len(text) > _LONGEST:
            raise ValueError(f"the name of a checkpoint has at most {_LONGEST} bytes here")
        if task is None or not task.ended:
            raise ProcessLookupError(3, "Flux has seen the end of this task, and starts it no more")
        task.ended = task.held = task.retired = False
        self._say(task, _AGAIN, 0, text)

    def signal(self, signum: int, ranks: Collection[int] | None) -> None:
        """Send a signal to programs (None: to all)."""
        for task in list(self._tasks.values()):
            if (ranks is None or task.rank in ranks) and not task.ended:
                self._say(task, _SIGNAL, signum)

    def let_go(self) -> None:
        """All have ended: let flux-shell hear of the ends of those that are held back."""
        self._over = True
        for task in list(self._tasks.values()):
            if task.held:
                self._say(task, _GO)

    def close(self) -> None:
        """Watch nobody any more: who is held back goes."""
        for task in list(self._tasks.values()):
            self._forget(task)
        self._api.stop_watching(self._watcher)
        self._listener.close()
        self._epoll.close()

    # -- what is heard -------------------------------------------------------------------------------

    def look(self) -> None:
        """Take what has come; costs one system call where nothing has."""
        for fd, _ in () if self._epoll.closed else self._epoll.poll(0):
            task = self._fds.get(fd)
            if fd == self._listener.fileno():
                self._accept()
            elif task is not None:
                self._read(task, at_once=fd == task.pidfd)

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]
                link = _socket.socket(fileno=fd)
                peer, user, _ = _PEER.unpack(link.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PEER.size))
                rank = self._expected.pop(peer, None)
                if rank is None or user != os.getuid():
                    link.close()
                    continue
                link.setblocking(False)
                task = self._tasks[rank] = self._fds[fd] = _Task(rank, link)
                self._epoll.register(fd, 1)
                self._read(task)

    def _read(self, task: _Task, at_once: bool = False) -> None:
        """Take what a supervisor says; `at_once`: its program has ended, which it is about to say."""
        if at_once:
            task.link.settimeout(_AT_ONCE)
        try:
            data = task.link.recv(_WORD.size)
        except (BlockingIOError, TimeoutError):
            return
        except OSError:
            data = b""
        finally:
            task.link.setblocking(False)
        if len(data) != _WORD.size:
            self._forget(task)
            return
        kind, value, text = _WORD.unpack(data)
        if kind == _RUNS:
            self._runs(task, value)
        elif kind == _ENDED:
            self._has_ended(task, value, bool(text.rstrip(b"\0")))

    def _runs(self, task: _Task, pid: int) -> None:
        task.pid = pid
        with suppress(AttributeError, OSError):
            task.pidfd = os.pidfd_open(pid)
            self._fds[task.pidfd] = task
            self._epoll.register(task.pidfd, 1)
        self._started(task.rank, pid)

    def _has_ended(self, task: _Task, wait_status: int, asked: bool) -> None:
        """A program has ended, `asked`: by a signal of Flux's."""
        self._close_process(task)
        task.ended = True
        task.held = not (task.retired or asked or self._over) and self._goes_on and wait_status != 0
        # Else flux-shell is to hear of it now. The host hears first: it may have the last of the job ended by that.
        self._gone(task.rank, wait_status)
        if not (task.held or task.retired) or (self._over and task.held):
            self._say(task, _GO)

    def _say(self, task: _Task, kind: int, value: int = 0, text: bytes = b"") -> None:
        try:
            task.link.send(_WORD.pack(kind, value, text))
        except OSError as error:
            self._api.log(Level.DEBUG, f"the process in front of task {task.rank} is gone: {error.strerror}")

    def _forget(self, task: _Task) -> None:
        """A supervisor is gone; if it was killed, so is its program, and what that has started is to go, too."""
        if task.pid and not task.ended:
            with suppress(OSError):
                os.killpg(task.pid, signal.SIGKILL)
        self._close_process(task)
        if self._tasks.pop(task.rank, None) is not None:
            fd = task.link.fileno()
            del self._fds[fd]
            self._epoll.unregister(fd)
            task.link.close()

    def _close_process(self, task: _Task) -> None:
        if task.pidfd >= 0:
            del self._fds[task.pidfd]
            self._epoll.unregister(task.pidfd)
            os.close(task.pidfd)
            task.pidfd = -1
