"""Which shells do what is done once for all: keep published values, decide on spawns and on the names of process sets.

They are those of the first Flux job, and the first of them decides. A job that was spawned with resources of its own,
or has come to join, may outlive it: then its shells take that over, and after it those of the next that is there.
Shells do not hear of an end at one time. So whoever is asked before its turn has come keeps the request until it has,
and each shell takes the word of any that leads a Flux job.
"""

from __future__ import annotations

from bisect import insort

from fluxpmix.host.capability import Capability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxpmix.host.directory import Directory, Member
    from fluxpmix.host.effects import Effect


class Succession(Capability):
    """The Flux jobs whose shells are among these, in the order in which they came, as one shell knows them."""

    def __init__(self, directory: Directory, running: Callable[[int], int]) -> None:
        """`running(shell)` counts what runs on a shell, as far as is known."""
        self._running = running
        self._jobs = [directory.first.shells]
        self._lost: set[int] = set()
        self.shells = directory.first.shells  # of the job whose turn it is

    @property
    def first(self) -> int:
        """The shell that decides."""
        return self.shells[0]

    def leads(self, shell: int) -> bool:
        """Whether a shell is the first of a Flux job: it decides, or may come to."""
        return any(shell == job[0] for job in self._jobs)

    def after(self, mine: range) -> range:
        """Return the shells of the job that comes next, where `mine` are the shells of the one whose turn it is."""
        left = (job for job in self._jobs if job != mine and not self._lost.issuperset(job))
        return next(left, range(0)) if mine == self.shells else range(0)

    def leaves(self, shell: int) -> bool:
        """Whether a shell is gone because its job is over: what it was to do another will, in a moment."""
        return shell in self._lost and not self._running(shell) and bool(self.after(self.shells))

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        if member.shells:
            insort(self._jobs, member.shells, key=lambda shells: shells[0])

    def removed(self, member: Member) -> None:
        if member.shells:
            self._jobs.remove(member.shells)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        self.shells = next((job for job in self._jobs if not self._lost.issuperset(job)), self.shells)
