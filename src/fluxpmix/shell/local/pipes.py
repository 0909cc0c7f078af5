"""A task's standard output and error: two pipes, cut into whole lines.

Each job shell has one `TaskPipes` for each of its tasks, and sends what it emits to the launcher.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fluxpmix.shell.local.reactor import READ, Reactor

_READ_SIZE = 1 << 16
_LONGEST_LINE = 1 << 20  # bytes; a longer one goes in pieces


class TaskPipes:
    """Both streams. `emit(stream, data)` gets whole lines, stream 1 or 2; `closed(stream)` says that one has ended."""

    def __init__(
        self,
        reactor: Reactor,
        fds: tuple[int, int],
        emit: Callable[[int, bytes], None],
        closed: Callable[[int], None],
        unbuffered: bool,
    ) -> None:
        self.reactor = reactor
        self.emit = emit
        self.unbuffered = unbuffered
        self.closed = closed
        self._pipes = [_Pipe(self, stream, fd) for stream, fd in enumerate(fds, 1)]

    @property
    def open(self) -> bool:
        """Whether there may be more to come."""
        return any(pipe.open for pipe in self._pipes)

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        for pipe in self._pipes:
            pipe.pause(paused)

    def hang_up(self) -> None:
        """Read what is there and no more, whoever holds the other ends."""
        for pipe in self._pipes:
            pipe.hang_up()


class _Pipe:
    """One stream."""

    def __init__(self, pipes: TaskPipes, stream: int, fd: int) -> None:
        self._pipes = pipes
        self._stream = stream
        self._fd = fd
        self._rest = b""
        self._paused = False
        os.set_blocking(fd, False)
        pipes.reactor.watch(fd, READ, self._ready)

    @property
    def open(self) -> bool:
        return self._fd >= 0

    def pause(self, paused: bool) -> None:
        if self._fd >= 0 and paused != self._paused:
            self._paused = paused
            if paused:
                self._pipes.reactor.forget(self._fd)
            else:
                self._pipes.reactor.watch(self._fd, READ, self._ready)

    def hang_up(self) -> None:
        while self._fd >= 0 and self._read():
            pass
        self._close()

    def _ready(self, _events: int) -> None:
        self._read()

    def _read(self) -> bool:
        """Read once; whether there may be more."""
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return False
        if not data:
            self._close()
            return False
        end = len(data) if self._pipes.unbuffered else data.rfind(b"\n") + 1
        if end:
            self._pipes.emit(self._stream, self._rest + data[:end])
            self._rest = data[end:]
        else:
            self._rest += data
            if len(self._rest) > _LONGEST_LINE:
                self._flush()
        return True

    def _flush(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self._pipes.emit(self._stream, rest)

    def _close(self) -> None:
        if self._fd >= 0:
            self._flush()
            if not self._paused:
                self._pipes.reactor.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._pipes.closed(self._stream)
