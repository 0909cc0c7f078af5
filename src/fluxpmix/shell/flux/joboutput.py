"""What a spawned Flux job prints, shown with the output of the job that has spawned it. Standard 4.2, section 11.2.

The job's own log has all of its output: its shells write it there, for its own tasks and for what these spawn in its
resources. `jobs.py` has one `JobOutput` for each such job, which reads that log as it grows and adds what comes to the
parent's (`spawnedoutput.py`), under the names that spawned tasks have: 1.0 is rank 0 of the first job that was spawned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence

from fluxpmix.host.effects import Launch, Level
from fluxpmix.job import idset
from fluxpmix.pmix.types import Proc
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.outputlog import COMPLETE, OutputLog
from fluxpmix.shell.flux.spawnedoutput import SpawnedOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.spawnrequest import Command
    from fluxpmix.shell.files import OutputFiles
    from fluxpmix.shell.showing import Showing

_PATIENCE = 10.0  # seconds without a word of the log, once its job has ended


class JobOutput:
    """The output of one job, on its way to another's."""

    def __init__(
        self,
        api: Shell,
        launch: Launch,
        commands: Sequence[Command],
        streams: Collection[int],
        target: SpawnedOutput,
        done: Callable[[JobOutput], None],
    ) -> None:
        """`streams` are those that are shown, of 1 and 2; `done(self)` is called once, when all there is is shown."""
        assert launch.place is not None
        self._api = api
        self.launch = launch
        self._streams = streams
        self._target = target
        self._done = done
        self._heard_at = 0  # pieces, when it was last looked
        self._pieces = 0
        self._timer: Any = None  # since the job has ended
        self._files: OutputFiles | None = None
        self._showings = self._styles(commands)
        self._names: dict[str, tuple[str, ...]] = {}
        self._log: OutputLog | None = OutputLog(api, launch.place.job, self._heard, self._redirected, self._over)

    def job_ended(self) -> None:
        """The job is over: what there is comes soon."""
        if self._log is not None:
            self._timer = self._api.timer(self._look)
            self._api.set_timer(self._timer, _PATIENCE)

    def stop(self) -> None:
        """Show no more."""
        log, self._log = self._log, None
        if log is not None:
            log.stop()
        if self._timer is not None:
            self._api.stop_watching(self._timer)
            self._timer = None
        if self._files is not None:
            self._files.close()

    # -- inside ------------------------------------------------------------------------------------

    def _styles(self, commands: Sequence[Command]) -> dict[str, Showing]:
        """Return how each task's output is shown, where not as it comes."""
        if not any(command.shown for command in commands):
            return {}
        from fluxpmix.shell.files import OutputFiles
        from fluxpmix.shell.showing import Showing

        self._files = OutputFiles(lambda message: self._api.end_job(message, 1))
        job = self.launch.job
        found = {}
        for rank, node in enumerate(job.taskmap.node_column()):
            app = job.app_of(rank)
            shown = commands[app.index].shown
            if shown:
                proc, host = Proc(job.nspace, rank), job.nodes[node].hostname
                found[self._name(str(rank))] = Showing(shown, proc, host, app.wdir, self._files)
        return found

    def _name(self, rank: str) -> str:
        return rank if "." in rank else f"{self.launch.ordinal}.{rank}"

    def _named(self, names: str) -> tuple[str, ...]:
        """Return the names that tasks have here which the job's own log calls so."""
        found = self._names.get(names)
        if found is None:
            ranks = (names,) if "." in names else map(str, idset.parse(names))
            found = self._names[names] = tuple(map(self._name, ranks))
        return found

    def _heard(self, names: str, stream: int, data: bytes) -> None:
        self._pieces += 1
        for name in self._named(names):
            if not data:
                self._target.end(name, stream)
            elif stream in self._streams:
                showing = self._showings.get(name)
                for shown in ((stream, data),) if showing is None else showing.show(stream, data):
                    self._target.write(name, *shown)

    def _redirected(self, names: str, stream: int, path: str) -> None:
        what = "stdout" if stream == 1 else "stderr"
        self._api.log(Level.NOTICE, f"{what} of job {self.launch.job.nspace} goes to {path}")
        for name in self._named(names):
            self._target.end(name, stream)

    def _over(self, code: int) -> None:
        self._log = None
        if code != COMPLETE:
            why = f"the output of job {self.launch.job.nspace} cannot be read any more: {os.strerror(code)}"
            self._api.log(Level.WARNING, f"{why}; flux job attach shows it")
        self.stop()
        self._target.flush(lambda: self._done(self))

    def _look(self) -> None:
        """Wait as long as something comes."""
        if self._pieces != self._heard_at:
            self._heard_at = self._pieces
            self._api.set_timer(self._timer, _PATIENCE)
        elif self._log is not None:
            self._log.stop()
            self._over(COMPLETE)
