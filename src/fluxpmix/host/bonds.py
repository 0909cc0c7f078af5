"""Processes that shall hear of each other's end: the members of a group.

`group.py` holds one `Bonds`. A bond is entered before its collective has ended, since a process may end, or
another shell may say so, in the middle of it; what was heard meanwhile is told once the bond is made. Each
shell tells of the ends of its own processes, with one frame a shell. Standard 4.2, section 13.2.

    MEMBER  block: (rank, the bond's key, the status of the event)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fluxpmix.host import wire
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Notify, Send
from fluxpmix.host.event import TOLD
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataArray, DataType, Info, Proc, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


class Bond:
    """One bond, as one of its shells knows it: made `times` over, and `entering` as often more."""

    __slots__ = ("announces", "context", "entering", "gone", "key", "procs", "shells", "times", "told")

    def __init__(self, key: bytes, procs: tuple[Proc, ...], shells: tuple[int, ...]) -> None:
        self.key = key
        self.procs = procs
        self.shells = shells
        self.times = 0
        self.entering = 0
        self.gone: dict[int, int] = {}  # the status of the event, by rank
        self.told: set[int] = set()
        self.announces = True
        self.context: int | None = None


_FAILED = int(Status.GROUP_MEMBER_FAILED)
# Returns the event that tells processes which are here of the end of one: bond, status, who ended, who is told.
Tell: TypeAlias = Callable[[Bond, int, Proc, "Sequence[Proc]"], Notify]


class Bonds:
    """All bonds of one kind that have a process of this shell. Methods append the effects they want to `out`."""

    def __init__(self, directory: Directory, me: int, tag: Tag, tell: Tell) -> None:
        self._directory = directory
        self._me = me
        self._tag = tag
        self._tell = tell
        self._bonds: dict[bytes, Bond] = {}
        self._later: list[Bond] = []
        self.here = set(directory.numbers_on(me))

    def __len__(self) -> int:
        return len(self._bonds)

    def __iter__(self) -> Iterator[Bond]:
        return iter(self._bonds.values())

    def get(self, key: bytes) -> Bond | None:
        """Return a bond that is made or entered."""
        return self._bonds.get(key)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be told."""
        return not self._later

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called: at once, or never."""
        return 0.0 if self._later else None

    # -- the life of a bond ------------------------------------------------------------------------

    def enter(self, key: bytes, procs: tuple[Proc, ...], shells: tuple[int, ...]) -> Bond:
        """Listen for ends from now on; `made` or `failed` follows."""
        bond = self._bonds.get(key)
        if bond is None:
            bond = self._bonds[key] = Bond(key, procs, shells)
            bond.gone = {rank: _FAILED for rank in self._mine(bond) if rank not in self.here}
        bond.entering += 1
        return bond

    def made(self, bond: Bond) -> None:
        """The collective that makes a bond has ended well."""
        bond.entering -= 1
        bond.times += 1
        if bond.gone:
            self._later.append(bond)

    def failed(self, bond: Bond) -> None:
        """It has not."""
        bond.entering -= 1
        self._drop(bond)

    def undone(self, key: bytes) -> None:
        """A bond is given up, once."""
        bond = self._bonds.get(key)
        if bond is not None and bond.times:
            bond.times -= 1
            self._drop(bond)

    def left_in(self, bond: Bond) -> tuple[Proc, ...]:
        """Return who is not known to have ended."""
        return tuple(proc for proc in bond.procs if self._directory.number(proc) not in bond.gone)

    def left(self, key: bytes, proc: Proc) -> None:
        """A process gives a bond up for itself: nobody is told, now or of its end."""
        bond = self._bonds.get(key)
        if bond is not None and proc in bond.procs:
            number = self._directory.number(proc)
            bond.gone.setdefault(number, _FAILED)
            bond.told.add(number)

    # -- what happens ------------------------------------------------------------------------------

    def exited(self, rank: int, out: list[Effect]) -> None:
        """Process `rank` of this shell is gone."""
        self.here.discard(rank)
        for bond in [bond for bond in self._bonds.values() if self._directory.includes(bond.procs, rank)]:
            bond.gone.setdefault(rank, _FAILED)
            self._say(bond, out)

    def receive(self, source: int, message: Message, out: list[Effect]) -> str | None:
        """Take what peer `source` says of its processes' ends. Returns what is wrong with it, if something is."""
        try:
            body = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"the end of a process: {error}"
        if not (isinstance(body, tuple) and list(map(type, body)) == [int, bytes, int]):
            return "the end of nobody"
        rank, key, status = body
        if not self._directory.is_on(rank, source):
            return "the end of a process that is not the sender's"
        bond = self._bonds.get(key)
        if bond is not None and self._directory.includes(bond.procs, rank) and -(2**31) <= status < 0:
            bond.gone.setdefault(rank, status)
            self._say(bond, out)
        return None

    def shell_lost(self, shell: int, out: list[Effect]) -> None:
        """Peer `shell` is gone, and all its processes with it."""
        for bond in list(self._bonds.values()):
            for rank in self._directory.ranks_on(bond.procs, shell):
                bond.gone.setdefault(rank, _FAILED)
            self._say(bond, out)

    def tick(self, out: list[Effect]) -> None:
        """Tell of bonds made meanwhile what was heard before."""
        later, self._later = self._later, []
        for bond in later:
            self._say(bond, out)

    def clear(self) -> None:
        """Forget all."""
        self._bonds.clear()
        self._later.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _mine(self, bond: Bond) -> tuple[int, ...]:
        return self._directory.ranks_on(bond.procs, self._me)

    def _say(self, bond: Bond, out: list[Effect]) -> None:
        """Tell, of a bond that is made, the ends that were not told yet; forget one that has nobody left here."""
        if not bond.times:
            return
        mine = self._mine(bond)
        stay = [self._directory.proc(rank) for rank in mine if rank in self.here]
        for rank, status in bond.gone.items():
            if rank in bond.told or not bond.announces:
                continue
            bond.told.add(rank)
            if rank in mine:
                block = (self._me, wire.encode((rank, bond.key, status)))
                frame = encode(Message(self._tag, 0, 0, NO_DIGEST, 0, (block,)))
                out.extend(Send(shell, frame) for shell in bond.shells if shell != self._me)
            if stay:
                out.append(self._tell(bond, status, self._directory.proc(rank), stay))
        if not stay:
            bond.times = 0
            self._drop(bond)

    def _drop(self, bond: Bond) -> None:
        if not bond.times and not bond.entering and self._bonds.get(bond.key) is bond:
            del self._bonds[bond.key]


def event(status: int, affected: Proc, targets: Sequence[Proc], *more: Info) -> Notify:
    """Return the event that tells `targets`, who are here, what became of `affected`."""
    infos = (
        Info(attributes.EVENT_AFFECTED_PROC, affected),
        Info(attributes.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, tuple(targets))),
        Info(attributes.EVENT_NON_DEFAULT, True),
        Info(TOLD, True, DataType.BOOL),
        *more,
    )
    return Notify(status, affected, Range.CUSTOM, infos)
