"""What becomes of connects between real processes on two nodes, with both libraries and with Open MPI."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

CLIENT = CLIENTS / "connects.py"
ON = ("-o", "exit-timeout=none")

pytestmark = pytest.mark.pmix

HALVES = """
from mpi4py import MPI
world = MPI.COMM_WORLD
lower = world.rank < world.size // 2
half = world.Split(lower)
port = world.bcast(MPI.Open_port() if world.rank == 0 else None)
other = half.Accept(port) if lower else half.Connect(port)
print(world.rank, other.remote_size, other.allreduce(world.rank))
other.Disconnect()
if world.rank == 0:
    MPI.Close_port(port)
"""


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> list[str]:
    path = libpmix(request.param)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


def test_processes_connect_and_disconnect_again_and_again(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "both")
    assert result.lines == [f"{rank} done" for rank in range(3)] and result.err == ""


def test_a_connect_ends_in_time_where_somebody_never_comes(job: Launch, library: list[str]) -> None:
    assert job.run("-N2", "-n3", *library, sys.executable, CLIENT, "late").lines == ["0 PMIX_ERR_TIMEOUT"]


def test_a_time_limit_that_libpmix_does_not_survive_is_warned_of_once(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "limited")
    assert result.lines == [f"{rank} done" for rank in range(3)]
    warning = "shell 0: PMIX_TIMEOUT in a connect of several processes on one node: libpmix "
    assert result.err.count(warning) == 1 and result.err.count("\n") == 1


def test_a_process_that_dies_first_ends_a_connect(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *ON, *library, sys.executable, CLIENT, "dies", code=3)
    assert result.lines == [f"{rank} PMIX_ERR_PROC_TERM_WO_SYNC" for rank in range(2)]


def test_the_end_of_a_connected_process_is_told(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *ON, *library, sys.executable, CLIENT, "told", code=3)
    assert result.lines == [f"{rank} PMIX_ERR_PROC_TERM_WO_SYNC 2" for rank in range(2)]


@pytest.mark.mpi5
def test_two_halves_of_a_job_accept_and_connect(job: Launch) -> None:
    pytest.importorskip("mpi4py")
    result = job.run("-N2", "-n4", sys.executable, "-c", HALVES)
    assert result.lines == ["0 2 5", "1 2 5", "2 2 1", "3 2 1"]
