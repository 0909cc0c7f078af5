"""Standard input: from the launcher's own to the tasks that are to have it.

What can be opened anew (a file) each task gets for itself and nothing is moved. A pipe or a terminal is read
by the launcher (`Source`), sent to the job shells, and written by them to each task (`Inputs`), as fast as
the fastest task reads: most programs read in one rank only, and the others must not hold that one up.
Spawned tasks get what is pushed to them alone (PMIx_IOF_push), by the same pipes.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable

from fluxpmix.pmix.light import suppress
from fluxpmix.pmix.record import Record
from fluxpmix.shell.local.reactor import HANG_UP, READ, WRITE, Reactor

WINDOW = 1 << 20  # bytes under way to the fastest reader
FALLEN_BEHIND = 64 << 20  # bytes kept for a task that does not read; then it gets no more
_READ_SIZE = 1 << 16
_BACKGROUND_CHECK = 0.5  # seconds


class Plan(Record):
    """How tasks get their input: `kind` is "none", "file" (path), "reopen" (ours, from `offset`) or "pump"."""

    kind: str
    path: str = ""
    offset: int = 0
    ranks: frozenset[int] | None = None  # None: all

    def wants(self, rank: int) -> bool:
        """Whether a task is to have it."""
        return self.ranks is None or rank in self.ranks


def plan(wanted: str | tuple[int, ...] | None) -> Plan:
    """Look at our standard input and say how `--input` is served from it."""
    if isinstance(wanted, str):
        return Plan("file", wanted)
    ranks = None if wanted is None else frozenset(wanted)
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return Plan("none")
    if stat.S_ISREG(mode):
        return Plan("reopen", "", os.lseek(0, 0, os.SEEK_CUR), ranks)
    if stat.S_ISCHR(mode) and not os.isatty(0):
        return Plan("none")  # /dev/null, mostly
    return Plan("pump", "", 0, ranks)


def reopen(offset: int) -> int:
    """Return a descriptor of our standard input, a file, with a position of its own."""
    try:
        fd = os.open("/proc/self/fd/0", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # readable to who opened it for us, not to us
        return os.dup(0)
    os.lseek(fd, offset, os.SEEK_SET)
    return fd


class Source:
    """The launcher's end: reads its standard input while somebody wants it. `send(data)`, b"" at the end."""

    def __init__(self, reactor: Reactor, shells: int, send: Callable[[bytes], None]) -> None:
        self._reactor = reactor
        self._send = send
        self._taken: dict[int, int] = dict.fromkeys(range(shells), 0)
        self._sent = 0
        self._tty = os.isatty(0)
        self._watching = False
        self._ended = False
        self._started = False

    def start(self) -> None:
        """Read from now on."""
        self._started = True
        self._listen()

    def took(self, shell: int, total: int | None) -> None:
        """A shell's fastest task has taken `total` bytes; None: no task of the shell reads any more."""
        if total is None:
            self._taken.pop(shell, None)
            if not self._taken:
                self.close()
        else:
            self._taken[shell] = total
        self._listen()

    def close(self) -> None:
        """Read no more."""
        self._ended = True
        self._listen()

    def _listen(self) -> None:
        room = self._started and not self._ended and self._sent - max(self._taken.values(), default=0) < WINDOW
        if room != self._watching:
            self._watching = room
            if room:
                self._reactor.watch(0, READ, self._ready)
            else:
                self._reactor.forget(0)

    def _ready(self, _events: int) -> None:
        if self._tty and not _in_foreground():
            # Reading now would stop us: look again later, somebody may say fg.
            self._reactor.forget(0)
            self._reactor.call_later(_BACKGROUND_CHECK, self._again)
            return
        try:
            data = os.read(0, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._sent += len(data)
        self._send(data)
        self._ended = not data
        self._listen()

    def _again(self) -> None:
        self._watching = False
        self._listen()


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return True


class Inputs:
    """A job shell's end: one pipe for each task that wants input.

    `report(total)` tells the launcher how far the fastest of those is that read what it does, None when none
    reads any more; `warn(message)` says which task is cut off.
    """

    def __init__(self, reactor: Reactor, report: Callable[[int | None], None], warn: Callable[[str], None]) -> None:
        self.reactor = reactor
        self._report = report
        self._warn = warn
        self._feeds: dict[int, _Feed] = {}
        self._names: dict[int, str] = {}  # of tasks that get only what is pushed to them
        self._ended: set[int] = set()  # those whose pushes are
        self._most = 0
        self._over = False  # whether no more will come

    def add(self, rank: int, name: str = "") -> int:
        """Make the pipe of a task and return the end that is its standard input.

        One with a name does not get what the launcher reads.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(writer, False)
        self._feeds[rank] = _Feed(self, rank, writer)
        if name:
            self._names[rank] = name
        return reader

    def add_again(self, rank: int, name: str = "") -> int:
        """Make the pipe of a task that is to start again: it gets what comes from now on."""
        feed = self._feeds.pop(rank, None)
        self._names.pop(rank, None)
        if feed is not None:
            feed.close()
        if rank in self._ended if name else self._over:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return self.add(rank, name)

    def start(self) -> None:
        """Tell the launcher if no task of this shell wants any."""
        if not self._feeds:
            self._no_more()

    def give(self, data: bytes) -> None:
        """Give data to every task that gets what the launcher reads, b"" for the end."""
        self._over = self._over or not data
        for feed in [feed for rank, feed in self._feeds.items() if rank not in self._names]:
            feed.write(data)

    def give_to(self, rank: int, data: bytes) -> bool:
        """Give data to one task, b"" for the end. Returns whether it still takes some."""
        feed = self._feeds.get(rank)
        if feed is None:
            return False
        if not data and rank in self._names:
            self._ended.add(rank)
        feed.write(data)
        return not data or rank in self._feeds

    def forget(self, rank: int) -> None:
        """A task is gone."""
        feed = self._feeds.pop(rank, None)
        if feed is not None:
            feed.close()
            if self._names.pop(rank, None) is None and len(self._feeds) == len(self._names):
                self._no_more()

    def _no_more(self) -> None:
        self._over = True
        self._report(None)

    def took(self, rank: int, total: int) -> None:
        """A task has taken `total` bytes in all."""
        if total > self._most and rank not in self._names:
            self._most = total
            self._report(total)

    def fell_behind(self, rank: int) -> None:
        """A task does not read, and too much waits for it."""
        name = self._names.get(rank)
        remedy = "push to those tasks that read" if name else "--input=RANKS names the tasks that do"
        self._warn(
            f"task {name or rank} does not read its standard input: {FALLEN_BEHIND >> 20} MiB wait for it, it gets no "
            f"more; {remedy}"
        )
        self.forget(rank)


class _Feed:
    """One task's pipe, and what does not fit into it yet."""

    def __init__(self, inputs: Inputs, rank: int, fd: int) -> None:
        self._inputs = inputs
        self._rank = rank
        self._fd = fd
        self._queue: deque[bytes | memoryview] = deque()
        self._queued = 0
        self._total = 0
        self._watching = False
        self._end = False

    def write(self, data: bytes) -> None:
        if not data:
            self._end = True
        else:
            self._queue.append(data)
            self._queued += len(data)
        if self._queued > FALLEN_BEHIND:
            self._inputs.fell_behind(self._rank)
        elif not self._watching:
            self._flush()

    def close(self) -> None:
        if self._fd >= 0:
            self._watch(False)
            os.close(self._fd)
            self._fd = -1
            self._queue.clear()

    def _flush(self) -> None:
        while self._queue:
            first = self._queue[0]
            try:
                count = os.write(self._fd, first)
            except BlockingIOError:
                self._watch(True)
                self._inputs.took(self._rank, self._total)
                return
            except OSError:  # the task has closed it
                self._inputs.forget(self._rank)
                return
            self._total += count
            self._queued -= count
            if count == len(first):
                self._queue.popleft()
            else:
                self._queue[0] = memoryview(first)[count:]
        self._watch(False)
        self._inputs.took(self._rank, self._total)
        if self._end:
            self._inputs.forget(self._rank)

    def _ready(self, events: int) -> None:
        if events & HANG_UP:
            self._inputs.forget(self._rank)
        else:
            self._flush()

    def _watch(self, on: bool) -> None:
        if on != self._watching:
            self._watching = on
            if on:
                self._inputs.reactor.watch(self._fd, WRITE, self._ready)
            else:
                with suppress(OSError):
                    self._inputs.reactor.forget(self._fd)
