"""The tasks of spawned jobs under Flux: within the job's own resources, beside the shells that run.

`plugin.py` makes one `SpawnedTasks` when a job is first spawned. A helper (`starter.py`) runs them, bound to what
this shell is bound to. A completion reference keeps the shell until they are done; signals that reach the job's tasks
reach them too, and if flux-shell is killed, they go with it. A job that was spawned ends with its parent, unless that
said otherwise: it has a while to do so by itself. How its tasks end counts for the job's exit code.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from struct import Struct

from fluxpmix.host.effects import Launch, Level
from fluxpmix.pmix.light import partial, signal, suppress
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.exitpolicy import ExitPolicy
from fluxpmix.shell.flux.spawnedinput import SpawnedInput
from fluxpmix.shell.flux.spawnedoutput import SpawnedOutput
from fluxpmix.shell.flux.starter import DONE, EXITED, FAILED, FED, OUTPUT, RUN, SIGNAL, STARTED, WARNED
from fluxpmix.shell.local import tasks
from fluxpmix.shell.spawning import CannotStart, commands, own, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.types import Proc
    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.files import OutputFiles
    from fluxpmix.shell.showing import Showing

_LENGTH = Struct("!Q")  # before each message, as `local/stream.py` has it
_PATIENCE = 30.0  # seconds for the helper to start a task
_SETTLING = 2.0  # seconds for Flux to end a job that is to fail
_HOLD = "pmix-spawned"


class SpawnedTasks:
    """Those of one shell."""

    def __init__(self, api: Shell, shell: int, first: int, driver: Driver, own_task: Callable[[], int | None]) -> None:
        """`first` is the number of the job's own rank 0.

        `own_task` returns a task of the job's own that runs here, None where there is none left.
        """
        self._api = api
        self._shell = shell
        self._first = first
        self._driver = driver
        self._output = SpawnedOutput(api, own_task)
        self._output.on_room = self._listen
        self.input = SpawnedInput(self._send)
        self._policy = ExitPolicy(api)
        self._environment = api.environment()
        self._found: dict[int, list[tuple[str, dict[str, str]]]] = {}  # by first number: path and environment
        self._jobs: dict[int, Launch] = {}  # by first number, that have not ended
        self._tasks: dict[int, tuple[str, int]] = {}  # by number, of those that are not done: name, job's first number
        self._showings: dict[int, Showing] = {}  # by number, of those whose output is not shown as it comes
        self._files: OutputFiles | None = None  # since output goes to some
        self._running: set[int] = set()
        self._pids: dict[int, int] = {}  # of those that have started: each leads a group
        self._dropped: set[int] = set()  # first numbers
        self._failed: dict[int, tuple[int, str]] = {}  # by number: exit code, and why
        self._started: dict[int, tuple[Any, ...]] = {}  # by number: what it was started with, and as what
        self._retired: set[int] = set()  # those that are to be started again
        self._parent_ended = False
        self._settling: Any = None
        self._timers: dict[int, Any] = {}  # by first number, of jobs whose parent has ended
        self._input = b""
        self._socket: _socket.socket | None = None
        self._watchers: list[Any] = []
        self._paused = False
        kill = api.option("kill-timeout")
        self._grace = float(kill) if isinstance(kill, int | float) else 5.0

    @property
    def waits(self) -> bool:
        """Whether tasks of spawned jobs run here."""
        return bool(self._tasks)

    # -- starting --------------------------------------------------------------------------------------

    def find(self, launch: Launch) -> None:
        """Look for the commands of a job, and start the helper. Raises `CannotStart`, OSError."""
        if len(launch.job.ranks(self._shell)):
            self._found[launch.first] = commands(launch, self._environment)
            if self._socket is None:
                self._start_helper()
        self._jobs[launch.first] = launch
        self._api.hold(_HOLD)

    def start(self, launch: Launch) -> None:
        """Start this shell's tasks of a job. Raises `CannotStart`; some may run then."""
        found, mine = self._found.pop(launch.first), own(launch, self._shell)
        for local_rank, (number, proc) in enumerate(mine):
            app = launch.job.app_of(proc.rank)
            path, env = found[app.index]
            env = env | variables(launch, proc.rank, local_rank)
            env |= self._driver.task_environment(number)
            command, name = launch.commands[app.index], f"{launch.ordinal}.{proc.rank}"
            if command.shown:
                host = launch.job.nodes[self._shell].hostname
                self._showings[number] = self._showing(command.shown, proc, host, app.wdir)
            self._tasks[number] = name, launch.first
            self._api.hold(_HOLD)
            arguments, reader = command.arguments(proc.rank), name if command.reads(proc.rank) else ""
            self._started[number] = self._tasks[number], path, arguments, env, app.wdir, reader
            self._run(number, path, arguments, env, app.wdir, reader)
        self._wait_until_started({number for number, _ in mine})

    def retire(self, numbers: Collection[int]) -> None:
        """Kill those that run: they are to be started again, and how they end is no failure."""
        mine = self._running.intersection(numbers)
        self._retired |= mine
        self.signal(int(signal.SIGKILL), mine)

    def restart(self, number: int, variables: Mapping[str, str]) -> None:
        """Start a task again, with these variables besides. Raises `CannotStart`."""
        name, path, arguments, env, wdir, reader = self._started[number]
        self._retired.discard(number)
        self._forgive(number)
        if number not in self._tasks:
            self._tasks[number] = name
            self._api.hold(_HOLD)
        self._run(number, path, arguments, {**env, **variables}, wdir, reader)
        self._wait_until_started({number})

    def _run(self, number: int, *what: Any) -> None:
        """Have the helper start a task; the last of `what` is its name if it is to have a standard input."""
        if what[-1]:
            self.input.add(number)
        self._running.add(number)
        self._send(RUN, number, *what)

    def _showing(self, shown: Sequence[Any], proc: Proc, host: str, wdir: str) -> Showing:
        from fluxpmix.shell.files import OutputFiles
        from fluxpmix.shell.showing import Showing

        if self._files is None:
            self._files = OutputFiles(lambda message: self._api.end_job(message, 1))
        return Showing(shown, proc, host, wdir, self._files)

    def drop(self, launch: Launch, started: bool) -> None:
        """A job comes to nothing: kill what runs of it."""
        self._dropped.add(launch.first)
        self._found.pop(launch.first, None)
        for number, _ in own(launch, self._shell) if started else ():
            if number in self._running:
                self._send(SIGNAL, int(signal.SIGKILL), [number])
            elif number not in self._tasks:
                self._driver.task_exited(number, tasks.NOT_FOUND << 8)
        if not started:
            self.job_ended(launch.first)

    def _start_helper(self) -> None:
        """Start the process that starts tasks, with no signal blocked."""
        ours, theirs = _socket.socketpair()
        fd = theirs.fileno()
        os.set_inheritable(fd, True)
        try:
            os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-m", "fluxpmix.shell.flux.starter", str(fd)],
                {**os.environ},
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGCHLD),
            )
        finally:
            theirs.close()
        self._socket = ours
        self._watchers = [self._api.watch(ours.fileno(), self._ready)]
        self._watchers += [
            self._api.on_signal(int(signum), partial(self.signal, int(signum), None))
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
        ]
        self._api.on_kill(lambda signum: self.signal(signum, None))

    def _wait_until_started(self, numbers: set[int]) -> None:
        """Wait for what the helper says of these tasks."""
        assert self._socket is not None
        why: tuple[str, int] | None = None
        self._socket.settimeout(_PATIENCE)
        try:
            while numbers:
                for kind, number, *values in self._read():
                    if kind == FAILED:
                        why = why or (str(values[0]), int(values[1]))
                        self._running.discard(number)
                        self.input.forget(number)
                        self._done(number)
                    else:
                        self._take(kind, number, *values)
                    if kind in (FAILED, STARTED):
                        numbers.discard(number)
        except OSError as error:
            raise CannotStart(f"the helper that starts tasks does not answer: {error}") from None
        finally:
            self._socket.setblocking(False)
        if why is not None:
            raise CannotStart.because(*why)

    # -- while they run ----------------------------------------------------------------------------------

    def log(self, number: int, stream: int, data: bytes) -> bool:
        """Show what a task logs with its output. Returns whether it is one of these."""
        if number in self._tasks:
            self._output.write(self._tasks[number][0], stream, data)
        return number in self._tasks

    def signal(self, signum: int, numbers: Collection[int] | None) -> None:
        """Send a signal to these of the tasks (None: to all)."""
        if self._settling is not None and numbers is None:
            self._settled()
        mine = self._running if numbers is None else self._running.intersection(numbers)
        if mine:
            self._send(SIGNAL, signum, sorted(mine))

    def job_ended(self, first: int) -> None:
        """All processes of a job have ended, on all shells, or it came to nothing: end those that it has spawned."""
        self._policy.job_ended(first)
        timer = self._timers.pop(first, None)
        if timer is not None:
            self._api.stop_watching(timer)
        self._parent_ended = self._parent_ended or first == self._first
        if self._jobs.pop(first, None) is not None:
            self._api.release(_HOLD)
        self._settle()
        for child in list(self._jobs.values()):
            if child.parent_first == first and not child.separate and child.first not in self._timers:
                timer = self._timers[child.first] = self._api.timer(partial(self._end, child, int(signal.SIGTERM)))
                self._api.set_timer(timer, self._grace)

    def _end(self, child: Launch, signum: int) -> None:
        """End a job that has outlived its parent; how it ends is no failure then."""
        self._dropped.add(child.first)
        self.signal(signum, [number for number, _ in own(child, self._shell)])
        timer = self._timers.get(child.first)
        if timer is not None:
            self._api.stop_watching(timer)
            timer = self._timers[child.first] = self._api.timer(partial(self._end, child, int(signal.SIGKILL)))
            self._api.set_timer(timer, self._grace)

    def _settle(self) -> None:
        """Once all jobs have ended, fail the job where a spawned task has failed: its exit code is the job's.

        Flux then ends the shells, as it does on any exception. One that has not left by then leaves by itself.
        """
        code, why = max(self._failed.values(), default=(0, ""))
        if code and self._parent_ended and not self._jobs and not self._tasks and self._settling is None:
            self._settling = self._api.timer(self._settled)
            self._api.set_timer(self._settling, _SETTLING)
            self._api.end_job(why, code)

    def _settled(self) -> None:
        for number in list(self._failed):
            self._forgive(number)

    def _forgive(self, number: int) -> None:
        if self._failed.pop(number, None) is not None and not self._failed:
            self._api.release(_HOLD)

    def close(self) -> None:
        """Leave no task behind. What fails the job by another shell's word must not kill this one as it tidies up."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        timers = [*self._watchers, *self._timers.values()]
        for watcher in timers if self._settling is None else [*timers, self._settling]:
            self._api.stop_watching(watcher)
        self._watchers.clear()
        self._timers.clear()
        self._policy.close()
        if self._files is not None:
            self._files.close()
        self._settling = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- the helper --------------------------------------------------------------------------------------

    def _send(self, kind: int, *values: Any) -> None:
        if self._socket is None:
            return
        message = marshal.dumps((kind, *values))
        self._socket.setblocking(True)
        try:
            self._socket.sendall(_LENGTH.pack(len(message)) + message)
        except OSError as error:
            self._api.log(Level.ERROR, f"the helper that runs spawned tasks is gone: {error}")
        finally:
            self._socket.setblocking(False)

    def _ready(self) -> None:
        if self._socket is None:
            return
        try:
            for message in self._read():
                self._take(*message)
        except BlockingIOError:
            pass
        except OSError:
            self._helper_gone()
            return
        self._listen()

    def _listen(self) -> None:
        """Take no more from the helper while what has come is still to be shown: its tasks then wait."""
        if self._socket is not None and self._output.full != self._paused:
            self._paused = self._output.full
            self._api.pause(self._watchers[0], self._paused)

    def _read(self) -> list[tuple[Any, ...]]:
        """Return the messages that have come. Raises OSError where the helper is gone."""
        assert self._socket is not None
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError(104, "it has ended")
        self._input += data
        found, at = [], 0
        while len(self._input) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._input, at)
            end = at + _LENGTH.size + size
            if end > len(self._input):
                break
            found.append(marshal.loads(self._input[at + _LENGTH.size : end]))
            at = end
        self._input = self._input[at:]
        return found

    def _take(self, kind: int, number: int, *values: Any) -> None:
        if kind == STARTED:
            (self._pids[number],) = values
            self._driver.task_started(number, *values)
        elif kind == OUTPUT:
            showing = self._showings.get(number)
            for shown in (values,) if showing is None else showing.show(*values):
                self._output.write(self._tasks[number][0], *shown)
        elif kind == EXITED:
            self._exited(number, *values)
        elif kind == DONE:
            self._done(number)
        elif kind == FED:
            self.input.fed(number, *values)
        elif kind == WARNED:
            self._api.log(Level.WARNING, *values)

    def _exited(self, number: int, wait_status: int) -> None:
        self._running.discard(number)
        self.input.forget(number)
        self._pids.pop(number, None)
        if number in self._retired:
            self._driver.task_exited(number, wait_status)
            return
        name, first = self._tasks[number]
        code = tasks.exit_code(wait_status)
        signum = wait_status & 0x7F
        how = f"task {name} " + (f"was killed by signal {signum}" if signum else f"exited with exit code {code}")
        if code and first not in self._dropped:
            if not self._failed:
                self._api.hold(_HOLD)  # until that has been told
            self._failed[number] = code, how
        self._driver.task_exited(number, wait_status)
        if first in self._jobs and first not in self._dropped:
            self._policy.task_ended(first, how, code)

    def _done(self, number: int) -> None:
        if number in self._retired or number in self._running:  # said of an old incarnation
            return
        self._showings.pop(number, None)
        task = self._tasks.pop(number, None)
        if task is not None:
            for stream in (1, 2):
                self._output.end(task[0], stream)
            self._output.flush(self._shown)

    def _shown(self) -> None:
        self._api.release(_HOLD)
        self._settle()

    def _helper_gone(self) -> None:
        """The helper was killed: so are its tasks, which nobody looks after any more."""
        for watcher in self._watchers[:1]:
            self._api.stop_watching(watcher)
        del self._watchers[:1]
        for pid in self._pids.values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        for number in sorted(self._running):
            self._exited(number, int(signal.SIGKILL))
        for number in sorted(self._tasks):
            self._done(number)
        self.input.helper_gone()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
