"""The leaders of groups: told of to all when they fail, and chosen anew. Standard 5.0, sections 13.2.2 to 13.2.6.

`group.py` holds one `Leaders`. Who invites to a group leads it, from the invitation on; of those who construct one
together each that says so (PMIX_GROUP_LEADER). Where a leader ends without having left or finalized, its shell raises
PMIX_GROUP_LEADER_FAILED for the other members, invited ones too; of a shell that is lost, each shell tells its own.
As long as a group is only invited to, its leader is told likewise who can join no more (PMIX_GROUP_MEMBER_FAILED).

The Standard has a process become leader by what its event handler returns, which no libpmix hands to a server: here it
raises PMIX_GROUP_LEADER_SELECTED itself, for the members, with the group's PMIX_GROUP_ID.
"""

from __future__ import annotations

from collections.abc import Iterable

from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.host.effects import Effect
from fluxpmix.host.event import Events, targets
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, Proc, find


class _Led:
    """A group that has leaders; processes by number. `invites`: not all who are invited have joined."""

    __slots__ = ("invites", "leaders", "members")

    def __init__(self, members: Iterable[int], leaders: Iterable[int], invites: bool) -> None:
        self.members = set(members)
        self.leaders = set(leaders)
        self.invites = invites


class Leaders:
    """The groups that are led, as far as they have a process of this shell."""

    def __init__(self, directory: Directory, me: int, events: Events) -> None:
        self._directory = directory
        self._me = me
        self._events = events
        self._led: dict[str, _Led] = {}

    def __len__(self) -> int:
        return len(self._led)

    def led(self, name: str, members: Iterable[int], leaders: Iterable[int], invites: bool = False) -> None:
        """A group of these members is there, or they are invited to it, and it is led by these."""
        self._led[name] = _Led(members, leaders, invites)
        self._drop_others()

    def forget(self, name: str) -> None:
        """A group is no more."""
        self._led.pop(name, None)

    def on_event(self, status: int, source: Proc, infos: Infos) -> None:
        """Take an event of any process."""
        name = find(infos, attributes.GROUP_ID)
        if not isinstance(name, str):
            return
        try:
            number = self._directory.number(source)
            if status in (Status.GROUP_INVITED, Status.GROUP_CONSTRUCT_COMPLETE):
                others = self._directory.expand(targets(infos))
                if others:
                    members = {number, *map(self._directory.number, others)}
                    self.led(name, members, {number}, status == Status.GROUP_INVITED)
            elif status == Status.GROUP_LEADER_SELECTED:
                group = self._led.get(name)
                if group is not None and number in group.members:
                    group.leaders = {number}
            elif status == Status.GROUP_CONSTRUCT_ABORT:
                self.forget(name)
            else:  # it has left, or declined
                self._leave(number, name)
        except UnknownProc:
            return

    def finalized(self, number: int, out: list[Effect]) -> None:
        """A process of this shell ends in good order: it leads nothing, and nobody need be told but who awaits it."""
        for name, group in list(self._led.items()):
            self._tell_leaders(group, name, number, out)
            self._leave(number, name)

    def exited(self, number: int, out: list[Effect]) -> None:
        """A process of this shell is gone: tell those that it led."""
        for name, group in list(self._led.items()):
            if number in group.leaders:
                rest = self._rest(group, {number})
                if rest:
                    infos = _facts(name, self._directory.proc(number))
                    self._events.tell_some(_FAILED, self._directory.proc(number), rest, infos, out)
            self._tell_leaders(group, name, number, out)
            self._leave(number, name)

    def shell_lost(self, shell: int, out: list[Effect]) -> None:
        """Peer `shell` is gone, and all its processes with it."""
        gone = set(self._directory.numbers_on(shell))
        for name, group in list(self._led.items()):
            here = [proc for proc in self._rest(group, gone) if self._is_here(self._directory.number(proc))]
            for number in sorted(gone & group.leaders) if here else ():
                infos = _facts(name, self._directory.proc(number))
                self._events.tell_here(_FAILED, self._directory.proc(number), here, infos, out)
            for number in sorted(gone & group.members):
                self._tell_leaders(group, name, number, out, here=True)
            for number in gone & group.members:
                self._leave(number, name)

    def clear(self) -> None:
        """Forget all."""
        self._led.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _tell_leaders(self, group: _Led, name: str, number: int, out: list[Effect], here: bool = False) -> None:
        """Tell who leads a group that is invited to (`here`: on this shell) of one that will never join."""
        leaders = [each for each in sorted(group.leaders) if not here or self._is_here(each)]
        if group.invites and number in group.members - group.leaders and leaders:
            proc, tell = self._directory.proc(number), self._events.tell_here if here else self._events.tell_some
            tell(_MEMBER_FAILED, proc, list(map(self._directory.proc, leaders)), _facts(name, proc), out)

    def _rest(self, group: _Led, gone: set[int]) -> list[Proc]:
        return [self._directory.proc(number) for number in sorted(group.members - gone)]

    def _leave(self, number: int, name: str) -> None:
        group = self._led.get(name)
        if group is not None:
            group.members.discard(number)
            group.leaders.discard(number)
            self._drop_others()

    def _drop_others(self) -> None:
        for name, group in list(self._led.items()):
            if not any(map(self._is_here, group.members)):
                del self._led[name]

    def _is_here(self, number: int) -> bool:
        return self._directory.is_on(number, self._me)


_FAILED = int(Status.GROUP_LEADER_FAILED)
_MEMBER_FAILED = int(Status.GROUP_MEMBER_FAILED)


def _facts(name: str, affected: Proc) -> tuple[Info, ...]:
    return (
        Info(attributes.GROUP_ID, name),
        Info(attributes.EVENT_AFFECTED_PROC, affected),
        Info(attributes.EVENT_NON_DEFAULT, True),
    )
