"""Real MPI programs: both Open MPIs, their sums, and what they leave in shared memory (nothing, says the fixture)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import CLIENTS, Launch, libpmix, models_heard

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
SHAPES = [(1, 4), (2, 8), (4, 32)]


def compiled(mpicc: str | None, version: str, directory: Path) -> Path:
    """Build the example with a compiler wrapper of Open MPI `version`, or skip."""
    if mpicc is None:
        pytest.skip(f"no compiler wrapper of Open MPI {version}: no mpicc")
    told = subprocess.run([mpicc, "--showme:version"], capture_output=True, text=True, check=False)
    if f"Open MPI {version}" not in told.stdout + told.stderr:
        pytest.skip(f"{mpicc} is not of Open MPI {version}: {told.stdout}{told.stderr}")
    program = directory / "allreduce"
    subprocess.run([mpicc, "-o", program, EXAMPLES / "allreduce.c"], check=True, capture_output=True)
    return program


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks"), SHAPES)
def test_an_allreduce_of_open_mpi_5_is_right(job: Launch, tmp_path: Path, nodes: int, tasks: int) -> None:
    wheel = os.path.join(os.path.dirname(sys.executable), "mpicc")
    program = compiled(wheel if os.path.exists(wheel) else None, "5", tmp_path)
    result = job.run(f"-N{nodes}", f"-n{tasks}", program)
    assert result.out == f"rank 0 of {tasks}: sum of ranks is {tasks * (tasks - 1) // 2}\n"


@pytest.mark.mpi4
@pytest.mark.parametrize(("nodes", "tasks"), SHAPES)
def test_an_allreduce_of_open_mpi_4_1_is_right(job: Launch, tmp_path: Path, nodes: int, tasks: int) -> None:
    path = libpmix("4.2")
    program = compiled(shutil.which("mpicc", path="/usr/bin"), "4.1", tmp_path)
    result = job.run(f"-N{nodes}", f"-n{tasks}", "-o", f"libpmix={path}", program)
    assert result.out == f"rank 0 of {tasks}: sum of ranks is {tasks * (tasks - 1) // 2}\n"


@pytest.mark.mpi5
@pytest.mark.parametrize("nodes", [1, 2])
def test_the_example_of_the_readme_says_hello(job: Launch, nodes: int) -> None:
    pytest.importorskip("mpi4py")
    result = job.run(f"-N{nodes}", "-n4", sys.executable, EXAMPLES / "hello.py")
    assert [line.split(" on ")[0] for line in result.lines] == [f"hello from rank {rank} of 4" for rank in range(4)]
    assert all(line.endswith("sum of ranks is 6") for line in result.lines)


@pytest.mark.mpi5
@pytest.mark.parametrize(("call", "code"), [("MPI.COMM_WORLD.Abort(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_an_mpi_program_that_ends_badly_leaves_nothing(job: Launch, call: str, code: int) -> None:
    pytest.importorskip("mpi4py")
    script = f"from mpi4py import MPI\nimport os\nw = MPI.COMM_WORLD\nw.Barrier()\nif w.rank == 1: {call}\nw.Barrier()"
    job.run("-n4", "-o", "exit-timeout=1s", sys.executable, "-c", script, code=code)


@pytest.mark.mpi5
def test_applications_of_one_job_share_a_world(job: Launch) -> None:
    pytest.importorskip("mpi4py")
    script = "from mpi4py import MPI; w = MPI.COMM_WORLD; print(w.allreduce(w.rank), w.Get_attr(MPI.APPNUM))"
    words = ["-N2", "-n1", sys.executable, "-c", script, ":", "-n3", sys.executable, "-c", script]
    assert job.run(*words).lines == ["6 0", "6 1", "6 1", "6 1"]


@pytest.mark.mpi5
def test_open_mpi_declares_its_model_to_other_libraries_of_its_process(job: Launch) -> None:
    pytest.importorskip("mpi4py")
    result = job.run("-N2", "-n3", sys.executable, CLIENTS / "models.py", "mpi")
    lines = [re.sub("OpenMPI,[^,]*", "OpenMPI,VERSION", line) for line in result.lines]
    assert lines == [models_heard(rank, mpi=True) for rank in range(3)]
