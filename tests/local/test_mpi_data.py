"""MPI programs that need groups, published names and connections: the same between emulated nodes as in one."""

from __future__ import annotations

import sys

import pytest
from launching import CLIENTS, SPARSE, Launch, mpi_data_says

pytestmark = [pytest.mark.pmix, pytest.mark.mpi5]


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("what", ["sessions", "names", "join", "jobs", "sums"])
def test_a_program_gets_the_right_answer(job: Launch, what: str, nodes: int) -> None:
    pytest.importorskip("mpi4py")
    result = job.run(f"-N{nodes}", "-n4", sys.executable, CLIENTS / "mpi_data.py", what)
    assert result.lines == mpi_data_says(what)
    assert result.err == ""


def test_a_program_gets_the_same_answer_without_data_in_its_fence(job: Launch) -> None:
    pytest.importorskip("mpi4py")
    command = (sys.executable, CLIENTS / "mpi_data.py", "sums")
    assert job.run("-N2", "-n4", *SPARSE, *command).lines == mpi_data_says("sums")
