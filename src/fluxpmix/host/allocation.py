"""PMIx_Allocation_request and PMIx_Session_control: more time for the job. Standard 4.2, section 12.1.

A job's nodes and cores are those that it was given. What can change is how long it may run: PMIX_ALLOC_EXTEND
with PMIX_ALLOC_TIME has the carrier move the job's end. All else is refused, and the job's log says why.
"""

from __future__ import annotations

from fluxpmix.host import wantedresources
from fluxpmix.host.capability import Capability
from fluxpmix.host.effects import Effect, Extend, Level, Log, Reply
from fluxpmix.host.publication import Refused
from fluxpmix.host.supported import ALLOCATION
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, find
from fluxpmix.pmix.upcalls import Allocate, SessionControl

NEW, EXTEND, RELEASE, REAQUIRE = 1, 2, 3, 4
_REFUSED = {
    NEW: "a running job gets no second allocation; submit another job",
    RELEASE: "a job's nodes stay its own until it ends",
    REAQUIRE: "a job's nodes stay its own until it ends",
}


class Allocations(Capability):
    """The requests of one shell for more of something."""

    def upcall(self, upcall: Allocate | SessionControl, now: float, out: list[Effect]) -> None:
        """Have the job's time extended, or refuse."""
        if isinstance(upcall, SessionControl):
            self._refuse(upcall, "sessions are controlled by whoever runs the system, not by its jobs", out)
            return
        if upcall.directive != EXTEND:
            self._refuse(upcall, _REFUSED.get(upcall.directive, f"there is no directive {upcall.directive}"), out)
            return
        beyond = [info.key for info in upcall.directives if info.key.startswith("pmix.alloc.")]
        beyond = [key for key in beyond if key not in ALLOCATION]
        time = find(upcall.directives, attributes.ALLOC_TIME)
        if beyond or time is None:
            self._refuse(upcall, f"only its time can be extended, not {', '.join(beyond) or 'nothing'}", out)
            return
        try:
            seconds = wantedresources.seconds(time)
        except Refused as error:
            out.append(Log(Level.WARNING, str(error)))
            out.append(Reply(upcall.id, error.status))
            return
        out.append(Extend(upcall.id, seconds, self._echo(upcall.directives)))

    def _echo(self, directives: Infos) -> Infos:
        return tuple(
            Info(info.key, info.value, info.type) for info in directives if info.key == attributes.ALLOC_REQ_ID
        )

    def _refuse(self, upcall: Allocate | SessionControl, why: str, out: list[Effect]) -> None:
        name = "PMIx_Session_control" if isinstance(upcall, SessionControl) else "PMIx_Allocation_request"
        out.append(Log(Level.WARNING, f"{name} by {upcall.proc} is refused: {why}"))
        out.append(Reply(upcall.id, int(Status.ERR_NOT_SUPPORTED)))
