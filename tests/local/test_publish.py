"""Publish, lookup and unpublish between real processes on two nodes, with both libraries and with Open MPI."""

from __future__ import annotations

import os
import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, JOBS_SEEN, Launch, libpmix

CLIENT = CLIENTS / "names.py"

pytestmark = pytest.mark.pmix

MPI_NAMES = """
from mpi4py import MPI
world = MPI.COMM_WORLD
port = world.bcast(MPI.Open_port() if world.rank == 0 else None)
if world.rank == 0:
    MPI.Publish_name("service", port)
world.Barrier()
print(world.rank, "found" if MPI.Lookup_name("service") == port else "wrong")
world.Barrier()
if world.rank == 0:
    MPI.Unpublish_name("service", port)
world.Barrier()
try:
    print(world.rank, MPI.Lookup_name("service"))
except MPI.Exception as error:
    print(world.rank, "gone" if error.Get_error_class() == MPI.ERR_NAME else error)
"""


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> list[str]:
    path = libpmix(request.param)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


def test_a_value_of_each_type_is_found_as_it_was_published(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "values")
    found = "number, text, bytes, real, flag, proc, numbers, infos, small, big"
    assert result.lines == [f"1 {found}", f"2 {found}"]
    assert result.err == ""


def test_published_data_has_its_range_its_life_and_its_owner(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "life")
    assert [line for line in result.out.splitlines() if line.startswith("1")] == [
        "1 k=v@0",
        "1 PMIX_ERR_NOT_FOUND",
        "1 PMIX_ERR_TIMEOUT",
        "1 again=1@1",
        "1 PMIX_ERR_NOT_FOUND",
    ]
    assert [line for line in result.out.splitlines() if line.startswith("0")] == [
        "0 PMIX_ERR_DUPLICATE_KEY",
        "0 once=1@0",
    ]


def test_lookups_wait_for_what_is_published_later(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n4", *library, sys.executable, CLIENT, "wait")
    everything = " ".join(f"turn-{rank}={rank}@{rank}" for rank in range(4))
    one_by_one = [f"{rank} turn-{rank - 1}={rank - 1}@{rank - 1}" for rank in (1, 2, 3)]
    assert result.lines == sorted([*one_by_one, *(f"{rank} {everything}" for rank in range(4))])


def test_many_keys_are_published_found_and_gone(job: Launch, library: list[str]) -> None:
    result = job.run("-N4", "-n4", *library, sys.executable, CLIENT, "many")
    assert result.lines == [f"{rank} PMIX_ERR_NOT_FOUND" for rank in range(4)]


def test_who_is_killed_while_it_waits_harms_nobody_else(job: Launch, library: list[str]) -> None:
    script = CLIENTS / "orphans.py"
    result = job.run(
        *("-N2", "-n4", "-o", "exit-timeout=none", "--taskmap=manual:[[0,1,3,1],[1,1,1,1]]", *library),
        *(sys.executable, script),
        code=137,
    )
    assert result.out == "published given\n"


def test_data_of_the_session_is_found_by_its_other_jobs(job: Launch, library: list[str]) -> None:
    assert job.run("-N2", "-n2", *library, sys.executable, CLIENTS / "jobs.py").lines == JOBS_SEEN


@pytest.mark.skipif("FLUXPMIX_TEST_HUGE" not in os.environ, reason="takes 12 GiB and a minute: set FLUXPMIX_TEST_HUGE")
@pytest.mark.timeout(300)
def test_more_than_two_gib_at_once_are_refused_and_do_no_harm(job: Launch) -> None:
    script = (
        "from fluxpmix import Client, PmixError\n"
        "with Client() as client:\n"
        "    if client.proc.rank == 0:\n"
        "        try:\n"
        "            client.publish({'one': bytes(9 << 27), 'two': bytes(9 << 27)})\n"
        "        except PmixError as error:\n"
        "            print(error)\n"
        "        client.publish({'small': 1})\n"
        "    client.fence()\n"
        "    print(client.lookup(['small'])[0].value)\n"
    )
    child = job.start("-N2", "-n2", sys.executable, "-c", script)
    out, err = child.communicate(timeout=280)
    assert child.returncode == 0, err
    assert "PMIX_ERR_BAD_PARAM" in out and out.count("1\n") == 2
    assert "2415919104 bytes" in err


@pytest.mark.mpi5
def test_mpi_finds_a_published_name_on_another_node_until_it_is_unpublished(job: Launch) -> None:
    pytest.importorskip("mpi4py")
    result = job.run("-N2", "-n4", sys.executable, "-c", MPI_NAMES)
    assert result.lines == sorted([f"{rank} found" for rank in range(4)] + [f"{rank} gone" for rank in range(4)])
