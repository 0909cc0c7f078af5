"""What the first shell decides of spawned jobs. Standard 4.2, sections 11.2 and 17.3.13.

`spawn.py` of all shells asks for it, and does what comes of it. A request is read, places for the processes are found
(`spawnplan.py`), and the job is given its namespace and its processes their numbers, so that two spawns at once never
meet; then all shells are taken through the steps of its launch. What fails on the way is undone everywhere, and the
asker gets the status of what failed first. A job that asks for resources of its own is `submission.py`'s until its
shells have joined; then what it lacks here is only that its tasks are started by Flux.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Launch, Level, Log, Place, Prepare, Register, Welcome, Withdraw
from fluxpmix.host.joblimit import ALERT, JobLimits
from fluxpmix.host.publication import Refused
from fluxpmix.host.spawnplan import Planner
from fluxpmix.host.submission import Arrival, Submissions
from fluxpmix.host.world import World, pack_launch
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import AppSpec, Proc, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.spawn import Spawns

SUCCESS = int(Status.SUCCESS)
LOST = int(Status.ERR_LOST_CONNECTION)
REGISTER, START, DROP, END, WARN = 1, 2, 3, 4, 5  # steps
SPAWN, ALLOCATE, RELEASE = 0, 1, 2  # what the first shell is asked for


class _Pending:
    """A launch as the first shell sees it: who is awaited for the step under way."""

    __slots__ = ("awaited", "deadline", "launch", "limit", "shell", "step", "ticket", "token", "world")

    def __init__(
        self, launch: Launch, shell: int, token: int, deadline: float | None, ticket: int | None = None
    ) -> None:
        self.launch = launch
        self.shell = shell  # the asker's
        self.token = token
        self.deadline = deadline
        self.ticket = ticket  # of a Flux job of its own
        self.world = b""  # what its shells are to be told
        self.limit: float | None = None  # PMIX_JOB_TIMEOUT
        self.step = REGISTER
        self.awaited: set[int] = set()


class Deciding:
    """The launches that are under way, of use at the first shell."""

    def __init__(
        self,
        spawns: Spawns,
        directory: Directory,
        job: Job,
        planner: Planner,
        ended: Callable[[], Sequence[int]],
        place: Place | None,
        moves: tuple[int, str],
        as_jobs: bool,
        alert: float,
    ) -> None:
        """`spawns` is this shell's; of the rest see there."""
        self._spawns = spawns
        self._directory = directory
        self._job = job
        self._planner = planner
        self._ended = ended
        self._place = place
        self._moves = moves
        self._as_jobs = as_jobs
        self._submissions = Submissions(directory, job, place)
        self._limits = JobLimits(alert)
        self._pending: dict[int, _Pending] = {}  # by first number

    @property
    def idle(self) -> bool:
        return not self._pending and not self._submissions.waiting

    @property
    def deadline(self) -> float | None:
        moments = [one.deadline for one in self._pending.values()]
        moments += (self._submissions.deadline, self._limits.deadline)
        return min((moment for moment in moments if moment is not None), default=None)

    def decide(
        self, shell: int, token: int, operation: int, request: tuple[Any, ...], now: float, out: list[Effect]
    ) -> None:
        """Take a request of a process of any shell."""
        from fluxpmix.host.spawnrequest import read  # late: most jobs spawn nothing

        proc, directives, apps = request
        try:
            if operation == RELEASE:
                ticket, job = self._planner.release(find(directives, attributes.ALLOC_ID))
                out.append(Withdraw(ticket, f"{proc} has released it", job))
                self._spawns.answer(shell, token, SUCCESS, "", out)
                return
            wanted = read(proc, directives, tuple(AppSpec(*app) for app in apps))
            deadline = None if wanted.timeout is None else now + wanted.timeout
            if wanted.resources is not None or (self._as_jobs and wanted.allocation is None):
                holds = operation == ALLOCATE
                self._submissions.begin(wanted, proc, shell, token, deadline, holds, out)
                return
            launch = self._planner.plan(wanted, proc)
        except (Refused, ValueError) as error:
            status = error.status if isinstance(error, Refused) else int(Status.ERR_OUT_OF_RESOURCE)
            what = "PMIx_Spawn" if operation == SPAWN else "PMIx_Allocation_request"
            out.append(Log(Level.WARNING, f"{what} by {proc} is refused: {error}"))
            self._spawns.answer(shell, token, status, "", out)
            return
        one = _Pending(launch, shell, token, deadline)
        one.limit = wanted.job_timeout
        self._open(one, now, out)

    def _open(self, one: _Pending, now: float, out: list[Effect]) -> None:
        launch = one.launch
        self._pending[launch.first] = one
        self._spawns.launches[launch.first] = launch
        self._spawns.add(launch, now, out)
        one.awaited = set(self._others(launch)) - self._spawns.lost
        out.append(Prepare(launch))

    def _others(self, launch: Launch) -> range:
        """Return the shells that must be told of a job: all but its own."""
        return range(launch.base if launch.place is not None else self._directory.shell_count)

    def joined(self, ticket: int, arrival: Arrival, now: float, out: list[Effect]) -> None:
        """The shells of a job that was submitted are up, and wait to be told what they join."""
        waiting = self._submissions.waiting.pop(ticket, None)
        if waiting is None:
            out.append(Withdraw(ticket, "nobody waits for it any more"))
            return
        nodes = self._directory.nodes[len(self._job.nodes) :] + self._submissions.nodes(arrival, waiting.holds)
        try:
            taskmap = self._submissions.taskmap(arrival)
            launch = self._planner.launch(waiting.wanted, waiting.asker, taskmap, nodes, arrival, waiting.holds)
            self._planner.tickets[arrival.nspace] = ticket
        except ValueError as error:
            out.append(Withdraw(ticket, str(error)))
            self._spawns.answer(waiting.shell, waiting.token, int(Status.ERR_JOB_FAILED_TO_LAUNCH), "", out)
            return
        self._open(_Pending(launch, waiting.shell, waiting.token, waiting.deadline, ticket), now, out)

    def came(
        self, ticket: int, arrival: Arrival, apps: tuple[tuple[Any, ...], ...], now: float, out: list[Effect]
    ) -> None:
        """The shells of a job that somebody has started by hand ask to join; `ticket` is the carrier's name for it."""
        from fluxpmix.host.submission import by_itself

        nodes = self._directory.nodes[len(self._job.nodes) :] + self._submissions.nodes(arrival, False)
        try:
            taskmap = self._submissions.taskmap(arrival)
            launch = self._planner.launch(by_itself(apps), Proc(arrival.nspace, 0), taskmap, nodes, arrival)
        except (TypeError, ValueError) as error:
            out.append(Withdraw(ticket, str(error)))
            return
        self._open(_Pending(launch, self._spawns.me, 0, None, ticket), now, out)

    def withdrawn(self, ticket: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """A job that was submitted does not come, or has ended before it was there."""
        waiting = self._submissions.waiting.pop(ticket, None)
        if waiting is not None:
            what = "PMIx_Allocation_request" if waiting.holds else "PMIx_Spawn"
            out.append(Log(Level.WARNING, f"{what} by {waiting.asker}: {why}"))
            self._spawns.answer(waiting.shell, waiting.token, status, "", out)
        for one in list(self._pending.values()):
            if one.ticket == ticket:
                self._fail(one, status, why, now, out)

    def prepared(self, first: int, packed: bytes, status: int, why: str, now: float, out: list[Effect]) -> None:
        """The first shell has what libpmix wants all shells to have: tell them of the job."""
        one = self._pending.get(first)
        if one is None:
            return
        if status != SUCCESS:
            self._fail(one, status, why, now, out)
            return
        launch = one.launch
        there = self._others(launch)
        one.awaited = set(there) - self._spawns.lost
        self._spawns.spread.send(
            None if launch.place is None else there, (REGISTER, first, (*pack_launch(self._job, launch), packed)), out
        )
        self._planner.know(launch)
        if self._place is not None and launch.place is not None:
            lost = tuple(sorted(self._spawns.lost))
            ended = tuple(sorted(self._ended()))
            world = World(self._job, self._place, tuple(self._planner.told), packed, lost, ended, self._moves)
            one.world = world.encode()
        out.append(Register(one.launch, packed))

    def arrived(self, shell: int, first: int, step: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """A shell has done a step, or could not."""
        one = self._pending.get(first)
        if one is None or step != one.step or shell not in one.awaited:
            return
        if status != SUCCESS:
            self._fail(one, status, f"{self._directory.nodes[shell].hostname}: {why}" if why else "", now, out)
            return
        self._went_on(one, shell, now, out)

    def _went_on(self, one: _Pending, shell: int, now: float, out: list[Effect]) -> None:
        """Nothing more is to come of a shell in this step: with the last of them the next begins."""
        one.awaited.discard(shell)
        if one.awaited:
            return
        first = one.launch.first
        if one.step == REGISTER:
            one.step = START
            job = one.launch.job
            one.awaited = {node.id for node in job.nodes if len(job.ranks(node.id))} - self._spawns.lost
            self._spawns.spread.send(None, (START, first, None), out)
            self._spawns.step(START, one.launch, now, out)
            if one.launch.place is not None:
                out.append(Welcome(one.launch, one.world))
            return
        del self._pending[first]
        self._limits.begin(first, one.limit, now)
        self._spawns.answer(one.shell, one.token, SUCCESS, one.launch.job.nspace, out)

    def _fail(self, one: _Pending, status: int, why: str, now: float, out: list[Effect]) -> None:
        """Undo a launch on all shells, and say why."""
        first = one.launch.first
        del self._pending[first]
        if why:
            out.append(Log(Level.WARNING, f"PMIx_Spawn by {one.launch.asker}: {why}"))
        self._spawns.spread.send(None, (DROP, first, None), out)
        self._spawns.step(DROP, one.launch, now, out)
        self._spawns.answer(one.shell, one.token, status, "", out)
        if one.ticket is not None:
            out.append(Withdraw(one.ticket, why or "it could not be started"))

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        """A shell is gone: what it was to start comes to nothing, what it was only to know of goes on without it."""
        for one in list(self._pending.values()):
            if shell not in one.awaited:
                continue
            nodes = one.launch.job.nodes
            if shell < len(nodes) and len(one.launch.job.ranks(shell)):
                self._fail(one, LOST, f"shell {shell} is lost", now, out)
            else:
                self._went_on(one, shell, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        """End what has taken too long, and jobs whose time is up, which are warned of that."""
        for first, what, left in self._limits.due(now):
            launch = self._spawns.launches[first]
            if set(range(first, first + launch.job.size)).issubset(self._ended()):
                continue
            if what == ALERT:
                self._spawns.spread.send(None, (WARN, first, round(left)), out)
                self._spawns.warn(launch, round(left), out)
            else:
                self._spawns.spread.send(None, (END, first, what), out)
                self._spawns.end(launch, what, out)
        for ticket, waiting in list(self._submissions.waiting.items()):
            if waiting.deadline is not None and waiting.deadline <= now:
                out.append(Withdraw(ticket, "it has not started in the time that PMIx_Spawn was given"))
                why = "the job that was submitted for it has not started in time"
                self.withdrawn(ticket, int(Status.ERR_TIMEOUT), why, now, out)
        for one in list(self._pending.values()):
            if one.deadline is not None and one.deadline <= now:
                self._fail(one, int(Status.ERR_TIMEOUT), f"no answer from shell(s) {sorted(one.awaited)}", now, out)

    def abandon(self, out: list[Effect]) -> None:
        """The job is over."""
        tickets = [one.ticket for one in self._pending.values() if one.ticket is not None]
        out.extend(Withdraw(each, "the job that spawns it is over") for each in (*self._submissions.waiting, *tickets))
        self._submissions.waiting.clear()
        self._pending.clear()
