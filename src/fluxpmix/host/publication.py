"""What the infos of a publish, lookup or unpublish say: range, persistence, permissions, values.

`datastore.py` reads each request with these, and answers with the status of a `Refused`. Standard 4.2,
chapter 8.
"""

from __future__ import annotations

from fluxpmix.host import wire
from fluxpmix.host.directives import unsupported
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import (
    LARGEST_VALUE,
    MAX_KEYLEN,
    DataArray,
    DataType,
    Info,
    Infos,
    Persistence,
    Proc,
    Range,
    Value,
    find,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTIVES = frozenset(
    (
        attributes.RANGE,
        attributes.PERSISTENCE,
        attributes.TIMEOUT,
        attributes.WAIT,
        attributes.USERID,
        attributes.GRPID,
        attributes.ACCESS_PERMISSIONS,
        attributes.ACCESS_USERIDS,
        attributes.ACCESS_GRPIDS,
        attributes.EVENT_CUSTOM_RANGE,
    )
)


MOST = LARGEST_VALUE - (1 << 20)  # bytes in one publication: with all that belongs to it, it is one message


class Refused(Exception):
    """A request that cannot be served as it is."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = int(status)


def values(infos: Infos) -> dict[str, bytes]:
    """Return what is to be published, by key: all that is no directive, each value packed with its type."""
    found: dict[str, bytes] = {}
    size = sum(len(info.value) for info in infos if isinstance(info.value, str | bytes))
    if size > MOST:
        raise Refused(Status.ERR_BAD_PARAM, f"{size} bytes at once: publish at most {MOST} in one call")
    for info in infos:
        if info.key in DIRECTIVES:
            continue
        if not is_key(info.key) or info.type is DataType.UNDEF or info.key in found:
            raise Refused(Status.ERR_BAD_PARAM, f"{info.key[:80]!r} cannot be published, or not twice")
        try:
            found[info.key] = wire.encode(Value(info.type, info.value))
        except wire.WireError as error:
            raise Refused(Status.ERR_BAD_PARAM, f"{info.key}: {error}") from None
    if not found:
        raise Refused(Status.ERR_BAD_PARAM, "there is nothing to publish")
    return found


def keys(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that are meant, each once."""
    wanted = tuple(dict.fromkeys(names))
    if not wanted or not all(map(is_key, wanted)):
        raise Refused(Status.ERR_BAD_PARAM, f"there are no keys, or one that has not 1 to {MAX_KEYLEN} bytes")
    return wanted


def is_key(key: str) -> bool:
    """Whether text can be a key."""
    return 0 < byte_length(key) <= MAX_KEYLEN


def byte_length(text: str) -> int:
    """Return how many bytes text has in C."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))


def reach(infos: Infos) -> tuple[Range, tuple[Proc, ...]]:
    """Return the range, PMIX_RANGE_SESSION where none is given, and the processes of a custom one."""
    number = find(infos, attributes.RANGE)
    try:
        kind = Range(Range.SESSION if number is None else number)
    except ValueError:
        kind = Range.INVALID
    if kind is Range.INVALID:
        raise Refused(Status.ERR_BAD_PARAM, f"there is no range {number!r}")
    if kind is Range.UNDEF:
        kind = Range.SESSION
    procs: tuple[Proc, ...] = ()
    if kind is Range.CUSTOM:
        given = find(infos, attributes.EVENT_CUSTOM_RANGE)
        items = given.items if isinstance(given, DataArray) else (given,)
        procs = tuple(item for item in items if isinstance(item, Proc))
        if not procs:
            raise Refused(Status.ERR_BAD_PARAM, "PMIX_RANGE_CUSTOM wants its processes in PMIX_EVENT_CUSTOM_RANGE")
    return kind, procs


def persistence(infos: Infos) -> Persistence:
    """Return how long values stay: PMIX_PERSIST_APP where nothing is said."""
    number = find(infos, attributes.PERSISTENCE)
    try:
        kind = Persistence(Persistence.APPLICATION if number is None else number)
    except ValueError:
        kind = Persistence.INVALID
    if kind is Persistence.INVALID:
        raise Refused(Status.ERR_BAD_PARAM, f"there is no persistence {number!r}")
    return kind


def permissions(infos: Infos) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return the user and the group ids that may read, None for those of which nothing is said."""
    given = find(infos, attributes.ACCESS_PERMISSIONS)
    inner = tuple(item for item in given.items if isinstance(item, Info)) if isinstance(given, DataArray) else ()
    everything = (*inner, *infos)
    return _ids(everything, attributes.ACCESS_USERIDS), _ids(everything, attributes.ACCESS_GRPIDS)


def who(proc: Proc, infos: Infos) -> tuple[Any, ...]:
    """Return a process with its user and group: as libpmix says, whose infos come after the process's own."""
    return proc, find(infos[::-1], attributes.USERID), find(infos[::-1], attributes.GRPID)


def refuse_unknown(infos: Infos) -> None:
    """Refuse a required directive that is not honoured."""
    unknown = unsupported(infos, DIRECTIVES)
    if unknown:
        raise Refused(Status.ERR_NOT_SUPPORTED, f"{unknown} is required, but not supported")


def _ids(infos: Infos, key: str) -> tuple[int, ...] | None:
    given = find(infos, key)
    if given is None:
        return None
    items = given.items if isinstance(given, DataArray) else (given,)
    return tuple(item for item in items if type(item) is int)
