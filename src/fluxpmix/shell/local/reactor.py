"""A small event loop over epoll: descriptors, timers, signals, and calls from other threads.

The launcher and every job shell have one. asyncio would do, but importing it takes longer than
starting a PMIx server and four tasks.
"""

from __future__ import annotations

import os
import select
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import monotonic

from fluxpmix.pmix.light import signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANG_UP = select.EPOLLHUP | select.EPOLLERR


class Timer:
    """A call to come; `cancel` it or let it happen."""

    __slots__ = ("call", "when")

    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when = when
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Do not make the call."""
        self.call = None


class Reactor:
    """Run callbacks until `stop`. Everything but `post` belongs to the thread that runs it."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._posted: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._signals: dict[int, Callable[[], None]] = {}
        self._old_signals: dict[int, Any] = {}
        self._signal_pipe: tuple[int, int] | None = None
        self._old_wakeup = -1
        self._running = False
        self._in_turn = False
        self._ends: list[Callable[[], None]] = []  # what is to be done at the end of this turn
        self._turn = allocate_lock()  # held by who runs callbacks
        self._guest = False
        self.watch(self._wake, READ, self._drain)

    def close(self) -> None:
        """Give signals back and close what the loop itself opened."""
        for signum, handler in self._old_signals.items():
            signal.signal(signum, handler)
        self._old_signals.clear()
        if self._signal_pipe is not None:
            signal.set_wakeup_fd(self._old_wakeup)
            for fd in self._signal_pipe:
                os.close(fd)
            self._signal_pipe = None
        if not self._poll.closed:
            wake, self._wake = self._wake, -1
            os.close(wake)
            self._poll.close()

    @staticmethod
    def now() -> float:
        """Monotonic time in seconds."""
        return monotonic()

    def watch(self, fd: int, events: int, call: Callable[[int], None]) -> None:
        """Call `call(events)` when `fd` is ready. OSError (EPERM) where it is a regular file."""
        self._poll.register(fd, events)
        self._handlers[fd] = call

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events on a watched descriptor."""
        self._poll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch `fd` no more; no harm where it was not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        """Make a call at a time as `now` tells it."""
        timer = Timer(when, call)
        heappush(self._timers, (when, next(self._order), timer))
        if self._guest:
            self.post(_nothing)  # the loop must look at its timers
        return timer

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Make a call after some seconds."""
        return self.call_at(monotonic() + seconds, call)

    def post(self, call: Callable[[], None]) -> None:
        """Make a call soon; from any thread. Nothing comes of it once the loop is closed."""
        self._posted.append(call)
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def at_end(self, call: Callable[[], None]) -> None:
        """Make a call when the callbacks are done that are due now; at once outside of `run`."""
        if self._in_turn:
            self._ends.append(call)
        else:
            call()

    def enter(self, call: Callable[[], None]) -> bool:
        """Make a call at once, in the place of the loop, if that does nothing else now; from any thread.

        Returns whether it was made. It never overtakes what was posted.
        """
        if self._posted or not self._turn.acquire(False):
            return False
        try:
            if self._posted or not self._running:
                return False
            self._guest = True
            call()
        finally:
            self._guest = False
            self._turn.release()
        return True

    def on_signal(self, signum: int, call: Callable[[], None]) -> None:
        """Make a call in the loop for each batch of a signal. In the main thread only."""
        if self._signal_pipe is None:
            self._signal_pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._old_wakeup = signal.set_wakeup_fd(self._signal_pipe[1], warn_on_full_buffer=False)
            self.watch(self._signal_pipe[0], READ, self._read_signals)
        self._signals[signum] = call
        self._old_signals.setdefault(signum, signal.signal(signum, _ignore))

    def run(self) -> None:
        """Run callbacks until `stop` is called in one."""
        self._running = True
        with self._turn:
            self._run()

    def _run(self) -> None:
        turn = self._turn
        while self._running:
            timeout = -1.0
            if self._timers:
                timeout = max(0.0, self._timers[0][0] - monotonic())
            turn.release()
            try:
                ready = self._poll.poll(timeout)
            finally:
                turn.acquire()
            self._in_turn = True
            try:
                for fd, events in ready:
                    handler = self._handlers.get(fd)
                    if handler is not None:
                        handler(events)
                self._fire()
            finally:
                self._in_turn = False
                ends, self._ends = self._ends, []
                for call in ends:
                    call()

    def stop(self) -> None:
        """Let `run` return after the callbacks under way."""
        self._running = False

    def _fire(self) -> None:
        while self._timers and (self._timers[0][2].call is None or self._timers[0][0] <= monotonic()):
            call = heappop(self._timers)[2].call
            if call is not None:
                call()

    def _drain(self, _events: int) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return
        while self._posted:
            self._posted.popleft()()

    def _read_signals(self, _events: int) -> None:
        assert self._signal_pipe is not None
        try:
            caught = os.read(self._signal_pipe[0], 4096)
        except BlockingIOError:
            return
        for signum in dict.fromkeys(caught):
            if signum in self._signals:
                self._signals[signum]()


def _ignore(_signum: int, _frame: Any) -> None:
    """Let the wake-up descriptor tell the loop."""


def _nothing() -> None:
    """Have the loop go round."""
