"""The jobs that a launcher runs: the one that it was asked for, and those that are spawned within it.

`launcher.py` tells of what shells say of them, by numbers (see `host/directory.py`), and asks who has ended.
A spawned job ends with its parent, unless that said otherwise: it has a while to do so by itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.reactor import Timer


class Running:
    """One job. `parent` is the first number of the job that it ends with, None where there is none."""

    def __init__(self, first: int, ordinal: int, column: Sequence[int], parent: int | None) -> None:
        self.first = first
        self.ordinal = ordinal
        self.column = column  # the shell of each rank
        self.parent = parent
        self.left = set(range(first, first + len(column)))
        self.counts = True  # whether the exit codes of its tasks are the launcher's
        self.timer: Timer | None = None  # since its first task has ended


class Jobs:
    """All of them, in the order of their first numbers."""

    def __init__(self, column: Sequence[int]) -> None:
        self._jobs = [Running(0, 0, column, None)]

    def __iter__(self) -> Iterator[Running]:
        return iter(self._jobs)

    @property
    def all_ended(self) -> bool:
        """Whether no task of a spawned job is left, or is still to come."""
        return not any(job.left for job in self._jobs[1:])

    def add(self, first: int, ordinal: int, column: Sequence[int], parent: int | None) -> Running | None:
        """Know a spawned job; returns it the first time that it is told of."""
        at = self._at(first)
        if self._jobs[at].first == first:
            return None
        job = Running(first, ordinal, column, parent)
        self._jobs.insert(at + 1, job)
        return job

    def drop(self, first: int) -> None:
        """Forget that anybody wanted this job."""
        job = self._jobs[self._at(first)]
        if job.first == first:
            job.counts = False
            job.left.clear()

    def of(self, number: int) -> Running:
        """Return the job of a task."""
        return self._jobs[self._at(number)]

    def lost(self, shell: int) -> None:
        """The tasks on a shell are gone with it."""
        for job in self._jobs:
            job.left.difference_update(number for number, at in enumerate(job.column, job.first) if at == shell)

    def children(self, job: Running) -> list[Running]:
        """Return the spawned jobs that end with `job`, and have not."""
        return [each for each in self._jobs if each.parent == job.first and each.left]

    def name(self, number: int) -> str:
        """Return what a task is called: by its rank, after its job's ordinal where it was spawned."""
        job = self.of(number)
        return str(number) if not job.first else f"{job.ordinal}.{number - job.first}"

    def names(self, numbers: Collection[int]) -> str:
        """Return the names of tasks as one text, with ranges."""
        from fluxpmix.job import idset

        parts = []
        for job in self._jobs:
            ranks = [number - job.first for number in numbers if self.of(number) is job]
            if ranks and job.first:
                parts += [f"{job.ordinal}.{part}" for part in idset.encode(ranks).split(",")]
            elif ranks:
                parts.append(idset.encode(ranks))
        return ",".join(parts)

    def _at(self, number: int) -> int:
        return bisect_right(self._jobs, number, key=lambda job: job.first) - 1
