"""PMIx_Spawn: new jobs, started by the shells that run. Standard 4.2, section 11.2, and 17.3.13.

`host.py` hands over each Spawn upcall. The first shell decides (`deciding.py`), or whose turn it is when the first job
is over (`succession.py`). All shells learn of the job and register it with their libpmix, for any process may come to
talk to it; when all have, those with processes of it start them; when they have, the asker is answered. A spawned job
counts as connected to its parent: each hears of the other's failures.

    SPAWN     to the first shell; operation: what; generation: the asker's token; block: proc, directives, apps
    SPAWNED   from it; generation: the token; status; block: the namespace
    LAUNCH    to all shells (`spread.py`): step, first number, and for REGISTER all that there is to know
    LAUNCHED  to the first shell; generation: first number; operation: the step; status; block: why not
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.deciding import ALLOCATE, DROP, END, LOST, REGISTER, RELEASE, SPAWN, START, SUCCESS, WARN, Deciding
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Drop, Effect, Launch, Level, Log, Place, Register, Reply, Send, Signal, Start
from fluxpmix.host.event import told
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.spawnask import is_request, portable
from fluxpmix.host.spawnask import packed as packed_app
from fluxpmix.host.spawnplan import Planner
from fluxpmix.host.spread import Spread
from fluxpmix.host.succession import Succession
from fluxpmix.host.world import unpack_launch
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_UNDEF, AppSpec, Info, Infos, Proc
from fluxpmix.pmix.upcalls import Spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.upcalls import Allocate, SessionControl


class _Asked:
    """A request of a process of this shell: what the first shell is asked, and what goes with an allocation."""

    __slots__ = ("echo", "known", "operation", "request", "shell", "upcall")

    def __init__(self, upcall: int, operation: int, request: tuple[Any, ...], echo: Infos | None, known: int) -> None:
        self.upcall = upcall
        self.operation = operation
        self.request = request
        self.echo = echo
        self.known = known  # numbers from here on are given later
        self.shell = -1  # that is asked


class Spawns(Capability):
    """The spawns of one shell: what its processes ask, what all are told."""

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
        succession: Succession,
        ended: Callable[[], Sequence[int]] = tuple,
        timed_out: Callable[[int], None] = lambda _first: None,
        place: Place | None = None,
        moves: tuple[int, str] = (16, "tree"),
        as_jobs: bool = False,
        alert: float = 0.0,
    ) -> None:
        """`running(shell)` counts what runs on a shell; `add` and `remove` make a job known and forgotten.

        `ended()` are the processes that have ended, `timed_out(first)` hears of jobs whose time is up; `place` is
        where the first job is reached (`submission.py`); `moves` are the fan-out and the exchange of all
        collectives; `as_jobs`: all that is spawned is a Flux job of its own; `alert` is how long before the end of its
        time a job is told of that.
        """
        self._directory = directory
        self._job = job
        self.me = me
        self.add = add
        self._remove = remove
        self._succession = succession
        self._ended = ended
        self._timed_out = timed_out
        self.spread = Spread(Tag.LAUNCH, me, directory, fanout, _is_step)
        self._asked: dict[int, _Asked] = {}  # by token
        self._early: list[tuple[int, int, int, tuple[Any, ...]]] = []  # what this shell is asked before its turn
        self._deciders: dict[int, int] = {}  # by first number: who has decided on the job
        self._tokens = 0
        self.launches: dict[int, Launch] = {}  # by first number: not over, as far as this shell knows
        self._started: set[int] = set()
        self.lost: set[int] = set()
        self._planner = Planner(directory, job, oversubscribe, running, self.lost, me > 0)
        self.deciding = Deciding(self, directory, job, self._planner, ended, place, moves, as_jobs, alert)

    @property
    def idle(self) -> bool:
        return not self._asked and self.deciding.idle

    @property
    def deadline(self) -> float | None:
        return self.deciding.deadline

    # -- the asker's shell ---------------------------------------------------------------------------

    def upcall(self, upcall: Spawn, now: float, out: list[Effect]) -> None:
        """Have the first shell decide; the reply comes when the job runs."""
        try:
            request = (upcall.proc, portable(upcall.directives), tuple(map(packed_app, upcall.apps)))
            wire.encode(request)
        except wire.WireError as error:
            out.append(Log(Level.ERROR, f"spawn: {error}"))
            out.append(Reply(upcall.id, Status.ERR_BAD_PARAM))
            return
        self._ask(_Asked(upcall.id, SPAWN, request, None, self._directory.size), now, out)

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
        self._ask(_Asked(upcall.id, ALLOCATE, request, echo, self._directory.size), now, out)

    def release(self, upcall: Allocate, name: str, now: float, out: list[Effect]) -> None:
        """Have the Flux job end that holds an allocation."""
        request = (upcall.proc, (Info(attributes.ALLOC_ID, name),), ())
        self._ask(_Asked(upcall.id, RELEASE, request, (), self._directory.size), now, out)

    def _ask(self, asked: _Asked, now: float, out: list[Effect]) -> None:
        """Ask whose turn it is to decide."""
        asked.shell = self._succession.first
        leaves = self._succession.leaves(asked.shell)
        if asked.shell in self.lost and not leaves:
            out.append(Reply(asked.upcall, LOST))
            return
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        self._asked[self._tokens] = asked
        if leaves:
            return  # its successor will be asked
        if self.me == asked.shell:
            self.deciding.decide(self.me, self._tokens, asked.operation, asked.request, now, out)
        else:
            block = ((self.me, wire.encode(asked.request)),)
            self._send(asked.shell, Message(Tag.SPAWN, asked.operation, self._tokens, NO_DIGEST, 0, block), out)

    def _answered(self, token: int, status: int, nspace: str, out: list[Effect]) -> None:
        asked = self._asked.pop(token, None)
        if asked is None:
            return
        upcall, echo = asked.upcall, asked.echo
        if status != SUCCESS:
            out.append(Reply(upcall, status))
        elif echo is None:
            self._tell_start(nspace, out)
            out.append(Reply(upcall, status, nspace))
        else:
            out.append(Reply(upcall, status, (Info(attributes.ALLOC_ID, nspace), *echo) if nspace else echo))

    def answer(self, shell: int, token: int, status: int, nspace: str, out: list[Effect]) -> None:
        """As the first shell: say what became of a request of any shell."""
        if shell == self.me:
            self._answered(token, status, nspace, out)
            return
        block = (self.me, wire.encode(nspace))
        self._send(shell, Message(Tag.SPAWNED, 0, token, NO_DIGEST, status, (block,)), out)

    # -- every shell: the steps of a launch ------------------------------------------------------------

    def step(self, step: int, launch: Launch, now: float, out: list[Effect]) -> None:
        """Do here what all shells are told to do: start a job's tasks, or drop it."""
        first = launch.first
        if step == START:
            self._started.add(first)
            if launch.place is None and len(launch.job.ranks(self.me)):
                out.append(Start(launch))
        else:
            del self.launches[first]
            if launch.place is not None:
                if self.me >= launch.base:
                    return  # its own shells: Flux ends the job
                self._started.discard(first)
            if first not in self._started:
                self._remove(launch)
                self._planner.forget(launch)
            out.append(Drop(launch, first in self._started))

    def done(self, first: int, step: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """The carrier has registered a job or started its tasks here, or could not."""
        decider = self._deciders.get(first, self._succession.first)
        if self.me == decider:
            self.deciding.arrived(self.me, first, step, status, why, now, out)
        else:
            block = (self.me, wire.encode(why))
            self._send(decider, Message(Tag.LAUNCHED, step, first, NO_DIGEST, status, (block,)), out)

    def end(self, launch: Launch, signum: Any, out: list[Effect]) -> None:
        """A job's time is up: signal its processes here."""
        if type(signum) is int and 0 < signum < 65:
            mine = tuple(launch.first + rank for rank in launch.job.ranks(self.me))
            self._timed_out(launch.first)
            if mine:
                out.append(Signal(signum, mine))

    def warn(self, launch: Launch, left: Any, out: list[Effect]) -> None:
        """A job's time is nearly up: tell its processes here."""
        from fluxpmix.host.timealert import ALERT, facts  # late: most jobs have time

        numbers = set(range(launch.first, launch.first + launch.job.size)).difference(self._ended())
        mine = [Proc(launch.job.nspace, rank) for rank in launch.job.ranks(self.me) if launch.first + rank in numbers]
        if mine and type(left) is int:
            server = Proc(f"{self._job.nspace}.shell", self.me)
            out.append(told(mine, ALERT, server, facts([launch.job.nspace], left)))

    def _tell_start(self, nspace: str, out: list[Effect]) -> None:
        """Tell the asker, which is of this shell, of the start of its job, if it wants that."""
        launch = next((each for each in self.launches.values() if each.job.nspace == nspace), None)
        if launch is not None and launch.job_events:
            infos = (Info(attributes.NSPACE, nspace), Info(attributes.EVENT_NON_DEFAULT, True))
            for status in (Status.EVENT_JOB_START, Status.LAUNCH_COMPLETE):
                out.append(told((launch.asker,), int(status), Proc(nspace, RANK_UNDEF), infos))

    # -- frames ----------------------------------------------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        try:
            if message.tag is Tag.LAUNCH:
                came = self.spread.take(source, message, out)
                return None if came is None else self._take(came[0], came[1], now, out)
            body: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"spawn: {error}"
        if message.tag is Tag.SPAWN:
            leads = self._succession.leads(self.me)
            if not leads or message.operation not in (SPAWN, ALLOCATE, RELEASE) or not is_request(body):
                return "a spawn that asks for nothing, or of the wrong shell"
            self._early.append((source, message.generation, message.operation, body))
            self._decide_early(now, out)
            return None
        if message.status > 0 or type(body) is not str:
            return f"the outcome of a spawn with status {message.status}"
        if message.tag is Tag.SPAWNED:
            asked = self._asked.get(message.generation)
            if not self._succession.leads(source) or (asked is not None and asked.shell != source):
                return "the outcome of a spawn from a shell that does not decide"
            self._answered(message.generation, message.status, body, out)
        else:
            self.deciding.arrived(source, message.generation, message.operation, message.status, body, now, out)
        return None

    def _take(self, sender: int, content: tuple[int, int, Any], now: float, out: list[Effect]) -> str | None:
        if not self._succession.leads(sender):
            return "a launch from a shell that does not decide"
        step, first, body = content
        launch = self.launches.get(first)
        if step != REGISTER:
            if launch is not None and step == END:
                self.end(launch, body, out)
            elif launch is not None and step == WARN:
                self.warn(launch, body, out)
            elif launch is not None:
                self.step(step, launch, now, out)
            return None
        try:
            *facts, packed = body
            launch = unpack_launch(self._job, first, facts)
            self.launches[first] = launch
            self.add(launch, now, out)
            self._deciders[first] = sender
            self._planner.know(launch)
        except (TypeError, ValueError) as error:
            return f"a job that cannot be: {error}"
        out.append(Register(launch, packed))
        return None

    def _send(self, shell: int, message: Message, out: list[Effect]) -> None:
        if shell not in self.lost:
            out.append(Send(shell, encode(message)))

    # -- what happens ------------------------------------------------------------------------------------

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self.lost.add(shell)
        self.spread.shell_lost(shell)
        for first, decider in list(self._deciders.items()):
            if decider == shell and first in self.launches and first not in self._started:
                self.step(DROP, self.launches[first], now, out)  # nobody will take it further
        for token, asked in list(self._asked.items()):
            if asked.shell in self.lost:
                self._ask_again(token, asked, now, out)
        self.deciding.shell_lost(shell, now, out)
        self._decide_early(now, out)

    def _ask_again(self, token: int, asked: _Asked, now: float, out: list[Effect]) -> None:
        """Who was asked is gone: ask its successor, unless a job may have come of it already."""
        proc = asked.request[0]
        begun = any(each.asker == proc and each.first >= asked.known for each in self.launches.values())
        if begun:
            self._answered(token, LOST, "", out)
        elif asked.shell != self._succession.first or not self._succession.leaves(asked.shell):
            del self._asked[token]
            self._ask(asked, now, out)

    def _decide_early(self, now: float, out: list[Effect]) -> None:
        """Decide on what this shell is asked, once it is its turn."""
        if self._early and self.me == self._succession.first:
            early, self._early = self._early, []
            for source, token, operation, request in early:
                self.deciding.decide(source, token, operation, request, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        self.deciding.tick(now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(asked.upcall, status) for asked in self._asked.values())
        self._asked.clear()
        self.deciding.abandon(out)

    def adopt(self, launch: Launch, now: float, out: list[Effect]) -> None:
        """A shell that joins the others learns of a job that is there, or of its own."""
        self.launches[launch.first] = launch
        self._started.add(launch.first)
        self.add(launch, now, out)
        self._planner.know(launch)


def _is_step(body: Any) -> bool:
    return (
        type(body) is tuple
        and len(body) == 3
        and body[0] in (REGISTER, START, DROP, END, WARN)
        and type(body[1]) is int
    )
