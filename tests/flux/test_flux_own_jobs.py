"""Spawned jobs with resources of their own: Flux jobs in the same instance, whose processes know those of the first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance
from test_spawning import DYNAMIC, compiled, expected

pytestmark = pytest.mark.flux
CLIENT = (sys.executable, CLIENTS / "spawns.py")
NODES = "pmix.alloc.nnodes"
OWN = ("-o", "pmix.spawn=job")


def latest(instance: Instance, count: int) -> list[str]:
    """The ids of the last jobs, the newest first."""
    numbers = map(int, instance.flux("jobs", "-a", "-n", "-o", "{id.dec}").split())
    return [str(number) for number in sorted(numbers, reverse=True)[:count]]


def printed(instance: Instance, job: str) -> list[str]:
    """What a job has printed, however it ended."""
    done = subprocess.run(
        ["flux", "job", "attach", job], env=instance.job_environment(), capture_output=True, text=True, timeout=30
    )
    return sorted(done.stdout.splitlines())


def ended(instance: Instance, job: str) -> str:
    """Wait for a job; return its exit code and the note of its exception."""
    instance.flux("job", "wait-event", "-q", job, "clean")
    return instance.flux("jobs", "-n", "-o", "{returncode} {exception.note}", job)


@pytest.mark.parametrize("nodes", [1, 2])
def test_parent_and_children_know_connect_and_read_each_other(two: Instance, server: str, nodes: int) -> None:
    words = ("-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}")
    parent = nodes - 1
    result = two.run(f"-N{nodes}", f"-n{nodes}", *words, *CLIENT, "meet", 2, f"{NODES}={nodes}")
    said = [
        f"child {rank} of {parent}: [True, 2, {nodes}, {nodes + rank}, 0] got 'put by {parent}'" for rank in range(2)
    ]
    assert result.lines == ["['put by 0', 'put by 1']", *said]
    child, _ = latest(two, 2)
    assert printed(two, child) == said
    assert two.flux("jobs", "-n", "-o", "{nnodes} {ntasks}", child) == f"{nodes} 2"


def test_what_the_instance_will_never_have_is_refused(two: Instance) -> None:
    result = two.run("-n1", *CLIENT, "where", 1, "pmix.alloc.ncpus=64")
    assert result.lines == ["PMIX_ERR_OUT_OF_RESOURCE"] and "1 process(es) of 64 cores" in result.err
    assert two.run("-n1", *CLIENT, "where", 3, f"{NODES}=3").lines == ["PMIX_ERR_OUT_OF_RESOURCE"]
    # The asker's own cores are not free as long as it waits.
    assert two.run("-N2", "-n2", *CLIENT, "where", 2, f"{NODES}=1").lines == ["PMIX_ERR_OUT_OF_RESOURCE"]


def test_what_makes_no_sense_is_refused(two: Instance) -> None:
    for words, status in (
        (("2", "pmix.alloc.ncpus=1"), "BAD_PARAM"),
        (("1", f"{NODES}=2"), "BAD_PARAM"),
        (("1", "pmix.alloc.time=soon"), "BAD_PARAM"),
        (("1", "pmix.alloc.queue=none-such"), "JOB_ALLOC_FAILED"),
        (("1", "pmix.alloc.nlist=nowhere"), "JOB_ALLOC_FAILED"),
        (("1", "pmix.alloc.image=linux"), "NOT_SUPPORTED"),
    ):
        result = two.run("-n1", *CLIENT, "where", *words)
        assert result.lines == [f"PMIX_ERR_{status}"], (words, result)


def test_a_job_that_waits_for_its_turn_does_so_as_long_as_it_was_given(two: Instance) -> None:
    holder = two.flux("submit", "-n3", "sleep", "inf")
    two.flux("job", "wait-event", holder, "start")
    result = two.run("-n1", *CLIENT, "where", 2, f"{NODES}=1", "pmix.sp.time=1")
    assert result.lines == ["PMIX_ERR_TIMEOUT"]
    child, _ = latest(two, 2)
    assert "has not started in the time" in ended(two, child)
    waits = two.start("-n1", *CLIENT, "where", 2, f"{NODES}=1")
    two.until(lambda: "SCHED" in two.flux("jobs", "-n", "-o", "{state}"), "nobody waits")
    two.flux("cancel", holder)
    assert two.finish(waits).lines == ["0 on node 1", "1 on node 1"]
    assert printed(two, latest(two, 1)[0]) == ["0 on node 1", "1 on node 1"]


def test_applications_have_their_own_arguments_environment_and_directory(two: Instance) -> None:
    two.run("-n1", *OWN, "--env=LIST=a", "--env=GONE=here", *CLIENT, "said")
    assert printed(two, latest(two, 1)[0]) == [
        "0 tmp set a,c,b - first ['one']",
        "1 tmp set a,c,b - first ['one']",
        f"2 {two.directory.name} - a,c here - ['two']",
    ]


def test_what_cannot_be_started_is_answered(two: Instance) -> None:
    lines = two.run("-n1", *OWN, *CLIENT, "errors").lines
    assert "no such command: PMIX_ERR_JOB_EXE_NOT_FOUND" in lines
    assert "no file: PMIX_ERR_JOB_EXE_NOT_FOUND" in lines
    assert "not executable: PMIX_ERR_EXE_NOT_ACCESSIBLE" in lines
    assert "no room: PMIX_ERR_OUT_OF_RESOURCE" in lines


def test_jobs_spawn_jobs(two: Instance) -> None:
    result = two.run("-l", "-n1", *OWN, *CLIENT, "nests", 2)
    assert result.lines == [f"{3 - n}.0: depth {n} has global rank {3 - n}" for n in (2, 1, 0)]
    jobs = latest(two, 3)
    assert [printed(two, job) for job in jobs] == [[f"depth {n} has global rank {3 - n}"] for n in range(3)]


def test_inside_a_spawned_job_its_own_cores_are_used(two: Instance) -> None:
    """What its processes spawn without naming resources goes there, and not to the first job."""
    two.run("-n1", *CLIENT, "inner", f"{NODES}=1")
    assert printed(two, latest(two, 1)[0]) == ["0 on node 1", "PMIX_ERR_OUT_OF_RESOURCE"]


def test_a_death_is_told_to_the_parent(two: Instance) -> None:
    assert two.run("-n1", *CLIENT, "hear", f"{NODES}=1").lines == ["PMIX_ERR_PROC_ABORTED_BY_SIG"]
    assert ended(two, latest(two, 1)[0]).startswith("137")


def test_the_end_is_told_to_whoever_asked(two: Instance) -> None:
    assert two.run("-n1", *CLIENT, "completion", f"{NODES}=2").lines == [
        "0 on node 1",
        "1 on node 2",
        "True 1",
    ]


def test_its_time_is_a_limit_of_flux(two: Instance) -> None:
    two.run("-n1", *CLIENT, "limited", f"{NODES}=1")
    assert ended(two, latest(two, 1)[0]).startswith("142")


def test_who_asks_is_told_of_start_and_end(two: Instance) -> None:
    lines = two.run("-n1", *CLIENT, "events", f"{NODES}=1").lines
    assert lines == ["0 on node 1", "['PMIX_EVENT_JOB_START', 'PMIX_LAUNCH_COMPLETE', 'PMIX_EVENT_JOB_END']"]


@pytest.mark.parametrize("tasks", [1, 2])
def test_an_allocation_is_a_job_to_spawn_into_and_to_give_back(two: Instance, tasks: int) -> None:
    lines = two.run("-N1", f"-n{tasks}", *CLIENT, "allocation").lines
    held = latest(two, 1)[0]
    name = two.flux("job", "id", "--to=f58plain", held)
    said = ["0 on node 1", "1 on node 1"]
    assert lines == sorted([f"mine is {name}", "PMIX_ERR_OUT_OF_RESOURCE", "PMIX_ERR_NOT_FOUND", *said])
    assert printed(two, held) == said
    assert "has released it" in ended(two, held)


@pytest.mark.parametrize("version", ["4.2", "5.0", "6.1"])
def test_a_session_is_controlled_with_all_that_it_has_spawned(two: Instance, version: str) -> None:
    path = libpmix(version)
    if path is None:
        pytest.skip(f"libpmix {version} is not installed")
    words = ("-o", f"pmix.libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", *CLIENT, "session", f"{NODES}=1")
    known = version >= "6"
    lines = two.run(f"-n{1 + known}", "-o", "kill-timeout=0.5", *words).lines
    if not known:
        assert lines == ["PMIX_ERR_NOT_SUPPORTED"]
    else:
        assert lines == ["signalled"] * 2 and printed(two, latest(two, 1)[0]) == ["signalled"]


def test_a_child_ends_with_its_parent(two: Instance) -> None:
    two.run("-n1", "-o", "kill-timeout=0.5", *CLIENT, "leave", f"{NODES}=1")
    child = latest(two, 1)[0]
    assert ended(two, child) == "143 the job that has spawned it has ended"


def test_a_child_ends_with_a_parent_that_is_cancelled(two: Instance) -> None:
    job = two.start("-n1", *CLIENT, "wait", f"{NODES}=1")
    two.until(lambda: two.flux("jobs", "-n", "-o", "{state}").split() == ["RUN", "RUN"], "it does not run")
    child, parent = latest(two, 2)
    two.until(lambda: "child sleeps" in two.flux("job", "eventlog", "-p", "output", child), "nobody sleeps")
    two.flux("cancel", parent)
    two.finish(job, code=143)
    assert ended(two, child).startswith("143")


def test_a_separate_child_lives_on(two: Instance) -> None:
    two.run("-n1", *CLIENT, "leave", f"{NODES}=1", "pmix.spchildsep=true")
    child = latest(two, 1)[0]
    assert two.flux("jobs", "-n", "-o", "{state}", child) == "RUN"
    two.flux("cancel", child)
    assert ended(two, child).startswith("143")


def test_whoever_joins_was_submitted(two: Instance) -> None:
    result = two.run("-n1", "-o", "pmix.parent=me", *CLIENT, "where", 1, code=1)
    assert "set where a process spawns a job of its own" in result.err


# -- MPI -----------------------------------------------------------------------------------------------


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks", "children", "commands"), [(1, 1, 2, 1), (2, 2, 2, 1), (1, 1, 3, 2)])
def test_open_mpi_5_spawns(two: Instance, tmp_path: Path, nodes: int, tasks: int, children: int, commands: int) -> None:
    program = compiled(os.path.join(os.path.dirname(sys.executable), "mpicc"), tmp_path)
    result = two.run(f"-N{nodes}", f"-n{tasks}", *OWN, program, children, commands)
    assert result.lines == expected(tasks, children, commands > 1)


@pytest.mark.mpi4
def test_open_mpi_4_1_spawns(two: Instance, tmp_path: Path) -> None:
    path = libpmix("4.2")
    program = compiled(shutil.which("mpicc", path="/usr/bin"), tmp_path)
    result = two.run("-N2", "-n2", *OWN, "-o", f"pmix.libpmix={path}", program, 2)
    assert result.lines == expected(2, 2, False)


@pytest.mark.mpi5
@pytest.mark.parametrize("program", [program for program in DYNAMIC if program != "grows"])  # wants 7 cores of 4
def test_mpi4py_programs_grow_into_other_jobs(two: Instance, program: str) -> None:
    pytest.importorskip("mpi4py")
    result = two.run("-n1", *OWN, sys.executable, CLIENTS / "dynamic.py", program)
    assert result.lines == DYNAMIC[program]
