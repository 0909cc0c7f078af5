"""What the PMIx server of one flux-shell is given: its directory, its tasks' processors, and what Flux itself asks for.

Used by `plugin.py` at shell.init.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fluxpmix.job import idset
from fluxpmix.pmix.light import contextmanager
from fluxpmix.pmix.types import Info
from fluxpmix.shell.flux import binding, topology
from fluxpmix.shell.flux.api import Shell
from fluxpmix.shell.flux.handle import ShellError
from fluxpmix.shell.local import machine
from fluxpmix.shell.server import Site, stops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.job.model import Job
    from fluxpmix.shell.flux.resources import Host
    from fluxpmix.shell.local.guard import Guard


def make(api: Shell, job: Job, rank: int, host: Host, xml: str, stop: str | None, guard: Guard) -> Site:
    """Return the site of shell `rank` on its node; `xml` is hwloc's topology, `guard` judges connections.

    Raises `ShellError` where FLUX_JOB_TMPDIR is not to be used.
    """
    tmpdir = api.getenv("FLUX_JOB_TMPDIR")
    if not tmpdir:
        raise ShellError("FLUX_JOB_TMPDIR is not set: it is where the server's files go")
    if not os.access(tmpdir, os.W_OK | os.X_OK):
        raise ShellError(f"FLUX_JOB_TMPDIR={tmpdir} cannot be written; see the broker attribute rundir")
    cpus = binding.cpus(
        api.option("cpu-affinity"), job.ranks(rank), host.cores, xml, os.sched_getaffinity(0), machine.online()
    )
    packages = {text: machine.package_of(idset.parse(text)) if text else None for text in set(cpus.values())}
    return Site(
        shell_rank=rank,
        tmpdir=tmpdir,
        topology_signature=topology.signature(xml),
        cpus=cpus,
        packages={task: packages[text] for task, text in cpus.items()},
        gpus=topology.gpus(xml, host.gpus) if host.gpus else (),
        gate=guard,
        job_infos=(*_flux_keys(api, job), *stops(stop)),
    )


def _flux_keys(api: Shell, job: Job) -> tuple[Info, ...]:
    """Return what a Flux that this job starts looks for, as Flux's own PMI server gives it."""
    level = api.attribute("instance-level")
    keys = {
        "flux.instance-level": str(int(level) + 1) if level and level.isdigit() else None,
        "flux.taskmap": job.taskmap.encode("wrapped"),
        "flux.tbon-interface-hint": api.attribute("tbon.interface-hint"),
        "PMI_process_mapping": job.taskmap.encode("pmi"),
    }
    return tuple(Info(name, value) for name, value in keys.items() if value is not None)


@contextmanager
def given_topology(directory: str, xml: str) -> Iterator[None]:
    """Have libpmix read the topology that Flux has discovered, which takes it 2 ms and not 15.

    4.2 and 5.x take it from a file that a setting of theirs names; all that they start would inherit it.
    """
    setting = "PMIX_MCA_pmix_hwloc_topo_file"
    if not xml or setting in os.environ:
        yield
        return
    path = os.path.join(directory, "topology.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(xml)
    os.environ[setting] = path
    try:
        yield
    finally:
        del os.environ[setting]
        os.unlink(path)
