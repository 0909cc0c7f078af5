"""Tasks: finding a command, starting it, and telling what became of it.

A job shell starts its tasks with `start`; the launcher looks for the commands first (`find`), so that one
that does not exist is said once and before anything runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from fluxpmix.pmix.light import signal, suppress
from fluxpmix.shell.local.request import LaunchError

NOT_FOUND, NOT_EXECUTABLE = 127, 126
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_REAPING = 5.0  # seconds for what was killed to be gone


def find(command: str, env: Mapping[str, str], wdir: str) -> str:
    """Return the path of a command, sought in the PATH that its task will have, in its directory.

    Raises `LaunchError` with the exit code that a shell would give: 127, or 126 for a file that cannot be run.
    """
    if "/" in command:
        _check(os.path.join(wdir, command), command)
        return command
    unusable: LaunchError | None = None
    for directory in env.get("PATH", _DEFAULT_PATH).split(":"):
        path = os.path.join(wdir, directory, command)
        try:
            _check(path, command)
            return path
        except LaunchError as error:
            if error.exit_code == NOT_EXECUTABLE:
                unusable = unusable or error
    hint = f"; for the file in {wdir} write ./{command}" if os.path.exists(os.path.join(wdir, command)) else ""
    raise unusable or LaunchError(f"{command}: command not found in PATH{hint or '; check its spelling'}", NOT_FOUND)


def _check(path: str, command: str) -> None:
    if not os.path.lexists(path):
        raise LaunchError(f"{command}: no such file or directory; check its spelling", NOT_FOUND)
    if os.path.isdir(path):
        raise LaunchError(f"{command}: is a directory; name a program in it", NOT_EXECUTABLE)
    if not os.path.exists(path):
        raise LaunchError(f"{command}: it cannot be reached, or is a link to nothing; look with ls -l", NOT_FOUND)
    if not os.access(path, os.X_OK):
        raise LaunchError(f"{command}: permission denied; make it executable with chmod +x {path}", NOT_EXECUTABLE)


def start(
    path: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    stdio: tuple[int, int, int],
    cpus: Iterable[int] | None,
    *,
    group: bool,
    stopped: bool = False,
) -> int:
    """Start a process in the current directory and return its id.

    It has default signals, none blocked; `stdio` are the descriptors of its standard streams; `cpus` are
    those it is bound to (None: those of this thread). With `stopped` it stops at its program's first
    instruction, and waits there for SIGCONT. Raises `LaunchError`.
    """
    actions = [(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate(stdio)]
    before = os.sched_getaffinity(0) if cpus is not None else None
    if cpus is not None:
        os.sched_setaffinity(0, cpus)  # a new process has its parent's
    try:
        return _spawn_stopped(path, argv, env, stdio, group) if stopped else _spawn(path, argv, env, actions, group)
    except OSError as error:
        code = NOT_FOUND if error.errno == 2 else NOT_EXECUTABLE
        raise LaunchError(f"{argv[0]}: cannot be started: {error.strerror}", code) from None
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)


def _spawn(
    path: str, argv: Sequence[str], env: Mapping[str, str], actions: list[tuple[int, int, int]], group: bool
) -> int:
    options = {"setpgroup": 0} if group else {}
    options |= {"setsigmask": (), "setsigdef": signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}}  # type: ignore[dict-item]
    try:
        return os.posix_spawn(path, argv, env, file_actions=actions, **options)  # type: ignore[arg-type]
    except OSError as error:
        if error.errno != 8:  # ENOEXEC: a script without #!, which a shell runs
            raise
        return os.posix_spawn("/bin/sh", ["sh", path, *argv[1:]], env, file_actions=actions, **options)  # type: ignore[arg-type]


def _spawn_stopped(
    path: str, argv: Sequence[str], env: Mapping[str, str], stdio: tuple[int, int, int], group: bool
) -> int:
    """As `_spawn`, but the process is left stopped."""
    from fluxpmix.pmix.process import be_traced, leave_stopped

    complaint, told = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            if group:
                os.setpgid(0, 0)
            for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                with suppress(OSError, ValueError):
                    signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for at, fd in enumerate(stdio):
                os.dup2(fd, at)
            be_traced()
            os.execve(path, list(argv), env)
        except OSError as error:
            os.write(told, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(told)
    try:
        if leave_stopped(pid):
            return pid
        code = int(os.read(complaint, 16) or b"8")
        raise OSError(code, os.strerror(code))
    finally:
        os.close(complaint)


def exit_code(wait_status: int) -> int:
    """Return a task's part in the job's exit code: its exit status, or 128 and the signal that killed it."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def descendants() -> list[int]:
    """Return the processes below this one, children before theirs."""
    found = children(os.getpid())
    for pid in found:  # grows on the way
        found.extend(children(pid))
    return found


def children(pid: int) -> list[int]:
    """Return the children of a process, none where it is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found.extend(map(int, file.read().split()))
    except OSError:
        pass
    return found


def kill_descendants() -> None:
    """Kill every process below this one, those too that left their group, and wait until they are gone."""
    import select
    from time import monotonic

    deadline = monotonic() + _REAPING
    while found := descendants():
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if monotonic() > deadline:
            return
        select.select((), (), (), 0.001)
