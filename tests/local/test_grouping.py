"""Groups of real processes on two nodes, with both libraries, and MPI sessions, which are made of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS, number
from launching import CLIENTS, LED, Launch, libpmix

CLIENT = CLIENTS / "groups.py"
ON = ("-o", "exit-timeout=none")

pytestmark = pytest.mark.pmix


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def library(version: str) -> list[str]:
    path = libpmix(version)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


def test_a_group_of_all_gives_all_what_each_has_put_and_a_new_context_each_time(
    job: Launch, library: list[str]
) -> None:
    result = job.run("-N2", "-n4", *library, sys.executable, CLIENT, "whole")
    lines = [line.split() for line in result.lines]
    assert [line[:2] for line in lines] == [[str(rank), "3"] for rank in range(4)]
    assert len({tuple(line[2:]) for line in lines}) == 1
    assert result.err == ""


def test_groups_that_overlap_have_contexts_of_their_own(job: Launch, library: list[str]) -> None:
    lines = [line.split()[1:] for line in job.run("-N2", "-n4", *library, sys.executable, CLIENT, "overlapping").lines]
    assert lines[0][0] == lines[2][0] and len({lines[0][1], lines[1][0], lines[2][1], lines[3][0]}) == 1
    assert len({context for line in lines for context in line}) == 6


def test_groups_of_the_same_processes_are_made_at_once(job: Launch, library: list[str]) -> None:
    lines = [line.split()[1:] for line in job.run("-N2", "-n4", *library, sys.executable, CLIENT, "threads").lines]
    assert all(line == lines[0] for line in lines) and len(lines) == 4 and len(set(lines[0])) == 8


def test_groups_within_a_node_are_made_and_ended_again_and_again(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n4", *library, sys.executable, CLIENT, "local")
    assert result.lines == [f"{rank} done" for rank in range(4)] and result.err == ""


def test_a_group_ends_in_time_where_a_member_never_comes(job: Launch, library: list[str]) -> None:
    assert job.run("-N2", "-n3", *library, sys.executable, CLIENT, "late").lines == ["0 PMIX_ERR_TIMEOUT True"]


def test_a_name_in_use_is_refused(job: Launch, library: list[str]) -> None:
    lines = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "exists").lines
    assert lines == [f"{rank} PMIX_ERR_EXISTS" for rank in range(3)]


def test_a_member_that_dies_first_ends_it(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *ON, *library, sys.executable, CLIENT, "dies", code=3)
    assert result.lines == [f"{rank} PMIX_ERR_PROC_TERM_WO_SYNC" for rank in range(2)]


def test_who_constructs_hears_of_a_member_that_died_first(job: Launch, library: list[str]) -> None:
    result = job.run("-N3", "-n3", *ON, *library, sys.executable, CLIENT, "missed", code=3)
    assert result.lines == [f"{rank} PMIX_ERR_PROC_TERM_WO_SYNC 2 missed 2" for rank in range(2)]


def test_who_invites_hears_of_a_member_that_dies_before_it_joins(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *ON, *library, sys.executable, CLIENT, "awaited", code=3)
    assert result.lines == ["0 PMIX_GROUP_MEMBER_FAILED 2 awaited"]


def test_a_member_that_dies_later_is_told(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *ON, *library, sys.executable, CLIENT, "told", code=3)
    assert result.lines == [f"{rank} PMIX_GROUP_MEMBER_FAILED 2 told" for rank in range(2)]


def test_an_optional_member_that_dies_first_is_left_out(job: Launch) -> None:
    path = libpmix("5.0")  # 4.2 tells no members
    result = job.run("-N2", "-n3", *ON, "-o", f"libpmix={path}", sys.executable, CLIENT, "optional", code=3)
    assert result.lines == ["0 0 1", "1 0 1"]


def test_groups_are_made_by_invitation_and_left(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "invited")
    assert result.lines == [line for rank in range(3) for line in (f"{rank} 0 team [0, 1, 2]", f"{rank} [0, 1]")]


@pytest.mark.parametrize("way", ["led", "led_invited"])
def test_the_end_of_a_leader_and_who_leads_then_is_told_to_all(job: Launch, library: list[str], way: str) -> None:
    result = job.run("-N4", "-n4", *ON, *library, sys.executable, CLIENT, way, code=3)
    assert result.lines == [f"{rank} {LED}" for rank in (2, 3)]


def test_an_invitation_that_is_declined_makes_no_group(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "declined")
    assert result.lines == [f"{rank} none {rank == 0}" for rank in range(3)]


def test_queries_tell_of_groups_on_all_nodes(job: Launch, library: list[str]) -> None:
    lines = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "queried").lines
    expected = ("all,low [0, 1] [0, 1, 2]", "low", "none")
    assert lines == [f"{rank} {line}" for rank in range(3) for line in expected]


def test_a_member_that_dies_is_not_told_where_nobody_asked_for_it(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n3", *ON, *library, sys.executable, CLIENT, "quiet", code=3)
    assert result.lines == ["0 [0, 1]", "1 [0, 1]"]


def test_members_that_make_no_sense_are_refused_in_time(job: Launch, version: str, library: list[str]) -> None:
    lines = job.run("-N2", "-n3", *library, sys.executable, CLIENT, "bad").lines
    assert lines == [
        "0 long PMIX_ERR_BAD_PARAM",
        "0 nobody PMIX_ERR_BAD_PARAM",
        "0 out PMIX_ERR_BAD_PARAM",
        *(["0 stranger PMIX_ERR_NOT_FOUND"] if number(version) < (6, 0) else []),
    ]


def test_a_member_that_is_named_twice_ends_it_in_time(job: Launch) -> None:
    """libpmix waits for its second call; 4.2 dies of the time limit."""
    path = libpmix("5.0")
    lines = job.run("-N2", "-n3", "-o", f"libpmix={path}", sys.executable, CLIENT, "bad", "twice").lines
    assert lines[-1] == "0 twice PMIX_ERR_TIMEOUT"


def test_a_time_limit_that_is_not_needed_does_no_harm(job: Launch) -> None:
    """With 4.2 it does, where a node has several members: see docs."""
    path = libpmix("5.0")
    lines = job.run("-N2", "-n3", "-o", f"libpmix={path}", sys.executable, CLIENT, "limited").lines
    assert lines == [f"{rank} {line}" for rank in range(3) for line in ("and on", "went on")]


@pytest.mark.mpi5
@pytest.mark.parametrize("nodes", [1, 2])
def test_mpi_sessions_make_communicators_from_groups(job: Launch, tmp_path: Path, nodes: int) -> None:
    mpicc = os.path.join(os.path.dirname(sys.executable), "mpicc")
    if not os.path.exists(mpicc):
        pytest.skip("no compiler wrapper of Open MPI 5: no mpicc")
    program = tmp_path / "sessions"
    subprocess.run([mpicc, "-o", program, CLIENTS / "sessions.c"], check=True, capture_output=True)
    result = job.run(f"-N{nodes}", "-n4", program)
    assert result.lines == [f"turn {turn}: sum of 4 ranks is 6" for turn in range(3)]
    assert result.err == ""
