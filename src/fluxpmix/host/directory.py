"""Who is where: the one place that turns processes into shells, and checks that they exist.

Used by every capability that reaches over shells.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.job import idset
from fluxpmix.job.model import Job
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Proc


class UnknownProc(LookupError):
    """A process that this host does not know; `status` is what to answer."""

    def __init__(self, proc: Proc, status: Status) -> None:
        super().__init__(f"{proc} is not known here")
        self.status = status


class Directory:
    """The processes of the jobs that this shell knows."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._nodes = job.taskmap.node_column()
        self._occupied = tuple(node for node, count in enumerate(job.taskmap.counts()) if count)

    def shells(self, procs: Sequence[Proc]) -> tuple[int, ...]:
        """Return the shells that host at least one of `procs`, ascending. Raises `UnknownProc`."""
        found: set[int] = set()
        for proc in procs:
            self._check(proc)
            if proc.rank == RANK_WILDCARD:
                return self._all(procs)
            found.add(self._nodes[proc.rank])
        return tuple(sorted(found))

    def shell_of(self, rank: int) -> int:
        """Return the shell of a rank of the job."""
        return self._nodes[rank]

    def ranks_on(self, procs: Sequence[Proc], shell: int) -> tuple[int, ...]:
        """Return the ranks among `procs` that run on `shell`."""
        if any(proc.rank == RANK_WILDCARD for proc in procs):
            return tuple(self._job.ranks(shell))
        return tuple(sorted({proc.rank for proc in procs if self._nodes[proc.rank] == shell}))

    def includes(self, procs: Sequence[Proc], rank: int) -> bool:
        """Whether `procs` name rank `rank` of the job, by itself or by a wildcard."""
        return any(proc.rank in (rank, RANK_WILDCARD) for proc in procs)

    def signature(self, procs: Sequence[Proc]) -> bytes:
        """Return the canonical text of a set of processes: the same on every shell, in any order."""
        if any(proc.rank == RANK_WILDCARD for proc in procs):
            return f"{self._job.nspace}\0*".encode()
        return f"{self._job.nspace}\0{idset.encode(proc.rank for proc in procs)}".encode()

    def parse(self, signature: bytes) -> tuple[Proc, ...]:
        """Undo `signature`. Raises ValueError (`UnknownProc` or a malformed text)."""
        nspace, separator, ranks = signature.decode("utf-8", "replace").partition("\0")
        if not separator:
            raise ValueError("participants without a namespace")
        if ranks == "*":
            procs: tuple[Proc, ...] = (Proc(nspace, RANK_WILDCARD),)
        else:
            bounds = idset.ranges(ranks)
            if bounds and bounds[-1][1] >= self._job.size:
                raise ValueError(f"participant {bounds[-1][1]} of a job of {self._job.size}")
            procs = tuple(Proc(nspace, rank) for low, high in bounds for rank in range(low, high + 1))
        for proc in procs:
            self._check(proc)
        return procs

    def _all(self, procs: Sequence[Proc]) -> tuple[int, ...]:
        for proc in procs:
            self._check(proc)
        return self._occupied

    def _check(self, proc: Proc) -> None:
        if proc.nspace != self._job.nspace:
            raise UnknownProc(proc, Status.ERR_NOT_FOUND)
        if proc.rank != RANK_WILDCARD and not 0 <= proc.rank < self._job.size:
            raise UnknownProc(proc, Status.ERR_BAD_PARAM)
