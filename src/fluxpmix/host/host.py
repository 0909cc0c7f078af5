"""The host: what one shell decides. Fed events, it answers with effects; it only routes.

`shell/base.py` drives it. It owns no socket, thread, task or clock: every method takes the time (`now`,
monotonic seconds) and returns a list of effects in the order in which they must happen. A capability is a
file beside this one and a line in `__init__`.
"""

from __future__ import annotations

from fluxpmix.host import frames
from fluxpmix.host.abort import Aborts
from fluxpmix.host.allocation import Allocations
from fluxpmix.host.capability import Capability
from fluxpmix.host.collective import Collectives
from fluxpmix.host.connect import Connections
from fluxpmix.host.control import JobControls
from fluxpmix.host.credential import Credentials
from fluxpmix.host.datastore import Datastore
from fluxpmix.host.debug import Debugging
from fluxpmix.host.directory import Directory
from fluxpmix.host.dmodex import DirectModexes
from fluxpmix.host.effects import Buffer, Effect, Launch, Level, Log, Raise, Reply, Send
from fluxpmix.host.event import Events
from fluxpmix.host.failure import Failures
from fluxpmix.host.fence import Fences
from fluxpmix.host.frames import FrameError, Message, Tag
from fluxpmix.host.group import Groups
from fluxpmix.host.iof import Forwarding
from fluxpmix.host.log import Logs
from fluxpmix.host.monitor import Monitors
from fluxpmix.host.pset import ProcessSets
from fluxpmix.host.query import Queries
from fluxpmix.host.sized import Appetite
from fluxpmix.host.spawn import Spawns
from fluxpmix.host.tool import Tools
from fluxpmix.job.model import Job
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Proc
from fluxpmix.pmix.upcalls import Abort, ClientConnected, ClientFinalized, Upcall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
        ends_at: float | None = None,
        exchange: str = "tree",
        appetite: Appetite | None = None,
        directory: Directory | None = None,
        oversubscribe: bool = False,
        sees_all_output: bool = False,
        stop: str | None = None,
        scheduler: bool = False,
        owner: tuple[int, int] = (0, 0),
        key: bytes = b"",
    ) -> None:
        """`exchange` is how collectives with data move (`collective.EXCHANGES`), `fanout` the tree's, `appetite`
        how much data this shell wants to have before they move among peers.

        `ends_at` is when the job's time is up (as `now`). Many hosts of one job in one process may share a
        `directory`. `oversubscribe` is whether spawned processes may be more than there are slots.
        `sees_all_output`: `task_output` tells of the tasks of all shells, not of this one's alone.
        `scheduler`: there is one that can be asked (`Enquire`). `stop` is where processes wait for a debugger
        (`debug.STOPS`), `owner` the job's user and group, and `key` random bytes of this shell's own, that sign what
        it says of them.
        """
        self._job = job
        self._me = shell_rank
        self._size = len(job.nodes)
        self._directory = directory or Directory(job)
        self._collectives = Collectives(self._directory, shell_rank, self._size, fanout, exchange, appetite)
        self._dmodex = DirectModexes(self._directory, shell_rank, default_timeout)
        # Those that reach over shells by themselves, and not by a collective.
        self._datastore = Datastore(self._directory, job, shell_rank, default_timeout)
        self._events = Events(self._directory, shell_rank, self._size, fanout)
        self._connections = Connections(self._collectives, self._directory, job, shell_rank, default_timeout)
        self._failures = Failures(
            self._events, self._directory, job, shell_rank, fanout, partners=self._connections.partners
        )
        self._spawns = Spawns(
            self._directory,
            job,
            shell_rank,
            fanout,
            oversubscribe=oversubscribe,
            running=self._failures.running,
            add=self._add_job,
            remove=self._remove_job,
        )
        self._tools = Tools(job, shell_rank)
        self._forwarding = Forwarding(self._directory, job, shell_rank, sees_all=sees_all_output)
        self._groups = Groups(self._collectives, self._directory, job, shell_rank, default_timeout)
        self._events.listeners.append(self._groups.heard)
        self._debugging = Debugging(self._events, self._directory, job, shell_rank, stop)
        self._monitors = Monitors(self._events, self._directory, Proc(f"{job.nspace}.shell", shell_rank))
        self._psets = ProcessSets(self._directory, job, shell_rank)
        self._queries = Queries(self._directory, shell_rank, ends_at, self._psets, self._groups, scheduler)
        self._reaching: tuple[Capability, ...] = (
            self._dmodex,
            self._datastore,
            self._queries,
            self._events,
            self._failures,
            JobControls(self._directory, shell_rank, self._psets, self._failures.killing),
            self._psets,
            self._connections,
            self._groups,
            self._spawns,
            self._tools,
            self._forwarding,
            self._debugging,
            Credentials(shell_rank, self._size, owner, key),
            Allocations(),
            self._monitors,
        )
        self._capabilities: dict[type[Upcall], Any] = {
            upcall: capability
            for capability in (
                Fences(self._collectives, default_timeout),
                Aborts(self._directory),
                Logs(self._directory),
                *self._reaching,
            )
            for upcall in capability.serves
        }
        self._receivers = {tag: capability for capability in self._reaching for tag in capability.takes}
        self._connected: set[int] = set()
        self._finalized: set[int] = set()
        self._bad_frames = 0

    # -- what it is like ---------------------------------------------------------------------------

    @property
    def serves(self) -> frozenset[type[Upcall]]:
        """The upcalls that this host answers; libpmix says "not supported" to the others."""
        return frozenset((ClientConnected, ClientFinalized, *self._capabilities))

    @property
    def directory(self) -> Directory:
        """The jobs and processes that are known here."""
        return self._directory

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return self._collectives.idle and all(one.idle for one in self._reaching)

    @property
    def stored(self) -> int:
        """How many published values this shell keeps."""
        return self._datastore.stored

    @property
    def groups(self) -> dict[str, tuple[Proc, ...]]:
        """The members of each group that has a process of this shell, by name."""
        return self._groups.groups

    @property
    def bound(self) -> int:
        """How many groups and connections have a process of this shell."""
        return len(self._groups.groups) + self._connections.sets

    @property
    def awaits_output(self) -> bool:
        """Whether output of other shells' tasks is still to come that somebody here listens to."""
        return self._forwarding.awaits_output

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called, None for never."""
        first = self._collectives.deadline
        for one in self._reaching:
            moment = one.deadline
            if moment is not None and (first is None or moment < first):
                first = moment
        return first

    @property
    def counters(self) -> dict[str, int]:
        """How often what happened: collectives, modex requests and publications, frames retired and refused."""
        return {
            **self._collectives.counters,
            **self._dmodex.counters,
            **self._datastore.counters,
            **self._events.counters,
            "malformed": self._bad_frames,
        }

    # -- what happens ------------------------------------------------------------------------------

    def time_limit(self, ends_at: float | None) -> None:
        """The job's time is now up at `ends_at`; None: never."""
        self._queries.answers.ends_at = ends_at

    def upcall(self, upcall: Upcall, now: float) -> list[Effect]:
        """Take a request of this shell's libpmix."""
        out: list[Effect] = []
        if isinstance(upcall, ClientConnected | ClientFinalized):
            out.append(Reply(upcall.id, Status.SUCCESS))
            if self._directory.get(upcall.proc.nspace) is not None:
                self._came_or_went(upcall, now, out)
            elif isinstance(upcall, ClientFinalized):
                self._tool_left(upcall.proc, now, out)
        elif (capability := self._capabilities.get(type(upcall))) is not None:
            capability.upcall(upcall, now, out)
            self._forwarding.tools = len(self._tools.connected_tools)
            self._debugging.act(out)
            if isinstance(upcall, Abort) and any(isinstance(effect, Raise) for effect in out):
                self._failures.aborting(upcall.proc)
        else:
            out.append(Reply(upcall.id, Status.ERR_NOT_SUPPORTED))
        return out

    def receive(self, source: int, frame: Buffer, now: float) -> list[Effect]:
        """Take a frame of peer shell `source`. One that makes no sense is counted, logged and dropped."""
        out: list[Effect] = []
        try:
            if not (0 <= source < self._size and source != self._me):
                raise FrameError(f"there is no peer shell {source}")
            message = frames.decode(frame, self._size)
            if message.tag is Tag.DIED:
                self._peer_died(source, message, out)
                return out
            receiver = self._receivers.get(message.tag)
            if receiver is not None:
                complaint = receiver.receive(source, message, now, out)
            else:
                complaint = self._collectives.receive(source, message, frame, out)
            if complaint is not None:
                raise FrameError(complaint)
            self._debugging.act(out)
        except FrameError as error:
            self._refuse(source, error, out)
        return out

    def prepared(self, first: int, packed: bytes, status: int, why: str, now: float) -> list[Effect]:
        """What a `Prepare` asked for is there; `status` and `why` say how that went."""
        out: list[Effect] = []
        self._spawns.prepared(first, packed, status, why, now, out)
        return out

    def launched(self, first: int, step: int, status: int, why: str, now: float) -> list[Effect]:
        """A `Register` (step 1) or `Start` (step 2) of the job with that first number is done, or failed."""
        out: list[Effect] = []
        self._spawns.done(first, step, status, why, now, out)
        return out

    def task_started(self, rank: int, pid: int, now: float) -> list[Effect]:
        """The task with number `rank`, of this shell, runs as process `pid`."""
        out: list[Effect] = []
        self._failures.started_first(out)
        for one in self._reaching:
            one.started(rank, pid)
        self._debugging.act(out)
        return out

    def task_output(self, number: int, channel: int, data: Buffer, now: float) -> list[Effect]:
        """Task `number` of this shell printed `data`; nothing: that stream is at its end, to be told in any case."""
        out: list[Effect] = []
        self._forwarding.output(number, channel, data, out)
        return out

    def looked(self, number: int, found: tuple[int, int, int] | None, now: float) -> list[Effect]:
        """Take what came of a `Look`: size and times (ns) of last access and change; None: there is no such file."""
        out: list[Effect] = []
        self._monitors.looked(number, found, out)
        return out

    def heard(self, number: int, size: int | None, now: float) -> list[Effect]:
        """Take what came of a `Heed`: the bytes that came from a process; None: nobody can tell."""
        out: list[Effect] = []
        self._monitors.heard(number, size, out)
        return out

    def fed(self, token: tuple[int, int], status: int, now: float) -> list[Effect]:
        """Take what came of a `Feed`."""
        out: list[Effect] = []
        self._forwarding.fed(token, status, now, out)
        return out

    def task_exited(self, rank: int, wait_status: int, now: float) -> list[Effect]:
        """The task with number `rank`, of this shell, is gone.

        One that had not finalized is announced to the other shells at once; others only answer for
        it when they are asked (a job's ordinary end costs no message).
        """
        out: list[Effect] = []
        if rank in self._connected and rank not in self._finalized:
            frame = frames.encode(Message(Tag.DIED, 0, 0, frames.NO_DIGEST, 0, ((self._me, rank.to_bytes(4, "big")),)))
            out.extend(Send(shell, frame) for shell in range(self._size) if shell != self._me)
        self._collectives.died(rank, out)
        for one in self._reaching:
            one.exited(rank, wait_status, now, out)
        return out

    def connection_lost(self, proc: Proc, now: float) -> list[Effect]:
        """A peer of this shell's libpmix has hung up: a task, which is heard of otherwise too, or a tool."""
        out: list[Effect] = []
        self._tool_left(proc, now, out)
        return out

    def shell_lost(self, shell: int, reason: str, now: float) -> list[Effect]:
        """Peer `shell` is gone for good."""
        out: list[Effect] = [Log(Level.NOTICE, f"lost shell {shell}: {reason}")]
        self._collectives.shell_lost(shell, out)
        for one in self._reaching:
            one.shell_lost(shell, now, out)
        return out

    def modex_ready(self, token: int, status: int, data: bytes, now: float) -> list[Effect]:
        """Take libpmix's answer to a `RequestModex`."""
        out: list[Effect] = []
        self._dmodex.modex_ready(token, status, data, now, out)
        return out

    def measured(self, token: int, own: int, tasks: tuple[tuple[int, int], ...], now: float) -> list[Effect]:
        """Take what came of a `Measure`: the bytes that this shell has, and its tasks by number."""
        out: list[Effect] = []
        self._queries.measured(token, own, tasks, now, out)
        return out

    def enquired(self, token: int, text: str | None, now: float) -> list[Effect]:
        """Take what came of an `Enquire`; None: nobody knows."""
        out: list[Effect] = []
        self._queries.enquired(token, text, now, out)
        return out

    def tick(self, now: float) -> list[Effect]:
        """Let deadlines that have passed take effect."""
        out: list[Effect] = []
        self._collectives.tick(now, out)
        for one in self._reaching:
            one.tick(now, out)
        return out

    def close(self, now: float) -> list[Effect]:
        """Answer whatever is still open: the job is over."""
        out: list[Effect] = []
        self._collectives.abandon(int(Status.ERR_LOST_CONNECTION), out)
        for one in self._reaching:
            one.abandon(int(Status.ERR_LOST_CONNECTION), out)
        return out

    # -- inside ------------------------------------------------------------------------------------

    def _add_job(self, launch: Launch, now: float, out: list[Effect]) -> None:
        member = self._directory.add(launch.job, launch.first)
        for one in self._reaching:
            one.added(member, now, out)
        asker = launch.asker
        if self._directory.get(asker.nspace) is not None:
            self._connections.bind((asker, Proc(launch.job.nspace, RANK_WILDCARD)))
            if launch.notify and self._directory.is_on(self._directory.number(asker), self._me):
                self._failures.watch(member, asker)

    def _remove_job(self, launch: Launch) -> None:
        member = self._directory.get(launch.job.nspace)
        if member is not None:
            for one in self._reaching:
                one.removed(member)
            self._directory.remove(launch.job.nspace)

    def _came_or_went(self, upcall: ClientConnected | ClientFinalized, now: float, out: list[Effect]) -> None:
        rank = self._directory.number(upcall.proc)
        if isinstance(upcall, ClientConnected):
            self._connected.add(rank)
            self._finalized.discard(rank)
            for one in self._reaching:
                one.connected(rank)
        else:
            self._finalized.add(rank)
            for one in self._reaching:
                one.finalized(rank, now, out)

    def _tool_left(self, proc: Proc, now: float, out: list[Effect]) -> None:
        self._monitors.ended(proc)
        if self._tools.left(proc, out):
            self._forwarding.tool_left(len(self._tools.connected_tools), out)

    def _peer_died(self, source: int, message: Message, out: list[Effect]) -> None:
        blob = message.blocks[0][1] if len(message.blocks) == 1 else b""
        rank = int.from_bytes(blob, "big") if len(blob) == 4 else -1
        if not self._directory.is_on(rank, source):
            raise FrameError("the death of a process that is not the sender's")
        self._collectives.died(rank, out)

    def _refuse(self, source: int, error: FrameError, out: list[Effect]) -> None:
        self._bad_frames += 1
        if self._bad_frames <= _COMPLAINTS:
            out.append(Log(Level.WARNING, f"dropped a frame from shell {source}: {error}"))
