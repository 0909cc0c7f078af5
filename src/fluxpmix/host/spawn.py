"""PMIx_Spawn: new jobs, started by the shells that run. Standard 4.2, section 11.2, and 17.3.13.

`host.py` hands over each Spawn upcall. The first shell decides: it reads the request, finds places for the
processes (`spawnplan.py`), and gives the job its namespace and its processes their numbers, so that two spawns at
once never meet. All shells learn of the job and register it with their libpmix, for any process may come to talk to
it; when all have, those with processes of it start them; when they have, the asker is answered. What fails on the way
is undone everywhere, and the asker gets the status of what failed first. A spawned job counts as connected to its
parent: each hears of the other's failures. One that asks for resources of its own is `submission.py`'s until its
shells have joined; then what it lacks here is only that its tasks are started by Flux.

    SPAWN     to the first shell; operation: what; generation: the asker's token; block: proc, directives, apps
    SPAWNED   from it; generation: the token; status; block: the namespace
    LAUNCH    to all shells (`spread.py`): step, first number, and for REGISTER all that there is to know
    LAUNCHED  to the first shell; generation: first number; operation: the step; status; block: why not
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import (
    Drop,
    Effect,
    Launch,
    Level,
    Log,
    Place,
    Prepare,
    Register,
    Reply,
    Send,
    Signal,
    Start,
    Welcome,
    Withdraw,
)
from fluxpmix.host.event import told
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.joblimit import JobLimits
from fluxpmix.host.publication import Refused
from fluxpmix.host.spawnask import is_request, portable
from fluxpmix.host.spawnask import packed as packed_app
from fluxpmix.host.spawnplan import Planner
from fluxpmix.host.spread import Spread
from fluxpmix.host.submission import Arrival, Submissions
from fluxpmix.host.world import World, pack_launch, unpack_launch
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_UNDEF, AppSpec, Info, Infos, Proc, find
from fluxpmix.pmix.upcalls import Spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.upcalls import Allocate, SessionControl

SUCCESS = int(Status.SUCCESS)
LOST = int(Status.ERR_LOST_CONNECTION)
REGISTER, START, DROP, END = 1, 2, 3, 4
SPAWN, ALLOCATE, RELEASE = 0, 1, 2  # what the first shell is asked for
FIRST_SHELL = 0


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


class Spawns(Capability):
    """The spawns of one shell: what its processes ask, what all are told; in the first, what is decided."""

    def __init__(
        self,
        directory: Directory,
        job: Job,
        me: int,
        fanout: int,
        *,
        oversubscribe: bool,
        running: Callable[[int], int],
        add: Callable[[Launch, float, list[Effect]], None],
        remove: Callable[[Launch], None],
        ended: Callable[[], Sequence[int]] = tuple,
        timed_out: Callable[[int], None] = lambda _first: None,
        place: Place | None = None,
        moves: tuple[int, str] = (16, "tree"),
        as_jobs: bool = False,
    ) -> None:
        """`running(shell)` counts what runs on a shell; `add` and `remove` make a job known and forgotten.

        `ended()` are the processes that have ended, `timed_out(first)` hears of jobs whose time is up; `place` is
        where the first job is reached (`submission.py`); `moves` are the fan-out and the exchange of all
        collectives; `as_jobs`: all that is spawned is a Flux job of its own.
        """
        self._directory = directory
        self._job = job
        self._me = me
        self._add = add
        self._remove = remove
        self._ended = ended
        self._timed_out = timed_out
        self._place = place
        self._moves = moves
        self._as_jobs = as_jobs
        self._submissions = Submissions(directory, job, place)
        self._spread = Spread(Tag.LAUNCH, me, directory, fanout, _is_step)
        self._asked: dict[int, tuple[int, Infos | None]] = {}  # by token: upcall, and what goes with an allocation
        self._tokens = 0
        self._launches: dict[int, Launch] = {}  # by first number: not over, as far as this shell knows
        self._started: set[int] = set()
        self._limits = JobLimits()
        self._pending: dict[int, _Pending] = {}
        self._lost: set[int] = set()
        self._planner = Planner(directory, job, oversubscribe, running, self._lost)  # of use at the first shell

    @property
    def idle(self) -> bool:
        return not self._asked and not self._pending and not self._submissions.waiting

    @property
    def deadline(self) -> float | None:
        moments = [one.deadline for one in self._pending.values()]
        moments += (self._submissions.deadline, self._limits.deadline)
        return min((moment for moment in moments if moment is not None), default=None)

    # -- the asker's shell ---------------------------------------------------------------------------

    def upcall(self, upcall: Spawn, now: float, out: list[Effect]) -> None:
        """Have the first shell decide; the reply comes when the job runs."""
        try:
            request = (upcall.proc, portable(upcall.directives), tuple(map(packed_app, upcall.apps)))
            blob = wire.encode(request)
        except wire.WireError as error:
            out.append(Log(Level.ERROR, f"spawn: {error}"))
            out.append(Reply(upcall.id, Status.ERR_BAD_PARAM))
            return
        self._ask(upcall.id, SPAWN, request, blob, None, now, out)

    def allocate(
        self,
        upcall: Allocate | SessionControl,
        nodes: int,
        resources: Infos,
        separate: bool,
        echo: Infos,
        now: float,
        out: list[Effect],
    ) -> None:
        """Have a Flux job hold resources: one process on each node, that does nothing."""
        directives = (*resources, Info(attributes.SPAWN_CHILD_SEP, separate))
        app = packed_app(AppSpec("sleep", ("sleep", "infinity"), maxprocs=nodes))
        request = (upcall.proc, directives, (app,))
        self._ask(upcall.id, ALLOCATE, request, wire.encode(request), echo, now, out)

    def release(self, upcall: Allocate, name: str, now: float, out: list[Effect]) -> None:
        """Have the Flux job end that holds an allocation."""
        request = (upcall.proc, (Info(attributes.ALLOC_ID, name),), ())
        self._ask(upcall.id, RELEASE, request, wire.encode(request), (), now, out)

    def _ask(
        self,
        upcall: int,
        operation: int,
        request: tuple[Any, ...],
        blob: bytes,
        echo: Infos | None,
        now: float,
        out: list[Effect],
    ) -> None:
        if FIRST_SHELL in self._lost:
            out.append(Reply(upcall, LOST))
            return
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        self._asked[self._tokens] = upcall, echo
        if self._me == FIRST_SHELL:
            self._decide(self._me, self._tokens, operation, request, now, out)
        else:
            block = ((self._me, blob),)
            self._send(FIRST_SHELL, Message(Tag.SPAWN, operation, self._tokens, NO_DIGEST, 0, block), out)

    def _answered(self, token: int, status: int, nspace: str, out: list[Effect]) -> None:
        upcall, echo = self._asked.pop(token, (None, None))
        if upcall is None:
            return
        if status != SUCCESS:
            out.append(Reply(upcall, status))
        elif echo is None:
            self._tell_start(nspace, out)
            out.append(Reply(upcall, status, nspace))
        else:
            out.append(Reply(upcall, status, (Info(attributes.ALLOC_ID, nspace), *echo) if nspace else echo))

    # -- the first shell: decisions --------------------------------------------------------------------

    def _decide(
        self, shell: int, token: int, operation: int, request: tuple[Any, ...], now: float, out: list[Effect]
    ) -> None:
        from fluxpmix.host.spawnrequest import read  # late: most jobs spawn nothing

        proc, directives, apps = request
        try:
            if operation == RELEASE:
                out.append(
                    Withdraw(self._planner.held(find(directives, attributes.ALLOC_ID)), f"{proc} has released it")
                )
                self._answer(shell, token, SUCCESS, "", out)
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
            self._answer(shell, token, status, "", out)
            return
        one = _Pending(launch, shell, token, deadline)
        one.limit = wanted.job_timeout
        self._open(one, now, out)

    def _open(self, one: _Pending, now: float, out: list[Effect]) -> None:
        launch = one.launch
        self._pending[launch.first] = one
        self._launches[launch.first] = launch
        self._add(launch, now, out)
        one.awaited = set(self._others(launch)) - self._lost
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
            self._answer(waiting.shell, waiting.token, int(Status.ERR_JOB_FAILED_TO_LAUNCH), "", out)
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
        self._open(_Pending(launch, self._me, 0, None, ticket), now, out)

    def withdrawn(self, ticket: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """A job that was submitted does not come, or has ended before it was there."""
        waiting = self._submissions.waiting.pop(ticket, None)
        if waiting is not None:
            what = "PMIx_Allocation_request" if waiting.holds else "PMIx_Spawn"
            out.append(Log(Level.WARNING, f"{what} by {waiting.asker}: {why}"))
            self._answer(waiting.shell, waiting.token, status, "", out)
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
        one.awaited = set(there) - self._lost
        self._spread.send(
            None if launch.place is None else there, (REGISTER, first, (*pack_launch(self._job, launch), packed)), out
        )
        self._planner.told.append(launch)
        if self._place is not None and launch.place is not None:
            lost = tuple(sorted(self._lost))
            ended = tuple(sorted(self._ended()))
            world = World(self._job, self._place, tuple(self._planner.told), packed, lost, ended, self._moves)
            one.world = world.encode()
        out.append(Register(one.launch, packed))

    def _arrived(self, shell: int, first: int, step: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """A shell has done a step, or could not."""
        one = self._pending.get(first)
        if one is None or step != one.step or shell not in one.awaited:
            return
        if status != SUCCESS:
            self._fail(one, status, f"{self._directory.nodes[shell].hostname}: {why}" if why else "", now, out)
            return
        one.awaited.discard(shell)
        if one.awaited:
            return
        if step == REGISTER:
            one.step = START
            one.awaited = {node.id for node in one.launch.job.nodes if len(one.launch.job.ranks(node.id))} - self._lost
            self._spread.send(None, (START, first, None), out)
            self._step(START, one.launch, now, out)
            if one.launch.place is not None:
                out.append(Welcome(one.launch, one.world))
            return
        del self._pending[first]
        self._limits.begin(first, one.limit, now)
        self._answer(one.shell, one.token, SUCCESS, one.launch.job.nspace, out)

    def _fail(self, one: _Pending, status: int, why: str, now: float, out: list[Effect]) -> None:
        """Undo a launch on all shells, and say why."""
        first = one.launch.first
        del self._pending[first]
        if why:
            out.append(Log(Level.WARNING, f"PMIx_Spawn by {one.launch.asker}: {why}"))
        self._spread.send(None, (DROP, first, None), out)
        self._step(DROP, one.launch, now, out)
        self._answer(one.shell, one.token, status, "", out)
        if one.ticket is not None:
            out.append(Withdraw(one.ticket, why or "it could not be started"))

    def _answer(self, shell: int, token: int, status: int, nspace: str, out: list[Effect]) -> None:
        if shell == self._me:
            self._answered(token, status, nspace, out)
            return
        block = (self._me, wire.encode(nspace))
        self._send(shell, Message(Tag.SPAWNED, 0, token, NO_DIGEST, status, (block,)), out)

    # -- every shell: the steps of a launch ------------------------------------------------------------

    def _step(self, step: int, launch: Launch, now: float, out: list[Effect]) -> None:
        first = launch.first
        if step == START:
            self._started.add(first)
            if launch.place is None and len(launch.job.ranks(self._me)):
                out.append(Start(launch))
        else:
            del self._launches[first]
            if launch.place is not None:
                if self._me >= launch.base:
                    return  # its own shells: Flux ends the job
                self._started.discard(first)
            if first not in self._started:
                self._remove(launch)
                self._planner.told = [each for each in self._planner.told if each is not launch]
            out.append(Drop(launch, first in self._started))

    def done(self, first: int, step: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """The carrier has registered a job or started its tasks here, or could not."""
        if self._me == FIRST_SHELL:
            self._arrived(self._me, first, step, status, why, now, out)
        else:
            block = (self._me, wire.encode(why))
            self._send(FIRST_SHELL, Message(Tag.LAUNCHED, step, first, NO_DIGEST, status, (block,)), out)

    def _end(self, launch: Launch, signum: Any, out: list[Effect]) -> None:
        """A job's time is up: signal its processes here."""
        if type(signum) is int and 0 < signum < 65:
            mine = tuple(launch.first + rank for rank in launch.job.ranks(self._me))
            self._timed_out(launch.first)
            if mine:
                out.append(Signal(signum, mine))

    def _tell_start(self, nspace: str, out: list[Effect]) -> None:
        """Tell the asker, which is of this shell, of the start of its job, if it wants that."""
        launch = next((each for each in self._launches.values() if each.job.nspace == nspace), None)
        if launch is not None and launch.job_events:
            infos = (Info(attributes.NSPACE, nspace), Info(attributes.EVENT_NON_DEFAULT, True))
            for status in (Status.EVENT_JOB_START, Status.LAUNCH_COMPLETE):
                out.append(told((launch.asker,), int(status), Proc(nspace, RANK_UNDEF), infos))

    # -- frames ----------------------------------------------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        try:
            if message.tag is Tag.LAUNCH:
                came = self._spread.take(source, message, out)
                return None if came is None else self._take(came[0], came[1], now, out)
            body: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"spawn: {error}"
        if message.tag is Tag.SPAWN:
            if self._me != FIRST_SHELL or message.operation not in (SPAWN, ALLOCATE, RELEASE) or not is_request(body):
                return "a spawn that asks for nothing, or of the wrong shell"
            self._decide(source, message.generation, message.operation, body, now, out)
            return None
        if message.status > 0 or type(body) is not str:
            return f"the outcome of a spawn with status {message.status}"
        if message.tag is Tag.SPAWNED:
            if source != FIRST_SHELL:
                return "the outcome of a spawn from a shell that does not decide"
            self._answered(message.generation, message.status, body, out)
        else:
            self._arrived(source, message.generation, message.operation, message.status, body, now, out)
        return None

    def _take(self, sender: int, content: tuple[int, int, Any], now: float, out: list[Effect]) -> str | None:
        if sender != FIRST_SHELL:
            return "a launch from a shell that does not decide"
        step, first, body = content
        launch = self._launches.get(first)
        if step != REGISTER:
            if launch is not None and step == END:
                self._end(launch, body, out)
            elif launch is not None:
                self._step(step, launch, now, out)
            return None
        try:
            *facts, packed = body
            launch = unpack_launch(self._job, first, facts)
            self._launches[first] = launch
            self._add(launch, now, out)
        except (TypeError, ValueError) as error:
            return f"a job that cannot be: {error}"
        out.append(Register(launch, packed))
        return None

    def _send(self, shell: int, message: Message, out: list[Effect]) -> None:
        if shell not in self._lost:
            out.append(Send(shell, encode(message)))

    # -- what happens ------------------------------------------------------------------------------------

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        self._spread.shell_lost(shell)
        if shell == FIRST_SHELL:
            for token in list(self._asked):
                self._answered(token, LOST, "", out)
        for one in list(self._pending.values()):
            if shell in one.awaited:
                self._fail(one, LOST, f"shell {shell} is lost", now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for first, signum in self._limits.due(now):
            launch = self._launches[first]
            if not set(range(first, first + launch.job.size)).issubset(self._ended()):
                self._spread.send(None, (END, first, signum), out)
                self._end(launch, signum, out)
        for ticket, waiting in list(self._submissions.waiting.items()):
            if waiting.deadline is not None and waiting.deadline <= now:
                out.append(Withdraw(ticket, "it has not started in the time that PMIx_Spawn was given"))
                why = "the job that was submitted for it has not started in time"
                self.withdrawn(ticket, int(Status.ERR_TIMEOUT), why, now, out)
        for one in list(self._pending.values()):
            if one.deadline is not None and one.deadline <= now:
                self._fail(one, int(Status.ERR_TIMEOUT), f"no answer from shell(s) {sorted(one.awaited)}", now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(upcall, status) for upcall, _ in self._asked.values())
        self._asked.clear()
        tickets = [one.ticket for one in self._pending.values() if one.ticket is not None]
        out.extend(Withdraw(each, "the job that spawns it is over") for each in (*self._submissions.waiting, *tickets))
        self._submissions.waiting.clear()
        self._pending.clear()

    def adopt(self, launch: Launch, now: float, out: list[Effect]) -> None:
        """A shell that joins the others learns of a job that is there, or of its own."""
        self._launches[launch.first] = launch
        self._started.add(launch.first)
        self._add(launch, now, out)


def _is_step(body: Any) -> bool:
    return type(body) is tuple and len(body) == 3 and body[0] in (REGISTER, START, DROP, END) and type(body[1]) is int
