"""PMIx_Connect and PMIx_Disconnect over shells: Standard 4.2, section 11.3, and 17.3.14 and 15.

`host.py` hands over each upcall once all local participants have called. Every shell knows all processes of all
jobs, so that connecting them is a barrier, after which the set counts as connected; disconnecting is one after
which it does not. A set may be connected many times, and must be disconnected as often. That a process has
ended all of its job hear in any case, and those of other jobs that are connected to it (`failure.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.capability import Capability
from fluxpmix.host.collective import Collectives
from fluxpmix.host.directives import early_timeout, local_status, unsupported
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Reply
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Proc
from fluxpmix.pmix.upcalls import Connect, Disconnect

CONNECT, DISCONNECT = 2, 3  # operations, beside a fence's

SUCCESS = int(Status.SUCCESS)
_HONOURED = frozenset((attributes.TIMEOUT, attributes.LOCAL_COLLECTIVE_STATUS, "pmix.sorted.parr"))


class Connections(Capability):
    """The connections of one shell."""

    def __init__(
        self, collectives: Collectives, directory: Directory, job: Job, me: int, default_timeout: float | None
    ) -> None:
        self._collectives = collectives
        self._directory = directory
        self._me = me
        self._default_timeout = default_timeout
        self._sets: dict[bytes, int] = {}  # how often each is connected, by signature
        self._here = set(job.ranks(me))

    @property
    def sets(self) -> int:
        """How many sets of processes are connected that have one here."""
        return len(self._sets)

    def upcall(self, upcall: Connect | Disconnect, now: float, out: list[Effect]) -> None:
        """Enter this shell's part; the reply comes when all shells have entered theirs."""
        joins = isinstance(upcall, Connect)
        name, operation, step = ("connect", CONNECT, 1) if joins else ("disconnect", DISCONNECT, -1)
        try:
            signature = self._directory.signature(upcall.procs)
            status = local_status(upcall.directives)
            unknown = unsupported(upcall.directives, _HONOURED)
            if unknown:
                out.append(Log(Level.ERROR, f"{name}: {unknown} is required, but not supported"))
                status = int(Status.ERR_NOT_SUPPORTED)
            elif not joins and signature not in self._sets:
                out.append(Log(Level.ERROR, "disconnect of processes that are not connected"))
                status = int(Status.ERR_INVALID_OPERATION)

            def done(outcome: int, _blobs: Sequence[Buffer]) -> Effect:
                if outcome == SUCCESS:
                    self._sets[signature] = self._sets.get(signature, 0) + step
                    # Those who entered may have ended before the others came.
                    if self._sets[signature] <= 0 or not self._here.intersection(self._ranks(signature)):
                        del self._sets[signature]
                return Reply(upcall.id, outcome)

            limit = early_timeout(upcall.directives, self._default_timeout)
            self._collectives.contribute(operation, upcall.procs, None, status, limit, done, now, out)
        except (UnknownProc, ValueError) as error:
            out.append(Log(Level.ERROR, f"{name}: {error}"))
            out.append(Reply(upcall.id, getattr(error, "status", Status.ERR_BAD_PARAM)))

    def bind(self, procs: Sequence[Proc]) -> None:
        """Take processes for connected: those of a spawned job and the one that has spawned it."""
        signature = self._directory.signature(procs)
        self._sets[signature] = self._sets.get(signature, 0) + 1

    def partners(self, number: int) -> tuple[Proc, ...]:
        """Return the processes of this shell that are connected to one of another job."""
        nspace = self._directory.proc(number).nspace
        found: set[int] = set()
        for signature in self._sets:
            procs = self._directory.parse(signature)
            if self._directory.includes(procs, number):
                found.update(self._directory.ranks_on(procs, self._me))
        others = map(self._directory.proc, sorted(found & self._here))
        return tuple(proc for proc in others if proc.nspace != nspace)

    def removed(self, member: Member) -> None:
        nspace = member.job.nspace
        for signature in list(self._sets):
            if any(proc.nspace == nspace for proc in self._directory.parse(signature)):
                del self._sets[signature]

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._here.update(member.on(self._me))

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._here.discard(rank)
        for signature in list(self._sets):
            if not self._here.intersection(self._ranks(signature)):
                del self._sets[signature]

    def revived(self, rank: int, out: list[Effect]) -> None:
        if self._directory.is_on(rank, self._me):
            self._here.add(rank)

    def _ranks(self, signature: bytes) -> tuple[int, ...]:
        return self._directory.ranks_on(self._directory.parse(signature), self._me)

    def abandon(self, status: int, out: list[Effect]) -> None:
        self._sets.clear()
