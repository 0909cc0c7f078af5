"""What the driver wants of the flux-shell that carries it: a `Carrier` (`shell/carrier.py`) in C's reactor.

`plugin.py` is one, and sets what is here as the shell's topics come. Capabilities that few jobs need are loaded when
they are: jobs and tasks that are spawned, listening to what tasks print, asking the scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from fluxpmix.host.effects import Frame, Launch, Level
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ShellError
from fluxpmix.shell.flux.timelimit import TimeLimit
from fluxpmix.shell.variables import CHECKPOINT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.flux.handle import Wake
    from fluxpmix.shell.flux.jobs import FluxJobs
    from fluxpmix.shell.flux.joining import Facts
    from fluxpmix.shell.flux.listening import Listening
    from fluxpmix.shell.flux.mail import Mail
    from fluxpmix.shell.flux.service import Leaving
    from fluxpmix.shell.flux.spawned import SpawnedTasks
    from fluxpmix.shell.flux.stdin import TaskInputs
    from fluxpmix.shell.flux.supervised import Supervised

_NEVER = float("inf")


class ShellCarrier:
    """One shell's `Carrier`."""

    def __init__(self, api: Shell) -> None:
        self._api = api
        self.rank = 0  # among all shells
        self._own_rank = 0  # among those of the job
        self._first = 0  # the number of the job's rank 0
        self.size = 1
        self._facts: Facts | None = None
        self._jobs: FluxJobs | None = None  # of the first shell, once a process spawns one
        self._lost_shells: set[int] = set()
        self._driver: Driver | None = None
        self._mail: Mail | None = None
        self._leaving: Leaving | None = None
        self._wake: Wake | None = None
        self._exited: set[int] = set()  # ranks whose end flux-shell knows, and that have no more output
        self._ranks: tuple[int, ...] = ()
        self._spawned: SpawnedTasks | None = None
        self._supervised: Supervised | None = None  # where tasks may be restarted
        self._ended: set[int] = set()  # ranks whose end the driver knows
        self._timer: Any = None
        self._alarm = _NEVER  # when it goes off
        self._deadline: float | None = None  # when the driver wants to be woken
        self._limit = TimeLimit(api)
        self._listening: Listening | None = None  # since somebody asked
        self._ends: dict[int, tuple[int, int | None]] = {}  # by rank: `TaskInputs`
        self._inputs: TaskInputs | None = None  # since somebody gave some

    @property
    def jobs(self) -> FluxJobs:
        """What submits jobs to the instance."""
        if self._jobs is None:
            self._jobs = self._live_facts().jobs(self._live(), self._shell_lost, self._a_task_of_the_job)
        return self._jobs

    def send(self, shell: int, frame: Frame, lateral: bool = False) -> None:
        """Send a frame to a peer shell: through Flux, or over a link of its own."""
        assert self._mail is not None
        self._mail.send(shell, frame, lateral)

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` on the shell's thread; from any thread."""
        if self._wake is not None:
            self._wake.post(call)

    def enter(self, call: Callable[[], None]) -> bool:
        """Nobody is let in: all that is Flux's belongs to the shell's thread."""
        return False

    def now(self) -> float:
        """Monotonic time in seconds."""
        return monotonic()

    def set_deadline(self, when: float | None) -> None:
        """Wake the driver then. The timer is only ever set earlier: fences would set it twice each."""
        self._deadline = when
        if when is not None and self._timer is not None and not self._alarm <= when:
            self._alarm = when
            self._api.set_timer(self._timer, when - monotonic())

    def raise_job(self, message: str, exit_code: int) -> None:
        """End the job with a job exception."""
        self._api.end_job(message, exit_code)

    def signal_tasks(self, signum: int, ranks: Sequence[int] | None) -> None:
        """Send a signal to tasks of this shell."""
        mine = None if ranks is None else {number - self._first for number in ranks}
        if self._supervised is None:
            self._api.signal(signum, mine)
        else:
            self._supervised.signal(signum, mine)
        if self._spawned is not None:
            self._spawned.signal(signum, ranks)

    def log(self, level: Level, message: str) -> None:
        """Write one line to the job's log."""
        self._api.log(level, message)

    def find_commands(self, launch: Launch) -> None:
        """See that this shell can run a spawned job's commands; of a Flux job of its own, where its shells are."""
        if launch.place is not None:
            assert self._mail is not None
            self._mail.add(launch.base, launch.place.service, launch.place.brokers)
            if self._own_rank == 0 and self.rank != 0:
                self.jobs.watch(launch.place.job, range(launch.base, len(launch.job.nodes)), False)
            return
        if self._spawned is None:
            from fluxpmix.shell.flux.spawned import SpawnedTasks

            self._spawned = SpawnedTasks(self._api, self.rank, self._first, self._live(), self._a_task_of_the_job)
        self._spawned.find(launch)

    def start_tasks(self, launch: Launch) -> None:
        """Start this shell's tasks of a spawned job."""
        assert self._spawned is not None
        self._spawned.start(launch)

    def drop_tasks(self, launch: Launch, started: bool) -> None:
        """Kill what runs of a spawned job that could not be started everywhere."""
        if self._spawned is not None:
            self._spawned.drop(launch, started)

    def retire_tasks(self, numbers: Sequence[int]) -> None:
        """Kill tasks that are to start again."""
        if self._supervised is not None:
            self._supervised.retire({number - self._first for number in numbers})
        if self._spawned is not None:
            self._spawned.retire(numbers)

    def restart_task(self, number: int, environment: Mapping[str, str]) -> None:
        """Start a task again: one of the job's own has the variables that it had."""
        if self._supervised is not None and number - self._first in self._ranks:
            self._ended.discard(number - self._first)
            self._supervised.restart(number - self._first, environment.get(CHECKPOINT, ""))
        else:
            assert self._spawned is not None
            self._spawned.restart(number, environment)

    def job_ended(self, first: int) -> None:
        """End what a job has spawned that has ended."""
        if self._jobs is not None:
            self._jobs.job_ended(first)
        if self._spawned is not None:
            self._spawned.job_ended(first)
        if self._supervised is not None and first == self._first:
            self._supervised.let_go()

    def _a_task_of_the_job(self) -> int | None:
        """Return a local rank of the job's own that flux-shell still takes output of."""
        return next((rank for rank in self._ranks if rank not in self._exited), None)

    def extend(self, seconds: float, done: Callable[[int], None]) -> None:
        """Ask Flux to let the job run longer."""
        self._limit.extend(seconds, done)

    def listen(self, on: bool) -> None:
        """Tell the driver what the job's tasks print, or no longer."""
        if self._listening is None:
            from fluxpmix.shell.flux.listening import Listening

            self._listening = Listening(self._api, self._live(), self._stays)
        self._listening.set(on)

    def _stays(self) -> bool:
        """Whether tasks may still run whose output is in the job's log."""
        return any(each is not None and each.waits for each in (self._leaving, self._spawned, self._jobs))

    def feed(self, numbers: Sequence[int], data: bytes, done: Callable[[int], None]) -> None:
        """Write to the standard input of tasks of this shell."""
        if self._inputs is None:
            from fluxpmix.shell.flux.stdin import TaskInputs

            self._inputs = TaskInputs(self._api, self._ends)
        ranks = [number - self._first for number in numbers]
        status = self._inputs.feed([rank for rank in ranks if rank in self._ranks and rank not in self._exited], data)
        if self._spawned is None:
            done(status)
        else:
            # Success is one task's.
            self._spawned.input.feed(numbers, data, lambda other: done(other if status else status))

    # -- inside ------------------------------------------------------------------------------------

    def _timer_ended(self) -> None:
        self._alarm = _NEVER
        if self._deadline is None or self._driver is None:
            return
        if self._deadline <= monotonic():
            self._driver.tick()
        else:
            self.set_deadline(self._deadline)

    def _shell_lost(self, shell: int, reason: str) -> None:
        """Give up a peer."""
        if shell in self._lost_shells:
            return
        self._lost_shells.add(shell)
        if self._driver is not None:
            self._driver.shell_lost(shell, reason)
        if self._mail is not None:
            self._mail.shell_lost(shell, reason)

    def _output(self, rank: int, stream: int, data: bytes) -> None:
        """Show text as task `rank` had printed it: labelled, and in the file that the job has for it."""
        if self._spawned is not None and self._spawned.log(rank, stream, data):
            return
        rank -= self._first
        if not self._api.write_output(rank, "stderr" if stream == 2 else "stdout", data):
            line = data.decode("utf-8", "replace").rstrip("\n")
            self.log(Level.NOTICE, f"rank {rank}: {line}")

    def _enquire(self, key: str, subject: str, done: Callable[[str | None], None]) -> None:
        from fluxpmix.shell.flux import scheduler

        scheduler.enquire(self._api, self._api.info(), key, subject, done)

    def _live_facts(self) -> Facts:
        assert self._facts is not None
        return self._facts

    def _live(self) -> Driver:
        if self._driver is None:
            raise ShellError("the PMIx server did not start")
        return self._driver


def input_of(pid: int) -> int | None:
    """Return the inode of the socket that a task has as its standard input, None where it has none, or not yet."""
    try:
        found, ours = os.stat(f"/proc/{pid}/fd/0"), os.fstat(0)
    except OSError:
        return None
    return found.st_ino if found.st_mode & 0o170000 == 0o140000 and found.st_ino != ours.st_ino else None  # S_ISSOCK
