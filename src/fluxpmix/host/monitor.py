"""PMIx_Process_monitor: an alert where a file is no longer written to or read. Standard 4.2, section 12.3.

libpmix has monitors of its own, but 4.2's never raise an alert, and 5.0's end the server when they do: its server is
started without them (`shell/server.py`). Heartbeats go to those alone, and are refused here. A file that
is watched is looked at every PMIX_MONITOR_FILE_CHECK_TIME seconds; where that which is watched of it has not
changed PMIX_MONITOR_FILE_DROPS + 1 times in a row, the event that was asked for is raised, once.
"""

from __future__ import annotations

from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Level, Log, Look, Reply
from fluxpmix.host.event import Events
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, Proc, find, is_true
from fluxpmix.pmix.upcalls import Monitor

# What of a file is watched: where it stands in what a look at the file brings.
_ASPECTS = {attributes.MONITOR_FILE_SIZE: 0, attributes.MONITOR_FILE_ACCESS: 1, attributes.MONITOR_FILE_MODIFY: 2}
HONOURED = (
    *(attributes.MONITOR_ID, attributes.MONITOR_CANCEL, attributes.MONITOR_FILE, *_ASPECTS),
    *(attributes.MONITOR_FILE_CHECK_TIME, attributes.MONITOR_FILE_DROPS),
)


class _Watched:
    """One file that is watched."""

    __slots__ = ("aspect", "drops", "event", "every", "id", "last", "misses", "next", "path", "requestor")

    def __init__(self, upcall: Monitor, path: str, aspect: int, every: float, now: float) -> None:
        told = upcall.directives
        drops, name = find(told, attributes.MONITOR_FILE_DROPS, 0), find(told, attributes.MONITOR_ID)
        self.requestor = upcall.proc
        self.event = upcall.error or int(Status.MONITOR_FILE_ALERT)
        self.path = path
        self.aspect = aspect
        self.every = every
        self.drops = drops if isinstance(drops, int) else 0
        self.id = name if isinstance(name, str) else None
        self.last: int | None = None
        self.misses = 0
        self.next = now + every


class Monitors(Capability):
    """What the processes of one shell have watched."""

    serves = (Monitor,)

    def __init__(self, events: Events, directory: Directory, server: Proc) -> None:
        """`server` is this shell's: libpmix tells no process of an event that is said to be its own."""
        self._events = events
        self._server = server
        self._directory = directory
        self._watched: dict[int, _Watched] = {}  # by number
        self._count = 0

    @property
    def deadline(self) -> float | None:
        return min((one.next for one in self._watched.values()), default=None)

    def upcall(self, upcall: Monitor, now: float, out: list[Effect]) -> None:
        """Begin or end to watch a file."""
        what, told = upcall.monitor, upcall.directives
        if what.key == attributes.MONITOR_CANCEL:
            meant = [
                number
                for number, one in self._watched.items()
                if one.requestor == upcall.proc and (not isinstance(what.value, str) or one.id == what.value)
            ]
            for number in meant:
                del self._watched[number]
            out.append(Reply(upcall.id, int(Status.SUCCESS if meant else Status.ERR_NOT_FOUND)))
            return
        if what.key != attributes.MONITOR_FILE:
            out.append(Log(Level.WARNING, f"PMIx_Process_monitor by {upcall.proc}: {what.key} is not watched here"))
            out.append(Reply(upcall.id, int(Status.ERR_NOT_SUPPORTED)))
            return
        aspects = [at for key, at in _ASPECTS.items() if is_true(told, key) or isinstance(find(told, key), str)]
        every = find(told, attributes.MONITOR_FILE_CHECK_TIME)
        if not isinstance(what.value, str) or len(aspects) != 1 or not isinstance(every, int) or every <= 0:
            out.append(Log(Level.WARNING, f"a file to be watched by {upcall.proc} without one aspect and a check time"))
            out.append(Reply(upcall.id, int(Status.ERR_BAD_PARAM)))
            return
        self._count += 1
        one = self._watched[self._count] = _Watched(upcall, what.value, aspects[0], float(every), now)
        infos = (Info(attributes.MONITOR_ID, one.id),) if one.id is not None else None
        out.append(Reply(upcall.id, int(Status.SUCCESS), infos))

    def looked(self, number: int, found: tuple[int, int, int] | None, out: list[Effect]) -> None:
        """Take what a look at a file brought: its size and the times of its last access and change; None: no file."""
        one = self._watched.get(number)
        if one is None or found is None:
            return  # it may still come
        if found[one.aspect] != one.last:
            one.last, one.misses = found[one.aspect], 0
            return
        one.misses += 1
        if one.misses > one.drops:
            del self._watched[number]
            infos: Infos = (
                Info(attributes.MONITOR_FILE, one.path),
                Info(attributes.EVENT_AFFECTED_PROC, one.requestor),
            )
            if one.id is not None:
                infos = (*infos, Info(attributes.MONITOR_ID, one.id))
            self._events.tell_all(one.event, self._server, infos, out)

    def ended(self, proc: Proc) -> None:
        """A process is gone: nothing is watched for it any more."""
        self._watched = {number: one for number, one in self._watched.items() if one.requestor != proc}

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        if self._watched:
            self.ended(self._directory.proc(rank))

    def tick(self, now: float, out: list[Effect]) -> None:
        for number, one in self._watched.items():
            if one.next <= now:
                one.next = now + one.every
                out.append(Look(number, one.path))
