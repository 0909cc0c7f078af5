"""What is registered in a real Flux is what real clients read back on every node, with each libpmix on either side.

What a version of libpmix drops or overrides is left out by `KEPT_BACK` and below, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from installed import VERSIONS
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance
from readings import INVALID_SESSION, KEPT_BACK, wrong

pytestmark = pytest.mark.flux
ID = re.compile(r"f\w+")
SHARED_MEMORY = [
    ("[56].*", "[56].*", "(session|job) - PMIX_SESSION_ID", INVALID_SESSION, "shared memory never gets it")
]
# The ranks on each node, and the options that make them. `--tasks-per-node` gives a node one core for all its tasks.
SHAPES = {
    "1n1p": ([[0]], ["-N1", "-n1"]),
    "2n3p": ([[0, 1], [2]], ["-N2", "-n3"]),
    "2n4p": ([[0, 1], [2, 3]], ["-N2", "-n4"]),
    "2n4p cyclic": ([[0, 2], [1, 3]], ["-N2", "-n4", "--taskmap=cyclic"]),
    "2n4p by node": ([[0, 1], [2, 3]], ["-N2", "--tasks-per-node=2"]),
    "4n8p": ([[0, 1], [2, 3], [4, 5], [6, 7]], ["-N4", "-n8"]),
}


def expected(nodes: list[list[int]], rank: int) -> dict[str, Any]:
    """What rank `rank` must read, worked out here from the shape of the job alone; a pattern, or a value."""
    node_of = {each: node for node, ranks in enumerate(nodes) for each in ranks}
    size, own = len(node_of), node_of[rank]
    host = os.uname().nodename
    hosts = [host] if len(nodes) == 1 else [f"{host}{node}" for node in range(len(nodes))]
    found: dict[str, Any] = {
        "me": rank,
        "session - PMIX_SESSION_ID": int,
        "session - PMIX_UNIV_SIZE": int,
        "job - PMIX_SERVER_NSPACE": re.compile(r"f\w+\.shell"),
        "job - PMIX_SERVER_RANK": own,
        "job - PMIX_NSPACE": ID,
        "job - PMIX_JOBID": ID,
        "job - PMIX_JOB_SIZE": size,
        "job - PMIX_MAX_PROCS": int,
        "job - PMIX_CREDENTIAL": re.compile(r"[0-9a-f]{64}"),
        "job - PMIX_JOB_NUM_APPS": 1,
        "job - PMIX_NUM_NODES": len(nodes),
        "job - PMIX_NODE_MAP": None,
        "job - PMIX_PROC_MAP": None,
        "job - PMIX_MODEL_LIBRARY_NAME": "ompi",
        "job - PMIX_SESSION_ID": int,
        "app 0 PMIX_APPNUM": 0,
        "app 0 PMIX_APP_SIZE": size,
        "app 0 PMIX_MAX_PROCS": size,
        "app 0 PMIX_APPLDR": 0,
        "app 0 PMIX_WDIR": re.compile("/.*"),
        "app 0 PMIX_APP_ARGV": re.compile(rf".*python\S* .*readback.py {','.join(hosts)} 1"),
    }
    for name, ranks in zip(hosts, nodes, strict=True):
        found |= {
            f"node {name} PMIX_NODEID": hosts.index(name),
            f"node {name} PMIX_HOSTNAME": name,
            f"node {name} PMIX_HOSTNAME_ALIASES": re.compile(rf"{name}(,{host})?"),
            f"node {name} PMIX_LOCAL_SIZE": len(ranks),
            f"node {name} PMIX_NODE_SIZE": len(ranks),
            f"node {name} PMIX_LOCALLDR": ranks[0],
            f"node {name} PMIX_LOCAL_PEERS": ",".join(map(str, ranks)),
            f"node {name} PMIX_NODE_OVERSUBSCRIBED": False,
            f"node {name} PMIX_MAX_PROCS": int,
        }
    tmpdir = rf"/.*/jobtmp-{own}-[fƒ]\w+"
    found |= {
        f"node {hosts[own]} PMIX_TMPDIR": re.compile(tmpdir),
        f"node {hosts[own]} PMIX_NSDIR": re.compile(rf"{tmpdir}/f\w+"),
        f"node {hosts[own]} PMIX_LOCAL_PROCS": [[ID, each] for each in nodes[own]],
        f"node {hosts[own]} PMIX_TOPOLOGY_SIGNATURE": re.compile(r"\d+N:\d+S:\d+L3:\d+L2:\d+L1:\d+C:\d+H:\w+:[bl]e"),
        f"node {hosts[own]} PMIX_LOCAL_CPUSETS": re.compile(r"hwloc:.*"),
    }
    for each, node in node_of.items():
        local = nodes[node].index(each)
        found |= {
            f"proc {each} PMIX_RANK": each,
            f"proc {each} PMIX_APPNUM": 0,
            f"proc {each} PMIX_APP_RANK": each,
            f"proc {each} PMIX_GLOBAL_RANK": each,
            f"proc {each} PMIX_LOCAL_RANK": local,
            f"proc {each} PMIX_NODE_RANK": local,
            f"proc {each} PMIX_NODEID": node,
            f"proc {each} PMIX_HOSTNAME": hosts[node],
            f"proc {each} PMIX_REINCARNATION": 0,
            f"proc {each} PMIX_SPAWNED": False,
        }
    for each in nodes[own]:
        found |= {
            f"proc {each} PMIX_LOCALITY_STRING": re.compile(r"[\w:,-]+"),
            f"proc {each} PMIX_CPUSET": re.compile(r"hwloc:[\d,-]+"),
            f"proc {each} PMIX_PROCDIR": re.compile(rf"{tmpdir}/f\w+/{each}"),
            f"proc {each} PMIX_PACKAGE_RANK": int,
        }
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("client", VERSIONS)
@pytest.mark.parametrize("served", VERSIONS)
def test_every_attribute_is_read_back_by_every_rank(
    instance: Callable[[int], Instance], served: str, client: str, shape: str
) -> None:
    nodes, options = SHAPES[shape]
    paths = libpmix(served), libpmix(client)
    if None in paths:
        pytest.skip("one of the two versions of libpmix is not installed")
    host = os.uname().nodename
    hosts = [host] if len(nodes) == 1 else [f"{host}{node}" for node in range(len(nodes))]
    words = [*options, "-o", f"pmix.libpmix={paths[0]}", "-o", "pmix.model=ompi"]
    words += [f"--env=FLUXPMIX_LIBPMIX={paths[1]}", sys.executable, CLIENTS / "readback.py", ",".join(hosts), 1]
    result = instance(4).run(*words)
    reports = {report["me"]: report for report in map(json.loads, result.lines)}
    assert sorted(reports) == sorted(each for ranks in nodes for each in ranks)
    for rank, found in reports.items():
        wanted = expected(nodes, rank)
        differing = wrong(found, wanted, served, client, [*KEPT_BACK, *SHARED_MEMORY])
        assert not differing, f"rank {rank} of a {served} server, a {client} client"
    for name in ("session - PMIX_UNIV_SIZE", "job - PMIX_CREDENTIAL", "job - PMIX_JOBID"):
        assert len({report[name] for report in reports.values()}) == 1, "the same on all nodes"
