"""Spawned jobs in a real Flux: within the job's own resources, in the shells that run, and gone with them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from disks import small_disk as small_disk
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance
from test_spawning import (
    CANNOT_WRITE,
    DASK,
    DYNAMIC,
    ERRORS,
    FULL,
    LARGE,
    SHAPES,
    compiled,
    expected,
    shown,
    written,
)

pytestmark = pytest.mark.flux
CLIENT = (sys.executable, CLIENTS / "spawns.py")
SHARED = ("-o", "pmix.oversubscribe=on")


@pytest.fixture
def sleepers(two: Instance) -> Callable[[], list[int]]:
    """Finds the spawned processes that sleep."""

    def find() -> list[int]:
        found = []
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                mine = f"FLUXPMIX_INSTANCE={two.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if mine and b"spawns.py\0sleep\0" in words:
                found.append(pid)
        return found

    return find


@pytest.mark.parametrize("nodes", [1, 2])
def test_parent_and_children_know_connect_and_read_each_other(two: Instance, server: str, nodes: int) -> None:
    words = ("-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}")
    result = two.run(f"-N{nodes}", f"-n{nodes}", "-l", *SHARED, *words, *CLIENT, "meet", 3)
    parent = nodes - 1
    assert result.lines == sorted(
        [
            *(
                f"1.{rank}: child {rank} of {parent}: [True, 3, {nodes}, {nodes + rank}, 0] got 'put by {parent}'"
                for rank in range(3)
            ),
            f"{parent}: ['put by 0', 'put by 1', 'put by 2']",
        ]
    )


def test_cores_that_are_free_are_used_and_no_more(two: Instance) -> None:
    result = two.run("-N2", "-n2", "-x", *CLIENT, "where", 2)
    assert result.lines == ["0 on node 0", "1 on node 1"]
    assert two.run("-N2", "-n2", "-x", *CLIENT, "where", 3).lines == ["PMIX_ERR_OUT_OF_RESOURCE"]


def test_jobs_spawn_jobs(two: Instance) -> None:
    result = two.run("-n1", *SHARED, *CLIENT, "nests", 2)
    assert result.lines == [f"depth {depth} has global rank {3 - depth}" for depth in range(3)]


def test_spawns_at_once_from_several_nodes_never_meet(two: Instance) -> None:
    result = two.run("-N2", "-n2", *SHARED, *CLIENT, "many", 4)
    assert sorted(map(int, result.lines)) == list(range(1, 9))


def test_arguments_environment_and_directory_are_those_of_each_application(two: Instance) -> None:
    result = two.run("-l", "-n1", *SHARED, "--env=LIST=a", "--env=GONE=here", *CLIENT, "said")
    assert result.lines == [
        "1.0: 0 tmp set a,c,b - first ['one']",
        "1.1: 1 tmp set a,c,b - first ['one']",
        f"1.2: 2 {two.directory.name} - a,c here - ['two']",
    ]


def test_output_goes_to_the_jobs_file(two: Instance) -> None:
    two.run("-n1", *SHARED, "--output=spawned-{{id}}.out", *CLIENT, "where", 2)
    (path,) = two.directory.glob("spawned-*.out")
    assert sorted(path.read_text().splitlines()) == ["0 on node 0", "1 on node 0"]
    path.unlink()


def test_what_cannot_be_spawned_is_answered_and_harms_nobody(two: Instance) -> None:
    assert two.run("-N2", "-n2", *SHARED, *CLIENT, "errors").lines == sorted(ERRORS * 2)


# -- ends --------------------------------------------------------------------------------------------


def test_a_death_is_told_to_the_parent_and_fails_the_job(two: Instance) -> None:
    result = two.run("-N2", "-n2", *SHARED, "-o", "exit-timeout=none", *CLIENT, "hear", code=137)
    assert result.lines == ["PMIX_ERR_PROC_ABORTED_BY_SIG"] * 2
    assert any("was killed by signal 9" in each for each in two.exceptions())


def test_the_end_of_a_job_is_told_to_whoever_asked(two: Instance) -> None:
    assert two.run("-N2", "-n2", *SHARED, *CLIENT, "completion").lines[-2:] == ["True 1", "True 1"]


def test_children_end_with_their_parent(two: Instance, sleepers: Callable[[], list[int]]) -> None:
    assert two.run("-N2", "-n2", *SHARED, *CLIENT, "leave").lines == ["child sleeps"] * 4
    assert not sleepers()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_signals_to_the_job_reach_them(
    two: Instance, sleepers: Callable[[], list[int]], signum: int, code: int
) -> None:
    child = two.start("-N2", "-n2", *SHARED, *CLIENT, "wait")
    two.until(lambda: len(sleepers()) == 4, "nobody sleeps")
    two.flux("job", "kill", f"--signal={int(signum)}", two.flux("job", "last"))
    two.finish(child, code=code)
    assert not sleepers()


def test_a_job_that_is_cancelled_takes_them_along(two: Instance, sleepers: Callable[[], list[int]]) -> None:
    child = two.start("-N2", "-n2", *SHARED, *CLIENT, "wait")
    two.until(lambda: len(sleepers()) == 4, "nobody sleeps")
    two.flux("cancel", two.flux("job", "last"))
    two.finish(child, code=143)
    assert not sleepers()


def test_a_shell_that_is_killed_takes_them_along(two: Instance, sleepers: Callable[[], list[int]]) -> None:
    child = two.start("-N2", "-n2", *SHARED, *CLIENT, "wait")
    two.until(lambda: len(sleepers()) == 4, "nobody sleeps")
    os.kill(two.shells()[1], signal.SIGKILL)
    two.until(lambda: len(sleepers()) == 2, "its own sleep on, or others do not")
    two.flux("cancel", two.flux("job", "last"))
    child.communicate(timeout=30)
    two.children.remove(child)
    assert child.returncode and not sleepers()
    two.clean_up_after_a_killed_shell()


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("exit-on-error", "task 1.0 exited with exit code 3, and -o exit-on-error ends the job"),
        ("exit-timeout=0.5s", "task 1.0 exited with exit code 3 0.5 s ago, but others of its job still run"),
    ],
)
def test_the_jobs_policy_holds_for_spawned_tasks(two: Instance, option: str, why: str) -> None:
    result = two.run("-n1", *SHARED, "-o", option, *CLIENT, "uneven", code=3)
    assert why in result.err


def test_a_job_ends_when_its_time_is_up(two: Instance) -> None:
    lines = two.run("-N2", "-n2", *SHARED, *CLIENT, "limited", code=143).lines
    assert [line for line in lines if line != "child sleeps"] == ["PMIX_ERR_TIMEOUT"] * 2


def test_a_job_is_told_that_its_time_is_nearly_up(two: Instance) -> None:
    lines = two.run("-N2", "-n2", *SHARED, *CLIENT, "warned").lines
    assert lines == [*["['end']"] * 2, *["warned ['True 6']"] * 4]


def test_who_asks_is_told_of_start_and_end(two: Instance) -> None:
    lines = two.run("-N2", "-n2", *SHARED, *CLIENT, "events").lines
    assert lines[-2:] == ["['PMIX_EVENT_JOB_START', 'PMIX_LAUNCH_COMPLETE', 'PMIX_EVENT_JOB_END']"] * 2


# -- MPI -----------------------------------------------------------------------------------------------


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks", "children", "commands"), SHAPES)
def test_open_mpi_5_spawns(two: Instance, tmp_path: Path, nodes: int, tasks: int, children: int, commands: int) -> None:
    program = compiled(os.path.join(os.path.dirname(sys.executable), "mpicc"), tmp_path)
    result = two.run(f"-N{nodes}", f"-n{tasks}", *SHARED, program, children, commands)
    assert result.lines == expected(tasks, children, commands > 1)


@pytest.mark.mpi4
def test_open_mpi_4_1_spawns(two: Instance, tmp_path: Path) -> None:
    path = libpmix("4.2")
    program = compiled(shutil.which("mpicc", path="/usr/bin"), tmp_path)
    result = two.run("-N2", "-n2", *SHARED, "-o", f"pmix.libpmix={path}", program, 3)
    assert result.lines == expected(2, 3, False)


@pytest.mark.mpi5
@pytest.mark.parametrize("program", DYNAMIC)
def test_mpi4py_programs_grow_while_they_run(two: Instance, program: str) -> None:
    pytest.importorskip("mpi4py")
    result = two.run("-n1", *SHARED, sys.executable, CLIENTS / "dynamic.py", program)
    assert result.lines == DYNAMIC[program]


def test_output_is_shown_as_the_request_says(two: Instance, server: str, tmp_path: Path) -> None:
    for words in shown("", tmp_path):
        options = ("-n1", *SHARED, "-o", f"pmix.libpmix={server}")
        task = (sys.executable, CLIENTS / "shown.py", *words.split())
        result = two.run(*options, *task, env={"FLUXPMIX_LIBPMIX": server})
        *_, last = sorted(result.out.splitlines(), key=lambda line: line.startswith("nspace "))
        nspace = last.removeprefix("nspace ")
        out, err = shown(nspace, tmp_path)[words]
        assert (result.lines, sorted(result.err.splitlines())) == (sorted([*out, last]), sorted(err)), words
    written(nspace, tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("where", [SHARED, ("-o", "pmix.spawn=job")])
def test_a_full_disk_under_the_files_for_output_fails_the_job(
    two: Instance, small_disk: Path, where: tuple[str, ...]
) -> None:
    words = (sys.executable, CLIENTS / "shown.py", f"IOF_OUTPUT_TO_FILE={small_disk}/out", "IOF_FILE_ONLY")
    result = two.run("-n1", *where, *words, code=1, env={"TEXT": LARGE})
    said = {line for line in result.err.splitlines() if "cannot write" in line}
    assert said and all(re.fullmatch(CANNOT_WRITE.format(f"{small_disk}/out", FULL), line) for line in said), result
    for file in small_disk.iterdir():
        assert set(file.read_bytes()) == {ord(file.suffix[1]), ord("\n")}


def test_a_pool_over_two_nodes_gets_workers_while_it_works(two: Instance) -> None:
    pytest.importorskip("mpi4py")
    result = two.run("-N2", "-n2", *SHARED, sys.executable, CLIENTS / "dynamic.py", "grows")
    assert result.lines == DYNAMIC["grows"]


def test_a_dask_cluster_gets_workers_while_it_works(two: Instance, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    pytest.importorskip("dask_mpi", reason="needs dask-mpi: pip install dask-mpi")
    result = two.run(
        "-N2", "-n4", "-o", "cpu-affinity=off", *SHARED, sys.executable, CLIENTS / "dask_grows.py", tmp_path
    )
    assert DASK in result.lines
