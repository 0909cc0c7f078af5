"""Jobs of several shapes, and what a shell knows of them."""

from __future__ import annotations

from typing import Any

from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.registration import LocalFacts
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.types import Proc, Regex

NSPACE = "f2r6s7mq"


def make_job(taskmap: TaskMap, *sizes: int, slots: int = 4, session: Session | None = None, **more: Any) -> Job:
    """A job of applications of `sizes` (default: one), on as many nodes as the map has or `nnodes` says."""
    nnodes = more.pop("nnodes", taskmap.nnodes)
    apps = tuple(
        App(index, ("prog", f"--app={index}"), f"/work/{index}", size)
        for index, size in enumerate(sizes or [taskmap.ntasks])
    )
    nodes = tuple(Node(id_, f"n{id_}", slots=slots, cores=8) for id_ in range(nnodes))
    parts = {
        "nspace": NSPACE,
        "jobid": NSPACE,
        "session": session or Session(7, slots * nnodes),
        "nodes": nodes,
        "apps": apps,
        "taskmap": taskmap,
        "credential": "ab" * 32,
    }
    return Job(**{**parts, **more})


def make_facts(job: Job, shell: int, bound: bool = False) -> LocalFacts:
    """What shell `shell` knows; bound tasks have a core each, two to a package."""
    ranks = job.ranks(shell)

    def by_rank(value: Any) -> dict[int, Any]:
        return {rank: value(at) if bound else None for at, rank in enumerate(ranks)}

    return LocalFacts(
        shell_rank=shell,
        server=Proc(f"{NSPACE}.shell", shell),
        tmpdir=f"/tmp/{shell}",
        nsdir=f"/tmp/{shell}/{NSPACE}",
        procdirs={rank: f"/tmp/{shell}/{NSPACE}/{rank}" for rank in ranks},
        topology_signature="1N:1S:8C",
        cpus=by_rank(str),
        localities=by_rank(lambda at: f"hwloc:NM0:CR{at}"),
        cpusets=by_rank(lambda at: f"hwloc:{at}"),
        packages=by_rank(lambda at: at // 2),
        node_map=Regex(b"pmix[n]\0"),
        proc_map=Regex(b"pmix[0]\0"),
    )
