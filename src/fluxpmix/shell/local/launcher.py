"""The launcher: starts a job's shells, decides when the job is over, and writes what the tasks print.

`run` does all of it in this process, which belongs to the job meanwhile: its signals, its children.
`flux-pmix run` calls it; a Python program that has more to do calls `fluxpmix.run` (`apart.py`). The rules of
exit codes, time limits and signals are `flux run`'s.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Collection, Sequence
from time import process_time

from fluxpmix.host.effects import Level
from fluxpmix.job import idset
from fluxpmix.pmix.library import load
from fluxpmix.pmix.light import partial, signal, suppress
from fluxpmix.pmix.process import become_subreaper, open_standard_streams
from fluxpmix.shell.local import control, input, jobdir, machine, shell, tasks
from fluxpmix.shell.local.ends import Ends, signal_name
from fluxpmix.shell.local.jobs import Jobs, Running
from fluxpmix.shell.local.limit import TimeLimit
from fluxpmix.shell.local.output import HIGH_WATER, Output, is_broken_pipe
from fluxpmix.shell.local.reactor import READ, Reactor
from fluxpmix.shell.local.request import LaunchError
from fluxpmix.shell.local.shells import FORWARDED, Shells, kill, kill_children
from fluxpmix.shell.local.stopping import Stopping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.request import Request
    from fluxpmix.shell.local.shells import Shell
    from fluxpmix.shell.local.warm import Warm

_SECOND_CTRL_C = 2.0  # seconds in which it counts as the second
_FINISHING = 10.0  # seconds that a shell may take to stop its server
_SLOW_START = 5.0  # seconds after which the launcher says whom it waits for
_TIMED_OUT = 128 + signal.SIGALRM
_INTERRUPTED = 128 + signal.SIGINT
_BROKEN_PIPE = 128 + signal.SIGPIPE


def run(request: Request, warm: Warm | None = None, ended: Callable[[int], None] | None = None) -> int:
    """Run a job and return its exit code. To be called in the main thread of a process without others.

    Its shells are those that `warm` has ready, where it is given, and go back there. `ended(code)` is called when
    no process of it is left and only its files are still to be removed. Raises `LaunchError` for what the user can
    mend, `LibraryError` where there is no libpmix; then nothing has run.
    """
    open_standard_streams()
    job = request.job
    paths = tuple(
        tasks.find(app.argv[0], env, app.wdir) for app, env in zip(job.apps, request.environments, strict=True)
    )
    cores = machine.cores()
    machine.bindings(request.cpu_affinity, job, 0, cores)  # a bad map is the same on all nodes: it is said here
    if len(job.nodes) > 1:
        load(request.libpmix)  # once for all shells; a single one loads it while we go on
        machine.topology_signature()
    how = input.plan(request.input)
    directory = jobdir.make(job.jobid, len(job.nodes))
    try:
        since = None if request.trace is None else Reactor.now()
        launcher = Launcher(shell.Plan(request, directory, os.urandom(32), paths, cores, how, since), warm)
        try:
            code = launcher.run()
        finally:
            launcher.close()
        if ended is not None:
            ended(code)
        return code
    finally:
        jobdir.remove(directory)


class Launcher:
    """One job, from the fork of its shells to the last of its processes."""

    def __init__(self, plan: shell.Plan, warm: Warm | None = None) -> None:
        """Open the output files. Raises `LaunchError`."""
        self._plan = plan
        self._warm = warm
        self._request = plan.request
        self._job = plan.request.job
        self._reactor = Reactor()
        self._shells = Shells(self._reactor, plan, warm, self._message, self._shell_gone)
        self._jobs = Jobs(plan.request.job.taskmap.node_column())
        self._ends = Ends()
        self._no_library = False
        self._paused = False
        self._trace: list[bytes] = []  # the shells' parts
        self._spent = process_time()  # before the first shell, where this process has just been started
        self._source: input.Source | None = None
        if plan.input.kind == "pump":
            self._source = input.Source(self._reactor, len(self._job.nodes), partial(self._shells.send, control.INPUT))
        try:
            self._output = Output(self._reactor, self._request, plan.directory, self._output_failed)
        except BaseException:
            self._reactor.close()
            raise
        self._stopping = Stopping(
            self._reactor, self._request, self._shells, self._jobs, self._ends, self._output, self._source
        )
        self._limit = TimeLimit(self._reactor, self._stopping.time_is_up)

    def run(self) -> int:
        """Run the job and return its exit code."""
        signals = (signal.SIGINT, *FORWARDED)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            if self._warm is None:
                gc.freeze()  # what there is stays: nobody need look through it, and copy its pages by that
            self._shells.start(mask)
            gc.enable()
            self._reactor.on_signal(signal.SIGINT, self._stopping.interrupted)
            for signum in FORWARDED:
                self._reactor.on_signal(signum, partial(self._stopping.signal, signum))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        become_subreaper()
        if self._warm is not None:
            self._reactor.watch(self._warm.program, READ, self._program_gone)
        self._output.on_room(self._make_room)
        self._reactor.call_later(_SLOW_START, self._say_who_is_slow)
        self._reactor.run()
        if self._no_library:
            load(self._request.libpmix)  # raises what the shell met
        return self._result()

    def close(self) -> None:
        """Leave no process behind, and give the signals back."""
        if self._warm is None and self._shells.all_gone:
            jobdir.remove(self._plan.directory)  # while the shells exit
        self._shells.kill()
        kill_children(() if self._warm is None else self._warm.pids)
        self._output.discard()
        self._reactor.close()

    # -- starting ----------------------------------------------------------------------------------

    def _say_who_is_slow(self) -> None:
        late = [one.rank for one in self._shells if not one.started and not one.gone]
        if late and not self._stopping.begun:
            self._output.say(f"waiting for shell(s) {idset.encode(late)} of {len(self._shells)} to start their tasks")
            self._reactor.call_later(4 * _SLOW_START, self._say_who_is_slow)

    # -- what shells say ---------------------------------------------------------------------------

    def _message(self, one: Shell, kind: int, *values: object) -> None:
        if kind == control.OUTPUT:
            self._output.write(*values)  # type: ignore[arg-type]
            self._make_room()
        elif kind == control.EXITED:
            self._task_exited(*values)  # type: ignore[arg-type]
        elif kind == control.AGAIN:
            self._task_returns(one, *values)  # type: ignore[arg-type]
        elif kind == control.TRACE:
            self._trace.extend(values)  # type: ignore[arg-type]
        elif kind == control.TOOK:
            if self._source is not None:
                self._source.took(one.rank, *values)  # type: ignore[arg-type]
        elif kind == control.STARTED:
            self._shell_started(one, *values)  # type: ignore[arg-type]
        elif kind == control.SPAWNED:
            self._spawned(one, *values)  # type: ignore[arg-type]
        elif kind == control.DROPPED:
            self._jobs.drop(*values)  # type: ignore[arg-type]
            self._stopping.check_finished()
        elif kind == control.DRAINED:
            one.drained = True
            self._stopping.check_finished()
        elif kind == control.CLOSED:
            one.control.stream.close()
            if self._warm is not None and values == (True,):
                self._warm.give_back(one.pid)
            self._shell_gone(one, "")
        elif kind == control.RAISE:
            message, code = values
            self._stopping.raise_job(str(message), int(code))  # type: ignore[call-overload]
        elif kind == control.LOG:
            level, message = values
            self._output.log(int(level), f"shell {one.rank}: {message}")  # type: ignore[call-overload]
        elif kind == control.NO_LIBRARY:
            one.drained = self._no_library = True
            self._stopping.terminate(signal.SIGTERM)
            self._stopping.check_finished()
        elif kind == control.EXTEND:
            self._extend(one, *values)  # type: ignore[arg-type]
        elif kind == control.FAILED:
            message, code = values
            one.drained = not one.started
            self._stopping.raise_job(str(message), int(code))  # type: ignore[call-overload]
            self._stopping.check_finished()

    def _shell_started(self, one: Shell, pids: Sequence[tuple[int, int]]) -> None:
        one.started = True
        for rank, pid in pids:
            self._output.log(Level.DEBUG, f"task {rank} is process {pid} on {self._job.nodes[one.rank].hostname}")
        if self._shells.all_started:
            self._all_started()

    def _all_started(self) -> None:
        job, limit = self._job, self._request.time_limit
        if self._source is not None and not self._stopping.begun:
            self._source.start()
        self._output.log(Level.NOTICE, f"job {job.jobid}: {job.size} task(s) on {len(job.nodes)} node(s) are running")
        if limit is not None:
            self._limit.start(limit)
            if self._request.signal is not None:
                signum, before = self._request.signal
                self._limit.warn(before, partial(self._stopping.signal, signum))

    def _task_returns(self, one: Shell, number: int) -> None:
        """A task that has ended is about to start again: it has not ended."""
        job = self._jobs.of(number)
        job.left.add(number)
        one.drained = False
        self._ends.forget(number)
        if job.timer is not None and len(job.left) == len(job.column):
            job.timer.cancel()
            job.timer = None

    def _task_exited(self, number: int, wait_status: int) -> None:
        job = self._jobs.of(number)
        job.left.discard(number)
        if not job.counts:
            return
        code = self._ends.add(number, wait_status)
        name = self._jobs.name(number)
        self._output.log(Level.DEBUG, f"task {name} {self._ends.how(number)}")
        if self._stopping.begun:
            return
        if code and self._request.exit_on_error:
            self._stopping.raise_job(f"task {name} {self._ends.how(number)}, and -o exit-on-error ends the job", code)
        elif not job.left:
            self._job_ended(job)
        elif job.timer is None and self._request.exit_timeout is not None:
            job.timer = self._reactor.call_later(self._request.exit_timeout, partial(self._outlived, job, number))

    def _outlived(self, job: Running, number: int) -> None:
        if not self._stopping.begun and job.left:
            from fluxpmix.shell.local.lingering import outlived

            how = f"task {self._jobs.name(number)} {self._ends.how(number)}"
            why = outlived(how, self._request.exit_timeout, self._tasks(job.left), len(job.left) > 1)
            self._stopping.raise_job(why, self._ends.code(number) or 1)

    def _spawned(self, one: Shell, first: int, ordinal: int, column: Sequence[int], parent: int | None) -> None:
        """A shell knows of a spawned job. The first to say so says it for all, and before a task of it runs."""
        one.drained = one.drained and one.rank not in column
        job = self._jobs.add(first, ordinal, column, parent)
        if job is None:
            return
        try:
            self._output.add(first, ordinal, column)
        except LaunchError as error:
            self._stopping.raise_job(str(error), error.exit_code)
            return
        for each in self._shells:
            if each.gone:
                self._jobs.lost(each.rank)
            elif each.rank in column:
                each.drained = False
        self._output.log(Level.DEBUG, f"job {self._job.jobid}.{ordinal}: {len(column)} task(s) are spawned")

    def _job_ended(self, job: Running) -> None:
        """Let the jobs that a job has spawned end by themselves, but not for ever."""
        if job.timer is not None:
            job.timer.cancel()
        if children := self._jobs.children(job):
            from fluxpmix.shell.local.lingering import Lingering

            Lingering(self._reactor, self._shells, self._request.kill_timeout, self._still_there).end(children)

    def _still_there(self, child: Running) -> bool:
        """Say of a job that it did not end with its parent, if that is so."""
        if self._stopping.finishing or not child.left:
            return False
        self._output.log(Level.NOTICE, f"{self._tasks(child.left)} did not end with the job that spawned them")
        return True

    def _shell_gone(self, one: Shell, reason: str) -> None:
        one.gone = True
        if not self._stopping.finishing:
            self._shell_lost(one)
        if self._shells.all_gone:
            self._stopping.check_written()

    def _shell_lost(self, one: Shell) -> None:
        kill([one.pid])
        how = "gone"
        with suppress(ChildProcessError):
            _, status = os.waitpid(one.pid, 0)
            if os.WIFSIGNALED(status):
                how = f"killed by {signal_name(os.WTERMSIG(status))}"
        one.drained = True
        self._jobs.lost(one.rank)
        shells = {each.pid for each in self._shells}
        kill([pid for pid in tasks.children(os.getpid()) if pid not in shells])
        self._shells.send(control.LOST, one.rank, f"it was {how}" if how != "gone" else "it is gone")
        host = self._job.nodes[one.rank].hostname
        what = f"lost job shell {one.rank} on {host}: {how}"
        self._stopping.raise_job(f"{what}; the job cannot go on without its tasks", 1)
        self._stopping.check_finished()

    # -- ends --------------------------------------------------------------------------------------

    def _program_gone(self, _events: int) -> None:
        """It says nothing while a job runs."""
        assert self._warm is not None
        self._reactor.forget(self._warm.program)
        self._stopping.raise_job("the program that started this job is gone", 1)

    def _extend(self, one: Shell, request: int, seconds: float) -> None:
        """Let the job run longer, and tell all shells when its time is up now; one without a limit has time."""
        left = self._limit.extend(seconds)
        for each in self._shells:
            if not each.gone:
                each.control.send(control.EXTENDED, request if each is one else 0, left)

    def _result(self) -> int:
        code = self._stopping.code
        if code is None:
            code = self._ends.worst
            if code and not self._request.quiet and code != _BROKEN_PIPE:
                worst = self._ends.with_code(code)
                self._output.say(
                    f"{self._tasks(worst)} {self._ends.how(*worst)}" if worst else "the job ended before its tasks"
                )
        self._output.finish()
        if self._request.trace is not None:
            self._write_trace(self._request.trace)
        return code

    def _write_trace(self, path: str) -> None:
        from fluxpmix.shell import tracing

        part = tracing.launcher_part(self._plan.since, self._spent)
        facts = {"job": self._job.jobid, "tasks": str(self._job.size), "shells": str(len(self._shells))}
        try:
            tracing.write(path, [part, *self._trace], facts)
        except OSError as error:
            self._output.say(f"warning: cannot write the trace to {path}: {error.strerror}")

    # -- input and output --------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Listen to the shells or not, by how much waits to be written."""
        crowded = self._output.queued > HIGH_WATER
        if crowded != self._paused:
            self._paused = crowded
            self._shells.pause(crowded)
        self._stopping.check_written()

    def _output_failed(self, name: str, error: OSError) -> None:
        if is_broken_pipe(error):
            if not self._stopping.begun:
                self._stopping.code = _BROKEN_PIPE
                self._stopping.terminate(signal.SIGPIPE)
        else:
            self._stopping.raise_job(f"cannot write to {name}: {error.strerror}; the rest of the output is lost", 1)

    def _tasks(self, numbers: Collection[int]) -> str:
        return f"{'task' if len(numbers) == 1 else 'tasks'} {self._jobs.names(numbers)}"
