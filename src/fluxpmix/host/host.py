"""The host: what one shell decides. Fed events, it answers with effects; it only routes.

`shell/base.py` drives it. It owns no socket, thread, task or clock: every method takes the time (`now`,
monotonic seconds) and returns a list of effects in the order in which they must happen. A capability is a
file beside this one and a line in `capabilities.py`. What comes of effects is told to `outcomes.py`.
"""

from __future__ import annotations

from fluxpmix.host import capabilities, frames
from fluxpmix.host.capabilities import LISTENERS, ORDER, RECEIVERS, SERVERS
from fluxpmix.host.collective import Collectives
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Buffer, Effect, Launch, Level, Log, Place, Raise, Reply, Send
from fluxpmix.host.frames import FrameError, Message, Tag
from fluxpmix.host.life import Life
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Infos, Proc
from fluxpmix.pmix.upcalls import Abort, ClientConnected, ClientFinalized, Upcall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from fluxpmix.host.capability import Capability
    from fluxpmix.host.outcomes import Outcomes
    from fluxpmix.host.sized import Appetite
    from fluxpmix.host.world import World
    from fluxpmix.job.model import Job

    C = TypeVar("C", bound=Capability)

_COMPLAINTS = 20  # bad frames that are logged; all are counted


class Host:
    """The PMIx host of one shell of a job."""

    def __init__(
        self,
        job: Job,
        shell_rank: int,
        *,
        fanout: int = 16,
        default_timeout: float | None = None,
        exchange: str = "tree",
        appetite: Appetite | None = None,
        directory: Directory | None = None,
        oversubscribe: bool = False,
        sees_all_output: bool = False,
        stop: str | None = None,
        scheduler: bool = False,
        owner: tuple[int, int] = (0, 0),
        key: bytes = b"",
        place: Place | None = None,
        world: World | None = None,
        spawn_jobs: bool = False,
        alert: float = 0.0,
        no_restarts: str = "",
        holds: bool = False,
    ) -> None:
        """`exchange` is how collectives with data move (`collective.EXCHANGES`), `fanout` the tree's, `appetite`
        how much data this shell wants to have before they move among peers.

        Many hosts of one job in one process may share a `directory`. `oversubscribe` is whether spawned processes may
        be more than there are slots. `alert` is how long before the job's time is up (`time_limit`) processes are told
        of that (seconds; 0: never).
        `sees_all_output`: `task_output` tells of the tasks of all shells, not of this one's alone.
        `scheduler`: there is one that can be asked (`Enquire`). `stop` is where processes wait for a debugger
        (`debug.STOPS`), `owner` the job's user and group, and `key` random bytes of this shell's own, that sign what
        it says of them.
        `place` is where the shells of a Flux job are reached; `world` is what the shells of one join that was spawned,
        with `job` the first of that world (`world.py`). `spawn_jobs`: all that is spawned is a Flux job of its own.
        `no_restarts` is why the job's own tasks cannot be started again, empty where they can (`restart.py`); `holds`:
        the carrier holds tasks back that have failed, until all have ended.
        """
        # What `capabilities.py` makes capabilities of.
        self.job = job
        self.rank = shell_rank
        self.home = job if world is None else world.own.job  # the Flux job that this shell is of
        self.fanout = fanout
        self.exchange = exchange
        self.default_timeout = default_timeout
        self.ends_at: float | None = None
        self.alert = alert
        self.oversubscribe = oversubscribe
        self.sees_all_output = sees_all_output
        self.stop = stop
        self.scheduler = scheduler
        self.owner = owner
        self.key = key
        self.place = place if world is None else world.place
        self.spawn_jobs = spawn_jobs
        self.no_restarts = no_restarts
        self.holds = holds
        self.directory = directory or Directory(job)  # the jobs and processes that are known here
        self.collectives = Collectives(self.directory, shell_rank, fanout, exchange, appetite)
        self._life = Life()
        self._made: dict[Callable[[Host], Any], Any] = {}  # by what makes them
        self._present: tuple[Capability, ...] = ()  # the same, as `capabilities.py` orders them
        self._now = 0.0
        self._out: list[Effect] = []  # of the step under way
        self._bad_frames = 0
        self._outcomes: Outcomes | None = None  # since there are any
        # Those that act without being asked.
        self._events = self.get(capabilities.events)
        self._failures = self.get(capabilities.failures)
        if len(job.apps) > 1:
            self.get(capabilities.datastore)
        if job.psets:
            self.get(capabilities.process_sets)
        if stop is not None:
            self.get(capabilities.debugging)
        if world is not None:
            self._adopt(world)

    # -- capabilities ------------------------------------------------------------------------------

    def get(self, make: Callable[[Host], C]) -> C:
        """Return a capability (one of `capabilities.py`); it is made when it is first asked for."""
        found: C | None = self._made.get(make)
        if found is None:
            found = self._made[make] = make(self)
            present = sorted(self._made, key=ORDER.__getitem__)
            self._present = tuple(self._made[each] for each in present)
            self._life.tell(found, self.directory, self.rank, self._now, self._out)
        return found

    def _there(self, make: Callable[[Host], C]) -> C | None:
        """Return a capability if it has been made."""
        return self._made.get(make)

    def _begin(self, now: float) -> list[Effect]:
        self._now, self._out = now, []
        return self._out

    @property
    def outcomes(self) -> Outcomes:
        """What is told of what came of effects."""
        if self._outcomes is None:
            from fluxpmix.host.outcomes import Outcomes

            self._outcomes = Outcomes(self, self._begin)
        return self._outcomes

    # -- what it is like ---------------------------------------------------------------------------

    @property
    def serves(self) -> frozenset[type[Upcall]]:
        """The upcalls that this host answers; libpmix says "not supported" to the others."""
        return frozenset((ClientConnected, ClientFinalized, *SERVERS))

    @property
    def decides(self) -> bool:
        """Whether it is this shell's turn to decide for all."""
        return self.get(capabilities.succession).first == self.rank

    @property
    def size(self) -> int:
        """How many shells there are, or were."""
        return self.directory.shell_count

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self.collectives.idle and all(one.idle for one in self._present)

    @property
    def stored(self) -> int:
        """How many published values this shell keeps."""
        store = self._there(capabilities.datastore)
        return 0 if store is None else store.stored

    @property
    def groups(self) -> dict[str, tuple[Proc, ...]]:
        """The members of each group that has a process of this shell, by name."""
        groups = self._there(capabilities.groups)
        return {} if groups is None else groups.groups

    @property
    def bound(self) -> int:
        """How many groups and connections have a process of this shell."""
        connections = self._there(capabilities.connections)
        return len(self.groups) + (0 if connections is None else connections.sets)

    @property
    def awaits_output(self) -> bool:
        """Whether output of other shells' tasks is still to come that somebody here listens to."""
        forwarding = self._there(capabilities.forwarding)
        return forwarding is not None and forwarding.awaits_output

    @property
    def tools(self) -> int:
        """How many tools are connected to this shell."""
        tools = self._there(capabilities.tools)
        return 0 if tools is None else len(tools.connected_tools)

    def partners(self, number: int) -> Sequence[Proc]:
        """Return those of this shell's processes that are connected to one of another job."""
        connections = self._there(capabilities.connections)
        return () if connections is None else connections.partners(number)

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called, None for never."""
        first = self.collectives.deadline
        for one in self._present:
            moment = one.deadline
            if moment is not None and (first is None or moment < first):
                first = moment
        return first

    @property
    def counters(self) -> dict[str, int]:
        """How often what happened: collectives, frames retired and refused, and what the capabilities count."""
        found = dict(self.collectives.counters)
        for one in self._present:
            found.update(one.counters)
        return {**found, "malformed": self._bad_frames}

    # -- what happens ------------------------------------------------------------------------------

    def time_limit(self, ends_at: float | None, now: float) -> None:
        """The job's time is up at `ends_at` from now on; None: never."""
        self.ends_at = ends_at
        if self.alert and ends_at is not None:
            self.get(capabilities.time_alerts)
        alerts = self._there(capabilities.time_alerts)
        if alerts is not None:
            alerts.limit(ends_at, now)
        queries = self._there(capabilities.queries)
        if queries is not None:
            queries.answers.ends_at = ends_at

    def upcall(self, upcall: Upcall, now: float) -> list[Effect]:
        """Take a request of this shell's libpmix."""
        out = self._begin(now)
        if isinstance(upcall, ClientConnected | ClientFinalized):
            out.append(Reply(upcall.id, Status.SUCCESS))
            if self.directory.get(upcall.proc.nspace) is not None:
                self._came_or_went(upcall, now, out)
            elif isinstance(upcall, ClientFinalized):
                self._tool_left(upcall.proc, now, out)
        elif (make := SERVERS.get(type(upcall))) is not None:
            self.get(make).upcall(upcall, now, out)
            self._act(out)
            if isinstance(upcall, Abort) and any(isinstance(effect, Raise) for effect in out):
                self._failures.aborting(upcall.proc)
        else:
            out.append(Reply(upcall.id, Status.ERR_NOT_SUPPORTED))
        return out

    def receive(self, source: int, frame: Buffer, now: float) -> list[Effect]:
        """Take a frame of peer shell `source`. One that makes no sense is counted, logged and dropped."""
        out = self._begin(now)
        try:
            if not (0 <= source < self.size and source != self.rank):
                raise FrameError(f"there is no peer shell {source}")
            message = frames.decode(frame, self.size)
            if message.tag is Tag.DIED:
                self._peer_died(source, message, out)
                return out
            make = RECEIVERS.get(message.tag)
            if make is not None:
                complaint = self.get(make).receive(source, message, now, out)
            else:
                complaint = self.collectives.receive(source, message, frame, out)
            if complaint is not None:
                raise FrameError(complaint)
            self._act(out)
        except FrameError as error:
            self._refuse(source, error, out)
        return out

    def task_started(self, rank: int, pid: int, now: float) -> list[Effect]:
        """The task with number `rank`, of this shell, runs as process `pid`."""
        out = self._begin(now)
        self._life.pids[rank] = pid
        self._failures.started_first(out)
        for one in self._present:
            one.started(rank, pid)
        self._act(out)
        return out

    def task_output(self, number: int, channel: int, data: Buffer, now: float) -> list[Effect]:
        """Task `number` of this shell printed `data`; nothing: that stream is at its end, to be told in any case."""
        out = self._begin(now)
        if data:
            self.get(capabilities.forwarding).output(number, channel, data, out)
            return out
        self._life.silent.append((number, channel))
        for one in self._present:
            one.silent(number, channel, out)
        return out

    def task_exited(self, rank: int, wait_status: int, now: float) -> list[Effect]:
        """The task with number `rank`, of this shell, is gone.

        One that had not finalized is announced to the other shells at once; others only answer for
        it when they are asked (a job's ordinary end costs no message).
        """
        out = self._begin(now)
        self.ended(rank, wait_status, now, out)
        return out

    def ended(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        """Do what the end of a task asks for."""
        restarts = self._there(capabilities.restarts)
        replaced = restarts is not None and restarts.replaces(rank)
        self._life.ended[rank] = wait_status
        if rank in self._life.connected and rank not in self._life.finalized:
            frame = frames.encode(Message(Tag.DIED, 0, 0, frames.NO_DIGEST, 0, ((self.rank, rank.to_bytes(4, "big")),)))
            out.extend(Send(shell, frame) for shell in range(self.size) if shell != self.rank)
        self.collectives.died(rank, out)
        for one in self._present:
            (one.replaced if replaced else one.exited)(rank, wait_status, now, out)

    def connection_lost(self, proc: Proc, now: float) -> list[Effect]:
        """A peer of this shell's libpmix has hung up: a task, which is heard of otherwise too, or a tool."""
        out = self._begin(now)
        self._tool_left(proc, now, out)
        return out

    def shell_lost(self, shell: int, reason: str, now: float) -> list[Effect]:
        """Peer `shell` is gone for good."""
        out = self._begin(now)
        level = Level.DEBUG if self._failures.has_left(shell, now, out) else Level.NOTICE
        out.append(Log(level, f"lost shell {shell}: {reason}"))
        self._life.lost.append(shell)
        self.collectives.shell_lost(shell, out)
        for one in self._present:
            one.shell_lost(shell, now, out)
        return out

    def tick(self, now: float) -> list[Effect]:
        """Let deadlines that have passed take effect."""
        out = self._begin(now)
        self.collectives.tick(now, out)
        for one in self._present:
            one.tick(now, out)
        return out

    def close(self, now: float) -> list[Effect]:
        """Answer whatever is still open: the job is over."""
        out = self._begin(now)
        self.collectives.abandon(int(Status.ERR_LOST_CONNECTION), out)
        for one in self._present:
            one.abandon(int(Status.ERR_LOST_CONNECTION), out)
        return out

    def _adopt(self, world: World) -> None:
        """Learn of all that was there before this shell, and of its own job."""
        out = self._begin(0.0)  # of which nothing is done: who is told of these things was there
        for launch in world.launches:
            self.get(capabilities.spawns).adopt(launch, 0.0, out)
        for shell in world.lost:
            self._life.lost.append(shell)
            self.collectives.shell_lost(shell, out)
            for one in self._present:
                one.shell_lost(shell, 0.0, out)
        self._failures.know(world.ended)
        for number in world.ended:
            self.collectives.died(number, out)

    # -- what capabilities ask for -----------------------------------------------------------------

    def on_event(self, status: int, source: Proc, infos: Infos) -> None:
        """An event of any process has come by."""
        make = LISTENERS.get(status)
        if make is not None:
            self.get(make).on_event(status, source, infos)

    def add_job(self, launch: Launch, now: float, out: list[Effect]) -> None:
        """Know a spawned job from now on."""
        self.get(capabilities.datastore)  # it counts the processes of each application, where there are several
        member = self.directory.add(launch.job, launch.first, launch.ordinal, launch.shells)
        for one in self._present:
            one.added(member, now, out)
        asker = launch.asker
        if self.directory.get(asker.nspace) is not None and not launch.holds:
            self.get(capabilities.connections).bind((asker, Proc(launch.job.nspace, RANK_WILDCARD)))
            if launch.notify and self.directory.is_on(self.directory.number(asker), self.rank):
                self._failures.watch(member, asker)

    def revive(self, number: int, out: list[Effect]) -> None:
        """Forget that a process has ended: it is about to start again."""
        self._life.forget(number)
        self.collectives.revived(number)
        for one in self._present:
            one.revived(number, out)

    def remove_job(self, launch: Launch) -> None:
        """Know it no longer: it came to nothing."""
        member = self.directory.get(launch.job.nspace)
        if member is not None:
            for one in self._present:
                one.removed(member)
            self.directory.remove(launch.job.nspace)

    # -- inside ------------------------------------------------------------------------------------

    def _act(self, out: list[Effect]) -> None:
        """Do what events that were heard of in this step ask for."""
        debugging = self._there(capabilities.debugging)
        if debugging is not None:
            debugging.act(out)

    def _came_or_went(self, upcall: ClientConnected | ClientFinalized, now: float, out: list[Effect]) -> None:
        rank = self.directory.number(upcall.proc)
        if isinstance(upcall, ClientConnected):
            self._life.connected.add(rank)
            self._life.finalized.discard(rank)
            self.collectives.arrived(rank)
            for one in self._present:
                one.connected(rank)
        else:
            self._life.finalized.add(rank)
            for one in self._present:
                one.finalized(rank, now, out)

    def _tool_left(self, proc: Proc, now: float, out: list[Effect]) -> None:
        monitors, tools = self._there(capabilities.monitors), self._there(capabilities.tools)
        if monitors is not None:
            monitors.ended(proc)
        if tools is not None and tools.left(proc, out):
            forwarding = self._there(capabilities.forwarding)
            if forwarding is not None:
                forwarding.tool_left(self.tools, out)

    def _peer_died(self, source: int, message: Message, out: list[Effect]) -> None:
        blob = message.blocks[0][1] if len(message.blocks) == 1 else b""
        rank = int.from_bytes(blob, "big") if len(blob) == 4 else -1
        if not self.directory.is_on(rank, source):
            raise FrameError("the death of a process that is not the sender's")
        self.collectives.died(rank, out)

    def _refuse(self, source: int, error: FrameError, out: list[Effect]) -> None:
        self._bad_frames += 1
        if self._bad_frames <= _COMPLAINTS:
            out.append(Log(Level.WARNING, f"dropped a frame from shell {source}: {error}"))
