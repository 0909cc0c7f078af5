"""PMIx_Abort: end the job with the caller's status and message. Standard 4.2, section 5.3.

`host.py` hands over each Abort upcall. Aborting some processes of a job and not the others is not
something that Flux does either: it is refused, as the Standard allows.
"""

from __future__ import annotations

from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Raise, Reply
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD
from fluxpmix.pmix.upcalls import Abort


class Aborts(Capability):
    """The aborts of one shell."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def upcall(self, upcall: Abort, now: float, out: list[Effect]) -> None:
        """End the job, or refuse where only a part of it is to end."""
        for nspace in {proc.nspace for proc in upcall.procs}:
            member = self._directory.get(nspace)
            if member is None:
                out.append(Reply(upcall.id, Status.ERR_NOT_FOUND))
                return
            ranks = {proc.rank for proc in upcall.procs if proc.nspace == nspace}
            if RANK_WILDCARD not in ranks and not ranks.issuperset(range(member.job.size)):
                out.append(Reply(upcall.id, Status.ERR_PARAM_VALUE_NOT_SUPPORTED))
                return
        text = f": {upcall.message}" if upcall.message else ""
        message = f"PMIx_Abort by rank {upcall.proc.rank} with status {upcall.status}{text}"
        out.append(Raise(message, exit_code(upcall.status)))
        out.append(Reply(upcall.id, Status.SUCCESS))


def exit_code(status: int) -> int:
    """Return the exit code for a status: itself where a process could exit with it, else 1."""
    return status if 0 < status < 256 else 1
