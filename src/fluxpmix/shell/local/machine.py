"""What this machine has, as the kernel tells it in /sys: cores, packages, caches, and who gets which core.

Asked by the command line (how many tasks fit), by the launcher (the topology's signature, once for all
shells) and by each job shell (what its tasks are bound to).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from fluxpmix.job import idset
from fluxpmix.pmix.light import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.job.model import Job

_CPUS = "/sys/devices/system/cpu"
MEMORY_DIRECTORY = "OMPI_MCA_btl_vader_backing_directory"
Core = tuple[int, ...]  # the logical CPUs (hardware threads) of a core


def cores() -> tuple[Core, ...]:
    """Return the cores that this process may use, each with those of its CPUs that it may use."""
    return _cores(frozenset(os.sched_getaffinity(0)))


def online() -> tuple[int, ...]:
    """Return the CPUs that this machine runs on."""
    return _list(f"{_CPUS}/online") or tuple(sorted(os.sched_getaffinity(0)))


@cache
def topology_signature() -> str:
    """Return the machine's shape in the form of hwloc's signatures, e.g. `1N:2S:2L3:8L2:8L1:8C:16H:x86_64:le`.

    NUMA nodes, sockets, caches by level, cores, hardware threads, architecture, byte order. Two nodes with
    one signature may share a description of their topology (PMIX_TOPOLOGY_SIGNATURE, Standard 4.2, 10.1.2).
    """
    import sys

    cpus = online()
    caches = {1: "index0", 2: "index2", 3: "index3"}
    counts = [
        (_numa_nodes(), "N"),
        (len(_packages(cpus)), "S"),
        *((_groups(cpus, f"cache/{caches[level]}/shared_cpu_list", 0), f"L{level}") for level in (3, 2, 1)),
        (len(_cores(cpus)), "C"),
        (len(cpus), "H"),
    ]
    shape = ":".join(f"{count}{what}" for count, what in counts)
    return f"{shape}:{os.uname().machine}:{'le' if sys.byteorder == 'little' else 'be'}"


@cache
def package_of(cpus: Core) -> int | None:
    """Return the package that holds all these CPUs, None where there is not one."""
    found = _packages(cpus)
    return found.pop() if len(found) == 1 else None


def bindings(policy: str, job: Job, shell: int, available: Sequence[Core]) -> Mapping[int, Core]:
    """Return the CPUs on which each task of a shell is to run; `policy` is the `cpu-affinity` option.

    `off` and `on`: all that there are (the whole machine is the job's); `per-task`: to each task its own
    cores, round again where there are more tasks than cores; `map:0-1;2`: to the first local task CPUs 0
    and 1, to the second 2, round again. Emulated nodes share the machine: their tasks are dealt out in
    the order of the nodes. Raises ValueError for a CPU that is not there.
    """
    ranks = job.ranks(shell)
    everything = tuple(sorted(cpu for core in available for cpu in core))
    if policy in ("off", "on"):
        return dict.fromkeys(ranks, everything)
    if policy == "per-task":
        first = sum(len(job.ranks(node)) for node in range(shell)) * job.cores_per_task
        return {
            rank: tuple(
                sorted(
                    cpu
                    for core in range(job.cores_per_task)
                    for cpu in available[(first + at * job.cores_per_task + core) % len(available)]
                )
            )
            for at, rank in enumerate(ranks)
        }
    lists = [idset.parse(text) for text in policy.removeprefix("map:").split(";")]
    for cpu in (cpu for one in lists for cpu in one):
        if cpu not in everything:
            raise ValueError(
                f"-o cpu-affinity={policy}: there is no CPU {cpu} to use; there are {idset.encode(everything)}"
            )
    return {rank: lists[at % len(lists)] for at, rank in enumerate(ranks)}


@cache
def _cores(cpus: Iterable[int]) -> tuple[Core, ...]:
    wanted = sorted(cpus)
    left = set(wanted)
    found: list[Core] = []
    for cpu in wanted:
        if cpu in left:
            core = tuple(one for one in (_siblings(cpu) or (cpu,)) if one in left)
            left.difference_update(core)
            found.append(core)
    return tuple(found)


def _siblings(cpu: int) -> Core:
    # The second name is that of kernels before 5.3.
    topology = f"{_CPUS}/cpu{cpu}/topology"
    return _list(f"{topology}/core_cpus_list") or _list(f"{topology}/thread_siblings_list")


def _packages(cpus: Iterable[int]) -> set[int]:
    found = set()
    for cpu in cpus:
        text = _text(f"{_CPUS}/cpu{cpu}/topology/physical_package_id")
        found.add(int(text) if text.isdigit() else 0)
    return found


def _groups(cpus: Iterable[int], name: str, otherwise: int) -> int:
    """Count the groups in which `cpus` stand by the list in a file of each; a file is read once a group."""
    seen: set[int] = set()
    count = 0
    for cpu in cpus:
        if cpu not in seen:
            group = _list(f"{_CPUS}/cpu{cpu}/{name}")
            if not group:
                return otherwise
            seen.update(group)
            count += 1
    return count


def _numa_nodes() -> int:
    return len(_list("/sys/devices/system/node/online")) or 1


def _list(path: str) -> tuple[int, ...]:
    return idset.parse(_text(path))


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def help_emulated(env: dict[str, str], job: Job, directory: str) -> None:
    """Tell Open MPI, which takes emulated nodes for machines, where they meet; what the user has set stays.

    4.1 would give the shared memory of the same local rank on two of them one name.
    """
    if len(job.nodes) > 1:
        env.setdefault("OMPI_MCA_btl_tcp_if_include", "lo")
        env.setdefault(MEMORY_DIRECTORY, directory)
