"""What is registered is what real clients read back, on every node, with each libpmix on either side.

What a version of libpmix drops or overrides stands in `KEPT_BACK` and below, with the reason.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix
from readings import INVALID_SESSION, KEPT_BACK, wrong

SHARED_MEMORY = [
    ("* shmem2", "*", "(session|job) - PMIX_SESSION_ID", INVALID_SESSION, "shared memory never gets it"),
]


def expected(shape: Shape, rank: int, tmpdir: str, mpi: str) -> dict[str, Any]:
    """What rank `rank` must read, worked out here from the shape of the job alone."""
    node_of = {each: node for node, ranks in enumerate(shape.nodes) for each in ranks}
    app_of = [app for app, size in enumerate(shape.apps) for _ in range(size)]
    size, cores = len(app_of), len(os.sched_getaffinity(0))
    own = node_of[rank]
    hosts = shape.hosts
    found: dict[str, Any] = {
        "me": rank,
        "session - PMIX_SESSION_ID": int,
        "session - PMIX_UNIV_SIZE": max(size, cores),
        "job - PMIX_SERVER_NSPACE": re.compile(r"f\w+\.shell"),
        "job - PMIX_SERVER_RANK": own,
        "job - PMIX_NSPACE": re.compile(r"f\w+"),
        "job - PMIX_JOBID": re.compile(r"f\w+"),
        "job - PMIX_JOB_SIZE": size,
        "job - PMIX_MAX_PROCS": max(size, cores),
        "job - PMIX_CREDENTIAL": re.compile(r"[0-9a-f]{64}"),
        "job - PMIX_JOB_NUM_APPS": len(shape.apps),
        "job - PMIX_NUM_NODES": len(hosts),
        "job - PMIX_NODE_MAP": None,
        "job - PMIX_PROC_MAP": None,
        "job - PMIX_MODEL_LIBRARY_NAME": mpi,
        "job - PMIX_SESSION_ID": int,
    }
    for app, count in enumerate(shape.apps):
        found |= {
            f"app {app} PMIX_APPNUM": app,
            f"app {app} PMIX_APP_SIZE": count,
            f"app {app} PMIX_MAX_PROCS": count,
            f"app {app} PMIX_APPLDR": sum(shape.apps[:app]),
            f"app {app} PMIX_WDIR": re.compile("/.*"),
            f"app {app} PMIX_APP_ARGV": re.compile(rf"python .*readback.py {','.join(hosts)} {len(shape.apps)}"),
        }
    for host, ranks in zip(hosts, shape.nodes, strict=True):
        found |= {
            f"node {host} PMIX_NODEID": hosts.index(host),
            f"node {host} PMIX_HOSTNAME": host,
            f"node {host} PMIX_HOSTNAME_ALIASES": host,
            f"node {host} PMIX_LOCAL_SIZE": len(ranks),
            f"node {host} PMIX_NODE_SIZE": len(ranks),
            f"node {host} PMIX_LOCALLDR": ranks[0],
            f"node {host} PMIX_LOCAL_PEERS": ",".join(map(str, ranks)),
            f"node {host} PMIX_NODE_OVERSUBSCRIBED": size > cores,
            f"node {host} PMIX_MAX_PROCS": int,
        }
    here = shape.nodes[own]
    found |= {
        f"node {hosts[own]} PMIX_TMPDIR": re.compile(f"{tmpdir}/flux-pmix-{os.geteuid()}-f\\w+/{own}"),
        f"node {hosts[own]} PMIX_NSDIR": re.compile(f"{tmpdir}/.*/{own}/f\\w+"),
        f"node {hosts[own]} PMIX_LOCAL_PROCS": [[re.compile(r"f\w+"), each] for each in here],
        f"node {hosts[own]} PMIX_TOPOLOGY_SIGNATURE": re.compile(r"\d+N:\d+S:\d+L3:\d+L2:\d+L1:\d+C:\d+H:\w+:[bl]e"),
        f"node {hosts[own]} PMIX_LOCAL_CPUSETS": re.compile(r"hwloc:.*"),
    }
    for each, app in enumerate(app_of):
        node = node_of[each]
        local = shape.nodes[node].index(each)
        found |= {
            f"proc {each} PMIX_RANK": each,
            f"proc {each} PMIX_APPNUM": app,
            f"proc {each} PMIX_APP_RANK": each - sum(shape.apps[:app]),
            f"proc {each} PMIX_GLOBAL_RANK": each,
            f"proc {each} PMIX_LOCAL_RANK": local,
            f"proc {each} PMIX_NODE_RANK": local,
            f"proc {each} PMIX_NODEID": node,
            f"proc {each} PMIX_HOSTNAME": hosts[node],
            f"proc {each} PMIX_REINCARNATION": 0,
            f"proc {each} PMIX_SPAWNED": False,
        }
    for each in here:
        found |= {
            f"proc {each} PMIX_LOCALITY_STRING": re.compile(r"(\w+:)*\w+"),
            f"proc {each} PMIX_CPUSET": re.compile(r"hwloc:[\d,-]+"),
            f"proc {each} PMIX_PROCDIR": re.compile(f"{tmpdir}/.*/{own}/f\\w+/{each}"),
            f"proc {each} PMIX_PACKAGE_RANK": int,
        }
    return found


class Shape:
    """A job: the sizes of its applications, the ranks on each node, and the options that make it."""

    def __init__(self, apps: list[int], nodes: list[list[int]], *options: str) -> None:
        self.apps = apps
        self.nodes = nodes
        self.options = options

    @property
    def hosts(self) -> list[str]:
        host = os.uname().nodename
        return [host] if len(self.nodes) == 1 else [f"{host}{node}" for node in range(len(self.nodes))]


SHAPES = {
    "1x3": Shape([3], [[0, 1, 2]], "-n3"),
    "2x2 cyclic": Shape([4], [[0, 2], [1, 3]], "-N2", "-n4", "--taskmap=cyclic"),
    "3 applications on 2 nodes": Shape([1, 2, 2], [[0, 1, 2], [3, 4]], "-N2", "-n1"),
}


@pytest.mark.pmix
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("client", VERSIONS)
@pytest.mark.parametrize("server", [*VERSIONS, *(f"{version} shmem2" for version in VERSIONS if version != "4.2")])
def test_every_attribute_is_read_back_by_every_rank(job: Launch, server: str, client: str, shape: Shape) -> None:
    command = ["python", CLIENTS / "readback.py", ",".join(shape.hosts), len(shape.apps)]
    version, _, datastore = server.partition(" ")
    more = {"PMIX_MCA_gds": f"{datastore},hash"} if datastore else {}
    words = [*shape.options, "-o", f"libpmix={libpmix(version)}", "-o", "mpi=ompi", "-o", "cpu-affinity=per-task"]
    variables = f"--env=FLUXPMIX_LIBPMIX={libpmix(client)}"
    words += [variables, *command]
    for size in shape.apps[1:]:
        words += [":", "-n", size, variables, *command]
    result = job.run(*words, env=more)
    reports = {report["me"]: report for report in map(json.loads, result.lines)}
    assert sorted(reports) == list(range(sum(shape.apps)))
    for rank, found in reports.items():
        wanted = expected(shape, rank, str(job.tmpdir), "ompi")
        differing = wrong(found, wanted, server, client, [*KEPT_BACK, *SHARED_MEMORY])
        assert not differing, f"rank {rank} of a {server} server, a {client} client"
    jobwide = ("session - PMIX_UNIV_SIZE", "job - PMIX_CREDENTIAL", "job - PMIX_JOBID")
    assert all(len({report[name] for report in reports.values()}) == 1 for name in jobwide), "same on all nodes"


@pytest.mark.pmix
def test_each_job_has_a_credential_of_its_own(job: Launch) -> None:
    libpmix("5.0")
    read = ["python", CLIENTS / "readback.py", os.uname().nodename, 1]
    credentials = [json.loads(job.run(*read).out)["job - PMIX_CREDENTIAL"] for _ in range(2)]
    assert credentials[0] != credentials[1]


@pytest.mark.pmix
def test_an_unbound_task_is_in_the_registration_with_the_cores_it_may_use(job: Launch) -> None:
    libpmix("5.0")
    found = json.loads(job.run("python", CLIENTS / "readback.py", os.uname().nodename, 1).out)
    cpus = sorted(os.sched_getaffinity(0))
    assert str(found["proc 0 PMIX_CPUSET"]).startswith(f"hwloc:{cpus[0]}")
