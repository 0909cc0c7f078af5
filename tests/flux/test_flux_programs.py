"""Real programs in a real Flux: both Open MPIs, Flux itself to any depth, and jobs by the hundred."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance, mpi_data_says
from launching import SPARSE
from test_mpi import EXAMPLES, compiled

pytestmark = pytest.mark.flux
ATTRIBUTES = ("instance-level", "jobid-path", "parent-uri", "broker.mapping", "size")


@pytest.mark.mpi5
@pytest.mark.parametrize(("nodes", "tasks"), [(1, 2), (2, 4), (4, 8)])
def test_an_allreduce_of_open_mpi_5_is_right(
    instance: Callable[[int], Instance], tmp_path: Path, nodes: int, tasks: int
) -> None:
    wheel = os.path.join(os.path.dirname(sys.executable), "mpicc")
    program = compiled(wheel if os.path.exists(wheel) else None, "5", tmp_path)
    result = instance(4).run(f"-N{nodes}", f"-n{tasks}", program)
    assert result.out == f"rank 0 of {tasks}: sum of ranks is {tasks * (tasks - 1) // 2}\n"


@pytest.mark.mpi4
@pytest.mark.parametrize(("nodes", "tasks"), [(1, 2), (2, 4)])
def test_an_allreduce_of_open_mpi_4_1_is_right(
    instance: Callable[[int], Instance], tmp_path: Path, nodes: int, tasks: int
) -> None:
    path = libpmix("4.2")
    program = compiled(shutil.which("mpicc", path="/usr/bin"), "4.1", tmp_path)
    result = instance(4).run(f"-N{nodes}", f"-n{tasks}", "-o", f"pmix.libpmix={path}", program)
    assert result.out == f"rank 0 of {tasks}: sum of ranks is {tasks * (tasks - 1) // 2}\n"


@pytest.mark.mpi5
def test_an_mpi4py_program_says_hello(two: Instance) -> None:
    pytest.importorskip("mpi4py")
    result = two.run("-N2", "-n4", sys.executable, EXAMPLES / "hello.py")
    assert [line.split(" on ")[0] for line in result.lines] == [f"hello from rank {rank} of 4" for rank in range(4)]
    assert all(line.endswith("sum of ranks is 6") for line in result.lines)


@pytest.mark.mpi5
@pytest.mark.parametrize("what", ["sessions", "names", "join", "sums"])
def test_an_mpi_program_that_needs_more_than_a_fence_gets_the_right_answer(two: Instance, what: str) -> None:
    pytest.importorskip("mpi4py")
    assert two.run("-N2", "-n4", sys.executable, CLIENTS / "mpi_data.py", what).lines == mpi_data_says(what)


@pytest.mark.mpi5
def test_a_job_and_one_that_it_spawned_connect_by_a_published_name(two: Instance) -> None:
    pytest.importorskip("mpi4py")
    command = ("-o", "pmix.oversubscribe=on", sys.executable, CLIENTS / "mpi_data.py", "jobs")
    assert two.run("-N2", "-n4", *command).lines == mpi_data_says("jobs")


@pytest.mark.mpi5
def test_a_program_gets_the_right_answer_without_data_in_its_fence(two: Instance) -> None:
    pytest.importorskip("mpi4py")
    command = (sys.executable, CLIENTS / "mpi_data.py", "sums")
    assert two.run("-N2", "-n4", *SPARSE, *command).lines == mpi_data_says("sums")


def test_a_task_finds_what_flux_looks_for_and_nothing_of_ours(two: Instance) -> None:
    with_pmix = two.run("-n1", "env").out
    without = two.run("-n1", "env", pmix=False).out

    def names(text: str) -> set[str]:
        return {line.partition("=")[0] for line in text.splitlines()}

    added = {name for name in names(with_pmix) - names(without) if not name.startswith("PMIX_")}
    assert not added, "only libpmix's own variables"
    script = (
        "from fluxpmix import Client; from fluxpmix.pmix.types import RANK_WILDCARD, Proc\n"
        "with Client() as client:\n"
        "    for key in ('flux.instance-level', 'flux.taskmap', 'PMI_process_mapping', 'flux.tbon-interface-hint'):\n"
        "        print(client.get(key, Proc(client.proc.nspace, RANK_WILDCARD)))\n"
    )
    found = two.run("-N2", "-n4", "--label-io", sys.executable, "-c", script).lines
    assert [line for line in found if line.startswith("3: ")] == [
        "3: (vector,(0,2,2))",
        "3: 1",
        f"3: {two.flux('getattr', 'tbon.interface-hint')}",
        '3: {"version":1,"map":[[0,2,2,1]]}',
    ]


def test_flux_starts_flux_to_any_depth(two: Instance, upmi: Path) -> None:
    """The same attributes as by Flux's own PMI: level, path, parent, mapping; and jobs run in the innermost."""
    show = "; ".join(f"flux getattr {name}" for name in ATTRIBUTES)
    env = {"FLUX_PMI_CLIENT_METHODS": "pmix", "FLUX_PMI_CLIENT_SEARCHPATH": str(upmi)}
    one, again = ["flux", "start"], ["flux", "run", "-o", "pmi=pmix", "-N2", "-n2"]
    fence = f"{' '.join(again)} {sys.executable} {CLIENTS / 'fence.py'} && echo fenced"
    for depth in (1, 2, 3):
        command = ["-N2", "-n2", *one, *([*again, *one] * (depth - 1))]
        level, path, parent, mapping, size, said = two.run(
            *command, "sh", "-c", f"{show}; {fence}", env=env
        ).out.split()
        assert (level, path.count("/"), mapping, size) == (str(depth), depth, "[[0,2,1,1]]", "2")
        assert parent.startswith("local:///") and said == "fenced"


