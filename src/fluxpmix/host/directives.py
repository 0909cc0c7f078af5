"""What the directives of an upcall say to the host: how long it may take, what it requires, how it went locally.

Read by every capability that waits for other shells. Standard 4.2, sections 3.2.10 (required attributes) and 17.3.
"""

from __future__ import annotations

from collections.abc import Collection

from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Infos, find

# libpmix (4.2, 5.0) has a timer of its own for connects and groups that frees what an answer after it would
# use: be there before it.
_LEAD = 0.1
_DIED = (Status.ERR_LOST_CONNECTION, Status.ERR_PARTIAL_SUCCESS, Status.QUERY_PARTIAL_SUCCESS)


def timeout(directives: Infos, default: float | None) -> float | None:
    """Return the seconds that a caller gives an operation: PMIX_TIMEOUT, or the default; 0 is for ever."""
    seconds = find(directives, attributes.TIMEOUT)
    if not isinstance(seconds, int):
        return default
    return float(seconds) if seconds > 0 else None


def early_timeout(directives: Infos, default: float | None) -> float | None:
    """Return what `timeout` does, less what libpmix's own timer must not be ahead by."""
    given = timeout(directives, default)
    return None if given is None else max(0.0, given - _LEAD)


def unsupported(directives: Infos, honoured: Collection[str]) -> str:
    """Name what is required and not among `honoured`; empty where there is no such thing."""
    return ", ".join(info.key for info in directives if info.required and info.key not in honoured)


def local_status(directives: Infos) -> int:
    """Return how it went among the local participants: the worst that libpmix says; a death fails it for all."""
    worst = 0
    for info in directives:
        if info.key == attributes.LOCAL_COLLECTIVE_STATUS and isinstance(info.value, int):
            worst = min(worst, int(Status.ERR_PROC_TERM_WO_SYNC) if info.value in _DIED else info.value)
    return worst
