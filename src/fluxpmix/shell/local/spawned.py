"""The tasks of spawned jobs, in the shells that run: their commands, environments and directories.

`shell.py` makes one `SpawnedTasks` when the first job is spawned. A spawned task has the environment of the parent
job's first application, as the request changes it, and a standard input if the request names it, else nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from fluxpmix.host.effects import Launch
from fluxpmix.shell.local import machine
from fluxpmix.shell.local.request import LaunchError
from fluxpmix.shell.spawning import CannotStart, commands, own, variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from fluxpmix.pmix.types import Proc
    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.local.input import Inputs
    from fluxpmix.shell.local.request import Request

# Starts a task: number, path, arguments, environment, directory, standard input, CPUs.
Run: TypeAlias = Callable[
    [int, str, "Sequence[str]", "Mapping[str, str]", str, int, "Iterable[int] | None"],
    None,
]


# What a `Showing` is made of, but for the log.
Style: TypeAlias = "tuple[Sequence[str | bool], Proc, str, str]"


class SpawnedTasks:
    """Those of one shell."""

    def __init__(
        self,
        request: Request,
        shell: int,
        directory: str,
        driver: Driver,
        run: Run,
        style: Callable[[int, Style], None],
        inputs: Inputs,
    ) -> None:
        """`style(number, how)` is told how a task's output is to be shown, where not as it comes."""
        self._request = request
        self._shell = shell
        self._directory = directory
        self._driver = driver
        self._run = run
        self._style = style
        self._inputs = inputs
        self._found: dict[int, list[tuple[str, dict[str, str]]]] = {}  # by first number: path and environment
        self._numbers: dict[int, Launch] = {}  # of each task that was started

    def find(self, launch: Launch) -> None:
        """Look for the commands of a job. Raises `CannotStart`."""
        job = launch.job
        if not len(job.ranks(self._shell)):
            return
        base = dict(self._request.environments[0])
        found = commands(launch, base)
        for _, env in found:
            if machine.MEMORY_DIRECTORY not in base:
                env.pop(machine.MEMORY_DIRECTORY, None)  # Open MPI hands on that of the asker's own node
        self._found[launch.first] = found

    def start(self, launch: Launch) -> None:
        """Start this shell's tasks of a job. Raises `CannotStart`; some may run then."""
        for number, proc in own(launch, self._shell):
            self._numbers[number] = launch
            self._start(launch, number, proc, self._driver.task_environment(number), self._inputs.add)

    def restart(self, number: int, more: Mapping[str, str]) -> None:
        """Start one of them again, with these variables besides. Raises `CannotStart`."""
        launch = self._numbers[number]
        self._start(launch, number, dict(own(launch, self._shell))[number], more, self._inputs.add_again)

    def _start(
        self, launch: Launch, number: int, proc: Proc, more: Mapping[str, str], feed: Callable[[int, str], int]
    ) -> None:
        job = launch.job
        app = job.app_of(proc.rank)
        path, env = self._found[launch.first][app.index]
        command = launch.commands[app.index]
        argv = command.arguments(proc.rank)
        local_rank = list(job.ranks(self._shell)).index(proc.rank)
        env = env | variables(launch, proc.rank, local_rank) | {"FLUX_JOB_TMPDIR": self._directory}
        machine.help_emulated(env, job, self._directory)
        env |= more
        if command.shown:
            self._style(number, (command.shown, proc, job.nodes[self._shell].hostname, app.wdir))
        if command.reads(proc.rank):
            stdin = feed(number, f"{launch.ordinal}.{proc.rank}")
        else:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._run(number, path, argv, env, app.wdir, stdin, None)
        except LaunchError as error:
            self._inputs.forget(number)
            raise CannotStart.because(str(error), error.exit_code) from None

    def told(self, launch: Launch) -> tuple[int, int, list[int], int | None]:
        """Return what the launcher is told of a job: `control.SPAWNED`."""
        column = list(launch.job.taskmap.node_column())
        return launch.first, launch.ordinal, column, None if launch.separate else launch.parent_first
