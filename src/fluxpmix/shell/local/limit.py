"""A job's time limit: it counts from the start of the last task, and may be extended while the job runs."""

from __future__ import annotations

from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.reactor import Reactor, Timer


class TimeLimit:
    """The time that a job has, once it is started; one that is never started has no end."""

    def __init__(self, reactor: Reactor, is_up: Callable[[], None]) -> None:
        """`is_up` is called when the time is over."""
        self._reactor = reactor
        self._is_up = is_up
        self._timer: Timer | None = None
        self._before = 0.0
        self._warning: Callable[[], None] | None = None
        self._warns: Timer | None = None
        self._ends_at = float("inf")

    def start(self, seconds: float) -> None:
        """Count from now."""
        self._ends_at = self._reactor.now() + seconds
        self._timer = self._reactor.call_at(self._ends_at, self._is_up)

    def warn(self, before: float, warning: Callable[[], None]) -> None:
        """Call `warning` so many seconds before the end; again before a later one, where it is extended."""
        self._before, self._warning = before, warning
        if self._warns is not None:
            self._warns.cancel()
        self._warns = self._reactor.call_at(max(self._ends_at - before, self._reactor.now()), warning)

    def extend(self, seconds: float) -> float | None:
        """Give more time; returns how many seconds are left now, None where there is no limit."""
        if self._timer is None:
            return None
        self._timer.cancel()
        self._ends_at += seconds
        self._timer = self._reactor.call_at(self._ends_at, self._is_up)
        if self._warning is not None:
            self.warn(self._before, self._warning)
        return self._ends_at - self._reactor.now()
