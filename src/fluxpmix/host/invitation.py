"""Groups that are made by invitation: PMIx_Group_invite, _join and _leave. Standard 4.2, section 13.2.

libpmix makes such a group out of events: an invitation, an answer of each who is invited, and the leader's word
that all have joined. Its host never gets a call for one; what it can do is listen, so that queries tell of these
groups too. No libpmix hands PMIx_Group_leave to a server: a process leaves by the event PMIX_GROUP_LEFT itself, with
the group's PMIX_GROUP_ID. `group.py` holds one of these.
"""

from __future__ import annotations

from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataArray, Infos, Proc, find


class Invitations:
    """Those with a member on this shell."""

    def __init__(self, directory: Directory, me: int) -> None:
        self._directory = directory
        self._me = me
        self._groups: dict[str, set[int]] = {}  # members by number
        self._gone: set[int] = set()

    @property
    def groups(self) -> dict[str, tuple[Proc, ...]]:
        """The members of each, by name."""
        return {name: tuple(map(self._directory.proc, sorted(members))) for name, members in self._groups.items()}

    def heard(self, status: int, source: Proc, infos: Infos) -> None:
        """Take an event of any process."""
        name, given = find(infos, attributes.GROUP_ID), find(infos, attributes.EVENT_CUSTOM_RANGE)
        if not isinstance(name, str):
            return
        try:
            if status == Status.GROUP_LEFT:
                self._left(name, self._directory.number(source))
            elif status == Status.GROUP_CONSTRUCT_COMPLETE and isinstance(given, DataArray):
                procs = self._directory.expand([each for each in given.items if isinstance(each, Proc)])
                if source in procs:
                    self._groups[name] = set(map(self._directory.number, procs)) - self._gone
                    self._drop_empty()
        except UnknownProc:
            return

    def forget(self, name: str) -> None:
        """The name is used anew."""
        self._groups.pop(name, None)

    def exited(self, number: int) -> None:
        """A process of this shell is gone."""
        self._gone.add(number)
        for members in self._groups.values():
            members.discard(number)
        self._drop_empty()

    def clear(self) -> None:
        """Forget all."""
        self._groups.clear()

    def _left(self, name: str, number: int) -> None:
        if name in self._groups:
            self._groups[name].discard(number)
            self._drop_empty()

    def _drop_empty(self) -> None:
        for name, members in list(self._groups.items()):
            if not any(self._directory.is_on(number, self._me) for number in members):
                del self._groups[name]