def test_a_batch_job_runs_pmix_jobs(two: Instance, tmp_path: Path) -> None:
    script = tmp_path / "batch.sh"
    out = tmp_path / "out"
    script.write_text(
        f"#!/bin/sh\nflux run -N2 -n4 -o pmi=pmix {sys.executable} {CLIENTS / 'fence.py'} && echo good && exit 7\n"
    )
    two.flux("batch", "-N2", "-n4", f"--output={out}", script)
    job = two.flux("job", "last")
    two.until(lambda: "clean" in two.flux("job", "eventlog", job), "the batch job does not end")
    assert "good" in out.read_text().splitlines(), "beside the broker's word on how its script ended"


def exchange(directory: Path) -> Path:
    """A small PMIx client in C, whose start is no Python's."""
    path = libpmix("5.0") or libpmix("4.2")
    if path is None or (compiler := shutil.which("cc")) is None:
        pytest.skip("no libpmix, or no C compiler")
    program = directory / "exchange"
    source = CLIENTS / "exchange.c"
    where = [path, f"-Wl,-rpath,{os.path.dirname(path)}"] if os.path.dirname(path) else [f"-l:{path}"]
    subprocess.run([compiler, "-o", program, source, *where], check=True)
    return program


def memory(pids: list[int]) -> int:
    """The resident memory of processes, in KiB."""
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def descriptors(pids: list[int]) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


@pytest.mark.timeout(600)
def test_two_hundred_jobs_in_a_row_leave_nothing_in_the_brokers(two: Instance, tmp_path: Path) -> None:
    """Each fences, and each waits for the one before it; some that know no PMIx show what Flux itself keeps."""
    brokers = two.processes("flux-broker-0") + two.processes("flux-broker-1")
    assert len(brokers) == 2
    program = exchange(tmp_path)

    def run(jobs: int, *words: Any) -> None:
        command = " ".join(map(str, ("flux run -N2 -n2", *words, "> out || echo failed >> bad")))
        for _ in range(0, jobs, 10):
            two.run("-n1", "sh", "-c", f"cd {tmp_path}; for i in $(seq 10); do {command}; done", pmix=False)
        assert not (tmp_path / "bad").exists()

    run(20, "-o", "pmi=pmix", program)  # what brokers keep in caches is there by then
    start = memory(brokers)
    run(50, "-o", "pmi=simple", "printenv", "FLUX_TASK_RANK")
    plain = memory(brokers) - start
    start, files = memory(brokers), descriptors(brokers)
    run(200, "-o", "pmi=pmix", program)
    ours = memory(brokers) - start
    print(f"KiB: {plain} for 50 plain jobs, {ours} for 200 of PMIx")
    assert descriptors(brokers) <= files + 4
    assert ours < 1.5 * 4 * plain + 8192, "KiB: brokers keep each job's events and output, ours are not more"


@pytest.mark.parametrize("size", range(1, 9))
def test_a_job_spans_instances_of_one_to_eight_brokers(plugin: Path, size: int, tmp_path: Path) -> None:
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    instance = Instance(size, plugin)
    try:
        # Collected data, a barrier, and a get of what nobody collected.
        instance.run(f"-N{size}", f"-n{size}", sys.executable, CLIENTS / "fence.py", 3000)
        words = [f"--env=SAID={tmp_path}", sys.executable, CLIENTS / "dmodex.py", "everybody"]
        found = instance.run(f"-N{size}", f"-n{size}", *words).lines
        assert len(found) == 2 * size * size
        instance.check()
    finally:
        instance.close()


def test_twenty_jobs_at_once(two: Instance) -> None:
    children = [two.start("-N2", "-n2", sys.executable, CLIENTS / "fence.py") for _ in range(20)]
    for child in children:
        two.finish(child)
