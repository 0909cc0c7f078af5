"""PMIx_Process_monitor: an alert where a process's heartbeats stay away, or a file stands still. Standard 4.2, 12.3.

libpmix has monitors of its own; `pmix/sensor.py` says why they do not serve. What is watched is looked at every so
many seconds (PMIX_MONITOR_HEARTBEAT_TIME, PMIX_MONITOR_FILE_CHECK_TIME). Where it has not changed `drops` + 1 times in
a row (PMIX_MONITOR_HEARTBEAT_DROPS, PMIX_MONITOR_FILE_DROPS), the event that was asked for is raised on all shells.
A file is watched no longer then; a process is: it may beat again, and fall silent again.

Heartbeats are not counted one by one: whatever the process sends to its server is a sign of life, as
each PMIx_Heartbeat is.
"""

from __future__ import annotations

from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Heed, Level, Log, Look, Reply
from fluxpmix.host.event import Events
from fluxpmix.host.publication import Refused
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, Proc, find, is_true
from fluxpmix.pmix.upcalls import Monitor

# What of a file is watched: where it stands in what a look at the file brings.
_ASPECTS = {attributes.MONITOR_FILE_SIZE: 0, attributes.MONITOR_FILE_ACCESS: 1, attributes.MONITOR_FILE_MODIFY: 2}
# By which libpmix 6 names others than who asks.
_OTHERS = (
    *(attributes.MONITOR_TARGET_PROCS, attributes.MONITOR_TARGET_PIDS),
    *(attributes.MONITOR_TARGET_NODES, attributes.MONITOR_TARGET_NODEIDS),
)


class _Watched:
    """A file, or the process that asks: `path` is None."""

    __slots__ = ("alerted", "aspect", "drops", "event", "every", "id", "last", "misses", "next", "path", "requestor")

    def __init__(self, upcall: Monitor, now: float) -> None:
        told = upcall.directives
        name = find(told, attributes.MONITOR_ID)
        self.requestor = upcall.proc
        self.id = name if isinstance(name, str) else None
        if any(info.key in _OTHERS for info in told):
            raise Refused(Status.ERR_NOT_SUPPORTED, "a process has itself watched and files of its node, nobody else")
        self.aspect = 0
        self.last: int | None = None
        self.misses = 0
        self.alerted = False
        self.path: str | None = None
        if upcall.monitor.key == attributes.MONITOR_HEARTBEAT:
            self.event = upcall.error or int(Status.MONITOR_HEARTBEAT_ALERT)
            every, drops = attributes.MONITOR_HEARTBEAT_TIME, attributes.MONITOR_HEARTBEAT_DROPS
        elif upcall.monitor.key == attributes.MONITOR_FILE:
            self.event = upcall.error or int(Status.MONITOR_FILE_ALERT)
            every, drops = attributes.MONITOR_FILE_CHECK_TIME, attributes.MONITOR_FILE_DROPS
            aspects = [at for key, at in _ASPECTS.items() if is_true(told, key) or isinstance(find(told, key), str)]
            if not isinstance(upcall.monitor.value, str) or len(aspects) != 1:
                raise Refused(Status.ERR_BAD_PARAM, "a file is watched by its path, and one of size, access or change")
            self.path = upcall.monitor.value
            (self.aspect,) = aspects
        else:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{upcall.monitor.key} is not watched here")
        seconds, spared = find(told, every), find(told, drops, 0)
        if not isinstance(seconds, int) or seconds <= 0:
            raise Refused(Status.ERR_BAD_PARAM, f"{every} must say how often to look, in seconds")
        self.every = float(seconds)
        self.drops = spared if isinstance(spared, int) else 0
        self.next = now + self.every


