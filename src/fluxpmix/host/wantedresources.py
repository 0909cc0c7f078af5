"""The resources that a request names: PMIX_ALLOC_* among the infos of a spawn or of an allocation request.

`spawnrequest.py` and `allocation.py` read them with `read`. Which nodes and cores there are, and when, is for the
resource manager to say. Standard 4.2, section 12.1.2.
"""

from __future__ import annotations

from collections.abc import Iterable

from fluxpmix.host.publication import Refused
from fluxpmix.host.supported import RESOURCES
from fluxpmix.job import hostlist
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The names of requests and allocations, which ask for nothing.
NAMES = (a.ALLOC_REQ_ID, a.ALLOC_ID)
_SPELLING = "pmix.alloc."
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Resources(Record):
    """What is asked for; None: as the resource manager has it. `seconds` is for how long."""

    nodes: int | None = None
    cpus: int | None = None
    seconds: float | None = None
    queue: str | None = None
    hosts: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None


def read(infos: Iterable[Info]) -> Resources | None:
    """Return what is asked for, None where nothing is. Raises `Refused`."""
    found: dict[str, Any] = {}
    for info in infos:
        if info.key in RESOURCES:
            found.setdefault(info.key, info.value)
        elif info.key.startswith(_SPELLING) and info.key not in NAMES and info.value is not False:
            raise Refused(
                Status.ERR_NOT_SUPPORTED,
                f"{info.key}: Flux is asked for nodes, cores, hosts, a time and a queue, and for nothing else",
            )
    if not found:
        return None
    return Resources(
        _count(found, a.ALLOC_NUM_NODES),
        _count(found, a.ALLOC_NUM_CPUS),
        seconds(found[a.ALLOC_TIME]) if a.ALLOC_TIME in found else None,
        _queue(found.get(a.ALLOC_QUEUE)),
        _hosts(found, a.ALLOC_NODE_LIST),
        _hosts(found, a.ALLOC_EXCLUDE),
    )


def seconds(time: Any) -> float:
    """Return the seconds in a time: a number, with a unit or without. Raises `Refused`."""
    text = str(time).strip()
    unit = _UNITS.get(text[-1:], 0.0)
    try:
        value = float(text[:-1] if unit else text) * (unit or 1.0)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise Refused(Status.ERR_BAD_PARAM, f"an allocation's time of {time!r}: write seconds, or as 90s, 30m or 1.5h")
    return value


def _count(found: dict[str, Any], key: str) -> int | None:
    value = found.get(key)
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit():  # MPI's infos are texts
        value = int(value)
    if type(value) is not int or not 0 < value < 1 << 31:
        raise Refused(Status.ERR_BAD_PARAM, f"{key} is {value!r}: a number from 1 on is expected")
    return value


def _queue(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise Refused(Status.ERR_BAD_PARAM, f"{a.ALLOC_QUEUE} is {value!r}: the name of a queue is expected")
    return value


def _hosts(found: dict[str, Any], key: str) -> tuple[str, ...] | None:
    value = found.get(key)
    if value is None:
        return None
    try:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{value!r} is no list of hosts")
        return tuple(hostlist.expand(value))
    except ValueError as error:
        raise Refused(Status.ERR_BAD_PARAM, f"{key}: {error}") from None
