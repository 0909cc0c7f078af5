"""PMIx_Fence over shells: Standard 4.2, sections 6.2.5 and 17.3.6 (`fence_nb`).

`host.py` hands over each Fence upcall: by then all local participants have called. The movement is
chosen by the directive and never by the size: without PMIX_COLLECT_DATA a fence is a barrier, which
carries nothing, whatever was committed before.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.collective import Collectives
from fluxpmix.host.directory import UnknownProc
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Reply
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Infos, find, is_true
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
_DIED = (Status.ERR_LOST_CONNECTION, Status.ERR_PARTIAL_SUCCESS, Status.QUERY_PARTIAL_SUCCESS)


class Fences:
    """The fences of one shell."""

    serves = (Fence,)

    def __init__(self, collectives: Collectives, default_timeout: float | None) -> None:
        self._collectives = collectives
        self._default_timeout = default_timeout

    def upcall(self, upcall: Fence, now: float, out: list[Effect]) -> None:
        """Enter this shell's part of a fence; the reply comes when all shells have entered theirs."""
        unknown = [info.key for info in upcall.directives if info.required and info.key not in _HONOURED]
        if unknown:
            out.append(Log(Level.ERROR, f"fence: {', '.join(unknown)} is required, but not supported"))
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


def timeout(directives: Infos, default: float | None) -> float | None:
    """Return the seconds that a caller gives an operation: PMIX_TIMEOUT, or the default; 0 is for ever."""
    seconds = find(directives, attributes.TIMEOUT)
    if not isinstance(seconds, int):
        return default
    return float(seconds) if seconds > 0 else None


def local_status(directives: Infos) -> int:
    """Return how it went among the local participants; one that died there fails the fence for all."""
    status = find(directives, attributes.LOCAL_COLLECTIVE_STATUS, 0)
    if status in _DIED:
        return int(Status.ERR_PROC_TERM_WO_SYNC)
    return status if isinstance(status, int) and status < 0 else 0
