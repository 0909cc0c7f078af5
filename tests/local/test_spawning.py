"""Spawned jobs of real processes: PMIx clients with both libraries, MPI programs, and what cannot be spawned."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from disks import small_disk as small_disk
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

CLIENT = CLIENTS / "spawns.py"

pytestmark = pytest.mark.pmix


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> list[str]:
    path = libpmix(request.param)
    return ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_parent_and_children_know_connect_and_read_each_other(job: Launch, library: list[str], nodes: int) -> None:
    result = job.run(f"-N{nodes}", f"-n{nodes}", *library, sys.executable, CLIENT, "meet", "4")
    parent = nodes - 1
    assert result.lines == [
        "['put by 0', 'put by 1', 'put by 2', 'put by 3']",
        *(
            f"child {rank} of {parent}: [True, 4, {nodes}, {nodes + rank}, 0] got 'put by {parent}'"
            for rank in range(4)
        ),
    ]
    assert result.err == ""


def test_jobs_spawn_jobs(job: Launch, library: list[str]) -> None:
    result = job.run("-n1", *library, sys.executable, CLIENT, "nests", "3")
    assert result.lines == [f"depth {depth} has global rank {4 - depth}" for depth in range(4)]


def test_spawns_at_once_from_several_nodes_never_meet(job: Launch, library: list[str]) -> None:
    result = job.run("-N3", "-n3", *library, sys.executable, CLIENT, "many", "4")
    assert sorted(map(int, result.lines)) == list(range(1, 13)) and result.err == ""


PLACES = {
    (): [0, 0, 1, 1],
    ("pmix.mapby=node",): [0, 1, 0, 1],
    ("pmix.mapby=node", "pmix.rankby=slot"): [0, 0, 1, 1],
    ("pmix.mapby=ppr:2:node", "pmix.rankby=node"): [0, 1, 0, 1],
    ("pmix.ppr=3:node", "pmix.host={1},{0}"): [1, 1, 0, 0],
    ("pmix.host={1}",): [1, 1, 1, 1],
    ("pmix.host={0}:1,{1}:3",): [0, 1, 1, 1],
    ("pmix.hostfile=hosts",): [0, 1, 1, 1],
}


@pytest.mark.parametrize("directives", PLACES, ids=" ".join)
def test_processes_go_where_the_request_says(job: Launch, directives: tuple[str, ...]) -> None:
    hosts = [os.uname().nodename + str(node) for node in range(2)]
    (job.directory / "hosts").write_text(f"# nodes\n{hosts[0]} slots=1\n\n{hosts[1]} slots=3  # the rest\n")
    words = [word.format(*hosts) for word in directives]
    result = job.run("-N2", "-n2", sys.executable, CLIENT, "where", "4", *words)
    places = [line.split(" on node ") for line in result.lines]
    assert [int(node) for _, node in sorted(places)] == PLACES[directives]


def test_arguments_environment_and_directory_are_those_of_each_application(job: Launch) -> None:
    result = job.run("-l", "-n1", "--env=LIST=a", "--env=GONE=here", sys.executable, CLIENT, "said")
    own = job.directory.name
    assert result.lines == [
        "1.0: 0 tmp set a,c,b - first ['one']",
        "1.1: 1 tmp set a,c,b - first ['one']",
        f"1.2: 2 {own} - a,c here - ['two']",
    ]


def test_output_goes_where_the_jobs_own_goes(job: Launch) -> None:
    job.run("-n1", "--output=out.{{taskid}}", sys.executable, CLIENT, "where", "2")
    assert (job.directory / "out.1.0").read_text() == "0 on node 0\n"
    assert (job.directory / "out.1.1").read_text() == "1 on node 0\n"


ERRORS = [
    "contradiction: PMIX_ERR_BAD_PARAM",
    "host file: PMIX_ERR_NOT_FOUND",
    "less than nobody: PMIX_ERR_BAD_PARAM",
    "no directory: PMIX_ERR_JOB_WDIR_NOT_FOUND",
    "no file: PMIX_ERR_JOB_EXE_NOT_FOUND",
    "no room: PMIX_ERR_OUT_OF_RESOURCE",
    "no such command: PMIX_ERR_JOB_EXE_NOT_FOUND",
    "nobody: PMIX_ERR_BAD_PARAM",
    "not executable: PMIX_ERR_EXE_NOT_ACCESSIBLE",
    "preload: PMIX_ERR_NOT_SUPPORTED",
    "required: PMIX_ERR_NOT_SUPPORTED",
    "strange host: PMIX_ERR_NOT_FOUND",
    "strange mapping: PMIX_ERR_NOT_SUPPORTED",
    "too many: PMIX_ERR_OUT_OF_RESOURCE",
]


def test_what_cannot_be_spawned_is_answered_and_harms_nobody(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "errors")
    assert result.lines == sorted(ERRORS * 2)
    assert "no-such-command: command not found in PATH" in result.err


def test_no_more_are_spawned_than_there_are_slots_where_cores_are_not_shared(job: Launch) -> None:
    cores = len(os.sched_getaffinity(0))
    result = job.run("-n1", "-o", "oversubscribe=off", sys.executable, CLIENT, "where", str(cores))
    assert result.lines == ["PMIX_ERR_OUT_OF_RESOURCE"]


# -- ends --------------------------------------------------------------------------------------------


def test_a_death_is_told_to_the_parent(job: Launch, library: list[str]) -> None:
    result = job.run("-N2", "-n2", "-o", "exit-timeout=none", *library, sys.executable, CLIENT, "hear", code=137)
    assert result.lines == ["PMIX_ERR_PROC_ABORTED_BY_SIG"] * 2


def test_the_end_of_a_job_is_told_to_whoever_asked(job: Launch, library: list[str]) -> None:
    lines = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "completion").lines
    assert lines[-2:] == ["True 1", "True 1"]


def test_a_job_ends_when_its_time_is_up(job: Launch, library: list[str]) -> None:
    lines = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "limited", code=143).lines
    assert [line for line in lines if line != "child sleeps"] == ["PMIX_ERR_TIMEOUT"] * 2


def test_a_job_is_told_that_its_time_is_nearly_up(job: Launch, library: list[str]) -> None:
    lines = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "warned").lines
    assert lines == [*["['end']"] * 2, *["warned ['True 6']"] * 4]


def test_who_asks_is_told_of_start_and_end(job: Launch, library: list[str]) -> None:
    lines = job.run("-N2", "-n2", *library, sys.executable, CLIENT, "events").lines
    assert lines[-2:] == ["['PMIX_EVENT_JOB_START', 'PMIX_LAUNCH_COMPLETE', 'PMIX_EVENT_JOB_END']"] * 2


@pytest.mark.parametrize("nodes", [1, 2])
def test_children_end_with_their_parent(job: Launch, nodes: int) -> None:
    result = job.run(f"-N{nodes}", f"-n{nodes}", sys.executable, CLIENT, "leave")
    assert result.lines == ["child sleeps"] * (2 * nodes) and result.err == ""


def test_children_end_with_the_launcher(job: Launch) -> None:
    child = job.start("-N2", "-n2", sys.executable, CLIENT, "wait")
    job.until(lambda: sum("sleep" in each for each in job.processes().values()) == 4, "nobody sleeps")
    child.send_signal(signal.SIGTERM)
    job.finish(child, code=143)


def test_a_child_that_fails_makes_the_job_fail(job: Launch) -> None:
    script = "import sys; sys.exit(5)"
    spawner = (
        "from fluxpmix.pmix.client import Client; from fluxpmix.pmix.types import AppSpec; import sys\n"
        f"with Client() as c: c.spawn([AppSpec(sys.executable, (sys.executable, '-c', {script!r}))])"
    )
    result = job.run("-n1", sys.executable, "-c", spawner, code=5)
    assert "task 1.0 exited with exit code 5" in result.err


# -- MPI -----------------------------------------------------------------------------------------------


def compiled(mpicc: str | None, directory: Path) -> Path:
    if mpicc is None or not os.path.exists(mpicc):
        pytest.skip("no compiler wrapper of this Open MPI: no mpicc")
    program = directory / "spawning"
    subprocess.run([mpicc, "-o", program, CLIENTS / "spawning.c"], check=True, capture_output=True)
    return program


def expected(parents: int, children: int, multiple: bool) -> list[str]:
    size = parents + children
    total = size * (size - 1) // 2
    lines = [f"parent {rank} of {size}: {total}, app 0" for rank in range(parents)]
    for rank in range(children):
        app = int(multiple and rank > 0)
        words = f" {('first', 'second')[app]}" if multiple else ""
        lines.append(f"child {parents + rank} of {size}: {total}, app {app}{words}")
    return sorted(lines)


SHAPES = [(1, 1, 4, 1), (2, 2, 4, 1), (2, 3, 3, 2)]


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks", "children", "commands"), SHAPES)
def test_open_mpi_5_spawns(job: Launch, tmp_path: Path, nodes: int, tasks: int, children: int, commands: int) -> None:
    program = compiled(os.path.join(os.path.dirname(sys.executable), "mpicc"), tmp_path)
    result = job.run(f"-N{nodes}", f"-n{tasks}", program, str(children), str(commands))
    assert result.lines == expected(tasks, children, commands > 1) and result.err == ""


@pytest.mark.mpi4
@pytest.mark.parametrize(("nodes", "tasks", "children", "commands"), SHAPES)
def test_open_mpi_4_1_spawns(job: Launch, tmp_path: Path, nodes: int, tasks: int, children: int, commands: int) -> None:
    path = libpmix("4.2")
    program = compiled(shutil.which("mpicc", path="/usr/bin"), tmp_path)
    result = job.run(f"-N{nodes}", f"-n{tasks}", "-o", f"libpmix={path}", program, str(children), str(commands))
    assert result.lines == expected(tasks, children, commands > 1)


DYNAMIC = {
    "master": ["turn 0: 3.142", "turn 1: 3.142"],
    "multiple": ["[('first', 0, 3), ('second', 1, 3), ('second', 2, 3)]"],
    "pool": ["[1, 2, 3, 4, 5, 6, 7, 8]"],
    "grows": [f"{sum(number * number for number in range(30))} 3"],
    "names": ["['hello from the one that connects', 'hello from the one that accepts']"],
}


@pytest.mark.mpi5
@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("program", DYNAMIC)
def test_mpi4py_programs_grow_while_they_run(job: Launch, program: str, nodes: int) -> None:
    pytest.importorskip("mpi4py")
    result = job.run(f"-N{nodes}", f"-n{nodes}", sys.executable, CLIENTS / "dynamic.py", program)
    assert result.lines == DYNAMIC[program] and result.err == ""


def shown(nspace: str, directory: Path) -> dict[str, tuple[list[str], list[str]]]:
    """What two spawned tasks show of `out` and, as errors, `err`, by what `clients/shown.py` asks for."""
    ranks = (0, 1)
    return {
        "IOF_TAG_OUTPUT": (
            [f"[{nspace},{r}]<stdout>: out" for r in ranks],
            [f"[{nspace},{r}]<stderr>: err" for r in ranks],
        ),
        "IOF_RANK_OUTPUT": ([f"[{r}]<stdout>: out" for r in ranks], [f"[{r}]<stderr>: err" for r in ranks]),
        "MERGE_STDERR_STDOUT": (["err", "err", "out", "out"], []),
        f"IOF_OUTPUT_TO_FILE={directory}/copy": (["out", "out"], ["err", "err"]),
        f"OUTPUT_TO_DIRECTORY={directory}/deep IOF_FILE_ONLY": ([], []),
    }


def written(nspace: str, directory: Path) -> None:
    """Look at the files."""
    for rank in (0, 1):
        assert sorted((directory / f"copy.{rank}").read_text().splitlines()) == ["err", "out"]
        for name, text in (("stdout", "out\n"), ("stderr", "err\n")):
            assert (directory / "deep" / nspace / f"rank.{rank}" / name).read_text() == text


def test_output_is_shown_as_the_request_says(job: Launch, library: list[str]) -> None:
    for words in shown("", job.directory):
        result = job.run("-n1", *library, sys.executable, CLIENTS / "shown.py", *words.split())
        *_, last = sorted(result.out.splitlines(), key=lambda line: line.startswith("nspace "))
        nspace = last.removeprefix("nspace ")
        out, err = shown(nspace, job.directory)[words]
        assert (result.lines, sorted(result.err.splitlines())) == (sorted([*out, last]), sorted(err)), words
    written(nspace, job.directory)


def test_a_file_for_output_that_cannot_be_written_fails_the_job(job: Launch, library: list[str]) -> None:
    words = (sys.executable, CLIENTS / "shown.py", "IOF_OUTPUT_TO_FILE=/proc/none/out")
    result = job.run("-n1", *library, *words, code=1)
    assert re.fullmatch(CANNOT_WRITE.format("/proc/none/out", "No such file or directory"), last_line(result.err))


CANNOT_WRITE = r".*cannot write to {}\.[01]: {}; the rest of the output is lost"
FULL = "No space left on device"
LARGE = "head -c 3000000 /dev/zero | tr '\\0' $PMIX_RANK | fold -w 9999; sleep 100"


def last_line(text: str) -> str:
    """The only line that says what cannot be written."""
    (line,) = (line for line in text.splitlines() if "cannot write" in line)
    return line


@pytest.mark.root
def test_a_full_disk_under_the_files_for_output_fails_the_job(job: Launch, small_disk: Path) -> None:
    words = (sys.executable, CLIENTS / "shown.py", f"IOF_OUTPUT_TO_FILE={small_disk}/out", "IOF_FILE_ONLY")
    result = job.run("-n1", *words, code=1, env={"TEXT": LARGE})
    assert re.fullmatch(CANNOT_WRITE.format(f"{small_disk}/out", FULL), last_line(result.err))
    for file in small_disk.iterdir():
        assert set(file.read_bytes()) == {ord(file.suffix[1]), ord("\n")}


def test_a_directory_that_is_removed_under_the_files_for_output_fails_the_job(job: Launch) -> None:
    there = job.directory / "there"
    words = (sys.executable, CLIENTS / "shown.py", f"IOF_OUTPUT_TO_FILE={there}/out", "IOF_FILE_ONLY")
    child = job.start("-n1", *words, env={"TEXT": "while echo $PMIX_RANK; do sleep 0.02; done"})
    job.until(lambda: all((there / f"out.{rank}").exists() for rank in (0, 1)), "nothing is written")
    shutil.rmtree(there)
    why = "it was removed while output went there"
    assert re.fullmatch(CANNOT_WRITE.format(f"{there}/out", why), last_line(job.finish(child, 1).err))
    assert not there.exists()


DASK = "done 780 with more than 2 workers: True"


@pytest.mark.mpi5
def test_a_dask_cluster_gets_workers_while_it_works(job: Launch) -> None:
    pytest.importorskip("dask_mpi", reason="needs dask-mpi: pip install dask-mpi")
    scratch = f"--env=DASK_TEMPORARY_DIRECTORY={job.directory}"  # dask leaves its locks there
    result = job.run("-N2", "-n4", scratch, sys.executable, CLIENTS / "dask_grows.py", job.directory)
    assert result.lines == [DASK], result
