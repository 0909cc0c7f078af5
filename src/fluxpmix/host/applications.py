"""Applications: when the last process of each is gone, on one shell and on all. What one publishes may live so long.

`datastore.py` has one of these in each shell. A shell counts its own processes and tells the first when those of an
application have ended; the first knows when they have everywhere. Where there is one application its end is the job's,
and nothing is counted. An application is named by the number of its first process.
"""

from __future__ import annotations

from fluxpmix.host.directory import Directory, Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set


class Applications:
    """The applications of all jobs, as one shell counts them; `gone` are its processes whose task has ended."""

    def __init__(self, directory: Directory, me: int, gone: Set[int], several: bool) -> None:
        self._directory = directory
        self._me = me
        self._gone = gone
        self._running: dict[int, int] | None = None  # how many processes each has here
        self._ended: dict[int, set[int]] = {}  # application: shells where it has ended (shell 0 counts)
        if several:
            self._count(directory.first)

    def added(self, member: Member) -> bool:
        """Count a job's too. Returns whether the first application, which was not counted so far, has ended here."""
        over = False
        if self._running is None:
            running = self._count(self._directory.first)
            over = bool(self._directory.first.on(self._me)) and not any(running.values())
        self._count(member)
        return over

    def exited(self, number: int) -> int | None:
        """A process of this shell is gone. Returns its application, if that was the last of it here."""
        if self._running is None:
            return None
        app = self.of(number)
        self._running[app] -= 1
        return None if self._running[app] else app

    @property
    def ended_here(self) -> list[int]:
        """Those that had processes here, of which none is left."""
        return [app for app, count in (self._running or {}).items() if not count]

    def revived(self, number: int) -> None:
        """A process of this shell is about to start again."""
        if self._running is not None:
            self._running[self.of(number)] += 1

    def ended_on(self, app: int, shell: int) -> None:
        """The first shell hears that no process of an application is left on a shell."""
        self._ended.setdefault(app, set()).add(shell)

    def over(self, lost: Set[int]) -> list[int]:
        """Return, once, each application that has ended on all of its shells; those that are lost count."""
        found = [app for app, shells in self._ended.items() if self._shells_of(app) <= shells | lost]
        for app in found:
            del self._ended[app]
        return found

    def of(self, number: int) -> int:
        """Return the application of a process. Raises `LookupError` where there is no such process."""
        member = self._directory.member_of(number)
        return member.first + member.job.app_first_rank(member.job.app_of(number - member.first).index)

    def known(self, app: int) -> bool:
        """Whether there is an application of that name."""
        try:
            return self.of(app) == app
        except LookupError:
            return False

    def _count(self, member: Member) -> dict[int, int]:
        if self._running is None:
            self._running = {}
        for number in member.on(self._me):
            if number not in self._gone:
                app = self.of(number)
                self._running[app] = self._running.get(app, 0) + 1
        return self._running

    def _shells_of(self, app: int) -> set[int]:
        member = self._directory.member_of(app)
        size = member.job.app_of(app - member.first).size
        return {self._directory.shell_of(number) for number in range(app, app + size)}
