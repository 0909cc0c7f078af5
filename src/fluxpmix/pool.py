"""`fluxpmix.Launcher`: many jobs from inside a Python program, one after another or at the same time.

`launch.run` starts everything anew for each job. A `Launcher` keeps what jobs have in common: a process that
launches, and in it job shells that have libpmix loaded and a PMIx server running (`shell/local/warm.py`). There
are as many such processes as jobs have run at the same time.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Sequence
from socket import socket, socketpair
from struct import unpack_from

from fluxpmix.launch import request_for
from fluxpmix.shell.local import apart, warm
from fluxpmix.shell.local.request import LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.shell.local.request import Request

_START = "import sys; sys.path.insert(0, sys.argv[1]); from fluxpmix.shell.local import warm; warm.main()"


class Launcher:
    """Starts parallel jobs on this machine, fast.

    `with Launcher() as launcher: launcher.run(["./prog"], ntasks=4)`. Threads may share one: at most `at_once`
    of their jobs run at the same time (default: as many as there are CPUs), the others wait their turn. A job's
    own directory below TMPDIR is removed while the program goes on already.

    It lives until `close`, or the end of the `with` block, or of the program: then no process, file or
    socket of it is left. A forked child of the program cannot use it.
    """

    def __init__(self, *, at_once: int | None = None) -> None:
        """Start nothing yet: the first job does. Raises `ValueError` where `at_once` is less than 1."""
        if at_once is not None and at_once < 1:
            raise ValueError(f"at_once={at_once}: at least 1 is expected")
        self._turn = threading.Condition()
        self._free = at_once or len(os.sched_getaffinity(0))
        self._idle: list[_Worker] = []
        self._running = 0
        self._closed = False
        self._process = os.getpid()

    def run(self, command: Sequence[str], /, **options: Any) -> int:
        """Run `command` as a parallel job and return its exit code: as `fluxpmix.run`, with the same options.

        Raises what `fluxpmix.run` raises, and `RuntimeError` where the launcher is closed. Ctrl-C in the main
        thread interrupts its job; `KeyboardInterrupt` comes when it has ended, and the launcher can go on.
        """
        request = request_for(command, options)
        worker = self._take()
        try:
            code = worker.run(request)
        except BaseException:
            self._give_back(worker)
            raise
        self._give_back(worker)
        return code

    def close(self) -> None:
        """Wait until the jobs of other threads have ended, and end the processes. Safe to call twice."""
        if self._process != os.getpid():
            return
        with self._turn:
            self._closed = True
            self._turn.notify_all()
            while self._running:
                self._turn.wait()
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.close()

    def _take(self) -> _Worker:
        with self._turn:
            while not self._free and not self._closed:
                self._turn.wait()
            if self._closed or self._process != os.getpid():
                raise RuntimeError("the launcher is closed; make another")
            self._free -= 1
            self._running += 1
            if self._idle:
                return self._idle.pop()
        try:
            return _Worker()
        except BaseException:
            self._give_back(None)
            raise

    def _give_back(self, worker: _Worker | None) -> None:
        with self._turn:
            self._free += 1
            self._running -= 1
            if worker is not None and worker.alive:
                self._idle.append(worker)
            self._turn.notify_all()


class _Worker:
    """A process that launches one job after another."""

    def __init__(self) -> None:
        self._grouped = os.isatty(0)  # then Ctrl-C reaches it by itself
        ours, theirs = socketpair()
        try:
            self._pid = (_fork if apart.is_alone() else _spawn)(theirs, self._grouped)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._sock = ours
        self.alive = True

    def run(self, request: Request) -> int:
        """Run one job and return its exit code, or raise what kept it from running."""
        apart.flush()
        streams = _standard_streams()
        interrupted = False
        try:
            warm.send(self._sock, request, tuple(streams))
            told, interrupted = apart.until_told(self._sock.recv, _complete, None if self._grouped else self._pid)
        except OSError:
            told = b""
        finally:
            for fd in streams:
                os.close(fd)
        if not _complete(told):
            self.alive = False
            self._sock.close()
            raise apart.lost(os.waitpid(self._pid, 0)[1])
        if interrupted:
            raise KeyboardInterrupt
        return apart.result(pickle.loads(told[8:]))

    def close(self) -> None:
        """End the process and what it keeps."""
        self._sock.close()
        if self.alive:
            self.alive = False
            os.waitpid(self._pid, 0)


def _complete(told: bytes) -> bool:
    return len(told) >= 8 and len(told) == 8 + unpack_from("!Q", told)[0]


def _standard_streams() -> list[int]:
    """Return copies of descriptors 0, 1 and 2, /dev/null for a closed one."""
    found = []
    for fd in range(3):
        try:
            found.append(os.dup(fd))
        except OSError:
            found.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
    return found


def _fork(sock: socket, grouped: bool) -> int:
    apart.load_once()
    pid = os.fork()
    if pid == 0:
        warm.work(sock, grouped)
    return pid


def _spawn(sock: socket, grouped: bool) -> int:
    """Start a fresh interpreter: other threads run here, and a fork would copy the locks that they hold."""
    argv = [sys.executable, "-c", _START, apart.package_parent(), str(sock.fileno())]
    argv.append("grouped" if grouped else "apart")
    actions = [(os.POSIX_SPAWN_DUP2, sock.fileno(), sock.fileno())]  # inherited so
    try:
        return os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
    except OSError as error:
        raise LaunchError(f"cannot start {sys.executable}: {error.strerror}") from None
