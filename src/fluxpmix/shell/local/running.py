"""The tasks that run in a job shell: their processes, what they print, and their ends.

What happens to them goes to the launcher (`control.py`) and to the shell's driver, once it has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from fluxpmix.job.model import EXEC
from fluxpmix.pmix.light import partial, signal, suppress
from fluxpmix.shell.local import control, tasks
from fluxpmix.shell.local.pipes import TaskPipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.local.input import Inputs
    from fluxpmix.shell.local.reactor import Reactor
    from fluxpmix.shell.local.request import Request
    from fluxpmix.shell.showing import Showing

_HIGH_WATER = 4 << 20  # bytes on their way to the launcher before the tasks must wait
_LAST_WORDS = 1.0  # seconds that a dead task's pipes are listened to: its children may hold them open


class RunningTasks:
    """The tasks of a shell by number: the job's own ranks, then those of spawned jobs.

    `killed()` is called when one ends by a signal.
    """

    def __init__(
        self, reactor: Reactor, launcher: control.Control, request: Request, inputs: Inputs, killed: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._launcher = launcher
        self._request = request
        self._inputs = inputs
        self._killed = killed
        self._tasks: dict[int, _Task] = {}
        self._by_pid: dict[int, _Task] = {}
        self.driver: Driver | None = None
        self.showings: dict[int, Showing] = {}  # by number, of those whose output is not shown as it comes
        self.heard = False  # whether the driver wants to hear what tasks print
        self._retired: set[int] = set()  # those that are to start again
        reactor.on_signal(signal.SIGCHLD, self._reap)

    def __contains__(self, number: int) -> bool:
        return number in self._tasks

    @property
    def pids(self) -> list[tuple[int, int]]:
        """The number and process of each task."""
        return [(task.number, task.pid) for task in self._tasks.values()]

    def run(
        self,
        number: int,
        path: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        wdir: str,
        stdin: int,
        cpus: Iterable[int] | None,
    ) -> None:
        """Start a task, its output coming here; closes `stdin`. Raises `LaunchError`, OSError."""
        assert self.driver is not None
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        try:
            os.chdir(wdir)
            stdio = stdin, out[1], err[1]
            stopped = self._request.stop == EXEC
            pid = tasks.start(path, argv, env, stdio, cpus, group=self._request.process_group, stopped=stopped)
        except BaseException:
            os.close(out[0])
            os.close(err[0])
            raise
        finally:
            for fd in (stdin, out[1], err[1]):
                os.close(fd)
        task = _Task(number, pid)
        task.pipes = TaskPipes(
            self._reactor,
            (out[0], err[0]),
            partial(self.output, number),
            partial(self._stream_ended, task),
            self._request.unbuffered,
        )
        self._tasks[number] = self._by_pid[pid] = task
        self._retired.discard(number)
        self.driver.task_started(number, pid)

    def retire(self, numbers: Collection[int]) -> None:
        """Kill those tasks of these that run: they are to start again, and the launcher is not told of their ends."""
        self._retired.update(numbers)
        self.signal(signal.SIGKILL, numbers)

    def return_(self, number: int, start: Callable[[], None]) -> None:
        """Have a task run again by `start`, which calls `run`, or raises what that does."""
        self._retired.add(number)
        self._launcher.send(control.AGAIN, number)
        try:
            start()
        except BaseException:
            self._retired.discard(number)
            self._launcher.send(control.EXITED, number, tasks.NOT_FOUND << 8)
            self.check_drained()
            raise

    def signal(self, signum: int, numbers: Collection[int] | None) -> None:
        """Send a signal to tasks (None: to all): to their process groups, where they have their own."""
        for number in self._tasks if numbers is None else numbers:
            task = self._tasks.get(number)
            if task is None or task.exited:
                continue
            kill = os.killpg if self._request.process_group else os.kill
            with suppress(ProcessLookupError):
                kill(task.pid, signum)
                if signum in (signal.SIGTERM, signal.SIGKILL):
                    kill(task.pid, signal.SIGCONT)

    def check_drained(self) -> None:
        """Tell the launcher if all tasks have ended and all that they printed has been read."""
        if not self._retired and all(task.exited and not task.pipes.open for task in self._tasks.values()):
            self._launcher.send(control.DRAINED)

    def _reap(self) -> None:
        """Tell the launcher of all that have ended, and only then the driver: libpmix takes longer."""
        ended: list[tuple[_Task, int]] = []
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                task = self._by_pid.pop(found[0], None)
                if task is not None:
                    ended.append((task, found[1]))
        for task, status in ended:
            task.exited = True
            if not os.WIFEXITED(status):
                self._killed()
            if task.number not in self._retired:
                self._inputs.forget(task.number)
                self._launcher.send(control.EXITED, task.number, status)
            if task.pipes.open:
                self._reactor.call_later(_LAST_WORDS, task.pipes.hang_up)
        if ended:
            self.check_drained()
        if self.driver is not None:
            for task, status in ended:
                self.driver.task_exited(task.number, status)

    def output(self, number: int, stream: int, data: bytes) -> None:
        """Pass on what a task printed."""
        showing = self.showings.get(number)
        for where, what in ((stream, data),) if showing is None else showing.show(stream, data):
            self._launcher.send(control.OUTPUT, number, where, what)
        if self.heard and self.driver is not None:
            self.driver.task_output(number, stream, data)
        if self._launcher.stream.queued > _HIGH_WATER:
            self._launcher.stream.on_drained = self._resume
            for task in self._tasks.values():
                task.pipes.pause(True)

    def _stream_ended(self, task: _Task, stream: int) -> None:
        current = self._tasks.get(task.number) is task and task.number not in self._retired
        if self.driver is not None and current:
            self.driver.task_output(task.number, stream, b"")
        self.check_drained()

    def _resume(self) -> None:
        self._launcher.stream.on_drained = None
        for task in self._tasks.values():
            task.pipes.pause(False)


class _Task:
    """A running task."""

    pipes: TaskPipes

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        self.exited = False
