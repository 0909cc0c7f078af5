"""PMIx_Notify_event: events told to processes on other shells, and those that the host raises itself.

libpmix tells an event to the processes of its own shell, keeps it for those that register late, and chains
their handlers; what is left to the host is to take it to the other shells that its range reaches, each
exactly once (`spread.py`). Processes register with libpmix: what arrives here of that is answered, as every
shell hears of every event in any case. What this host tells libpmix carries a key of its own, for libpmix may
hand it back as a new event. Standard 4.2, chapter 9.

    EVENT  status, source, range, infos
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.host.effects import Effect, Level, Log, Notify, Reply
from fluxpmix.host.frames import Message, Tag
from fluxpmix.host.spread import Spread
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status, describe
from fluxpmix.pmix.types import RANK_WILDCARD, DataArray, DataType, Info, Infos, Proc, Range, find, is_true
from fluxpmix.pmix.upcalls import NotifyEvent, RegisterEvents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

Heard: TypeAlias = "Callable[[int, Proc, Infos], None]"

# On every event that this host gives to libpmix: it is not to come back.
TOLD = "fluxpmix.event.told"
_MARK = Info(TOLD, True, DataType.BOOL)
_ADDRESSES = (DataType.POINTER, DataType.TOPO, DataType.PROC_CPUSET)
_HERE = (Range.RM, Range.LOCAL, Range.PROC_LOCAL)


class Events(Capability):
    """The events of one shell."""

    def __init__(self, directory: Directory, me: int, fanout: int, heard: Heard) -> None:
        """`heard` is told of each event of a process, once."""
        self._directory = directory
        self._me = me
        self._spread = Spread(Tag.EVENT, me, directory, fanout, _is_event)
        self._delivered = self._sent = 0
        self._heard = heard

    @property
    def counters(self) -> dict[str, int]:
        """How many events were taken to other shells, came from there, and came again."""
        return {
            "events sent": self._sent,
            "events delivered": self._delivered,
            "events repeated": self._spread.repeated,
        }

    def upcall(self, upcall: NotifyEvent | RegisterEvents, now: float, out: list[Effect]) -> None:
        """Take an event of this shell's processes to the others; libpmix has told those here."""
        status = Status.SUCCESS
        if isinstance(upcall, NotifyEvent) and all(info.key != TOLD for info in upcall.directives):
            status = self._take_along(upcall, out)
            self._heard(upcall.status, upcall.source, upcall.directives)
        out.append(Reply(upcall.id, status))

    def tell(self, status: int, source: Proc, infos: Infos, out: list[Effect]) -> None:
        """Tell an event of the host's own to the processes of this shell."""
        out.append(Notify(status, source, Range.SESSION, (*infos, _MARK)))

    def tell_all(self, status: int, source: Proc, infos: Infos, out: list[Effect]) -> None:
        """Tell an event of the host's own to the processes of all shells."""
        self._spread.send(None, (status, source, int(Range.SESSION), infos), out)
        self.tell(status, source, infos, out)

    def tell_some(self, status: int, source: Proc, procs: Sequence[Proc], infos: Infos, out: list[Effect]) -> None:
        """Tell an event of the host's own to these processes, wherever they are."""
        shells = self._directory.shells(procs)
        everything = (_addressed(procs), *infos)
        self._spread.send(shells, (status, source, int(Range.CUSTOM), everything), out)
        if self._me in shells:
            self.tell_here(status, source, procs, infos, out)

    def tell_here(self, status: int, source: Proc, procs: Sequence[Proc], infos: Infos, out: list[Effect]) -> None:
        """Tell an event of the host's own to those of these processes that are on this shell."""
        out.append(Notify(status, source, Range.CUSTOM, (_addressed(procs), *infos, _MARK)))

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        came = self._spread.take(source, message, out)
        if came is None:
            return None
        status, who, range_, infos = came[1]
        self._delivered += 1
        self._heard(status, who, infos)
        out.append(Notify(status, who, Range(range_), (*infos, _MARK)))
        return None

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._spread.shell_lost(shell)

    def _take_along(self, upcall: NotifyEvent, out: list[Effect]) -> Status:
        try:
            targets = self._targets(upcall)
        except UnknownProc as error:
            out.append(Log(Level.WARNING, f"the event {describe(upcall.status)} is not told on: {error}"))
            return error.status
        if targets == ():
            return Status.SUCCESS
        infos = tuple(info for info in upcall.directives if info.type not in _ADDRESSES)
        if any(info.required and info.type in _ADDRESSES for info in upcall.directives):
            return Status.ERR_NOT_SUPPORTED
        try:
            sent = self._spread.send(targets, (upcall.status, upcall.source, int(upcall.range), infos), out)
        except wire.WireError as error:
            out.append(Log(Level.WARNING, f"the event {describe(upcall.status)} is not told on: {error}"))
            return Status.ERR_BAD_PARAM
        self._sent += bool(sent)
        return Status.SUCCESS

    def _targets(self, upcall: NotifyEvent) -> Sequence[int] | None:
        """Return the shells in an event's range, None for all."""
        # PMIX_READY_FOR_DEBUG is for the server alone: in its range libpmix 5.0 has no process's name.
        if (
            upcall.status == Status.READY_FOR_DEBUG
            or upcall.range in _HERE
            or is_true(upcall.directives, attributes.EVENT_STAYS_LOCAL)
        ):
            return ()
        if upcall.range is Range.NAMESPACE:
            return self._directory.shells((Proc(upcall.source.nspace, RANK_WILDCARD),))
        if upcall.range is Range.CUSTOM:
            return self._directory.shells(targets(upcall.directives))
        return None


def _addressed(procs: Sequence[Proc]) -> Info:
    return Info(attributes.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, tuple(procs)), DataType.DATA_ARRAY)


def targets(infos: Infos) -> tuple[Proc, ...]:
    """Return the processes that an event is for by PMIX_EVENT_CUSTOM_RANGE."""
    given = find(infos, attributes.EVENT_CUSTOM_RANGE)
    items = given.items if isinstance(given, DataArray) else (given,)
    return tuple(item for item in items if isinstance(item, Proc))


def _is_event(body: Any) -> bool:
    if type(body) is not tuple or len(body) != 4:
        return False
    status, source, range_, infos = body
    return (
        type(status) is int
        and -(1 << 31) <= status < 1 << 31
        and isinstance(source, Proc)
        and type(range_) is int
        and range_ in _RANGES
        and type(infos) is tuple
        and all(isinstance(info, Info) for info in infos)
    )


_RANGES = frozenset(map(int, Range))


def told(whom: Sequence[Proc], status: int, source: Proc, infos: Infos) -> Notify:
    """Return what tells these of a shell's processes of an event of the host's, and nobody else."""
    custom = Info(attributes.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, tuple(whom)))
    return Notify(status, source, Range.CUSTOM, (custom, *infos, _MARK))
