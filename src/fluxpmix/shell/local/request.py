"""What the launcher is asked to do: one job, and how its tasks are to be run. Made by `cli/run.py`.

The names are those of `flux run`'s options.
"""

from __future__ import annotations

from collections.abc import Mapping

from fluxpmix.job.model import Job
from fluxpmix.pmix.record import Record


class LaunchError(Exception):
    """What the user can mend, found before any task ran; `exit_code` is the launcher's."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self), self.exit_code)


class Request(Record):
    """One job to run. Times are in seconds.

    `environments` has one complete environment for each application, before PMIx adds its own;
    `environment_templates` names, for each, the variables whose values hold tags like `{{taskid}}`.
    `output` and `error` are templates of file names, None for the launcher's own. `input` is a file's
    name (a template), or the ranks that get the launcher's standard input; None: all tasks get it.
    """

    job: Job
    environments: tuple[Mapping[str, str], ...]
    environment_templates: tuple[tuple[str, ...], ...] = ()
    name: str = ""
    output: str | None = None
    error: str | None = None
    input: str | tuple[int, ...] | None = None
    append: bool = False  # to output files, not over them
    label_io: bool = False
    unbuffered: bool = False
    time_limit: float | None = None
    signal: tuple[int, float] | None = None  # a warning: its number, and how long before the limit
    oversubscribe: bool = True  # whether spawned tasks may share cores
    exit_timeout: float | None = 30.0
    exit_on_error: bool = False
    kill_timeout: float = 5.0
    cpu_affinity: str = "off"
    process_group: bool = True
    libpmix: str | None = None
    fanout: int = 16  # of the tree over the shells
    exchange: str = "tree"  # or "bruck", or "auto": how the data of a fence move between the shells
    timeout: float | None = None  # of an operation that says none itself
    alert: float | None = None  # how long before the limit processes hear of it; 0: never
    stop: str | None = None  # where tasks wait for a debugger: `host/debug.py`'s STOPS
    security: str = "native"  # or "munge": how libpmix is to check who connects
    trace: str | None = None  # the file that says what the job's time went into (`shell/tracing.py`)
    verbose: int = 0
    quiet: bool = False
