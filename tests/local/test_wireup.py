"""Direct modex between real processes on two nodes, with both libraries, and Open MPI wiring itself up by it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix
from test_mpi import compiled

CLIENT = CLIENTS / "dmodex.py"

pytestmark = pytest.mark.pmix


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> list[str]:
    path = libpmix(request.param)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


def test_every_rank_gets_what_all_have_put(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n4", *library, sys.executable, CLIENT, "everybody")
    expected = [f"{me} turn-{turn} {rank} {turn}.{rank}" for turn in (0, 1) for me in range(4) for rank in range(4)]
    assert result.lines == sorted(expected)
    assert result.err == ""


def test_a_get_waits_for_the_commit_that_has_its_key(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "early")
    assert result.lines == ["0 first 1 1", "0 second 1 2"]


def test_a_get_of_what_is_never_there_ends(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "never")
    statuses = [line.split()[-1] for line in result.out.splitlines()]
    assert statuses == ["PMIX_ERR_TIMEOUT", *["PMIX_ERR_NOT_FOUND"] * 7]


def test_the_death_of_the_rank_ends_a_get(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n2", "-o", "exit-timeout=none", *library, sys.executable, CLIENT, "dies", code=3)
    assert result.lines == ["0 unknown 1 PMIX_ERR_PROC_TERM_WO_SYNC"]


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks"), [(2, 4), (4, 8)])
def test_open_mpi_5_sums_right_with_nothing_in_its_fence(job: Launch, tmp_path: Path, nodes: int, tasks: int) -> None:
    wheel = os.path.join(os.path.dirname(sys.executable), "mpicc")
    program = compiled(wheel if os.path.exists(wheel) else None, "5", tmp_path)
    sparse = ["--env=OMPI_MCA_pmix_base_collect_data=0", "--env=OMPI_MCA_pmix_base_async_modex=1"]
    result = job.run(f"-N{nodes}", f"-n{tasks}", *sparse, program)
    assert result.out == f"rank 0 of {tasks}: sum of ranks is {tasks * (tasks - 1) // 2}\n"
    assert result.err == ""
