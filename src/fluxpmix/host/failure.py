"""Processes and nodes that end: the events by which the others hear of it. Standard 4.2, sections 9.1 and 3.1.

`host.py` tells what becomes of this shell's tasks and of its peers. The end of a process is told to those of
its own shell, and goes to the first shell, which tells all others over a tree (`spread.py`): a message a shell,
however many die at once. One that is gone without having finalized, by a signal or with an error is told at
once; those that follow within a moment go together, as do ordinary ends. When a whole job ends, no
process is left to tell, and nothing is sent.

    PMIX_ERR_PROC_ABORTED_BY_SIG  killed by a signal
    PMIX_ERR_PROC_TERM_WO_SYNC    it exited and had not called PMIx_Finalize
    PMIX_ERR_EXIT_NONZERO_TERM    it had, or was no client, but exited with an error
    PMIX_ERR_PROC_ABORTED         it called PMIx_Abort; or its node is lost: then also PMIX_EVENT_NODE_DOWN
    PMIX_EVENT_PROC_TERMINATED    an ordinary end
    PMIX_EVENT_JOB_END            all are gone: for tools at the first shell

Only what those who had to do with the process must act on goes to default handlers too. Where there are
several jobs, an end is told to the process's own and to those connected to it; the end of a spawned job to the
process that asked for that (PMIX_NOTIFY_COMPLETION).

    ENDS   (number, status, exit code, signal), ...: of the sender's processes
    ENDED  the same, of any
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory, Member
from fluxpmix.host.effects import Effect, JobEnded, Send
from fluxpmix.host.event import Events, told
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.spread import Spread
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_UNDEF, DataArray, DataType, Info, Infos, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

End: TypeAlias = tuple[int, int, int, int]  # number, status, exit code, signal (0: none)
# Returns those of this shell's processes that are connected to one of another job, by its number.
Partners: TypeAlias = Callable[[int], "Sequence[Proc]"]

ORDINARY = int(Status.EVENT_PROC_TERMINATED)
_BY_SIGNAL = int(Status.ERR_PROC_ABORTED_BY_SIG)
_UNFINALIZED = int(Status.ERR_PROC_TERM_WO_SYNC)
_NONZERO = int(Status.ERR_EXIT_NONZERO_TERM)
_BY_COMMAND = int(Status.ERR_PROC_KILLED_BY_CMD)
_TIMED_OUT = int(Status.ERR_TIMEOUT)
_ABORTED = int(Status.ERR_PROC_ABORTED)
_STATUSES = (ORDINARY, _BY_SIGNAL, _UNFINALIZED, _NONZERO, _ABORTED, _BY_COMMAND)
# Seconds that an ordinary end may wait for others, and that are between two messages of one shell.
_PATIENCE, _PAUSE = 0.02, 0.005


class Failures(Capability):
    """The ends that one shell sees and hears of."""

    def __init__(
        self,
        events: Events,
        directory: Directory,
        job: Job,
        me: int,
        fanout: int,
        partners: Partners = lambda _: (),
        to_the_last: bool = False,
    ) -> None:
        """`to_the_last`: every shell is to hear when all have ended, also where there is but one job."""
        self._events = events
        self._directory = directory
        self._server = f"{job.nspace}.shell"
        self._nspace = job.nspace
        self._job_started = False
        self._partners = partners
        self._to_the_last = to_the_last
        self._me = me
        self._spread = Spread(Tag.ENDED, me, directory, fanout, self._are_ends)
        self._first = 0  # the shell that tells all others
        self._lost: set[int] = set()
        self._clients: set[int] = set()  # of this shell: connected and not finalized
        self._aborting: set[int] = set()
        self._killed: set[int] = set()  # by job control
        self._alive = set(directory.numbers_on(me))
        self._ended: dict[int, None] = {}  # as this shell has heard of it, in that order
        self._left = {0: job.size}  # by job (its first number): processes that have not ended
        self._statuses: dict[int, tuple[int, int, int]] = {}  # by job, of the first failure: status, number, exit code
        self._watchers: dict[int, Proc] = {}  # by job: who wants to hear of its end
        self._own: list[End] = []
        self._untold: list[End] = []  # of this shell's, to its own processes
        self._unsent: list[End] = []  # to the first shell; there: to all others
        self._flush_at: float | None = None
        self._paused_until = float("-inf")

    @property
    def deadline(self) -> float | None:
        return self._flush_at

    @property
    def ended(self) -> Sequence[int]:
        """The processes that have ended, as far as and in the order in which that has been heard here."""
        return tuple(self._ended)

    def know(self, ended: Iterable[int]) -> None:
        """These ended before this shell was there."""
        for number in ended:
            self._ended[number] = None
            self._left[self._directory.member_of(number).first] -= 1

    def has_left(self, shell: int, now: float, out: list[Effect]) -> bool:
        """Whether a shell that is lost was one of another Flux job, and its processes have all ended: it may leave."""
        if max(shell, self._me) < len(self._directory.first.shells):
            return False
        self._flush(now, out)
        return self._ended.keys() >= set(self._directory.numbers_on(shell))

    def running(self, shell: int) -> int:
        """Count the processes of a shell that have not ended, as far as has been heard here."""
        return sum(number not in self._ended for number in self._directory.numbers_on(shell))

    # -- what happens ------------------------------------------------------------------------------

    def connected(self, rank: int) -> None:
        self._clients.add(rank)

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        self._clients.discard(rank)

    def aborting(self, proc: Proc) -> None:
        """A process of this shell called PMIx_Abort, and the job ends by that."""
        self._aborting.add(self._directory.number(proc))

    def killing(self, numbers: Iterable[int]) -> None:
        """Processes of this shell are killed or terminated by PMIx_Job_control."""
        self._killed.update(numbers)

    def started_first(self, out: list[Effect]) -> None:
        """A task of this shell runs: with the first, this shell's processes and tools hear that the job has started."""
        if not self._job_started:
            self._job_started = True
            infos = (Info(attributes.NSPACE, self._nspace), Info(attributes.EVENT_NON_DEFAULT, True))
            self._events.tell(int(Status.EVENT_JOB_START), Proc(self._nspace, RANK_UNDEF), infos, out)

    def timed_out(self, first: int) -> None:
        """The time of a spawned job is up: its processes are being ended."""
        if self._left.get(first):
            self._statuses.setdefault(first, (_TIMED_OUT, first, 0))

    def watch(self, member: Member, watcher: Proc) -> None:
        """Tell `watcher` when a spawned job has ended."""
        self._watchers[member.first] = watcher

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._alive.update(member.on(self._me))
        self._left[member.first] = member.job.size

    def removed(self, member: Member) -> None:
        self._alive.difference_update(member.on(self._me))
        self._left.pop(member.first, None)
        self._watchers.pop(member.first, None)

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._alive.discard(rank)
        end = self._end(rank, wait_status)
        self._own.append(end)
        self._untold.append(end)
        self._enter((end,), now, out)

    def replaced(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._alive.discard(rank)

    def revived(self, rank: int, out: list[Effect]) -> None:
        """Forget an end; who has not heard of it hears that it was an ordinary one."""
        member = self._directory.member_of(rank)
        if rank in self._ended:
            del self._ended[rank]
            self._left[member.first] += 1
            if self._statuses.get(member.first, (0, -1, 0))[1] == rank:
                del self._statuses[member.first]
        elif self._alive:
            self._tell(member, (rank, ORDINARY, 0, 0), out, "is started again")
        for ends in (self._own, self._untold, self._unsent):
            ends[:] = [end for end in ends if end[0] != rank]
        for those in (self._clients, self._aborting, self._killed):
            those.discard(rank)
        if self._directory.is_on(rank, self._me):
            self._alive.add(rank)

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.ENDED:
            came = self._spread.take(source, message, out)
            for end in () if came is None else came[1]:
                if not self._directory.is_on(end[0], self._me):  # it knew, and may have forgotten it since
                    self._hear(end, out)
            return None
        try:
            ends: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"ends of processes: {error}"
        if not self._are_ends(ends):
            return "ends of processes that are none"
        if not all(self._directory.is_on(end[0], source) for end in ends):
            return "the end of a process that is not the sender's"
        self._untold += ends
        self._enter(ends, now, out)
        return None

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        """A node is lost with all its processes: every shell hears of that by itself."""
        self._lost.add(shell)
        self._spread.shell_lost(shell)
        if shell == self._first:
            # What it had heard may have gone no further.
            self._first = min(set(range(self._directory.shell_count)) - self._lost)
            self._unsent = list(self._own)
            self._flush_at = now if self._unsent else None
        node, ranks = self._directory.nodes[shell], self._directory.numbers_on(shell)
        if self._alive and not self.has_left(shell, now, out):
            procs = DataArray(DataType.PROC, tuple(map(self._directory.proc, ranks)))
            infos = (
                Info(attributes.HOSTNAME, node.hostname),
                Info(attributes.NODEID, node.id),
                Info(attributes.EVENT_AFFECTED_PROCS, procs),
                Info(attributes.EVENT_NON_DEFAULT, True),
                Info(attributes.EVENT_TEXT_MESSAGE, f"node {node.hostname} is lost"),
            )
            self._events.tell(int(Status.EVENT_NODE_DOWN), Proc(self._server, shell), infos, out)
        for rank in ranks:
            self._hear((rank, _ABORTED, 0, 0), out, "is lost with its node")

    def tick(self, now: float, out: list[Effect]) -> None:
        if self._flush_at is not None and self._flush_at <= now:
            self._flush(now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        if len(self._left) > 1:  # others may stay for another job's processes, and must know of these
            self._flush(0.0, out)
        self._untold.clear()
        self._unsent.clear()
        self._flush_at = None

    # -- inside ------------------------------------------------------------------------------------

    @property
    def _alone(self) -> bool:
        """Whether nobody need hear that the job has ended: it is the only one."""
        return len(self._left) == 1 and not self._to_the_last

    def _end(self, rank: int, wait_status: int) -> End:
        signal, code = wait_status & 0x7F, wait_status >> 8 & 0xFF
        if rank in self._aborting:
            return rank, _ABORTED, 128 + signal if signal else code, signal
        if signal:
            return rank, _BY_COMMAND if rank in self._killed else _BY_SIGNAL, 128 + signal, signal
        if rank in self._clients:
            return rank, _UNFINALIZED, code, 0
        return rank, _NONZERO if code else ORDINARY, code, 0

    def _enter(self, ends: Iterable[End], now: float, out: list[Effect]) -> None:
        """Have ends told, at once where one is none of the ordinary."""
        self._unsent += ends
        when = now + _PATIENCE if all(end[1] == ORDINARY for end in ends) else max(now, self._paused_until)
        if not self._alive and len(self._directory.nodes) > len(self._directory.first.shells):
            when = now  # this shell is about to leave, and those of other Flux jobs may stay
        if self._flush_at is None or when < self._flush_at:
            self._flush_at = when
        if self._flush_at <= now:
            self._flush(now, out)

    def _flush(self, now: float, out: list[Effect]) -> None:
        self._flush_at = None
        self._paused_until = now + _PAUSE
        untold, self._untold = self._untold, []
        for end in untold:
            self._hear(end, out)
        unsent, self._unsent = tuple(self._unsent), []
        if self._alone and not any(self._left.values()):
            if self._me == self._first:
                self._tell_job_end(self._directory.first, out)
        elif self._me == self._first:
            self._spread.send(None, unsent, out)
        elif unsent:
            block = (self._me, wire.encode(unsent))
            out.append(Send(self._first, encode(Message(Tag.ENDS, 0, 0, NO_DIGEST, 0, (block,)))))

    def _hear(self, end: End, out: list[Effect], how: str | None = None) -> None:
        """Tell this shell's processes, if it has some yet and they have not been told; `how` where nobody saw it."""
        rank, status, code, _ = end
        if rank in self._ended:
            return
        self._ended[rank] = None
        try:
            member = self._directory.member_of(rank)
        except LookupError:  # of a job that came to nothing
            return
        if status != ORDINARY:
            self._statuses.setdefault(member.first, (status, rank, code))
        self._left[member.first] -= 1
        if self._alive:
            self._tell(member, end, out, how)
        if not self._left[member.first] and not self._alone:
            self._tell_job_end(member, out)

    def _tell(self, member: Member, end: End, out: list[Effect], how: str | None) -> None:
        rank, status, code, _ = end
        proc = Proc(member.job.nspace, rank - member.first)
        infos = [Info(attributes.EVENT_AFFECTED_PROC, proc)]
        if how is None:
            infos.append(Info(attributes.EXIT_CODE, code))
        infos += [
            Info(attributes.PROC_TERM_STATUS, status),
            Info(attributes.EVENT_TEXT_MESSAGE, f"rank {proc.rank} {how or _how(end)}"),
        ]
        if status in (ORDINARY, _NONZERO):
            infos.append(Info(attributes.EVENT_NON_DEFAULT, True))
        if status == ORDINARY:
            infos.append(Info(attributes.EVENT_DO_NOT_CACHE, True))  # or failures would be pushed out by them
        if len(self._left) == 1:
            self._events.tell(status, proc, tuple(infos), out)
            return
        peers = [self._directory.proc(number) for number in member.on(self._me) if number in self._alive]
        self._tell_some((*peers, *self._partners(rank)), status, proc, tuple(infos), out)

    def _tell_job_end(self, member: Member, out: list[Effect]) -> None:
        status, number, code = self._statuses.get(member.first, (0, 0, 0))
        who = Proc(member.job.nspace, RANK_UNDEF)
        infos = [
            Info(attributes.NSPACE, member.job.nspace),
            Info(attributes.JOB_TERM_STATUS, status),
            Info(attributes.EVENT_NON_DEFAULT, True),
        ]
        if status:
            infos += [Info(attributes.PROCID, self._directory.proc(number)), Info(attributes.EXIT_CODE, code)]
        if not self._alone:
            out.append(JobEnded(member.first))
        watcher = self._watchers.pop(member.first, None)
        if watcher is not None and self._directory.number(watcher) in self._alive:
            self._tell_some((watcher,), int(Status.EVENT_JOB_END), who, tuple(infos), out)
        elif len(self._left) == 1:
            self._events.tell(int(Status.EVENT_JOB_END), who, tuple(infos), out)

    def _tell_some(self, whom: Sequence[Proc], status: int, source: Proc, infos: Infos, out: list[Effect]) -> None:
        """Tell an event to these of this shell's processes, and nobody else."""
        if whom:
            out.append(told(whom, status, source, infos))

    def _are_ends(self, body: Any) -> bool:
        return type(body) is tuple and all(
            type(end) is tuple
            and list(map(type, end)) == [int] * 4
            and 0 <= end[0] < self._directory.size
            and end[1] in _STATUSES
            and 0 <= end[2] < 256
            and 0 <= end[3] < 128
            for end in body
        )


def _how(end: End) -> str:
    _, status, code, signal = end
    if status == _ABORTED:
        return "called PMIx_Abort"
    if signal:
        return f"was killed by signal {signal}"
    return f"exited with code {code}" + (" and had not finalized" if status == _UNFINALIZED else "")
