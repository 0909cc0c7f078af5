"""A process beside flux-shell that starts the tasks of spawned jobs, reads their output and waits for them.

`python -m fluxpmix.shell.flux.starter FD`, started by `spawned.py` when a job is first spawned; FD is a socket to the
plugin, which speaks as `local/control.py` has it. flux-shell waits for any child of its process and keeps what it
learns to itself, so the tasks are this one's. They end with it, and it with flux-shell, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from fluxpmix.pmix.process import become_subreaper
from fluxpmix.shell.local import tasks
from fluxpmix.shell.local.control import Control
from fluxpmix.shell.local.pipes import TaskPipes
from fluxpmix.shell.local.reactor import Reactor
from fluxpmix.shell.local.request import LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.input import Inputs

# To the starter
RUN = 1  # number, path, arguments, environment, directory, its name if it has a standard input
SIGNAL = 2  # signal, numbers or None for all
FEED = 8  # ticket, numbers, bytes for their standard inputs; none: the end
# From it
STARTED = 3  # number, process
FAILED = 4  # number, why, exit code
OUTPUT = 5  # number, stream (1 or 2), whole lines
EXITED = 6  # number, wait status
DONE = 7  # number: its output is complete
FED = 9  # ticket, whether one of the tasks takes it
WARNED = 10  # 0, message
_LAST_WORDS = 1.0  # seconds that a dead task's pipes are listened to
_HIGH_WATER = 1 << 20  # bytes on their way to the plugin before the tasks must wait


class Starter:
    """All spawned tasks of one shell."""

    def __init__(self, fd: int) -> None:
        import _socket

        self._reactor = Reactor()
        os.set_inheritable(fd, False)  # a task that had it would keep the plugin from seeing that this process is gone
        self._control = Control(self._reactor, _socket.socket(fileno=fd), self._message, self._plugin_gone)
        self._pids: dict[int, int] = {}  # by number
        self._numbers: dict[int, int] = {}  # by process
        self._pipes: dict[int, TaskPipes] = {}
        self._inputs: Inputs | None = None  # since a task has one
        self._paused = False
        self._control.stream.on_drained = self._drained

    def run(self) -> None:
        """Serve until the plugin is gone."""
        become_subreaper()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            signal.signal(signum, signal.SIG_IGN)  # flux-shell passes on what is meant for the tasks
        self._reactor.on_signal(signal.SIGCHLD, self._reap)
        self._reactor.run()
        while found := tasks.descendants():
            for pid in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(-1, 0)

    def _message(self, kind: int, *values: object) -> None:
        if kind == RUN:
            self._run(*values)  # type: ignore[arg-type]
        elif kind == SIGNAL:
            self._signal(*values)  # type: ignore[arg-type]
        elif kind == FEED:
            self._feed(*values)  # type: ignore[arg-type]

    def _plugin_gone(self, _reason: str) -> None:
        self._reactor.stop()

    def _run(self, number: int, path: str, argv: Sequence[str], env: Mapping[str, str], wdir: str, name: str) -> None:
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        stdin = self._input(number, name) if name else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.chdir(wdir)
            pid = tasks.start(path, argv, env, (stdin, out[1], err[1]), None, group=True)
        except (LaunchError, OSError) as error:
            for fd in (out[0], err[0]):
                os.close(fd)
            self._input_ended(number)
            self._control.send(FAILED, number, str(error), getattr(error, "exit_code", 1))
            return
        finally:
            for fd in (stdin, out[1], err[1]):
                os.close(fd)
        self._pids[number], self._numbers[pid] = pid, number
        self._pipes[number] = TaskPipes(
            self._reactor, (out[0], err[0]), partial(self._output, number), partial(self._check, number), False
        )
        self._pipes[number].pause(self._paused)
        self._control.send(STARTED, number, pid)

    def _input(self, number: int, name: str) -> int:
        if self._inputs is None:
            from fluxpmix.shell.local.input import Inputs

            self._inputs = Inputs(self._reactor, lambda _total: None, partial(self._control.send, WARNED, 0))
        return self._inputs.add_again(number, name)

    def _feed(self, ticket: int, numbers: Sequence[int], data: bytes) -> None:
        inputs = self._inputs
        taken = [inputs is not None and inputs.give_to(number, data) for number in numbers]
        self._control.send(FED, ticket, any(taken))

    def _input_ended(self, number: int) -> None:
        if self._inputs is not None:
            self._inputs.forget(number)

    def _signal(self, signum: int, numbers: Sequence[int] | None) -> None:
        for number in list(self._pids) if numbers is None else numbers:
            pid = self._pids.get(number)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signum)
                    if signum in (signal.SIGTERM, signal.SIGKILL):
                        os.killpg(pid, signal.SIGCONT)

    def _output(self, number: int, stream: int, data: bytes) -> None:
        self._control.send(OUTPUT, number, stream, data)
        if self._control.stream.queued > _HIGH_WATER and not self._paused:
            self._pause(True)

    def _drained(self) -> None:
        if self._paused:
            self._pause(False)

    def _pause(self, paused: bool) -> None:
        self._paused = paused
        for pipes in list(self._pipes.values()):
            pipes.pause(paused)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                number = self._numbers.pop(pid, None)
                if number is None:
                    continue
                del self._pids[number]
                self._input_ended(number)
                self._control.send(EXITED, number, status)
                if self._pipes[number].open:
                    self._reactor.call_later(_LAST_WORDS, self._pipes[number].hang_up)
                self._check(number)

    def _check(self, number: int, _stream: int = 0) -> None:
        pipes = self._pipes.get(number)
        if pipes is not None and number not in self._pids and not pipes.open:
            del self._pipes[number]
            self._control.send(DONE, number)


if __name__ == "__main__":
    Starter(int(sys.argv[1])).run()
