"""Little time left: PMIX_JCTRL_PREEMPT_ALERT, before the time of this shell's job is up. Standard 4.2, section 12.2.

The Standard has no event of that very name. This is the one by which processes hear that the resource manager is
about to take their resources: with PMIX_EVENT_TERMINATE_JOB and, in seconds, PMIX_EVENT_ACTION_TIMEOUT and
PMIX_TIME_REMAINING. Nobody gets it who has not asked for it (PMIX_EVENT_NON_DEFAULT): what Open MPI does of any event
that it does not know is to abort.

It is raised so many seconds before the end; where less than that is left when the limit is set, in the middle of what
is left. A limit that changes is told of again when its own time has come; so libpmix keeps none for those that register
later, who would hear of a limit that is no more. Every shell knows the limit, and tells its own processes: that costs
no message.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect
from fluxpmix.host.event import Events
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, DataArray, DataType, Info, Infos, Proc

ALERT = int(Status.JCTRL_PREEMPT_ALERT)
_SAME = 0.5  # seconds: clocks that are compared differ, and a limit that moves by less has not moved


class TimeAlerts(Capability):
    """The alert of one shell."""

    def __init__(self, events: Events, directory: Directory, me: int, source: Proc, lead: float) -> None:
        """`source` raises it: this shell's server. `lead` is how long before the end (seconds)."""
        self._events = events
        self._directory = directory
        self._me = me
        self._source = source
        self._lead = lead
        self._ends_at: float | None = None
        self._due: float | None = None

    @property
    def deadline(self) -> float | None:
        return self._due

    def limit(self, ends_at: float | None, now: float) -> None:
        """The job's time is up at `ends_at` from now on; None: never."""
        if ends_at is None:
            self._ends_at = self._due = None
        elif self._ends_at is None or abs(ends_at - self._ends_at) >= _SAME:
            self._ends_at = ends_at
            self._due = due(ends_at, self._lead, now)

    def tick(self, now: float, out: list[Effect]) -> None:
        if self._due is None or self._ends_at is None or now < self._due:
            return
        self._due = None
        # All jobs that have processes here: what they have spawned ends with them.
        jobs = [member.job.nspace for member in self._directory.members if member.on(self._me)]
        self._events.tell(ALERT, self._source, facts(jobs, self._ends_at - now), out)


def due(ends_at: float, lead: float, now: float) -> float:
    """Return when to alert of an end that is set now."""
    left = max(0.0, ends_at - now)
    return ends_at - (lead if left > lead else left / 2)


def facts(jobs: Sequence[str], left: float) -> Infos:
    """Return what the event says: whose time is up, and in how many seconds."""
    procs = tuple(Proc(nspace, RANK_WILDCARD) for nspace in jobs)
    whose = Info(attributes.EVENT_AFFECTED_PROCS, DataArray(DataType.PROC, procs))
    if len(procs) == 1:
        whose = Info(attributes.EVENT_AFFECTED_PROC, procs[0])
    seconds = max(0, round(left))
    return (
        Info(attributes.EVENT_TERMINATE_JOB, True),
        Info(attributes.EVENT_ACTION_TIMEOUT, seconds),
        Info(attributes.TIME_REMAINING, seconds),
        whose,
        Info(attributes.EVENT_NON_DEFAULT, True),
        Info(attributes.EVENT_DO_NOT_CACHE, True),
        Info(attributes.EVENT_TEXT_MESSAGE, f"the job's time is up in {seconds} s"),
    )
