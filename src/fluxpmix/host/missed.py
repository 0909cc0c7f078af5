"""Members that end before they construct a group with the others: those are told who. Standard 5.0, section 13.2.1.

The construction ends with an error at once (`group.py`), and libpmix's answer has no room for more. The others get
PMIX_GROUP_MEMBER_FAILED for each member that is gone, or who leads the group alone, where that is known here. So do
those of the gone one's own node: libpmix (4.2, 5.0) waits on for it there where another has called before its end, and
never asks the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect
from fluxpmix.host.event import Events
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc

_FAILED = int(Status.GROUP_MEMBER_FAILED)
_AGAIN, _LONGEST = 0.05, 5.0  # seconds: each shell hears of an end by itself, a moment earlier or later


class _Construction:
    """One that has come to nothing; `leader` is a number, -1 where nobody of this shell leads."""

    __slots__ = ("gone", "leader", "members", "name", "until")

    def __init__(self, name: str, members: set[int], leader: int, gone: list[int]) -> None:
        self.name = name
        self.members = members
        self.leader = leader
        self.gone = gone
        self.until: float | None = None


class Missed:
    """What this shell has to tell of members that never came."""

    def __init__(
        self, directory: Directory, me: int, events: Events, ended: Callable[[], Iterable[int]], lost: set[int]
    ) -> None:
        """`ended()` are the processes that have ended, as far as is known; `lost` the shells, as time goes by."""
        self._directory = directory
        self._me = me
        self._events = events
        self._ended = ended
        self._lost = lost
        self._open: list[_Construction] = []
        self.deadline: float | None = None

    def __len__(self) -> int:
        return len(self._open)

    def note(self, name: str, procs: tuple[Proc, ...], leader: int) -> None:
        """A construction has ended: a member did before it came."""
        members = set(map(self._directory.number, self._directory.expand(procs)))
        self._open.append(_Construction(name, members, leader, self._gone(members)))
        self.deadline = 0.0

    def tick(self, now: float, out: list[Effect]) -> None:
        """Tell of those whose end has been heard of."""
        if self.deadline is None or now < self.deadline:
            return
        opened, self._open = self._open, []
        for one in opened:
            if one.until is None:
                one.until = now + _LONGEST
            if not one.gone and (heard := self._gone(one.members)):
                # The first, and others of its shell: who ends after that may have come, and ended by this very error.
                where = self._directory.shell_of(heard[0])
                one.gone = [number for number in heard if self._directory.shell_of(number) == where]
            if one.gone:
                self._tell(one, set(one.gone), out)
            elif now < one.until:
                self._open.append(one)
        self.deadline = now + _AGAIN if self._open else None

    def clear(self) -> None:
        """Forget all."""
        self._open.clear()
        self.deadline = None

    def _gone(self, members: set[int]) -> list[int]:
        return [number for number in self._ended() if number in members]

    def _tell(self, one: _Construction, gone: set[int], out: list[Effect]) -> None:
        members, shell_of = one.members, self._directory.shell_of
        whom = {one.leader} if one.leader >= 0 else {number for number in members if shell_of(number) == self._me}
        held = set(map(shell_of, gone))
        if one.leader < 0 and self._me == min(set(map(shell_of, members)) - held - self._lost, default=-1):
            whom |= {number for number in members if shell_of(number) in held - self._lost}
        procs = [self._directory.proc(number) for number in sorted(whom - gone)]
        for number in sorted(gone) if procs else ():
            proc = self._directory.proc(number)
            infos = (
                Info(attributes.GROUP_ID, one.name),
                Info(attributes.EVENT_AFFECTED_PROC, proc),
                Info(attributes.EVENT_NON_DEFAULT, True),
            )
            self._events.tell_some(_FAILED, proc, procs, infos, out)
