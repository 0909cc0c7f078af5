"""From what flux-shell tells of its job to a `Job`: R (RFC 20), the jobspec (RFC 25) and the task map (RFC 34).

Called by `plugin.py` once a job, at shell.init. Nothing here talks to Flux: JSON that was read comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fluxpmix.job import hostlist, idset, jobid
from fluxpmix.job.model import App, Job, Node, ProcessSet, Session
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FANOUT = 32  # where the overlay has no width of its own: Flux's default


class Host(Record):
    """One node of R: the broker that its shell talks to, its name, its cores, its GPUs."""

    broker: int
    name: str
    cores: tuple[int, ...]
    gpus: tuple[int, ...] = ()


def hosts(R: Mapping[str, Any]) -> tuple[Host, ...]:
    """Return R's nodes in the order of their shells: ascending brokers. Raises ValueError."""
    try:
        execution = R["execution"]
        names = [name for text in execution.get("nodelist", ()) for name in hostlist.expand(text)]
        resources: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for entry in execution["R_lite"]:
            children = entry.get("children", {})
            own = idset.parse(str(children.get("core", ""))), idset.parse(str(children.get("gpu", "")))
            for broker in idset.parse(str(entry["rank"])):
                resources[broker] = own
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"R cannot be read: {type(error).__name__}: {error}") from None
    if len(names) != len(resources):
        raise ValueError(f"R cannot be read: {len(resources)} ranks, but {len(names)} hosts")
    return tuple(Host(broker, name, *resources[broker]) for broker, name in zip(sorted(resources), names, strict=True))


def cores_of(R: Any) -> dict[int, int]:
    """Return the number of cores of each broker's node in R; none where there is no R."""
    found: dict[int, int] = {}
    for entry in R.get("execution", {}).get("R_lite", ()) if isinstance(R, dict) else ():
        cores = len(idset.parse(str(entry.get("children", {}).get("core", ""))))
        for broker in idset.parse(str(entry["rank"])):
            found[broker] = found.get(broker, 0) + cores
    return found


def job_of(
    info: Mapping[str, Any],
    jobspec_info: Mapping[str, Any],
    taskmap: TaskMap,
    nodes: Sequence[Host],
    *,
    credential: str,
    model: str | None = None,
    psets: tuple[ProcessSet, ...] = (),
) -> Job:
    """Return the job that flux-shell runs. Raises ValueError where its parts do not fit together.

    `info` is flux_shell_get_info's object, `jobspec_info` flux_shell_get_jobspec_info's. The number of
    tasks is the task map's: the jobspec's is that of slots where tasks are asked for by node or core.
    """
    if info["size"] != len(nodes):
        raise ValueError(f"the job has {info['size']} shells, R has {len(nodes)} nodes")
    per_task = max(1, int(jobspec_info.get("cores_per_slot", 1)))
    names = hostlist.unique(host.name for host in nodes)
    name = jobid.encode(info["jobid"])
    jobspec = info["jobspec"]
    # Of nodes that it has for itself a job may have more cores than its tasks have asked for.
    asked = _cores_per_slot(jobspec.get("resources")) or per_task
    slots = [max(1, len(host.cores) // asked) for host in nodes]
    return Job(
        nspace=name,
        jobid=name,
        session=Session(info["jobid"] & 0xFFFFFFFF, max(sum(slots), taskmap.ntasks)),
        nodes=tuple(
            Node(at, unique, aliases=_aliases(host, unique), slots=slots[at], cores=max(1, len(host.cores)))
            for at, (host, unique) in enumerate(zip(nodes, names, strict=True))
        ),
        apps=(App(0, _command(jobspec), _directory(jobspec), taskmap.ntasks),),
        taskmap=taskmap,
        credential=credential,
        cores_per_task=per_task,
        model=model,
        psets=psets,
    )


def expiration(R: Mapping[str, Any]) -> float | None:
    """Return when R's time is up, in seconds since 1970; None: never."""
    found = R.get("execution", {}).get("expiration")
    return float(found) if isinstance(found, (int, float)) and found > 0 else None


def _cores_per_slot(resources: Any) -> int | None:
    """Return how many cores a slot of the jobspec has, None where that is no plain number."""
    for each in resources if isinstance(resources, list) else ():
        if not isinstance(each, dict):
            continue
        if each.get("type") == "core":
            count = each.get("count")
            return count if type(count) is int and count > 0 else None
        found = _cores_per_slot(each.get("with"))
        if found is not None:
            return found
    return None


def task_map(text: Any) -> TaskMap:
    """Return the map in what taskmap_encode gives for a wrapped map, read as JSON. Raises ValueError."""
    try:
        return TaskMap(text["map"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"flux-shell's task map cannot be read: {error}") from None


def _aliases(host: Host, unique: str) -> tuple[str, ...]:
    return (unique,) if unique == host.name else (unique, host.name)


def _command(jobspec: Mapping[str, Any]) -> tuple[str, ...]:
    command = jobspec["tasks"][0]["command"]
    return (command,) if isinstance(command, str) else tuple(command)


def _directory(jobspec: Mapping[str, Any]) -> str:
    import os

    system = jobspec.get("attributes", {}).get("system", {})
    return str(system.get("cwd") or os.getcwd())


def fanout(topology: str | None) -> int:
    """Return the width of the tree of collectives: that of the overlay, the broker attribute tbon.topo, if it has one.

    Then a message between neighbours in the tree is one hop of the overlay, for a job of brokers from 0 on.
    """
    kind, _, width = (topology or "").partition(":")
    return int(width) if kind == "kary" and width.isdigit() and 2 <= int(width) <= 1024 else _FANOUT
