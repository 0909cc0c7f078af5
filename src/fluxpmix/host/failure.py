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

Only what those who had to do with the process must act on goes to default handlers too.

    ENDS   (rank, status, exit code, signal), ...: of the sender's processes
    ENDED  the same, of any
"""

from __future__ import annotations

from collections.abc import Iterable

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.effects import Effect, Send
from fluxpmix.host.event import Events
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.spread import Spread
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_UNDEF, DataArray, DataType, Info, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

End: TypeAlias = tuple[int, int, int, int]  # rank, status, exit code, signal (0: none)

ORDINARY = int(Status.EVENT_PROC_TERMINATED)
_BY_SIGNAL = int(Status.ERR_PROC_ABORTED_BY_SIG)
_UNFINALIZED = int(Status.ERR_PROC_TERM_WO_SYNC)
_NONZERO = int(Status.ERR_EXIT_NONZERO_TERM)
_ABORTED = int(Status.ERR_PROC_ABORTED)
_STATUSES = (ORDINARY, _BY_SIGNAL, _UNFINALIZED, _NONZERO, _ABORTED)
# Seconds that an ordinary end may wait for others, and that are between two messages of one shell.
_PATIENCE, _PAUSE = 0.02, 0.005


class Failures(Capability):
    """The ends that one shell sees and hears of."""

    takes = (Tag.ENDS, Tag.ENDED)

    def __init__(self, events: Events, job: Job, me: int, fanout: int) -> None:
        self._events = events
        self._job = job
        self._me = me
        self._spread = Spread(Tag.ENDED, me, len(job.nodes), fanout, self._are_ends)
        self._first = 0  # the shell that tells all others
        self._lost: set[int] = set()
        self._clients: set[int] = set()  # of this shell: connected and not finalized
        self._aborting: set[int] = set()
        self._alive = set(job.ranks(me))
        self._ended: set[int] = set()  # of the job, as far as this shell has heard
        self._status = 0  # of the job: that of the first failure
        self._own: list[End] = []
        self._untold: list[End] = []  # of this shell's, to its own processes
        self._unsent: list[End] = []  # to the first shell; there: to all others
        self._flush_at: float | None = None
        self._paused_until = float("-inf")

    @property
    def deadline(self) -> float | None:
        return self._flush_at

    # -- what happens ------------------------------------------------------------------------------

    def connected(self, rank: int) -> None:
        self._clients.add(rank)

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        self._clients.discard(rank)

    def aborting(self, proc: Proc) -> None:
        """A process of this shell called PMIx_Abort, and the job ends by that."""
        if proc.nspace == self._job.nspace:
            self._aborting.add(proc.rank)

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._alive.discard(rank)
        end = self._end(rank, wait_status)
        self._own.append(end)
        self._untold.append(end)
        self._enter((end,), now, out)

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.ENDED:
            came = self._spread.take(source, message, out)
            for end in () if came is None else came[1]:
                self._hear(end, out)
            return None
        try:
            ends: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"ends of processes: {error}"
        if not self._are_ends(ends):
            return "ends of processes that are none"
        theirs = self._job.ranks(source)
        if any(end[0] not in theirs for end in ends):
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
            self._first = min(set(range(len(self._job.nodes))) - self._lost)
            self._unsent = list(self._own)
            self._flush_at = now if self._unsent else None
        node, ranks = self._job.nodes[shell], self._job.ranks(shell)
        if self._alive:
            procs = DataArray(DataType.PROC, tuple(Proc(self._job.nspace, rank) for rank in ranks))
            infos = (
                Info(attributes.HOSTNAME, node.hostname),
                Info(attributes.NODEID, node.id),
                Info(attributes.EVENT_AFFECTED_PROCS, procs),
                Info(attributes.EVENT_NON_DEFAULT, True),
                Info(attributes.EVENT_TEXT_MESSAGE, f"node {node.hostname} is lost"),
            )
            self._events.tell(int(Status.EVENT_NODE_DOWN), Proc(f"{self._job.nspace}.shell", shell), infos, out)
        for rank in ranks:
            self._hear((rank, _ABORTED, 0, 0), out, "is lost with its node")

    def tick(self, now: float, out: list[Effect]) -> None:
        if self._flush_at is not None and self._flush_at <= now:
            self._flush(now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        self._untold.clear()
        self._unsent.clear()
        self._flush_at = None

    # -- inside ------------------------------------------------------------------------------------

    def _end(self, rank: int, wait_status: int) -> End:
        signal, code = wait_status & 0x7F, wait_status >> 8 & 0xFF
        if rank in self._aborting:
            return rank, _ABORTED, 128 + signal if signal else code, signal
        if signal:
            return rank, _BY_SIGNAL, 128 + signal, signal
        if rank in self._clients:
            return rank, _UNFINALIZED, code, 0
        return rank, _NONZERO if code else ORDINARY, code, 0

    def _enter(self, ends: Iterable[End], now: float, out: list[Effect]) -> None:
        """Have ends told, at once where one is none of the ordinary."""
        self._unsent += ends
        when = now + _PATIENCE if all(end[1] == ORDINARY for end in ends) else max(now, self._paused_until)
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
        if len(self._ended) == self._job.size:
            if self._me == self._first:
                self._tell_job_end(out)
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
        self._ended.add(rank)
        if status != ORDINARY:
            self._status = self._status or status
        if not self._alive:
            return
        proc = Proc(self._job.nspace, rank)
        infos = [Info(attributes.EVENT_AFFECTED_PROC, proc)]
        if how is None:
            infos.append(Info(attributes.EXIT_CODE, code))
        infos += [
            Info(attributes.PROC_TERM_STATUS, status),
            Info(attributes.EVENT_TEXT_MESSAGE, f"rank {rank} {how or _how(end)}"),
        ]
        if status in (ORDINARY, _NONZERO):
            infos.append(Info(attributes.EVENT_NON_DEFAULT, True))
        if status == ORDINARY:
            infos.append(Info(attributes.EVENT_DO_NOT_CACHE, True))  # or failures would be pushed out by them
        self._events.tell(status, proc, tuple(infos), out)

    def _tell_job_end(self, out: list[Effect]) -> None:
        infos = (
            Info(attributes.NSPACE, self._job.nspace),
            Info(attributes.JOB_TERM_STATUS, self._status),
            Info(attributes.EVENT_NON_DEFAULT, True),
        )
        self._events.tell(int(Status.EVENT_JOB_END), Proc(self._job.nspace, RANK_UNDEF), infos, out)

    def _are_ends(self, body: Any) -> bool:
        return type(body) is tuple and all(
            type(end) is tuple
            and list(map(type, end)) == [int] * 4
            and 0 <= end[0] < self._job.size
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
