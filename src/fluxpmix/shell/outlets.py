"""What stands between tasks' output and those that pull it: a slow reader slows nobody, and takes no more memory.

libpmix takes whatever it is given for a reader and keeps it until that has read it, however much that is. The
kernel knows how far each is (`pmix/served.py`), so this keeps count: what a reader has not read yet is with
libpmix up to half of the limit, then here up to the other half. Beyond that output is dropped, the oldest or the
newest as the pull has asked, and once the reader has caught up it is told how much it has missed. Where several
tools read at this shell, and one of them does not while others do, that one is hung up on instead. Who pulls libpmix
does not say: a tool or a task for whom nothing waits in the kernel has read what there was for it, or wants nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from fluxpmix.host.effects import Buffer, Level
from fluxpmix.pmix.types import IofChannel, Proc

LIMIT = 16 << 20  # bytes that may wait for the slowest reader, where no pull says another limit
_LOOK = 1 << 16  # bytes between looks at how far readers are
_PAUSE = 0.01  # seconds between attempts to send what waits
_LONGEST_NEWS = 2.0  # seconds until the host knows that a tool has gone
_LONGEST = 10.0  # seconds in which one of several readers must have read something


class Outlets:
    """Those that read at one shell.

    `progress()` returns for each how many bytes it has taken in all, and how many the kernel holds that it has not;
    `send(source, channel, data)` gives libpmix output for all of them; `hang_up(reader)` ends one, if it is a tool, and
    returns whether it was.
    """

    def __init__(
        self,
        progress: Callable[[], Mapping[Proc, tuple[int, int]]],
        send: Callable[[Proc, int, Buffer], None],
        hang_up: Callable[[Proc], bool],
        log: Callable[[Level, str], None],
    ) -> None:
        self._progress = progress
        self._send = send
        self._hang_up = hang_up
        self._log = log
        self.limit = LIMIT
        self.drop_oldest = False
        self.dropped = 0  # bytes, in all
        self._sent = 0  # bytes given to libpmix, in all
        self._looked_at = 0  # `_sent` at the last look
        self._read: dict[Proc, tuple[int, int, float]] = {}  # by tool: what it had taken, `_sent` less that, since when
        self._queue: deque[tuple[Proc, int, Buffer]] = deque()
        self._queued = 0
        self._missed: dict[tuple[Proc, int], int] = {}
        self.deadline: float | None = None
        self._held_until = 0.0  # one that was behind has gone, and perhaps nobody is left to read

    @property
    def waiting(self) -> int:
        """Bytes that the slowest reader has not got yet, with the queue."""
        return self._queued + self._behind()

    def deliver(self, source: Proc, channel: int, data: Buffer, now: float) -> None:
        """Give output to the tools, now or later, or drop it."""
        if self._sent - self._looked_at >= _LOOK or not self._read:
            self._look(now)
        free = now >= self._held_until and not self._queue and not self._missed
        if free and self._behind() <= self.limit // 2:
            self._give(source, channel, data)
            return
        self._queue.append((source, channel, data))
        self._queued += len(data)
        self._shorten(now)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Give libpmix what waits here, as far as the slowest reader allows."""
        self._look(now)
        if now < self._held_until:
            self.deadline = now + _PAUSE
            return
        while self._queue and self._behind() <= self.limit // 2:
            source, channel, data = self._queue.popleft()
            self._queued -= len(data)
            self._tell_missed((source, channel))
            self._give(source, channel, data)
            if self._sent - self._looked_at >= _LOOK:
                self._look(now)
        if not self._queue and self._behind() <= self.limit // 2:
            for key in list(self._missed):
                self._tell_missed(key)
        self.deadline = now + _PAUSE if self._queue or self._missed else None

    def forget(self) -> None:
        """Nobody reads any more: keep nothing for those that have gone."""
        self._queue.clear()
        self._missed.clear()
        self._read.clear()
        self._queued = 0
        self.limit, self.drop_oldest, self.deadline, self._held_until = LIMIT, False, None, 0.0

    def end(self) -> None:
        """No more is given to anybody: say what was never read."""
        lost = self._queued + sum(self._missed.values())
        if lost:
            self._log(Level.NOTICE, f"{lost} bytes of output were dropped: no tool read them before the job ended")

    # -- inside ------------------------------------------------------------------------------------

    def _give(self, source: Proc, channel: int, data: Buffer) -> None:
        self._send(source, channel, data)
        self._sent += len(data)

    def _behind(self) -> int:
        return max((lag for _, lag, _ in self._read.values()), default=0) + self._sent - self._looked_at

    def _look(self, now: float) -> None:
        """See how far each tool is."""
        found = self._progress()
        fresh = self._sent - self._looked_at
        self._looked_at = self._sent
        before, self._read = self._read, {}
        if self._queue and any(lag and tool not in found for tool, (_, lag, _) in before.items()):
            # libpmix would keep for whoever comes next what nobody reads. The host knows soon whether that is so.
            self._held_until = now + _LONGEST_NEWS
        for tool, (taken, waiting) in found.items():
            if tool not in before:
                self._read[tool] = (taken, 0, now)
                continue
            was, lag, since = before[tool]
            # What it takes beside output (answers, headers) makes up for no output.
            lag = max(0, lag + fresh - (taken - was))
            if not waiting:
                lag = min(lag, fresh)  # libpmix may not have got to that yet
            self._read[tool] = (taken, lag, now if taken > was or not lag else since)

    def _shorten(self, now: float) -> None:
        """Hold the queue to its half of the limit."""
        if self._queued <= self.limit // 2:
            return
        stuck = [tool for tool, (_, lag, since) in self._read.items() if lag and now - since > _LONGEST]
        if len(stuck) < len(self._read):
            for tool in stuck:
                if self._hang_up(tool):
                    self._log(Level.WARNING, f"tool {tool} does not read, while others do: it is hung up on")
                    del self._read[tool]
        while self._queued > self.limit // 2:
            source, channel, data = self._queue.popleft() if self.drop_oldest else self._queue.pop()
            if not data:  # a stream's end is never dropped
                self._queue.append((source, channel, data))
                if all(not each for _, _, each in self._queue):
                    return
                continue
            self._queued -= len(data)
            self.dropped += len(data)
            key = source, channel
            self._missed[key] = self._missed.get(key, 0) + len(data)

    def _tell_missed(self, key: tuple[Proc, int]) -> None:
        missed = self._missed.pop(key, 0)
        if missed:
            source, channel = key
            text = f"[flux-pmix: {missed} bytes of rank {source.rank}'s output were dropped: this reader is too slow]\n"
            self._log(Level.NOTICE, f"{missed} bytes of rank {source.rank}'s output were dropped: no tool read them")
            self._give(source, channel & ~int(IofChannel.NONE), text.encode())
