"""The operations of PMIx that a launcher may serve, and how each is tried. Standard 4.2, chapters 5 to 13.

`trying` runs them. Each step is done by all ranks at about the same time; most do something in some ranks
only. To add one, write its steps and name it in `FAMILIES`, or in `LAST` where launchers may end the job.
"""

from __future__ import annotations

import itertools
import os
import threading
import time

from fluxpmix.cli.check import hearing
from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import Family, Operation, Step, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixNotFound, PmixOutOfResource, PmixTimeout, Status
from fluxpmix.pmix.structures import ProcInfo
from fluxpmix.pmix.types import (
    RANK_WILDCARD,
    AppSpec,
    DataArray,
    DataType,
    Info,
    Persistence,
    Proc,
    QueryItem,
    Range,
    Scope,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EVENT = -3000  # outside PMIx's own codes: an application's
_SOON = 3  # seconds, for what must come to an end by itself
_SIGCONT = 18  # harmless
_numbers = itertools.count()  # of what is published, the same in all ranks

# -- fence -------------------------------------------------------------------------------------------


def _fence(trial: Trial) -> None:
    trial.client.fence()


def _exchange(trial: Trial, turn: str, ranks: list[int]) -> None:
    """Put, fence with data, and get from a neighbour and the last of `ranks`."""
    client, me = trial.client, trial.rank
    client.put(Scope.GLOBAL, f"check.data.{turn}", f"{me} in turn {turn}")
    client.commit()
    client.fence([] if len(ranks) == trial.size else map(trial.proc, ranks), collect=True)
    for rank in {ranks[(ranks.index(me) + 1) % len(ranks)], ranks[-1]}:
        found = client.get(f"check.data.{turn}", trial.proc(rank))
        if found != f"{rank} in turn {turn}":
            raise Wrong(f"rank {rank} put '{rank} in turn {turn}', {found!r} came")


def _fence_with_data(trial: Trial) -> None:
    for turn in range(2):  # twice: a host must tell one fence of the same processes from the next
        _exchange(trial, str(turn), list(range(trial.size)))


def _some(trial: Trial) -> list[int]:
    return list(range(0, trial.size, 2))


def _fence_of_some(trial: Trial) -> str:
    if trial.rank in _some(trial):
        trial.client.fence(map(trial.proc, _some(trial)))
    return f"{len(_some(trial))} of {trial.size} ranks"


def _fence_of_some_with_data(trial: Trial) -> str:
    if trial.rank in _some(trial):
        _exchange(trial, "some", _some(trial))
    return f"{len(_some(trial))} of {trial.size} ranks"


def _fence_with_timeout(trial: Trial) -> str | None:
    if trial.size < 2:
        return "needs 2 ranks"
    if trial.rank:
        return None  # the last rank never comes
    try:
        trial.client.fence([trial.proc(0), trial.proc(trial.size - 1)], {a.TIMEOUT: 1})
    except PmixError as error:
        if error.status == Status.ERR_TIMEOUT:
            return "ended after 1 s"
        raise
    raise Wrong("a fence ended without one of its participants")


# -- direct modex ------------------------------------------------------------------------------------


def _far(trial: Trial) -> Proc:
    return trial.proc((trial.rank + trial.size // 2) % trial.size)


def _modex_put(trial: Trial) -> None:
    trial.client.put(Scope.GLOBAL, "check.modex", trial.rank + 1)
    trial.client.commit()


def _modex_present(trial: Trial) -> None:
    other = _far(trial)
    found = trial.client.get("check.modex", other, {a.TIMEOUT: _SOON})
    if found != other.rank + 1:
        raise Wrong(f"rank {other.rank} put {other.rank + 1}, {found!r} came")


def _modex_absent(trial: Trial) -> str | None:
    if trial.size > 1 and not trial.rank:
        return None  # has to wait for its fence already
    try:
        found = trial.client.get("check.nobody-put-this", _far(trial), {a.TIMEOUT: 1})
    except (PmixNotFound, PmixTimeout) as error:
        return str(error)
    raise Wrong(f"{found!r} came, which nobody put")


# -- publish and lookup ------------------------------------------------------------------------------


def _reached(trial: Trial, reach: Range) -> bool:
    """Say whether what rank 0 publishes with this range is this rank's to find."""
    if reach is Range.LOCAL:
        hosts = [trial.client.get(a.HOSTNAME, proc, {a.OPTIONAL: True}) for proc in (trial.proc(0), trial.client.proc)]
        return bool(hosts[0] == hosts[1])
    if reach is Range.RM:
        return False
    return trial.rank == 0 or reach is not Range.PROC_LOCAL


def _publication(reach: Range, stays: Persistence) -> tuple[Step, Step, Step]:
    name = f"check.{next(_numbers)}"

    def scope(trial: Trial) -> dict[str, Any]:
        found: dict[str, Any] = {a.RANGE: int(reach)}
        if reach is Range.CUSTOM:
            found[a.EVENT_CUSTOM_RANGE] = DataArray(DataType.PROC, tuple(trial.everybody))
        return found

    def look(trial: Trial) -> str:
        try:
            found = trial.client.lookup([name], scope(trial) | {a.TIMEOUT: _SOON})
        except PmixNotFound:
            return "nothing"
        told = [(each.key, each.value, each.proc.rank) for each in found]
        return "it" if told == [(name, "published", 0)] else repr(told)

    def publish(trial: Trial) -> None:
        if not trial.rank:
            trial.client.publish({name: "published", a.PERSISTENCE: int(stays)} | scope(trial))

    def look_up(trial: Trial) -> None:
        once = stays is Persistence.FIRST_READ
        if trial.rank not in ((trial.size - 1,) if once else (0, trial.size - 1)):
            return
        expected = "it" if _reached(trial, reach) else "nothing"
        if (found := look(trial)) != expected:
            raise Wrong(f"rank {trial.rank} looks for what rank 0 published: expected {expected}, found {found}")
        if once and (found := look(trial)) != "nothing":
            raise Wrong(f"what is there for the first to read was found again: {found}")

    def unpublish(trial: Trial) -> None:
        if not trial.rank and stays is not Persistence.FIRST_READ:
            trial.client.unpublish([name], scope(trial))

    return publish, look_up, unpublish


def _lookup_absent(trial: Trial) -> None:
    try:
        found = trial.client.lookup(["check.nobody-published-this"], {a.TIMEOUT: _SOON})
    except PmixNotFound:
        return
    raise Wrong(f"{found!r} came, which nobody published")


def _lookup_waits(trial: Trial) -> None:
    if trial.rank == trial.size - 1:
        trial.client.publish({"check.late": "late"})
    if not trial.rank:
        found = trial.client.lookup(["check.late"], {a.WAIT: 1, a.TIMEOUT: 2 * _SOON})
        if [each.value for each in found] != ["late"]:
            raise Wrong(f"{found!r} came")


def _unpublish_late(trial: Trial) -> None:
    if trial.rank == trial.size - 1:
        trial.client.unpublish(["check.late"])


def _publish_to_take_back(trial: Trial) -> None:
    if not trial.rank:
        trial.client.publish({"check.gone": "gone", "check.stays": "stays"})
        trial.client.unpublish(["check.gone"])


def _look_for_what_was_taken_back(trial: Trial) -> None:
    if trial.rank == trial.size - 1:
        trial.client.lookup(["check.stays"], {a.TIMEOUT: _SOON})
        try:
            found = trial.client.lookup(["check.gone"], {a.TIMEOUT: _SOON})
        except PmixNotFound:
            return
        raise Wrong(f"{found!r} came, which was unpublished")


def _unpublish_all(trial: Trial) -> None:
    if not trial.rank:
        trial.client.unpublish()


# -- what several processes agree on -----------------------------------------------------------------


# Without PMIX_TIMEOUT: libpmix 4.2's server never comes to rest after a group with one, 5.0's after a connect.


def _group(trial: Trial) -> str:
    found = trial.client.group_construct("check.group", trial.everybody, {a.GROUP_ASSIGN_CONTEXT_ID: True})
    context = next((info.value for info in found if info.key == a.GROUP_CONTEXT_ID), None)
    trial.client.group_destruct("check.group")
    if context is None:
        raise Wrong("no context id came")
    return f"context id {context}"


def _connect(trial: Trial) -> None:
    trial.client.connect(trial.everybody)
    trial.client.disconnect(trial.everybody)


# -- what one asks the system ------------------------------------------------------------------------


def _query(trial: Trial) -> None:
    found = trial.client.query([QueryItem((a.QUERY_NAMESPACES,))])
    names = next((str(info.value) for info in found if info.key == a.QUERY_NAMESPACES), "")
    if trial.client.proc.nspace not in names.split(","):
        raise Wrong(f"{trial.client.proc.nspace} is not among the namespaces {names!r}")


def _query_processes(trial: Trial) -> None:
    nspace = trial.client.proc.nspace
    found = trial.client.query([QueryItem((a.QUERY_PROC_TABLE,), (Info(a.NSPACE, nspace),))])
    rows = [row for info in found if isinstance(info.value, DataArray) for row in info.value.items]
    ranks = sorted(row.proc.rank for row in rows if isinstance(row, ProcInfo) and row.proc.nspace == nspace)
    if ranks != list(range(trial.size)):
        raise Wrong(f"the table of a job of {trial.size} has the ranks {ranks}")


def _resolve(trial: Trial) -> str:
    nspace = trial.client.proc.nspace
    nodes = trial.client.resolve_nodes(nspace)
    peers = sorted(proc for node in nodes for proc in trial.client.resolve_peers(node, nspace))
    if peers != trial.everybody:
        raise Wrong(f"the nodes {', '.join(nodes)} have {len(peers)} of {trial.size} processes")
    return f"{len(nodes)} nodes"


def _log(trial: Trial) -> None:
    if not trial.rank:
        trial.client.log({a.LOG_STDERR: "flux-pmix check: this line came by PMIx_Log\n"})


def _job_control(trial: Trial) -> None:
    if not trial.rank:
        trial.client.job_control([trial.client.job], {a.JOB_CTRL_SIGNAL: _SIGCONT})


def _pause(trial: Trial) -> str | None:
    if trial.size < 2:
        return "needs 2 ranks"
    if not trial.rank:
        for action in (a.JOB_CTRL_PAUSE, a.JOB_CTRL_RESUME):
            trial.client.job_control([trial.proc(trial.size - 1)], {action: True})
    return None


def _credential(trial: Trial) -> None:
    client = trial.client
    found = client.validate_credential(client.credential())
    user = next((info.value for info in found if info.key == a.USERID), None)
    if user != os.geteuid():
        raise Wrong(f"the credential of user {os.geteuid()} is said to be of {user}")


def _define_set(trial: Trial) -> None:
    if not trial.rank:
        trial.client.job_control(map(trial.proc, _some(trial)), {a.JOB_CTRL_DEFINE_PSET: "check.even"})


def _find_set(trial: Trial) -> None:
    found = trial.client.query([QueryItem((a.QUERY_PSET_MEMBERSHIP,), (Info(a.PSET_NAME, "check.even"),))])
    members = sorted(proc.rank for info in found for proc in info.value.items)
    if members != _some(trial):
        raise Wrong(f"the set of ranks {_some(trial)} has the members {members}")


def _spawn(trial: Trial) -> str | None:
    if trial.rank:
        return None
    try:
        nspace = trial.client.spawn([AppSpec("true", ("true",))])
    except PmixOutOfResource:
        return "answered: there is no room for one more"
    size = trial.client.get(a.JOB_SIZE, Proc(nspace, RANK_WILDCARD))
    if size != 1:
        raise Wrong(f"{nspace} was to have one process, and has {size}")
    return f"as {nspace}"


def _spawn_nothing(trial: Trial) -> None:
    if trial.rank:
        return
    try:
        trial.client.spawn([AppSpec("flux-pmix-no-such-command", ("flux-pmix-no-such-command",))])
    except PmixOutOfResource:
        return
    except PmixError as error:
        if error.status not in (Status.ERR_JOB_EXE_NOT_FOUND, Status.ERR_JOB_FAILED_TO_LAUNCH):
            raise
    else:
        raise Wrong("a command that is not there was started")


# -- events ------------------------------------------------------------------------------------------


def _listen(trial: Trial) -> None:
    came: dict[int, threading.Event] = {rank: threading.Event() for rank in (0, trial.size - 1)}

    def handler(status: int, source: Proc, found: object) -> None:
        if source.rank in came:
            came[source.rank].set()

    trial.kept["came"] = came
    trial.kept["handler"] = trial.client.register_event_handler([_EVENT], handler)


def _raise(trial: Trial) -> None:
    """Raise one event in the first and one in the last rank, which is on another node where there is one."""
    came = trial.kept["came"]
    if trial.rank in came:
        trial.client.notify_event(_EVENT, Range.NAMESPACE)
    deadline = time.monotonic() + _SOON
    for rank, event in came.items():
        if not event.wait(deadline - time.monotonic()):
            raise Wrong(f"the event that rank {rank} raised did not come in {_SOON} s")


def _listen_no_more(trial: Trial) -> None:
    trial.client.deregister_event_handler(trial.kept["handler"])


REQUIRED, OPTIONAL = "required", "optional"
_RANGES = (Range.RM, Range.LOCAL, Range.NAMESPACE, Range.SESSION, Range.GLOBAL, Range.CUSTOM, Range.PROC_LOCAL)


def _named(what: Range | Persistence) -> str:
    return what.name.lower().replace("_", " ")


FAMILIES = (
    Family((Operation("fence", REQUIRED, "fence", (_fence,)),), together=True),
    Family((Operation("fence with data", REQUIRED, "fence", (_fence_with_data,)),), together=True),
    Family((Operation("fence of some processes", REQUIRED, "fence", (_fence_of_some,)),), together=True),
    Family((Operation("direct modex of what is there", REQUIRED, "modex", (_modex_put, _modex_present)),)),
    Family((Operation("direct modex of what is not", REQUIRED, "modex of nothing", (_modex_absent,)),)),
    Family((Operation("fence with a time limit", OPTIONAL, "fence that ends", (_fence_with_timeout,)),)),
    # Behind those: under Slurm it hangs, and fences after it are taken for it.
    Family(
        (Operation("fence of some processes, with data", REQUIRED, "fence", (_fence_of_some_with_data,)),),
        together=True,
    ),
    Family(
        (
            *(
                Operation(
                    f"publish, range {_named(each)}", OPTIONAL, "publish", _publication(each, Persistence.SESSION)
                )
                for each in _RANGES
            ),
            *(
                Operation(f"publish, until {_named(each)}", OPTIONAL, "publish", _publication(Range.SESSION, each))
                for each in Persistence
                if each is not Persistence.INVALID
            ),
            Operation("lookup of what is not there", OPTIONAL, "publish", (_lookup_absent,)),
            Operation(
                "unpublish",
                OPTIONAL,
                "publish",
                (_publish_to_take_back, _look_for_what_was_taken_back, _unpublish_all),
            ),
            Operation("lookup that waits", OPTIONAL, "publish", (_lookup_waits, _unpublish_late)),
        )
    ),
    Family((Operation("group construct, destruct", OPTIONAL, "group", (_group,)),), together=True),
    Family((Operation("connect, disconnect", OPTIONAL, "connect", (_connect,)),), together=True),
    Family((Operation("query", OPTIONAL, "query", (_query,)),), together=True),
    Family((Operation("query of all processes", OPTIONAL, "query", (_query_processes,)),), together=True),
    Family((Operation("resolve nodes and peers", OPTIONAL, "resolve", (_resolve,)),), together=True),
    Family((Operation("log", OPTIONAL, "log", (_log,)),), together=True),
    Family((Operation("job control", OPTIONAL, "job control", (_job_control,)),), together=True),
    Family((Operation("pause and resume", OPTIONAL, "job control", (_pause,)),), together=True),
    Family((Operation("credential", OPTIONAL, "credential", (_credential,)),), together=True),
    Family((Operation("process set", OPTIONAL, "process set", (_define_set, _find_set)),), together=True),
    Family((Operation("spawn", OPTIONAL, "spawn", (_spawn,)),), together=True),
)
# Tried when all else is reported: Slurm's PMIx ends the job at the first event, mpirun 4.1 at a spawn that fails.
LAST = (
    Family((Operation("events", OPTIONAL, "events", (_listen, _raise, _listen_no_more)),), together=True),
    Family(
        (Operation("output of another process", OPTIONAL, "output", (hearing.pull, hearing.print_line)),), together=True
    ),
    Family(
        (Operation("heartbeats", OPTIONAL, "monitor", (hearing.watch, hearing.hear, _listen_no_more)),), together=True
    ),
    Family((Operation("spawn of what is not there", OPTIONAL, "spawn", (_spawn_nothing,)),), together=True),
)
