"""Trying every operation of PMIx that a launcher may serve, each with a deadline of its own.

All ranks run the same list in the same order. An operation that does not come back is left behind in its
thread and reported; those after it are still tried. Standard 4.2, chapters 5 to 13.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from fluxpmix.cli.check.records import Tried, Verdict
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixNotFound, PmixNotSupported, PmixTimeout, Status
from fluxpmix.pmix.types import AppSpec, Info, Persistence, Proc, QueryItem, Range, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.client import Client

_EVENT = -3000  # outside PMIx's own codes: an application's
_SOON = 3  # seconds, for what must come to an end by itself


class Wrong(Exception):
    """An operation that came back with something else than it must."""


class Operation:
    """One operation: its name, whether the Standard requires hosts to serve it, and how it is tried."""

    def __init__(self, name: str, need: str, attempt: Callable[[Client, int], str | None]) -> None:
        self.name = name
        self.need = need
        self.attempt = attempt


def _fence(client: Client, size: int) -> None:
    client.fence()


def _fence_with_data(client: Client, size: int) -> None:
    for turn in range(2):  # twice: a host must tell one fence of the same processes from the next
        client.put(Scope.GLOBAL, f"check.data.{turn}", f"{client.proc.rank} in turn {turn}")
        client.commit()
        client.fence(collect=True)
        for rank in {(client.proc.rank + 1) % size, size - 1}:
            found = client.get(f"check.data.{turn}", Proc(client.proc.nspace, rank))
            if found != f"{rank} in turn {turn}":
                raise Wrong(f"rank {rank} put '{rank} in turn {turn}', {found!r} came")


def _fence_of_some(client: Client, size: int) -> str | None:
    some = [Proc(client.proc.nspace, rank) for rank in range(0, size, 2)]
    if client.proc in some:
        client.fence(some)
    return f"{len(some)} of {size} ranks"


def _fence_with_timeout(client: Client, size: int) -> str | None:
    if size < 2:
        return "needs 2 ranks"
    pair = [Proc(client.proc.nspace, 0), Proc(client.proc.nspace, size - 1)]
    if client.proc.rank:
        return None  # the last rank never comes
    try:
        client.fence(pair, {a.TIMEOUT: 1})
    except PmixTimeout:
        return "ended after 1 s"
    except PmixError as error:
        if error.status == Status.ERR_TIMEOUT:
            return "ended after 1 s"
        raise
    raise Wrong("a fence ended without one of its participants")


def _modex_present(client: Client, size: int) -> None:
    client.put(Scope.GLOBAL, "check.modex", client.proc.rank + 1)
    client.commit()
    other = (client.proc.rank + size // 2) % size
    found = client.get("check.modex", Proc(client.proc.nspace, other), {a.TIMEOUT: _SOON})
    if found != other + 1:
        raise Wrong(f"rank {other} put {other + 1}, {found!r} came")


def _modex_absent(client: Client, size: int) -> str | None:
    other = (client.proc.rank + size // 2) % size
    try:
        found = client.get("check.nobody-put-this", Proc(client.proc.nspace, other), {a.TIMEOUT: 1})
    except (PmixNotFound, PmixTimeout) as error:
        return str(error)
    raise Wrong(f"{found!r} came, which nobody put")


def _publish(range_: Range, persistence: Persistence) -> Callable[[Client, int], str | None]:
    name = f"check.{range_.name}.{persistence.name}".lower()

    def attempt(client: Client, size: int) -> str | None:
        if client.proc.rank == 0:
            client.publish({name: "published", a.RANGE: int(range_), a.PERSISTENCE: int(persistence)})
        client.fence()
        try:
            if client.proc.rank in (0, size - 1) and not (range_ is Range.LOCAL and client.proc.rank):
                found = client.lookup([name], {a.RANGE: int(range_), a.TIMEOUT: _SOON})
                if [(each.key, each.value, each.proc.rank) for each in found] != [(name, "published", 0)]:
                    raise Wrong(f"{found!r} came")
        finally:
            client.fence()
            if client.proc.rank == 0 and persistence is not Persistence.FIRST_READ:
                client.unpublish([name], {a.RANGE: int(range_)})
        return None

    return attempt


def _lookup_absent(client: Client, size: int) -> str | None:
    try:
        found = client.lookup(["check.nobody-published-this"], {a.TIMEOUT: _SOON})
    except PmixNotFound:
        return None
    raise Wrong(f"{found!r} came, which nobody published")


def _lookup_waits(client: Client, size: int) -> None:
    if client.proc.rank == 0:
        found = client.lookup(["check.late"], {a.WAIT: 1, a.TIMEOUT: 2 * _SOON})
        if [each.value for each in found] != ["late"]:
            raise Wrong(f"{found!r} came")
    elif client.proc.rank == size - 1:
        client.publish({"check.late": "late"})
    client.fence()
    if size > 1 and client.proc.rank == size - 1:
        client.unpublish(["check.late"])


def _group(client: Client, size: int) -> str | None:
    procs = [Proc(client.proc.nspace, rank) for rank in range(size)]
    found = client.group_construct("check.group", procs, {a.GROUP_ASSIGN_CONTEXT_ID: True, a.TIMEOUT: 2 * _SOON})
    context = next((info.value for info in found if info.key == a.GROUP_CONTEXT_ID), None)
    client.group_destruct("check.group", {a.TIMEOUT: 2 * _SOON})
    if context is None:
        raise Wrong("no context id came")
    return None


def _connect(client: Client, size: int) -> None:
    procs = [Proc(client.proc.nspace, rank) for rank in range(size)]
    client.connect(procs, {a.TIMEOUT: 2 * _SOON})
    client.disconnect(procs, {a.TIMEOUT: 2 * _SOON})


def _event(client: Client, size: int) -> None:
    came = threading.Event()
    handler = client.register_event_handler([_EVENT], lambda status, source, found: came.set())
    client.fence()
    try:
        if client.proc.rank == 0:
            client.notify_event(_EVENT, Range.NAMESPACE)
        if not came.wait(_SOON):
            raise Wrong(f"the event that rank 0 raised did not come in {_SOON} s")
    finally:
        client.fence()
        client.deregister_event_handler(handler)


def _query(client: Client, size: int) -> str | None:
    found = client.query([QueryItem((a.QUERY_NAMESPACES,))])
    names = next((str(info.value) for info in found if info.key == a.QUERY_NAMESPACES), "")
    if client.proc.nspace not in names.split(","):
        raise Wrong(f"{client.proc.nspace} is not among the namespaces {names!r}")
    return None


def _log(client: Client, size: int) -> None:
    if client.proc.rank == 0:
        client.log({a.LOG_STDERR: "flux-pmix check: this line came by PMIx_Log\n"})


def _job_control(client: Client, size: int) -> None:
    if client.proc.rank == 0:
        client.job_control([client.job], {a.JOB_CTRL_SIGNAL: 18})  # SIGCONT: harmless


def _process_set(client: Client, size: int) -> str | None:
    ranks = range(0, size, 2)
    if client.proc.rank == 0:
        client.job_control([Proc(client.proc.nspace, rank) for rank in ranks], {a.JOB_CTRL_DEFINE_PSET: "check.even"})
    client.fence(directives={a.TIMEOUT: 2 * _SOON})
    found = client.query([QueryItem((a.QUERY_PSET_MEMBERSHIP,), (Info(a.PSET_NAME, "check.even"),))])
    members = sorted(proc.rank for info in found for proc in info.value.items)
    if members != [*ranks]:
        raise Wrong(f"the set of ranks {[*ranks]} has the members {members}")
    return None


def _spawn(client: Client, size: int) -> str | None:
    if client.proc.rank == 0:
        return f"as {client.spawn([AppSpec('true', ('true',))])}"
    return None


REQUIRED, OPTIONAL = "required", "optional"
OPERATIONS = (
    Operation("fence", REQUIRED, _fence),
    Operation("fence with data", REQUIRED, _fence_with_data),
    Operation("fence of some processes", REQUIRED, _fence_of_some),
    Operation("fence with a time limit", OPTIONAL, _fence_with_timeout),
    Operation("direct modex of what is there", REQUIRED, _modex_present),
    Operation("direct modex of what is not", REQUIRED, _modex_absent),
    *(
        Operation(
            f"publish, lookup: {range_.name.lower()}, {persistence.name.lower()}",
            OPTIONAL,
            _publish(range_, persistence),
        )
        for range_, persistence in (
            (Range.SESSION, Persistence.APPLICATION),
            (Range.NAMESPACE, Persistence.PROCESS),
            (Range.GLOBAL, Persistence.SESSION),
            (Range.LOCAL, Persistence.FIRST_READ),
        )
    ),
    Operation("lookup of what is not there", OPTIONAL, _lookup_absent),
    Operation("lookup that waits", OPTIONAL, _lookup_waits),
    Operation("group construct, destruct", OPTIONAL, _group),
    Operation("connect, disconnect", OPTIONAL, _connect),
    Operation("events", OPTIONAL, _event),
    Operation("query", OPTIONAL, _query),
    Operation("log", OPTIONAL, _log),
    Operation("job control", OPTIONAL, _job_control),
    Operation("process set", OPTIONAL, _process_set),
    Operation("spawn", OPTIONAL, _spawn),
)


def try_all(client: Client, size: int, seconds: float) -> Iterator[Tried]:
    """Try every operation; each has `seconds` to come back."""
    for operation in OPERATIONS:
        yield _try(operation, client, size, seconds)


def _try(operation: Operation, client: Client, size: int, seconds: float) -> Tried:
    result: list[tuple[Verdict, str]] = []

    def attempt() -> None:
        try:
            result.append((Verdict.RIGHT, operation.attempt(client, size) or ""))
        except PmixNotSupported as error:
            result.append((Verdict.MISSING, str(error)))
        except (PmixError, Wrong, ValueError) as error:
            result.append((Verdict.WRONG, str(error)))

    started = time.monotonic()
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    verdict, detail = result[0] if result else (Verdict.UNANSWERED, f"no answer in {seconds:g} s")
    return Tried(operation.name, verdict, detail, time.monotonic() - started)
