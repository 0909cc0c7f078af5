"""Building the registration of a large job: 100,000 processes on 1,000 nodes, time and memory in our own code.

`python bench/registration.py`. Each size runs in a process of its own, so that peaks are its own. Goals for the
largest: under 2 s and under 600 MB, growing linearly. What libpmix then does with it is its own affair.
"""

from __future__ import annotations

import os
import resource
import sys
import time

from measure import table

from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.registration import LocalFacts, registration
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.library import load
from fluxpmix.pmix.types import Proc, Regex
from fluxpmix.pmix.values import infos

PER_NODE = 100
NODES = (10, 100, 250, 500, 1000)


def job(nodes: int) -> Job:
    size = nodes * PER_NODE
    return Job(
        nspace="f1",
        jobid="f1",
        session=Session(1, size),
        nodes=tuple(Node(i, f"node{i}", (), PER_NODE, PER_NODE) for i in range(nodes)),
        apps=(App(0, ("./a.out",), "/tmp", size),),
        taskmap=TaskMap.block([PER_NODE] * nodes),
        credential="0" * 64,
    )


def facts(job: Job) -> LocalFacts:
    ranks = job.ranks(0)
    return LocalFacts(
        shell_rank=0,
        server=Proc("f1.shell", 0),
        tmpdir="/tmp/f1/0",
        nsdir="/tmp/f1/0/f1",
        procdirs={rank: f"/tmp/f1/0/f1/{rank}" for rank in ranks},
        topology_signature="1N",
        cpus={rank: str(rank) for rank in ranks},
        localities=dict.fromkeys(ranks, "SK0:CR0"),
        cpusets={rank: f"hwloc:{rank}" for rank in ranks},
        packages=dict.fromkeys(ranks, 0),
        node_map=Regex(b"pmix[node0]"),
        proc_map=Regex(b"pmix[0]"),
    )


def measure(nodes: int) -> tuple[float, float]:
    """Return the seconds and the MiB that a registration takes, in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        library = load()
        made = job(nodes)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        with infos(library, registration(made, facts(made)).infos()):
            seconds = time.perf_counter() - started
        used = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(writer, f"{seconds} {used}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        seconds, used = map(float, pipe.read().split())
    os.waitpid(child, 0)
    return seconds, used


def main() -> None:
    rows = [("nodes", "processes", "time", "memory", "a process")]
    for nodes in NODES:
        seconds, used = min(measure(nodes) for _ in range(3))
        size = nodes * PER_NODE
        rows.append((f"{nodes}", f"{size}", f"{seconds:.3f} s", f"{used:.0f} MiB", f"{seconds / size * 1e6:.1f} us"))
    table("registration of one shell, built for libpmix", rows)


if __name__ == "__main__":
    sys.exit(main())
