"""PMIx_Job_control: clients ask for files to be removed when they end. Standard 4.2, section 12.2.

Open MPI 5 removes its shared memory segments so. libpmix sees to such requests (PMIX_REGISTER_CLEANUP and
its kin) by itself, but only where the host serves job control at all. Other requests are refused.
"""

from __future__ import annotations

from fluxpmix.host.effects import Effect, Reply
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.upcalls import JobControl


class JobControls:
    """The job control requests of one shell."""

    serves = (JobControl,)

    def upcall(self, upcall: JobControl, now: float, out: list[Effect]) -> None:
        """Refuse what libpmix does not do by itself."""
        out.append(Reply(upcall.id, Status.ERR_NOT_SUPPORTED))
