"""Cores and GPUs in a real Flux: what a task reads of where it runs is what the kernel, and flux-shell, say."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from instance import CLIENTS, Instance
from topologies import machine

from fluxpmix.job import idset
from fluxpmix.shell.flux import binding, topology

pytestmark = pytest.mark.flux
needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs, for tasks that run on different ones"
)


def reports(instance: Instance, *words: str) -> list[dict[str, Any]]:
    """What the tasks of a job say, in the order of their ranks."""
    result = instance.run(*words, sys.executable, CLIENTS / "bound.py")
    return sorted(map(json.loads, result.lines), key=lambda report: report["rank"])


@needs_two_cores
@pytest.mark.parametrize(
    ("option", "tasks", "kernel"),
    [
        ("on", 2, [[0, 1], [0, 1]]),
        ("per-task", 1, [[0, 1]]),
        ("per-task", 2, [[0], [1]]),
        ("per-task", 3, [[0], [0], [1]]),
        ("per-task", 5, [[0], [0], [0], [1], [1]]),
        ("verbose,per-task", 2, [[0], [1]]),
        ("map:1;0", 3, [[1], [0], [1]]),
        ("map:0x2;0-1", 2, [[1], [0, 1]]),
        ("map:0-63;0", 2, [[0, 1], [0]]),  # CPUs that are not there: flux-shell leaves that task as it is
    ],
)
def test_a_task_reads_the_cpus_that_the_kernel_gives_it(
    two: Instance, server: str, option: str, tasks: int, kernel: list[list[int]]
) -> None:
    if option.startswith("map:0-63") and len(os.sched_getaffinity(0)) > 63:
        pytest.skip("those CPUs are there")
    words = ["-N1", "--cores=2", f"--tasks-per-node={tasks}", "-o", f"pmix.libpmix={server}"]
    found = reports(two, *words, "-o", f"cpu-affinity={option}")
    assert [report["kernel"] for report in found] == kernel
    for report in found:
        assert report["PMIX_CPUSET"] == f"hwloc:{idset.encode(report['kernel'])}"
        assert report["PMIX_LOCALITY_STRING"], "where there is a binding there is a locality"


@pytest.mark.parametrize("option", ["off", "dry-run,per-task"])
def test_a_task_that_is_not_bound_reads_no_binding(two: Instance, option: str) -> None:
    (found,) = reports(two, "-n1", "-o", f"cpu-affinity={option}")
    everywhere = found["kernel"] == list(range(os.cpu_count() or 0))
    assert found["PMIX_CPUSET"] == (None if everywhere else f"hwloc:{idset.encode(found['kernel'])}")


def test_a_task_of_one_core_reads_that_core(two: Instance) -> None:
    (found,) = reports(two, "-n1", "-c1")
    assert len(found["kernel"]) == 1 and found["PMIX_CPUSET"] == f"hwloc:{found['kernel'][0]}"


Described = Callable[[str], Instance]


@pytest.fixture
def described(plugin: Path, tmp_path: Path) -> Iterator[Described]:
    """An instance whose resources are those of the hardware in an hwloc description."""
    started: list[Instance] = []

    def start(xml: str) -> Instance:
        if shutil.which("flux") is None:
            pytest.skip("flux is not on PATH")
        path = tmp_path / "topology.xml"
        path.write_text(xml)
        variables = {"FLUX_HWLOC_XMLFILE": str(path), "FLUX_HWLOC_XMLFILE_NOT_THISSYSTEM": "1"}
        started.append(Instance(1, plugin, variables=variables))
        return started[-1]

    yield start
    for instance in started:
        instance.check()
        instance.close()


@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 40, 1)], ids=str)
def test_tasks_are_spread_over_any_cores_as_flux_shell_spreads_them(
    described: Described, shape: tuple[int, int, int]
) -> None:
    """flux-shell itself is asked, by its dry run; this machine need not have the cores."""
    xml = machine(*shape)
    instance = described(xml)
    every = topology.cpus(xml)
    assert len(every) == shape[0] * shape[1] * shape[2]
    for cores, tasks in ((1, 1), (1, 3), (2, 5), (3, 2), (5, 3), (6, 4), (6, 6), (6, 13)):
        words = ["-N1", f"--cores={cores}", f"--tasks-per-node={tasks}", "-o", "cpu-affinity=dry-run,per-task"]
        said = instance.run(*words, "true", pmix=False).err.splitlines()
        wanted = {
            int(line.split("task ")[1].split(":")[0]): line.rpartition(" ")[2] for line in said if "task " in line
        }
        shell = next(line.rpartition(" ")[2] for line in said if "cpus:" in line and "task" not in line)
        own = [at for at, core in enumerate(topology.cores(xml)) if set(core) <= set(idset.parse(shell))]
        found = binding.cpus("per-task", range(tasks), own, xml, every, every, effect=lambda cpus: list(cpus))
        assert found == wanted, (cores, tasks)


@needs_two_cores
def test_a_task_reads_how_far_the_jobs_gpus_are(described: Described, server: str) -> None:
    """Two packages of a core and two GPUs each. Which of the job's GPUs a task sees stays Flux's to say."""
    instance = described(machine(packages=2, cores=1, gpus=2))
    library = ["-o", f"pmix.libpmix={server}", "-o", "cpu-affinity=per-task"]
    first, second = reports(instance, "-n2", "-c1", "-g2", "-o", "gpu-affinity=per-task", *library)
    assert (first["visible"], second["visible"]) == ("0,1", "2,3")
    names = [f"nvml{number}" for number in range(4)]
    assert sorted(first["PMIX_DEVICE_DISTANCES"]) == sorted(second["PMIX_DEVICE_DISTANCES"]) == names
    for near, far, report in ((names[:2], names[2:], first), (names[2:], names[:2], second)):
        distances = report["PMIX_DEVICE_DISTANCES"]
        assert max(distances[name][1] for name in near) < min(distances[name][0] for name in far)
    (one,) = reports(instance, "-n1", "-c1", "-g1", *library)
    assert list(one["PMIX_DEVICE_DISTANCES"]) == [f"nvml{one['visible']}"], "the job's, not the node's"
    (none,) = reports(instance, "-n1", "-c1", *library)
    assert none["PMIX_DEVICE_DISTANCES"] is None


def test_gpus_that_no_topology_knows_leave_the_rest_as_it_is(plugin: Path) -> None:
    """R may name GPUs that hwloc did not see: then PMIx has nothing to say of them, and Flux still hands them out."""
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    resources = {
        "version": 1,
        "execution": {
            "R_lite": [{"rank": "0", "children": {"core": "0", "gpu": "0-3"}}],
            "starttime": 0.0,
            "expiration": 0.0,
            "nodelist": [os.uname().nodename],
        },
    }
    instance = Instance(1, plugin)
    try:
        (instance.directory / "R").write_text(json.dumps(resources))
        path = instance.directory / "conf.toml"
        path.write_text(f'[resource]\npath = "{instance.directory}/R"\nnoverify = true\n')
        nested = ["flux", "start", f"--config-path={path}", "flux", "run", "-o", "pmi=pmix", "-n1", "-g2"]
        result = instance.run("-n1", *nested, sys.executable, CLIENTS / "bound.py", pmix=False)
        (found,) = map(json.loads, result.lines)
        assert (found["visible"], found["PMIX_DEVICE_DISTANCES"]) == ("0,1", None)
        assert found["PMIX_CPUSET"] == f"hwloc:{found['kernel'][0]}"
        instance.check()
    finally:
        instance.close()
