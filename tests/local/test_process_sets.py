"""Process sets of real processes on two nodes, with both libraries, and how MPI shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix, sets_seen

SETS = ("-o", "pmix.pset.left=0-1", "-o", "pmix.pset.odd.ones=1,3")

pytestmark = pytest.mark.pmix


@pytest.mark.parametrize("version", VERSIONS)
def test_sets_are_told_queried_and_defined_on_all_nodes(job: Launch, version: str) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    result = job.run("-N2", "-n4", *SETS, *library, sys.executable, CLIENTS / "psets.py")
    assert result.lines == sets_seen(version)


def test_a_set_that_makes_no_sense_is_refused_before_anything_runs(job: Launch) -> None:
    for option, why in (
        ("pmix.pset.a,b=0", "a name has no commas"),
        ("pmix.pset.a=7", "there is no task 7"),
        ("pmix.pset.a=x", "write it like 0-3,7"),
        ("pmix.pset.=0", "no shell option is called"),
    ):
        assert why in job.run("-n2", "-o", option, "true", code=2).err


def test_what_a_dry_run_shows_has_the_sets(job: Launch) -> None:
    assert "  process set left: ranks 0-1\n" in job.run("-n2", "-o", "pmix.pset.left=0-1", "--dry-run", "true").out


@pytest.mark.mpi5
def test_mpi_sessions_list_the_sets(job: Launch, tmp_path: Path) -> None:
    mpicc = os.path.join(os.path.dirname(sys.executable), "mpicc")
    if not os.path.exists(mpicc):
        pytest.skip("no compiler wrapper of Open MPI 5: no mpicc")
    program = tmp_path / "sets"
    subprocess.run([mpicc, "-o", program, CLIENTS / "sets.c"], check=True, capture_output=True)
    result = job.run("-N2", "-n4", *SETS, program)
    assert result.lines == ["5 sets: mpi://WORLD mpi://SELF mpix://SHARED left odd.ones"] * 4
