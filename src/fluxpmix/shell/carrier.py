"""What a host needs from whatever carries it: input and output, the time, and hands on the tasks.

Each face implements this small protocol (`shell/local`: a process and an epoll loop; `shell/flux`: the real
flux-shell); the `Driver` in `base.py` uses it. A type only: nothing imports it while jobs run.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol

    from fluxpmix.host.effects import Frame, Launch, Level, Submit, Welcome, Withdraw

    # Asks the scheduler what a key wants to know of a subject ("": this job), and tells: None is "not known".
    Enquiry = Callable[[str, str, Callable[["str | None"], None]], None]
else:
    Protocol = object


class Submitter(Protocol):
    """What has jobs of their own run by a resource manager."""

    def submit(self, wanted: Submit) -> None:
        """Submit a job; `Driver.joined` or `Driver.withdrawn` is told what becomes of it."""

    def withdraw(self, unwanted: Withdraw) -> None:
        """End a job that was submitted."""

    def welcome(self, joined: Welcome) -> None:
        """Tell the shells of a job that was submitted what they join."""


class Carrier(Protocol):
    """Input and output for one shell of a job."""

    rank: int
    size: int

    @property
    def jobs(self) -> Submitter | None:
        """What submits jobs, where there is a resource manager."""

    def send(self, shell: int, frame: Frame, lateral: bool = False) -> None:
        """Send one message to a peer shell, ordered with the others to it unless it is lateral; never blocks."""

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` soon on the carrier's thread; may be called from any thread."""

    def enter(self, call: Callable[[], None]) -> bool:
        """Run `call` at once, on the calling thread, in place of the carrier's; may be called from any thread.

        Returns whether it ran: never while the carrier's thread is busy, or before what was posted.
        """

    def now(self) -> float:
        """Monotonic time in seconds."""

    def set_deadline(self, when: float | None) -> None:
        """Have `Driver.tick` called at `when` (seconds, as `now` counts them), or not at all."""

    def raise_job(self, message: str, exit_code: int) -> None:
        """End the job with a job exception; `exit_code` becomes the job's."""

    def signal_tasks(self, signum: int, ranks: Sequence[int] | None) -> None:
        """Send a signal to this shell's tasks with these ranks (None: to all)."""

    def log(self, level: Level, message: str) -> None:
        """Write one line to the job's log."""

    def find_commands(self, launch: Launch) -> None:
        """See that the commands of a job that is to be spawned are there. Raises `spawning.CannotStart`."""

    def start_tasks(self, launch: Launch) -> None:
        """Start this shell's tasks of a spawned job. Raises `spawning.CannotStart`."""

    def retire_tasks(self, numbers: Sequence[int]) -> None:
        """Kill those of these tasks that run here: they are to start again, and their ends are not to count.

        `Driver.task_exited` is called for each, as ever.
        """

    def restart_task(self, number: int, environment: Mapping[str, str]) -> None:
        """Start a task of this shell again, which has ended, with these variables besides those that it had.

        Raises `spawning.CannotStart`; then it counts as one that has ended with exit code 127.
        """

    def job_ended(self, first: int) -> None:
        """All tasks of the job with that first number have ended, on all shells; told where there are several."""

    def drop_tasks(self, launch: Launch, started: bool) -> None:
        """Forget a job that came to nothing; kill those of its tasks that run, if tasks were `started`."""

    def extend(self, seconds: float, done: Callable[[int], None]) -> None:
        """Let the job run `seconds` longer; `done(status)` is called with a PMIx status, on the carrier's thread."""

    def listen(self, on: bool) -> None:
        """Call `Driver.task_output` with what tasks print, or no longer."""

    def feed(self, numbers: Sequence[int], data: bytes, done: Callable[[int], None]) -> None:
        """Write to the standard input of this shell's tasks with these numbers; b"": close it.

        `done(status)` is called with a PMIx status, at once or later: success where one of them takes it.
        """
