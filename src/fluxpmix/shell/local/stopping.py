"""How a job comes to its end: by itself, by an error, a time limit or Ctrl-C; and what is done for it to end.

`launcher.py` says what has happened. All tasks are signalled, then killed, then their shells; with the last task gone
the shells stop their servers, and with the last line of output written all is over.
"""

from __future__ import annotations

from fluxpmix.host.effects import Level
from fluxpmix.job import idset
from fluxpmix.pmix.light import signal
from fluxpmix.shell.local import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.ends import Ends
    from fluxpmix.shell.local.input import Source
    from fluxpmix.shell.local.jobs import Jobs
    from fluxpmix.shell.local.output import Output
    from fluxpmix.shell.local.reactor import Reactor
    from fluxpmix.shell.local.request import Request
    from fluxpmix.shell.local.shells import Shells

_SECOND_CTRL_C = 2.0  # seconds in which it counts as the second
_FINISHING = 10.0  # seconds that a shell may take to stop its server
_TIMED_OUT = 128 + signal.SIGALRM
_INTERRUPTED = 128 + signal.SIGINT


class Stopping:
    """The end of one job: whether it has begun, and how far it is."""

    def __init__(
        self,
        reactor: Reactor,
        request: Request,
        shells: Shells,
        jobs: Jobs,
        ends: Ends,
        output: Output,
        source: Source | None,
    ) -> None:
        self._reactor = reactor
        self._request = request
        self._shells = shells
        self._jobs = jobs
        self._ends = ends
        self._output = output
        self._source = source
        self._last_interrupt = float("-inf")
        self.code: int | None = None  # the job's, where it is not its tasks' to say
        self.begun = False  # whether tasks are made to end
        self.finishing = False  # whether the shells are

    def raise_job(self, message: str, code: int, signum: int = signal.SIGTERM) -> None:
        """End the job with a message and an exit code; the first one says both."""
        if self.begun:
            self._output.log(Level.DEBUG, message)
            return
        self.code = code
        self._output.say(f"error: {message}")
        self.terminate(signum)

    def terminate(self, signum: int) -> None:
        """Signal all tasks, and see to it that they end."""
        self.begun = True
        if self._source is not None:
            self._source.close()
        self.signal(signum)
        self._reactor.call_later(self._request.kill_timeout, self._kill_tasks)

    def time_is_up(self) -> None:
        """End the job: its time limit has passed."""
        limit = self._request.time_limit
        self.raise_job(f"the job ran into its time limit of {limit:g} s; -t sets it", _TIMED_OUT, signal.SIGALRM)

    def interrupted(self) -> None:
        """Take a Ctrl-C: the tasks get it, and a second one soon after kills them."""
        now = self._reactor.now()
        again, self._last_interrupt = now - self._last_interrupt < _SECOND_CTRL_C, now
        if again:
            self.begun = True
            self.code = None if self._ends or self._shells.any_started else _INTERRUPTED
            self._kill_tasks()
            if self._shells.all_gone:
                self._reactor.stop()  # only output waits to be written
        elif not self._shells.any_started:
            self.code = _INTERRUPTED
            self.terminate(signal.SIGTERM)
        else:
            if not self._request.quiet:
                self._output.say(f"interrupt; one more ctrl-C within {_SECOND_CTRL_C:g} s kills the tasks")
            self.signal(signal.SIGINT)

    def signal(self, signum: int) -> None:
        """Signal all tasks."""
        self._shells.send(control.SIGNAL, int(signum), None)

    def check_finished(self) -> None:
        """Have the shells stop, if all tasks have ended."""
        if not self.finishing and self._jobs.all_ended and self._shells.all_drained:
            self.finishing = True
            for job in self._jobs:
                if job.timer is not None:
                    job.timer.cancel()
            if self._source is not None:
                self._source.close()
            self._shells.send(control.FINISH)
            self._reactor.call_later(_FINISHING, self._kill_shells)
            self.check_written()

    def check_written(self) -> None:
        """Be done, if the shells have stopped and all output is written."""
        if self.finishing and self._shells.all_gone and not self._output.queued:
            self._reactor.stop()

    def _kill_tasks(self) -> None:
        if not self.finishing:
            self.begun = True
            self.signal(signal.SIGKILL)
            self._reactor.call_later(self._request.kill_timeout, self._kill_shells)

    def _kill_shells(self) -> None:
        stuck = self._shells.there
        if stuck:
            self._output.log(
                Level.WARNING, f"shell(s) {idset.encode(one.rank for one in stuck)} did not end; killing them"
            )
            self.finishing = True
            self._shells.kill()
