"""PMIx_Allocation_request and PMIx_Session_control. Standard 4.2, section 12.1, and 5.0, section 14.3.

What Flux can do of them. PMIX_ALLOC_EXTEND with PMIX_ALLOC_TIME moves the job's end. PMIX_ALLOC_NEW is a Flux job that
holds what is asked for (`submission.py`); its id is the answer (PMIX_ALLOC_ID), a spawn that names it goes there, and
PMIX_ALLOC_RELEASE ends it. A session, as far as a job has to do with it, is the job and all that was spawned by it:
to terminate, pause, resume or signal it is job control of all of these, and to instantiate one is a new allocation.
All else is refused, and the job's log says why.
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host import wantedresources
from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Extend, Level, Log, Reply
from fluxpmix.host.publication import Refused
from fluxpmix.host.supported import ALLOCATION, RESOURCES
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, DataArray, Info, Infos, Proc, find, is_true
from fluxpmix.pmix.upcalls import Allocate, JobControl, SessionControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.host.control import JobControls
    from fluxpmix.host.spawn import Spawns

NEW, EXTEND, RELEASE, REAQUIRE = 1, 2, 3, 4
_ALL_SESSIONS = 0xFFFFFFFF
_CONTROL: dict[str, str] = {
    a.SESSION_TERMINATE: a.JOB_CTRL_TERMINATE,
    a.SESSION_PAUSE: a.JOB_CTRL_PAUSE,
    a.SESSION_RESUME: a.JOB_CTRL_RESUME,
    a.SESSION_SIGNAL: a.JOB_CTRL_SIGNAL,
}
_REFUSED: dict[str, str] = {
    a.SESSION_PREEMPT: "Flux preempts jobs by itself, where it is set up to",
    a.SESSION_RESTORE: "Flux preempts and restores jobs by itself, where it is set up to",
    a.SESSION_PROVISION: "nodes are as they are",
    a.SESSION_PROVISION_NODES: "nodes are as they are",
    a.SESSION_PROVISION_IMAGE: "nodes are as they are",
    a.SESSION_EXTEND: "ask for more time by PMIx_Allocation_request",
    a.SESSION_APP: "spawn it into the allocation, by PMIx_Spawn with PMIX_ALLOC_ID",
}


class Allocations(Capability):
    """The requests of one shell for more of something."""

    def __init__(
        self,
        directory: Directory,
        session: int,
        spawns: Callable[[], Spawns] | None,
        controls: Callable[[], JobControls],
    ) -> None:
        """`session` is the job's; `spawns` has jobs submitted, None where there is nobody to submit them to."""
        self._directory = directory
        self._session = session
        self._spawns = spawns
        self._controls = controls

    def upcall(self, upcall: Allocate | SessionControl, now: float, out: list[Effect]) -> None:
        """Do what can be done, or refuse."""
        try:
            if isinstance(upcall, SessionControl):
                self._control(upcall, now, out)
            elif upcall.directive == NEW:
                self._new(upcall, upcall.directives, is_true(upcall.directives, a.ALLOC_CHILD_SEP), now, out)
            elif upcall.directive == EXTEND:
                self._extend(upcall, out)
            elif upcall.directive == RELEASE:
                self._release(upcall, now, out)
            else:
                why = "what Flux has taken back it gives anew: ask for a new allocation"
                raise Refused(
                    Status.ERR_NOT_SUPPORTED,
                    why if upcall.directive == REAQUIRE else f"there is no directive {upcall.directive}",
                )
        except Refused as error:
            name = "PMIx_Session_control" if isinstance(upcall, SessionControl) else "PMIx_Allocation_request"
            out.append(Log(Level.WARNING, f"{name} by {upcall.proc} is refused: {error}"))
            out.append(Reply(upcall.id, error.status))

    # -- allocations -------------------------------------------------------------------------------

    def _new(
        self, upcall: Allocate | SessionControl, infos: Infos, separate: bool, now: float, out: list[Effect]
    ) -> None:
        kept = tuple(info for info in infos if info.key != a.ALLOC_CHILD_SEP)
        wanted = wantedresources.read(kept)
        if wanted is None:
            raise Refused(Status.ERR_BAD_PARAM, "it asks for no nodes, cores or hosts")
        resources = tuple(info for info in kept if info.key in RESOURCES)
        nodes = wanted.nodes or (len(wanted.hosts) if wanted.hosts else 1)
        self._submitter().allocate(upcall, nodes, resources, separate, self._echo(infos), now, out)

    def _release(self, upcall: Allocate, now: float, out: list[Effect]) -> None:
        name = find(upcall.directives, a.ALLOC_ID)
        if not isinstance(name, str):
            raise Refused(Status.ERR_NOT_SUPPORTED, "a job's own nodes stay its own; PMIX_ALLOC_ID names another's")
        self._submitter().release(upcall, name, now, out)

    def _submitter(self) -> Spawns:
        if self._spawns is None:
            raise Refused(Status.ERR_NOT_SUPPORTED, "allocations are Flux's to give; run the job under Flux (flux run)")
        return self._spawns()

    def _extend(self, upcall: Allocate, out: list[Effect]) -> None:
        beyond = [info.key for info in upcall.directives if info.key.startswith("pmix.alloc.")]
        beyond = [key for key in beyond if key not in ALLOCATION]
        time = find(upcall.directives, a.ALLOC_TIME)
        if beyond or time is None:
            why = f"only its time can be extended, not {', '.join(beyond) or 'nothing'}"
            raise Refused(Status.ERR_NOT_SUPPORTED, why)
        name = find(upcall.directives, a.ALLOC_ID)
        if name not in (None, upcall.proc.nspace, self._directory.first.job.nspace):
            raise Refused(Status.ERR_NOT_SUPPORTED, f"a job extends its own time, not that of {name!r}")
        out.append(Extend(upcall.id, wantedresources.seconds(time), self._echo(upcall.directives)))

    def _echo(self, directives: Infos) -> Infos:
        return tuple(Info(info.key, info.value, info.type) for info in directives if info.key == a.ALLOC_REQ_ID)

    # -- sessions ----------------------------------------------------------------------------------

    def _control(self, upcall: SessionControl, now: float, out: list[Effect]) -> None:
        infos = upcall.directives
        if is_true(infos, a.SESSION_INSTANTIATE):
            given = find(infos, a.SESSION_RESOURCES)
            resources = given.items if isinstance(given, DataArray) else infos
            self._new(upcall, tuple(resources), is_true(infos, a.SESSION_SEP), now, out)
            return
        if upcall.session not in (self._session, _ALL_SESSIONS):
            raise Refused(
                Status.ERR_NOT_FOUND, f"session {upcall.session} is none of this job's, which is of {self._session}"
            )
        wanted = [info for info in infos if info.key in _CONTROL and info.value is not False]
        if len(wanted) != 1:
            why = next((why for key, why in _REFUSED.items() if find(infos, key) is not None), None)
            raise Refused(Status.ERR_NOT_SUPPORTED, why or "one of terminate, pause, resume and signal is expected")
        targets = tuple(Proc(member.job.nspace, RANK_WILDCARD) for member in self._directory.members)
        order = Info(_CONTROL[wanted[0].key], wanted[0].value)
        self._controls().upcall(JobControl(upcall.id, upcall.proc, targets, (order,)), now, out)
