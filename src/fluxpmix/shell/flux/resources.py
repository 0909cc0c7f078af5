"""From what flux-shell tells of its job to a `Job`: R (RFC 20), the jobspec (RFC 25) and the task map (RFC 34).

Called by `plugin.py` once a job, at shell.init. Nothing here talks to Flux: JSON that was read comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fluxpmix.job import hostlist, idset, jobid
from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Host(Record):
    """One node of R: the broker that its shell talks to, its name, its cores."""

    broker: int
    name: str
    cores: tuple[int, ...]


def hosts(R: Mapping[str, Any]) -> tuple[Host, ...]:
    """Return R's nodes in the order of their shells: ascending brokers. Raises ValueError."""
    try:
        execution = R["execution"]
        names = [name for text in execution.get("nodelist", ()) for name in hostlist.expand(text)]
        cores: dict[int, tuple[int, ...]] = {}
        for entry in execution["R_lite"]:
            children = entry.get("children", {})
            own = idset.parse(str(children.get("core", "")))
            for broker in idset.parse(str(entry["rank"])):
                cores[broker] = own
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"R cannot be read: {type(error).__name__}: {error}") from None
    if len(names) != len(cores):
        raise ValueError(f"R cannot be read: {len(cores)} ranks, but {len(names)} hosts")
    return tuple(Host(broker, name, cores[broker]) for broker, name in zip(sorted(cores), names, strict=True))


def job_of(
    info: Mapping[str, Any],
    jobspec_info: Mapping[str, Any],
    taskmap: TaskMap,
    nodes: Sequence[Host],
    *,
    credential: str,
    model: str | None = None,
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
    slots = [max(1, len(host.cores) // per_task) for host in nodes]
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
    )


def task_map(text: Any) -> TaskMap:
    """Return the map in what taskmap_encode gives for a wrapped map, read as JSON. Raises ValueError."""
    try:
        return TaskMap(text["map"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"flux-shell's task map cannot be read: {error}") from None


def cpus(affinity: Any, ranks: Sequence[int], usable: Sequence[int], cores: int) -> dict[int, str | None]:
    """Return the CPUs that each local task is bound to, as far as they are known before it starts.

    `affinity` is the shell option cpu-affinity, `usable` are the CPUs that flux-shell itself may use:
    those of the job, where it binds at all. With per-task flux-shell deals out cores in order, which is
    known where every task gets the same number of them.
    """
    whole = idset.encode(usable)
    if affinity == "off" or not usable:
        return dict.fromkeys(ranks)
    if affinity == "per-task":
        if not ranks or len(usable) != cores or len(usable) % len(ranks):
            return dict.fromkeys(ranks)
        share = len(usable) // len(ranks)
        return {rank: idset.encode(usable[at * share : (at + 1) * share]) for at, rank in enumerate(ranks)}
    if isinstance(affinity, str) and affinity.startswith(("map:", "map=")):
        return dict.fromkeys(ranks)
    return dict.fromkeys(ranks, whole)


def topology_signature(xml: str) -> str:
    """Return hwloc's signature of the topology that `xml` describes, e.g. `1N:2S:2L3:8L2:8L1:8C:16H:x86_64:le`."""
    import os
    import sys

    kinds = (
        *(("NUMANode", "N"), ("Package", "S"), ("L3Cache", "L3"), ("L2Cache", "L2"), ("L1Cache", "L1")),
        *(("Core", "C"), ("PU", "H")),
    )
    counts = ":".join(str(xml.count(f'type="{kind}"')) + letter for kind, letter in kinds)
    return f"{counts}:{os.uname().machine}:{'le' if sys.byteorder == 'little' else 'be'}"


def _aliases(host: Host, unique: str) -> tuple[str, ...]:
    return (unique,) if unique == host.name else (unique, host.name)


def _command(jobspec: Mapping[str, Any]) -> tuple[str, ...]:
    command = jobspec["tasks"][0]["command"]
    return (command,) if isinstance(command, str) else tuple(command)


def _directory(jobspec: Mapping[str, Any]) -> str:
    import os

    system = jobspec.get("attributes", {}).get("system", {})
    return str(system.get("cwd") or os.getcwd())
