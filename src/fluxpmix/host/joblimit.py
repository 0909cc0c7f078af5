"""How long spawned jobs may run: PMIX_JOB_TIMEOUT. Standard 4.2, section 11.2.

`spawn.py` of the first shell counts from when a job runs. When its time is up its processes are terminated, as
PMIx_Job_control does it, and killed a while later; its end is then one by PMIX_ERR_TIMEOUT. Before that they are told
that it nearly is, as those of the first job are of its time limit (`timealert.py`).
"""

from __future__ import annotations

from fluxpmix.host import timealert

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
ALERT, SIGTERM, SIGKILL = 0, 15, 9


class JobLimits:
    """The jobs whose time is counted, by their first number."""

    def __init__(self, alert: float) -> None:
        """`alert` is how long before its end a job is told of it (seconds; 0: never)."""
        self._alert = alert
        self._ends: dict[int, float] = {}
        self._next: dict[int, tuple[float, int]] = {}  # when, and what is due then: the alert, or a signal

    @property
    def deadline(self) -> float | None:
        """When the next job's time is up."""
        return min((when for when, _ in self._next.values()), default=None)

    def begin(self, first: int, seconds: float | None, now: float) -> None:
        """A job runs, and may for so long (None: for ever)."""
        if seconds is not None:
            end = self._ends[first] = now + seconds
            self._next[first] = (timealert.due(end, self._alert, now), ALERT) if self._alert else (end, SIGTERM)

    def due(self, now: float) -> list[tuple[int, int, float]]:
        """Return the jobs of which something is due now: the alert, or a signal; and how many seconds are left."""
        found = []
        for first, (when, what) in list(self._next.items()):
            if when <= now:
                found.append((first, what, self._ends[first] - now))
                del self._next[first]
                if what == ALERT:
                    self._next[first] = self._ends[first], SIGTERM
                elif what == SIGTERM:
                    self._next[first] = now + GRACE, SIGKILL
                else:
                    del self._ends[first]
        return found