class Monitors(Capability):
    """What the processes of one shell have watched."""

    def __init__(self, events: Events, directory: Directory, server: Proc) -> None:
        """`server` is this shell's: libpmix tells no process of an event that is said to be its own."""
        self._events = events
        self._server = server
        self._directory = directory
        self._watched: dict[int, _Watched] = {}  # by number
        self._asked: dict[int, int] = {}  # by number: the upcall of one whose process is looked at for the first time
        self._count = 0

    @property
    def deadline(self) -> float | None:
        return min((one.next for one in self._watched.values()), default=None)

    def upcall(self, upcall: Monitor, now: float, out: list[Effect]) -> None:
        """Begin or end to watch something."""
        if upcall.monitor.key == attributes.MONITOR_CANCEL:
            self._cancel(upcall, out)
            return
        try:
            one = _Watched(upcall, now)
        except Refused as error:
            out.append(Log(Level.WARNING, f"PMIx_Process_monitor by {upcall.proc} is refused: {error}"))
            out.append(Reply(upcall.id, int(error.status)))
            return
        self._count += 1
        self._watched[self._count] = one
        if one.path is None:
            self._asked[self._count] = upcall.id
            out.append(Heed(self._count, one.requestor))
        else:
            out.append(_granted(upcall.id, one))

    def looked(self, number: int, found: tuple[int, int, int] | None, out: list[Effect]) -> None:
        """Take what a look at a file brought: its size and the times of its last access and change; None: no file."""
        one = self._watched.get(number)
        if one is not None and found is not None:  # it may still come
            self._take(number, one, found[one.aspect], out)

    def heard(self, number: int, size: int | None, out: list[Effect]) -> None:
        """Take how much a process has sent in all; None: nobody can tell, or it is gone."""
        one, asked = self._watched.get(number), self._asked.pop(number, None)
        if one is None:
            return
        if size is None:
            del self._watched[number]
        else:
            self._take(number, one, size, out)
        if asked is not None:
            if size is None:
                out.append(Log(Level.WARNING, f"heartbeats of {one.requestor} cannot be heard here"))
            out.append(_granted(asked, one) if size is not None else Reply(asked, int(Status.ERR_NOT_SUPPORTED)))

    def ended(self, proc: Proc) -> None:
        """A process is gone: nothing is watched for it any more."""
        self._watched = {number: one for number, one in self._watched.items() if one.requestor != proc}

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        if self._watched:
            self.ended(self._directory.proc(rank))

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        if self._watched:
            self.ended(self._directory.proc(rank))

    def tick(self, now: float, out: list[Effect]) -> None:
        for number, one in self._watched.items():
            if one.next <= now:
                one.next = now + one.every
                out.append(Heed(number, one.requestor) if one.path is None else Look(number, one.path))

    # -- inside ------------------------------------------------------------------------------------

    def _cancel(self, upcall: Monitor, out: list[Effect]) -> None:
        name = upcall.monitor.value
        meant = [
            number
            for number, one in self._watched.items()
            if one.requestor == upcall.proc and (not isinstance(name, str) or one.id == name)
        ]
        for number in meant:
            del self._watched[number]
        out.append(Reply(upcall.id, int(Status.SUCCESS if meant else Status.ERR_NOT_FOUND)))

    def _take(self, number: int, one: _Watched, value: int, out: list[Effect]) -> None:
        """Hold what was found against what was found before."""
        if value != one.last:
            one.last, one.misses, one.alerted = value, 0, False
            return
        one.misses += 1
        if one.misses <= one.drops or one.alerted:
            return
        one.alerted = True
        infos: Infos = (Info(attributes.EVENT_AFFECTED_PROC, one.requestor),)
        if one.path is not None:
            del self._watched[number]
            infos = (Info(attributes.MONITOR_FILE, one.path), *infos)
        if one.id is not None:
            infos = (*infos, Info(attributes.MONITOR_ID, one.id))
        self._events.tell_all(one.event, self._server, infos, out)


def _granted(upcall: int, one: _Watched) -> Reply:
    infos = (Info(attributes.MONITOR_ID, one.id),) if one.id is not None else None
    return Reply(upcall, int(Status.SUCCESS), infos)
