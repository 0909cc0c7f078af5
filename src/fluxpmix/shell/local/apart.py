"""The launcher for a program that has more to do: in a process of its own, the program's are left alone.

A launcher takes its process's signals and children for itself, so `fluxpmix.run` gives it a forked one. Where
other threads run a fork is not safe (they may hold locks that nobody would release): then a fresh
interpreter is started, which takes some tens of milliseconds more.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable

from fluxpmix.shell.local.request import LaunchError, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


_START = "import sys; sys.path.insert(0, sys.argv[1]); from fluxpmix.shell.local import apart; apart.main()"


def run(request: Request) -> int:
    """Run a job and return its exit code. May be called in any thread.

    Raises what `launcher.run` raises, `KeyboardInterrupt` after Ctrl-C when the job has ended, and
    `LaunchError` where the launcher is killed.
    """
    flush()
    alone = is_alone()
    if alone:
        load_once()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    # On a terminal Ctrl-C reaches the launcher by itself; elsewhere it must be passed on, once.
    grouped = os.isatty(0)
    pid = (_fork if alone else _spawn)(request, writer, grouped)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        told, interrupted = until_told(pipe.read, lambda got: False, None if grouped else pid)
    _, status = _uninterrupted(lambda: os.waitpid(pid, 0))
    if interrupted:
        raise KeyboardInterrupt
    if not told:
        raise lost(status)
    return result(pickle.loads(told))


def flush() -> None:
    """Write what the program has printed, before tasks print."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def is_alone() -> bool:
    """Whether this process may fork and go on in Python: no other thread may hold a lock."""
    return len(os.listdir("/proc/self/task")) == 1


def load_once() -> None:
    """Import here, once for all jobs, what a forked launcher needs."""
    from fluxpmix.pmix import _declarations  # noqa: F401
    from fluxpmix.shell.local import launcher, links  # noqa: F401
    from fluxpmix.shell.local.machine import topology_signature

    topology_signature()


def until_told(
    read: Callable[[int], bytes | None], complete: Callable[[bytes], bool], interrupt: int | None
) -> tuple[bytes, bool]:
    """Read what a launcher tells until it is complete or ends; return it, and whether Ctrl-C came meanwhile.

    Ctrl-C is passed on to the process `interrupt`, and the job is awaited.
    """
    told, interrupted = b"", False
    while not complete(told):
        try:
            part = read(65536)
            if not part:
                break
            told += part
        except KeyboardInterrupt:
            interrupted = True
            if interrupt is not None:
                os.kill(interrupt, signal.SIGINT)
    return told, interrupted


def lost(status: int) -> LaunchError:
    """Return what is raised where the launcher's process has ended with this wait status."""
    return LaunchError(f"the launcher was lost (wait status {status}); its shells have ended the job")


def result(told: Any) -> int:
    """Return the exit code that a launcher tells, or raise the exception."""
    if isinstance(told, Exception):
        raise told
    return int(told)


def package_parent() -> str:
    """Return the directory that a fresh interpreter must look into for the package."""
    import fluxpmix

    return os.path.dirname(os.path.dirname(os.path.abspath(fluxpmix.__file__)))


def _fork(request: Request, writer: int, grouped: bool) -> int:
    pid = os.fork()
    if pid == 0:
        if not grouped:
            os.setpgid(0, 0)
        _launch(request, writer)
    return pid


def _spawn(request: Request, writer: int, grouped: bool) -> int:
    reader, pickled = os.pipe2(os.O_CLOEXEC)
    try:
        argv = [sys.executable, "-c", _START, package_parent(), str(reader), str(writer)]
        actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (reader, writer)]  # inherited so
        group: dict[str, Any] = {} if grouped else {"setpgroup": 0}
        pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, **group)
    except BaseException:
        os.close(pickled)
        raise
    finally:
        os.close(reader)
    with os.fdopen(pickled, "wb") as pipe:
        pickle.dump(request, pipe)
    return pid


def main() -> NoReturn:
    """In the fresh interpreter: read the request, run it, and tell the result."""
    reader, writer = map(int, sys.argv[2:4])
    os.set_inheritable(writer, False)
    with os.fdopen(reader, "rb") as pipe:
        request = pickle.load(pipe)
    _launch(request, writer)


def _launch(request: Request, writer: int) -> NoReturn:
    try:
        result: Any
        try:
            from fluxpmix.shell.local import launcher

            signal.set_wakeup_fd(-1)
            result = launcher.run(request)
        except Exception as error:
            result = error
        _write_all(writer, pickle.dumps(result))
    finally:
        os._exit(0)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _uninterrupted(call: Callable[[], Any]) -> Any:
    while True:
        try:
            return call()
        except KeyboardInterrupt:
            continue
