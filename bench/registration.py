"""The registration of a large job, up to 1,000,000 processes on 10,000 nodes: our time and memory, and libpmix's.

`python bench/registration.py [nodes...]`. Each size runs in a process of its own, so that peaks are its own; what
would not fit into the memory that is free is left out. Ours is building the arrays, of which only a part is there
at a time; libpmix's is what PMIx_server_register_nspace takes and keeps of them. Goals: 100,000 under 2 s and 600 MB
of ours, all of it linear. The best of some runs: the first to touch so much memory of a virtual machine waits for it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import time

from measure import OURS, QUICK, figure, table

from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.registration import LocalFacts, registration
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.library import load
from fluxpmix.pmix.record import replace
from fluxpmix.pmix.server import Server
from fluxpmix.pmix.types import Proc, Regex

PER_NODE = 100
NODES = (10, 1000) if QUICK else (10, 100, 1000, 2500, 10_000)
TO_EACH = 4e-6  # GiB that a process takes, ours and libpmix's: more than was measured


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


def peak() -> float:
    """Return this process's largest resident set, in MiB."""
    return memory("VmHWM:")


def resident() -> float:
    """Return this process's resident set, in MiB."""
    return memory("VmRSS:")


def memory(which: str) -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(which))


def measure(nodes: int) -> tuple[float, ...]:
    """Return seconds and MiB of ours, then of libpmix's, from a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with tempfile.TemporaryDirectory() as directory:
            os.write(writer, " ".join(map(str, register(nodes, directory))).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found = tuple(map(float, pipe.read().split()))
    os.waitpid(child, 0)
    return found


class Timed(Server):
    """A server that counts the seconds which libpmix has for itself."""

    theirs = 0.0

    def _blocking(self, name: str, *arguments: object) -> None:
        started = time.perf_counter()
        super()._blocking(name, *arguments)
        self.theirs += time.perf_counter() - started


def register(nodes: int, directory: str) -> tuple[float, ...]:
    """Build a registration and give it to a PMIx server: what stays is libpmix's, what was more at its peak is ours."""
    library = load()
    os.environ["PMIX_MCA_gds"] = "hash"  # noqa: SIM112 (libpmix's own name)
    server = Timed(
        library,
        lambda upcall: None,
        serves=(),
        directives={a.SERVER_NSPACE: "f1.shell", a.SERVER_RANK: 0, a.SERVER_TMPDIR: directory, a.HOSTNAME: "node0"},
    )
    made = job(nodes)
    maps = (
        server.generate_regex(",".join(node.hostname for node in made.nodes)),
        server.generate_ppn(str(made.taskmap.encode("raw-deranged"))),
    )
    local = replace(facts(made), node_map=maps[0], proc_map=maps[1])
    server.theirs, before, started = 0.0, resident(), time.perf_counter()
    server.register_nspace("f1", PER_NODE, registration(made, local).infos())
    seconds = time.perf_counter() - started - server.theirs
    ctypes.CDLL(None).malloc_trim(0)  # or what was freed would count as libpmix's
    kept = resident() - before
    return seconds, peak() - before - kept, server.theirs, kept


def main() -> None:
    rows = [("nodes", "processes", "our time", "our memory", "a process", "libpmix's time", "its memory", "a process")]
    for nodes in [int(word) for word in sys.argv[1:]] or NODES:
        size = nodes * PER_NODE
        if size * TO_EACH > available():
            print(f"{size} processes: left out, they take {size * TO_EACH:.1f} GiB")
            continue
        seconds, used, theirs, more = min(measure(nodes) for _ in range(3 if size < 200_000 else 2))
        if nodes >= 1000:
            figure(
                f"registration of {size:,} processes (libpmix itself: {theirs * 1e3:.0f} ms)", OURS, seconds * 1e3, "ms"
            )
            figure(f"memory of registering {size:,} (libpmix's own: {more:.0f} MiB)", OURS, used, "MiB")
        rows.append(
            (
                f"{nodes}",
                f"{size}",
                f"{seconds:.3f} s",
                f"{used:.0f} MiB",
                f"{seconds / size * 1e6:.1f} us, {used / size * 1024:.1f} KiB",
                f"{theirs:.3f} s",
                f"{more:.0f} MiB",
                f"{theirs / size * 1e6:.1f} us, {more / size * 1024:.1f} KiB",
            )
        )
    table("registration of one shell", rows)


def available() -> float:
    """Return the memory that is free, in GiB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) / (1 << 20)


if __name__ == "__main__":
    sys.exit(main())
