"""Queries of real processes on two nodes, with both libraries."""

from __future__ import annotations

import json
import os
import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

CLIENT = CLIENTS / "query.py"

pytestmark = pytest.mark.pmix


@pytest.mark.parametrize("version", VERSIONS)
def test_a_process_learns_of_its_job_and_all_its_processes(job: Launch, version: str) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    result = job.run("-N2", "-n3", "-t", "1h", *library, sys.executable, CLIENT)
    namespaces, processes, local, status, state, info, partly, unknown, (nodes, peers) = map(
        json.loads, result.out.splitlines()
    )
    rows = [[rank, nodes[node], True, 0, 6] for rank, node in ((0, 0), (1, 0), (2, 1))]
    assert namespaces == [["PMIX_QUERY_NAMESPACES", "NSPACE"]]
    assert processes == [["PMIX_QUERY_PROC_TABLE", rows]]
    assert local == [["PMIX_QUERY_LOCAL_PROC_TABLE", rows[:2]]]
    assert status == [["PMIX_QUERY_JOB_STATUS", 0]]
    assert state == [["PMIX_PROC_STATE_STATUS", 6]]
    command = f"{sys.executable} {os.fspath(CLIENT)}"
    expected = [["pmix.nspace", "NSPACE"], ["pmix.jobid", "NSPACE"], ["pmix.cmd.line", command]]
    assert info == [["PMIX_QUERY_NAMESPACE_INFO", [["pmix.job.arr", expected]]]]
    assert partly[0] == namespaces[0] and partly[1][0] == "PMIX_TIME_REMAINING" and 3500 < partly[1][1] <= 3600
    assert unknown == "PMIX_ERR_NOT_FOUND"
    assert peers == [[0, 1], [2]] and len(nodes) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_known_comes_where_other_things_are_not(job: Launch, version: str) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    result = job.run("-n1", *library, sys.executable, CLIENT)
    assert json.loads(result.out.splitlines()[6]) == [["PMIX_QUERY_NAMESPACES", "NSPACE"]]


def test_a_process_learns_which_functions_the_host_serves(job: Launch) -> None:
    script = (
        "from fluxpmix.pmix.client import Client; from fluxpmix.pmix import attributes as a\n"
        "from fluxpmix.pmix.types import Info, QueryItem\n"
        "with Client() as client:\n"
        "    item = QueryItem((a.QUERY_ATTRIBUTE_SUPPORT,), (Info(a.HOST_FUNCTIONS, 'all'),))\n"
        "    print(client.query([item])[0].value.items[0].value)\n"
    )
    path = libpmix("5.0")
    result = job.run("-n1", "-o", f"libpmix={path}", sys.executable, "-c", script)
    told = result.out.strip().split(",")
    assert {"PMIx_Fence", "PMIx_Get", "PMIx_Publish", "PMIx_Lookup", "PMIx_Query_info"} <= set(told)


MEMORY = """
import sys
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import QueryItem
with Client() as client:
    client.fence()
    if client.proc.rank == 0:
        for array in client.query([QueryItem((a.QUERY_MEMORY_USAGE,))])[0].value.items:
            host, shell, tasks = (info.value for info in array.value.items)
            print(host, 5 < shell < 500, 5 < tasks < 500)
        print("pmix.wdir" in client.query([QueryItem((a.QUERY_SPAWN_SUPPORT,))])[0].value.split(","))
    client.fence()
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_process_learns_how_much_memory_all_nodes_use_and_what_it_may_spawn(job: Launch, version: str) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    lines = job.run("-N2", "-n3", *library, sys.executable, "-c", MEMORY).out.splitlines()
    assert [line.split()[1:] for line in lines[:2]] == [["True", "True"]] * 2 and lines[2:] == ["True"]
    assert len({line.split()[0] for line in lines[:2]}) == 2
