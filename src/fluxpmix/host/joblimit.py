"""How long spawned jobs may run: PMIX_JOB_TIMEOUT. Standard 4.2, section 11.2.

`spawn.py` of the first shell counts from when a job runs. When its time is up its processes are terminated, as
PMIx_Job_control does it, and killed a while later; its end is then one by PMIX_ERR_TIMEOUT.
"""

from __future__ import annotations

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
SIGTERM, SIGKILL = 15, 9


class JobLimits:
    """The jobs whose time is counted, by their first number."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[float, int]] = {}  # when, and the signal that is due then

    @property
    def deadline(self) -> float | None:
        """When the next job's time is up."""
        return min((when for when, _ in self._ends.values()), default=None)

    def begin(self, first: int, seconds: float | None, now: float) -> None:
        """A job runs, and may for so long (None: for ever)."""
        if seconds is not None:
            self._ends[first] = now + seconds, SIGTERM

    def due(self, now: float) -> list[tuple[int, int]]:
        """Return the jobs that are to get a signal now, and which."""
        found = []
        for first, (when, signum) in list(self._ends.items()):
            if when <= now:
                found.append((first, signum))
                del self._ends[first]
                if signum == SIGTERM:
                    self._ends[first] = now + GRACE, SIGKILL
        return found
