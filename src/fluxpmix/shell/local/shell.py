"""A job shell: the process that carries one (emulated) node's part of a job.

Forked by the launcher, which it talks to by `control.py`; to its peers by `links.py`. It hosts the node's
PMIx server (`Driver`), starts the tasks, passes their output on, and leaves no process behind. When the
launcher is gone it ends the tasks, removes the job's directory and goes too.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from fluxpmix.host.effects import Buffer, Frame, Launch, Level
from fluxpmix.job import idset, template
from fluxpmix.pmix.library import LibraryError, load
from fluxpmix.pmix.light import partial, signal, suppress
from fluxpmix.pmix.process import become_subreaper
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.status import PmixError, Status
from fluxpmix.shell.base import Driver
from fluxpmix.shell.local import control, input, jobdir, machine, tasks
from fluxpmix.shell.local.guard import Guard
from fluxpmix.shell.local.own import OwnTasks
from fluxpmix.shell.local.reactor import Reactor, Timer
from fluxpmix.shell.local.request import LaunchError
from fluxpmix.shell.local.running import RunningTasks
from fluxpmix.shell.server import Site, stops

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from fluxpmix.shell.files import OutputFiles
    from fluxpmix.shell.keeper import Keeper
    from fluxpmix.shell.local.links import Links
    from fluxpmix.shell.local.request import Request
    from fluxpmix.shell.local.spawned import SpawnedTasks, Style

_LAST_WORDS = 1.0  # seconds for what other shells have sent of their tasks' output
_STEP = 0.005  # seconds between looks whether all has come
_CLOSING = 10  # seconds for libpmix to stop its server
_GARBAGE = 50_000  # objects that are made between looks for cycles: next to none are, and each message makes some


class Plan(Record):
    """What the launcher has found out for all shells."""

    request: Request
    directory: str
    key: bytes
    paths: tuple[str, ...]  # of each application's program
    cores: tuple[machine.Core, ...]
    input: input.Plan
    since: float | None = None  # where a trace is wanted: when the launcher started the shells (`monotonic`)


def main(plan: Plan, rank: int, sock: _socket.socket, listener: _socket.socket | None) -> NoReturn:
    """Be shell `rank` of a job, and end the process."""
    code = 1
    try:
        shell = JobShell(plan, rank, sock, listener)
        code = shell.run()
    except BaseException as error:  # or nobody would ever know why
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(code)


class JobShell:
    """The shell; a `Carrier` to its driver."""

    jobs = None  # nobody gives out machines here

    def __init__(
        self,
        plan: Plan,
        rank: int,
        sock: _socket.socket,
        listener: _socket.socket | None,
        keeper: Keeper | None = None,
    ) -> None:
        """`sock` is the launcher's end, `keeper` has the PMIx server where the process has other jobs too."""
        request = plan.request
        job = request.job
        self.rank = rank
        self.size = len(job.nodes)
        self._plan = plan
        self._request = request
        self._job = job
        self._reactor = Reactor()
        self._control = control.Control(self._reactor, sock, self._message, self._launcher_lost)
        self._directory = jobdir.of_shell(plan.directory, rank)
        self._bindings = machine.bindings(request.cpu_affinity, job, rank, plan.cores)
        self._inputs = input.Inputs(self._reactor, self._took, partial(self.log, Level.WARNING))
        self._running = RunningTasks(self._reactor, self._control, request, self._inputs, self._task_killed)
        self._timer: Timer | None = None
        self._orphaned = False
        self._extensions: dict[int, Callable[[int], None]] = {}  # requests for more time, answered ones too
        self._listener = listener
        self._keeper = keeper
        self._links: Links | None = None
        self._driver: Driver | None = None
        self._own: OwnTasks | None = None
        self._spawned: SpawnedTasks | None = None
        self._files: OutputFiles | None = None  # since output of spawned tasks goes to some

    def run(self) -> int:
        """Do the whole job and return this process's exit code."""
        try:
            self._open()
        except LaunchError as error:
            self._fail(str(error), error.exit_code)
        except LibraryError:
            self._control.send(control.NO_LIBRARY)
        except (PmixError, OSError, ValueError) as error:
            self._fail(f"the PMIx server on {self._host_name} cannot start: {error}", 1)
        self._reactor.run()
        return self._end()

    # -- Carrier -----------------------------------------------------------------------------------

    def send(self, shell: int, frame: Frame, lateral: bool = False) -> None:
        """Send a frame to a peer shell: all go there directly."""
        if self._links is not None:
            self._links.send(shell, frame)

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` in the loop; from any thread."""
        self._reactor.post(call)

    def enter(self, call: Callable[[], None]) -> bool:
        """Run `call` in the place of the loop, if that does nothing else now; from any thread."""
        return self._reactor.enter(call)

    def now(self) -> float:
        """Monotonic time in seconds."""
        return self._reactor.now()

    def set_deadline(self, when: float | None) -> None:
        """Wake the driver then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None and self._driver is not None:
            self._timer = self._reactor.call_at(when, self._driver.tick)

    def raise_job(self, message: str, exit_code: int) -> None:
        """Have the launcher end the job."""
        self._control.send(control.RAISE, message, exit_code)

    def signal_tasks(self, signum: int, ranks: Sequence[int] | None) -> None:
        """Send a signal to tasks of this shell: to their process groups, where they have their own."""
        self._running.signal(signum, ranks)

    def log(self, level: Level, message: str) -> None:
        """Have the launcher say it."""
        self._control.send(control.LOG, int(level), message)

    def find_commands(self, launch: Launch) -> None:
        """See that this shell can run a spawned job's commands."""
        if self._spawned is None:
            from fluxpmix.shell.local.spawned import SpawnedTasks

            assert self._driver is not None
            where = self.rank, self._directory
            self._spawned = SpawnedTasks(
                self._request, *where, self._driver, self._running.run, self._style, self._inputs
            )
        # Every shell says so, and before the asker is answered: the launcher knows of it when that one ends.
        self._control.send(control.SPAWNED, *self._spawned.told(launch))
        self._spawned.find(launch)

    def _style(self, number: int, how: Style) -> None:
        from fluxpmix.shell.files import OutputFiles
        from fluxpmix.shell.showing import Showing

        if self._files is None:
            self._files = OutputFiles(lambda message: self.raise_job(message, 1))
        self._running.showings[number] = Showing(*how, self._files)

    def start_tasks(self, launch: Launch) -> None:
        """Start this shell's tasks of a spawned job."""
        assert self._spawned is not None
        try:
            self._spawned.start(launch)
        finally:
            self._running.check_drained()

    def retire_tasks(self, numbers: Sequence[int]) -> None:
        """Kill tasks that are to start again."""
        self._running.retire(numbers)

    def restart_task(self, number: int, environment: Mapping[str, str]) -> None:
        """Start a task again."""
        if number < self._job.size:
            assert self._own is not None
            again = partial(self._own.restart, number, environment, self._running.run)
        else:
            assert self._spawned is not None
            again = partial(self._spawned.restart, number, environment)
        try:
            self._running.return_(number, again)
        except (LaunchError, template.TemplateError) as error:
            from fluxpmix.shell.spawning import CannotStart

            raise CannotStart.because(str(error), getattr(error, "exit_code", 1)) from None

    def job_ended(self, first: int) -> None:
        """Leave it to the launcher, which counts the tasks of all jobs."""

    def drop_tasks(self, launch: Launch, started: bool) -> None:
        """Kill what runs of a spawned job that could not be started everywhere."""
        numbers = [launch.first + rank for rank in launch.job.ranks(self.rank)]
        self._control.send(control.DROPPED, launch.first)
        self._running.check_drained()
        if started and self._driver is not None:
            self.signal_tasks(signal.SIGKILL, [number for number in numbers if number in self._running])
            for number in numbers:
                if number not in self._running:
                    self._driver.task_exited(number, tasks.NOT_FOUND << 8)

    def extend(self, seconds: float, done: Callable[[int], None]) -> None:
        """Have the launcher let the job run longer."""
        self._extensions[len(self._extensions) + 1] = done
        self._control.send(control.EXTEND, len(self._extensions), seconds)

    def listen(self, on: bool) -> None:
        """Tell the driver what tasks print, or no longer."""
        self._running.heard = on

    def feed(self, numbers: Sequence[int], data: bytes, done: Callable[[int], None]) -> None:
        """Write to the standard input of tasks."""
        taken = [self._inputs.give_to(number, data) for number in numbers]
        done(Status.SUCCESS if any(taken) else Status.ERR_NOT_AVAILABLE)

    # -- starting ----------------------------------------------------------------------------------

    def _open(self) -> None:
        plan, request = self._plan, self._request
        library = load(request.libpmix)
        become_subreaper()
        if self._listener is not None:
            from fluxpmix.shell.local.links import Links

            self._links = Links(
                self._reactor,
                self.rank,
                self.size,
                plan.directory,
                plan.key,
                self._listener,
                self._receive,
                # The launcher says who is lost: a connection also ends when a peer is merely done first.
                lambda shell, reason: None,
                self.log,
            )
        munge = request.security == "munge"
        if munge:
            os.environ["PMIX_MCA_psec"] = "munge"  # noqa: SIM112 (libpmix's own name)
        site = Site(
            shell_rank=self.rank,
            tmpdir=self._directory,
            topology_signature=machine.topology_signature(),
            cpus={rank: idset.encode(cpus) for rank, cpus in self._bindings.items()},
            packages={rank: machine.package_of(cpus) for rank, cpus in self._bindings.items()},
            gate=Guard(self._refused, version=library.version, nspace=self._job.nspace, by_process=not munge),
            keeper=self._keeper,
            exits=self._keeper is None,
            job_infos=stops(request.stop),
        )
        ends_at = None if request.time_limit is None else self.now() + request.time_limit
        make: Callable[..., Driver] = Driver
        if request.trace is not None:
            from fluxpmix.shell.tracing import TracedDriver

            make = partial(TracedDriver, since=plan.since)
        driver = self._driver = self._running.driver = make(
            self._job,
            self,
            site,
            library,
            fanout=request.fanout,
            exchange=request.exchange,
            timeout=request.timeout,
            ends_at=ends_at,
            alert=request.alert,
            stop=request.stop,
            output=self._running.output,
            oversubscribe=request.oversubscribe,
        )
        if munge:
            self._open_with_munge(driver)
        else:
            driver.open()
        driver.start(self._start_tasks)

    def _open_with_munge(self, driver: Driver) -> None:
        """Start the server, and say in one line what libpmix would say in thirty where it cannot use munge."""
        error, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            driver.open()
        except PmixError as failure:
            raise LaunchError(
                f"-o security=munge: this libpmix cannot use munge ({failure}); see that munged runs (munge -n) "
                "and that libpmix was built with munge (flux-pmix doctor shows which it is), or leave the option out"
            ) from None
        finally:
            os.dup2(error, 2)
            os.close(error)
            os.close(null)

    def _refused(self, message: str) -> None:
        self._reactor.post(partial(self.log, Level.WARNING, message))

    def _start_tasks(self) -> None:
        try:
            assert self._driver is not None
            self._own = OwnTasks(self._plan, self.rank, self._directory, self._bindings, self._inputs)
            self._own.start(self._driver.task_environment, self._running.run)
        except LaunchError as error:
            self._fail(str(error), error.exit_code)
        except (PmixError, OSError, template.TemplateError) as error:
            self._fail(f"the tasks on {self._host_name} cannot start: {error}", 1)
        else:
            self._control.send(control.STARTED, self._running.pids)
            self._inputs.start()
        gc.set_threshold(_GARBAGE)
        gc.enable()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)  # whoever feeds our standard input shall see when nobody reads it
        os.close(null)
        self._running.check_drained()

    def _fail(self, message: str, exit_code: int) -> None:
        self._control.send(control.FAILED, message, exit_code)

    @property
    def _host_name(self) -> str:
        return self._job.nodes[self.rank].hostname

    # -- while it runs -----------------------------------------------------------------------------

    def _task_killed(self) -> None:
        if self._keeper is not None:
            self._keeper.spoil()

    def _message(self, kind: int, *values: object) -> None:
        """Take what the launcher says."""
        if kind == control.INPUT:
            self._inputs.give(*values)  # type: ignore[arg-type]
        elif kind == control.SIGNAL:
            self.signal_tasks(*values)  # type: ignore[arg-type]
        elif kind == control.LOST and self._driver is not None:
            self._driver.shell_lost(*values)  # type: ignore[arg-type]
        elif kind == control.EXTENDED:
            self._extended(*values)  # type: ignore[arg-type]
        elif kind == control.FINISH:
            self._finish(self.now() + _LAST_WORDS)

    def _extended(self, request: int, left: float | None) -> None:
        if self._driver is not None and left is not None:
            self._driver.time_limit(self.now() + left)
        if request:
            self._extensions[request](Status.SUCCESS)

    def _finish(self, until: float) -> None:
        """Stop; but if a tool listens, when what other shells have sent of their tasks' output has come."""
        if self._driver is not None and self._driver.host.awaits_output and self.now() < until:
            self._reactor.call_later(_STEP, partial(self._finish, until))
        else:
            self._reactor.stop()

    def _launcher_lost(self, _reason: str) -> None:
        self._orphaned = True
        self._reactor.stop()

    def _receive(self, shell: int, frame: Buffer) -> None:
        if self._driver is not None:
            self._driver.receive(shell, frame)

    def _took(self, total: int | None) -> None:
        self._control.send(control.TOOK, total)

    # -- the end -----------------------------------------------------------------------------------

    def _end(self) -> int:
        tasks.kill_descendants()
        clean = self._driver is not None and self._driver.host.idle and not self._driver.host.bound
        if self._driver is not None:
            # libpmix may go round for ever (docs/conformance.md): whoever waits for this process must not.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_CLOSING)
            if self._orphaned:
                jobdir.remove(self._plan.directory)
            with suppress(PmixError, OSError):
                self._driver.close()
            signal.alarm(0)
        if self._links is not None:
            self._links.close()
        if self._files is not None:
            self._files.close()
        if self._driver is not None and self._request.trace is not None:
            self._control.send(control.TRACE, *self._driver.trace_parts())
        again = clean and self._keeper is not None and self._keeper.sound and not self._orphaned
        self._control.send(control.CLOSED, again)
        if self._orphaned:
            jobdir.remove(self._plan.directory)
        if self._keeper is not None:
            self._control.stream.close()
            self._reactor.close()
        return int(not again)
