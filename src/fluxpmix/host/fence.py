"""PMIx_Fence over shells: Standard 4.2, sections 6.2.5 and 17.3.6 (`fence_nb`).

`host.py` hands over each Fence upcall: by then all local participants have called. The movement is
chosen by the directive and never by the size: without PMIX_COLLECT_DATA a fence is a barrier, which
carries nothing, whatever was committed before.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.capability import Capability
from fluxpmix.host.collective import Collectives
from fluxpmix.host.directives import local_status, timeout, unsupported
from fluxpmix.host.directory import UnknownProc
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Reply
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import is_true
from fluxpmix.pmix.upcalls import Fence

OPERATION = 1

# What a caller may require. The last two libpmix adds itself.
_HONOURED = frozenset(
    (
        attributes.COLLECT_DATA,
        attributes.COLLECT_GENERATED_JOB_INFO,
        attributes.TIMEOUT,
        attributes.LOCAL_COLLECTIVE_STATUS,
        "pmix.sorted.parr",
    )
)


class Fences(Capability):
    """The fences of one shell."""

    def __init__(self, collectives: Collectives, default_timeout: float | None) -> None:
        self._collectives = collectives
        self._default_timeout = default_timeout

    def upcall(self, upcall: Fence, now: float, out: list[Effect]) -> None:
        """Enter this shell's part of a fence; the reply comes when all shells have entered theirs."""
        unknown = unsupported(upcall.directives, _HONOURED)
        if unknown:
            out.append(Log(Level.ERROR, f"fence: {unknown} is required, but not supported"))
            out.append(Reply(upcall.id, Status.ERR_NOT_SUPPORTED))
            return
        collecting = is_true(upcall.directives, attributes.COLLECT_DATA)

        def done(status: int, blobs: Sequence[Buffer]) -> Effect:
            return Reply(upcall.id, status, blobs)

        try:
            self._collectives.contribute(
                OPERATION,
                upcall.procs,
                upcall.data if collecting else None,
                local_status(upcall.directives),
                timeout(upcall.directives, self._default_timeout),
                done,
                now,
                out,
            )
        except UnknownProc as error:
            out.append(Log(Level.ERROR, f"fence: {error}"))
            out.append(Reply(upcall.id, error.status))
        except ValueError as error:
            out.append(Log(Level.ERROR, f"fence: {error}"))
            out.append(Reply(upcall.id, Status.ERR_BAD_PARAM))
