"""Who is where: the one place that turns processes into shells, and checks that they exist.

Used by every capability that reaches over shells. A host begins with one job; those that are spawned later are
added, in one order on every shell. Inside `host/`, and between hosts and carriers, a process is known by its
*number*: in the first job that is its rank, and each later job's ranks follow on. (It is PMIX_GLOBAL_RANK, counted
from this job.) A number alone so says which process is meant, and is never used twice.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Sequence

from fluxpmix.job import idset
from fluxpmix.job.model import Job
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Proc

_REMEMBERED = 32  # sets of processes
_NOWHERE = 0xFFFFFFFF  # the node of a number that no job has


class UnknownProc(LookupError):
    """A process that this host does not know; `status` is what to answer."""

    def __init__(self, proc: Proc | int, status: Status) -> None:
        super().__init__(f"{proc} is not known here")
        self.status = status


class Member:
    """One job of the directory: `first` is the number of its rank 0, `occupied` the shells with a process of it.

    `ordinal` counts the jobs that were spawned, from 1; `shells` are its own, where it is a Flux job that brought some.
    """

    __slots__ = ("first", "job", "occupied", "ordinal", "shells")

    def __init__(self, job: Job, first: int, ordinal: int = 0, shells: range = range(0)) -> None:
        self.job = job
        self.first = first
        self.ordinal = ordinal
        self.shells = shells
        self.occupied = tuple(node for node, count in enumerate(job.taskmap.counts()) if count)

    @property
    def numbers(self) -> range:
        """The numbers of its processes."""
        return range(self.first, self.first + self.job.size)

    def on(self, shell: int) -> Sequence[int]:
        """Return the numbers of its processes on `shell`, ascending."""
        ranks, first = self.job.ranks(shell), self.first
        return ranks if not first else tuple(first + rank for rank in ranks)


class Directory:
    """The processes of the jobs that this shell knows."""

    def __init__(self, job: Job) -> None:
        self.first = Member(job, 0, 0, range(len(job.nodes)))
        self.nodes = job.nodes  # by the rank of their shell; with a job that has nodes of its own there are more
        self._members = {job.nspace: self.first}
        self._order = [self.first]  # ascending
        self._nodes = job.taskmap.node_column()
        self._shells: dict[Sequence[Proc], tuple[int, ...]] = {}  # of sets of processes asked for lately

    # -- jobs ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """One more than the highest number."""
        return len(self._nodes)

    @property
    def shell_count(self) -> int:
        """How many shells there are, or were."""
        return len(self.nodes)

    @property
    def members(self) -> Sequence[Member]:
        """The jobs that are known, in the order in which they came."""
        return tuple(self._members.values())

    def get(self, nspace: str) -> Member | None:
        """Return the job of a namespace."""
        return self._members.get(nspace)

    def called(self, name: str) -> Member | None:
        """Return the job of a namespace, or the N-th that was spawned by JOB.N, whatever its namespace is: a Flux job's
        own id, where it is one.
        """
        job = self.first.job.nspace
        found = self.get(name)
        if found is None and name.startswith(f"{job}."):
            found = next((each for each in self._order[1:] if name == f"{job}.{each.ordinal}"), None)
        return found

    def spawned(self, ordinal: int) -> Member | None:
        """Return the `ordinal`-th job that was spawned."""
        return next((each for each in self._order if each.ordinal == ordinal), None)

    def add(self, job: Job, first: int, ordinal: int = 0, shells: range = range(0)) -> Member:
        """Know a further job, whose rank 0 is number `first`, and which has brought `shells`.

        Raises ValueError where its numbers are taken.
        """
        end = first + job.size
        if job.nspace in self._members or any(node != _NOWHERE for node in self._nodes[first:end]):
            raise ValueError(f"job {job.nspace} with processes {first} to {end - 1}: there are such")
        # Jobs that this shell is told of later, or never, as they came to nothing, leave a gap.
        nodes = array("I", self._nodes)  # hosts may share the column of a task map
        nodes.extend([_NOWHERE] * (end - len(nodes)))
        nodes[first:end] = job.taskmap.node_column()
        self._nodes = nodes
        if len(job.nodes) > len(self.nodes):
            self.nodes = job.nodes
        member = self._members[job.nspace] = Member(job, first, ordinal, shells)
        insort(self._order, member, key=lambda each: each.first)
        return member

    def remove(self, nspace: str) -> None:
        """Forget a job that came to nothing; its numbers stay taken."""
        member = self._members.pop(nspace, None)
        self._shells.clear()
        for number in member.numbers if member is not None else ():
            self._nodes[number] = _NOWHERE
        if member is not None:
            self._order.remove(member)

    def member_of(self, number: int) -> Member:
        """Return the job that a number belongs to. Raises `UnknownProc`."""
        if len(self._order) == 1 and 0 <= number < self.size:
            return self.first
        if number >= 0:
            at = bisect_right(self._order, number, key=lambda member: member.first) - 1
            member = self._order[at]
            if number in member.numbers:
                return member
        raise UnknownProc(number, Status.ERR_NOT_FOUND)

    # -- one process ---------------------------------------------------------------------------------

    def number(self, proc: Proc) -> int:
        """Return the number of a process. Raises `UnknownProc`."""
        member = self._member(proc)
        if proc.rank == RANK_WILDCARD:
            raise UnknownProc(proc, Status.ERR_BAD_PARAM)
        return member.first + proc.rank

    def proc(self, number: int) -> Proc:
        """Return the name of the process with a number. Raises `UnknownProc`."""
        member = self.member_of(number)
        return Proc(member.job.nspace, number - member.first)

    def shell_of(self, number: int) -> int:
        """Return the shell of a process. Raises `UnknownProc`."""
        if 0 <= number < len(self._nodes) and (shell := self._nodes[number]) != _NOWHERE:
            return shell
        raise UnknownProc(number, Status.ERR_NOT_FOUND)

    def is_on(self, number: int, shell: int) -> bool:
        """Whether there is a process of that number, on `shell`."""
        return 0 <= number < len(self._nodes) and self._nodes[number] == shell

    def numbers_on(self, shell: int) -> Sequence[int]:
        """Return the numbers of all processes that ever were on `shell`, ascending."""
        if len(self._members) == 1:
            return self.first.on(shell)
        return tuple(number for member in self._members.values() for number in member.on(shell))

    # -- many ----------------------------------------------------------------------------------------

    def shells(self, procs: Sequence[Proc]) -> tuple[int, ...]:
        """Return the shells that host at least one of `procs`, ascending. Raises `UnknownProc`."""
        if len(procs) == 1 and procs[0].rank == RANK_WILDCARD:
            return self._member(procs[0]).occupied
        procs = tuple(procs)
        known = self._shells.get(procs)
        if known is not None:
            return known
        found: set[int] = set()
        for proc in procs:
            member = self._member(proc)
            if proc.rank == RANK_WILDCARD:
                found.update(member.occupied)
            else:
                found.add(self._nodes[member.first + proc.rank])
        if len(self._shells) >= _REMEMBERED:
            self._shells.clear()
        shells = self._shells[procs] = tuple(sorted(found))
        return shells

    def ranks_on(self, procs: Sequence[Proc], shell: int) -> tuple[int, ...]:
        """Return the numbers of those among `procs` that run on `shell`, ascending."""
        if len(procs) == 1 and procs[0].rank == RANK_WILDCARD:
            return tuple(self._member(procs[0]).on(shell))
        found: set[int] = set()
        for proc in procs:
            member = self._member(proc)
            if proc.rank == RANK_WILDCARD:
                found.update(member.on(shell))
            elif self._nodes[member.first + proc.rank] == shell:
                found.add(member.first + proc.rank)
        return tuple(sorted(found))

    def expand(self, procs: Sequence[Proc]) -> tuple[Proc, ...]:
        """Return `procs` one by one, without wildcards, in order."""
        found: set[Proc] = set()
        for proc in procs:
            nspace, size = proc.nspace, self._member(proc).job.size
            found.update(Proc(nspace, rank) for rank in (range(size) if proc.rank == RANK_WILDCARD else (proc.rank,)))
        return tuple(sorted(found))

    def includes(self, procs: Sequence[Proc], number: int) -> bool:
        """Whether `procs` name the process with a number, by itself or by a wildcard."""
        member = self.member_of(number)
        nspace, ranks = member.job.nspace, (number - member.first, RANK_WILDCARD)
        return any(proc.rank in ranks and proc.nspace == nspace for proc in procs)

    def signature(self, procs: Sequence[Proc]) -> bytes:
        """Return the canonical text of a set of processes: the same on every shell, in any order."""
        jobs: dict[str, list[int]] = {}
        for proc in procs:
            jobs.setdefault(proc.nspace, []).append(proc.rank)
        return "\0".join(
            f"{nspace}\0{'*' if RANK_WILDCARD in ranks else idset.encode(ranks)}"
            for nspace, ranks in sorted(jobs.items())
        ).encode()

    def parse(self, signature: bytes) -> tuple[Proc, ...]:
        """Undo `signature`. Raises ValueError (a malformed text) or `UnknownProc`."""
        parts = signature.decode("utf-8", "replace").split("\0")
        if len(parts) % 2:
            raise ValueError("participants without a namespace")
        procs: list[Proc] = []
        for nspace, ranks in zip(parts[::2], parts[1::2], strict=True):
            size = self._member(Proc(nspace, RANK_WILDCARD)).job.size
            if ranks == "*":
                procs.append(Proc(nspace, RANK_WILDCARD))
                continue
            bounds = idset.ranges(ranks)
            if bounds and bounds[-1][1] >= size:
                raise ValueError(f"participant {bounds[-1][1]} of a job of {size}")
            procs += (Proc(nspace, rank) for low, high in bounds for rank in range(low, high + 1))
        return tuple(procs)

    # -- inside --------------------------------------------------------------------------------------

    def _member(self, proc: Proc) -> Member:
        member = self._members.get(proc.nspace)
        if member is None:
            raise UnknownProc(proc, Status.ERR_NOT_FOUND)
        if proc.rank != RANK_WILDCARD and not 0 <= proc.rank < member.job.size:
            raise UnknownProc(proc, Status.ERR_BAD_PARAM)
        return member
