"""The tasks of spawned jobs, in the shells that run: their commands, environments and directories.

`shell.py` makes one `SpawnedTasks` when the first job is spawned. A spawned task has the environment of the parent
job's first application, as the request changes it, and the standard input of nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from fluxpmix.host.effects import Launch
from fluxpmix.pmix.status import Status
from fluxpmix.shell.local import machine, tasks
from fluxpmix.shell.local.request import LaunchError
from fluxpmix.shell.spawning import CannotStart, own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from fluxpmix.shell.base import Driver
    from fluxpmix.shell.local.request import Request

# Starts a task: number, path, arguments, environment, directory, standard input, CPUs.
Run: TypeAlias = Callable[
    [int, str, "Sequence[str]", "Mapping[str, str]", str, int, "Iterable[int] | None"],
    None,
]
_STATUSES = {tasks.NOT_FOUND: Status.ERR_JOB_EXE_NOT_FOUND, tasks.NOT_EXECUTABLE: Status.ERR_EXE_NOT_ACCESSIBLE}


class SpawnedTasks:
    """Those of one shell."""

    def __init__(self, request: Request, shell: int, directory: str, driver: Driver, run: Run) -> None:
        self._request = request
        self._shell = shell
        self._directory = directory
        self._driver = driver
        self._run = run
        self._found: dict[int, list[tuple[str, dict[str, str]]]] = {}  # by first number: path and environment

    def find(self, launch: Launch) -> None:
        """Look for the commands of a job. Raises `CannotStart`."""
        job = launch.job
        if not len(job.ranks(self._shell)):
            return
        found = []
        for app, command in zip(job.apps, launch.commands, strict=True):
            base = self._request.environments[0]
            env = command.environment(dict(base))
            if machine.MEMORY_DIRECTORY not in base:
                env.pop(machine.MEMORY_DIRECTORY, None)  # Open MPI hands on that of the asker's own node
            if not os.path.isdir(app.wdir):
                known = os.path.exists(app.wdir)
                status = Status.ERR_JOB_WDIR_NOT_ACCESSIBLE if known else Status.ERR_JOB_WDIR_NOT_FOUND
                raise CannotStart(f"{app.wdir} is no directory; name one that is there", status)
            try:
                path = tasks.find(command.command, env, app.wdir)
            except LaunchError as error:
                raise CannotStart(str(error), _STATUSES[error.exit_code]) from None
            found.append((path, env))
        self._found[launch.first] = found

    def start(self, launch: Launch) -> None:
        """Start this shell's tasks of a job. Raises `CannotStart`; some may run then."""
        found, job = self._found.pop(launch.first), launch.job
        for local_rank, (number, proc) in enumerate(own(launch, self._shell)):
            app = job.app_of(proc.rank)
            command = launch.commands[app.index]
            path, env = found[app.index]
            argv = list(command.argv)
            if command.indexed:
                argv[0] = f"{argv[0]}-{proc.rank}"
            env = env | {
                "FLUX_TASK_RANK": str(proc.rank),
                "FLUX_TASK_LOCAL_ID": str(local_rank),
                "FLUX_JOB_SIZE": str(job.size),
                "FLUX_JOB_NNODES": str(len(job.nodes)),
                "FLUX_JOB_TMPDIR": self._directory,
            }
            machine.help_emulated(env, job, self._directory)
            env |= self._driver.task_environment(number)
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._run(number, path, argv, env, app.wdir, stdin, None)
            except LaunchError as error:
                raise CannotStart(str(error), _STATUSES.get(error.exit_code, Status.ERR_JOB_FAILED_TO_LAUNCH)) from None

    def told(self, launch: Launch) -> tuple[int, int, list[int], int | None]:
        """Return what the launcher is told of a job: `control.SPAWNED`."""
        column = list(launch.job.taskmap.node_column())
        return launch.first, launch.ordinal, column, None if launch.separate else launch.parent_first
