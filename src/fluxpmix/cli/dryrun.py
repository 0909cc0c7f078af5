"""`flux-pmix run --dry-run`: the job as it would run, and all that PMIx would be told of it, as tables.

Nothing is started and no libpmix is loaded: what only a running shell knows (its directory, what libpmix
makes of a core list) is predicted, and shown in the form `<...>` where it cannot be.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from fluxpmix.job import idset
from fluxpmix.job.registration import LocalFacts, Realm, registration
from fluxpmix.pmix.types import Proc, Regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from fluxpmix.job.model import Job
    from fluxpmix.shell.local.request import Request

_SHARED = (Realm.SESSION, Realm.JOB, Realm.APP, Realm.NODE, Realm.PROC)  # every shell registers the same
_OWN = (Realm.OWN_NODE, Realm.LOCAL_PROC)
_TITLES = {
    Realm.SESSION: "Session",
    Realm.JOB: "Job",
    Realm.APP: "Applications",
    Realm.NODE: "Nodes",
    Realm.PROC: "Processes",
    Realm.OWN_NODE: "Each server's own node",
    Realm.LOCAL_PROC: "Each server's own processes",
}
_MANY = (Realm.NODE, Realm.PROC, Realm.LOCAL_PROC)  # a line for each of these, not for each attribute
Row = tuple[str, str, str, str]  # whose, attribute, type, value


def show(request: Request, out: TextIO | None = None) -> None:
    """Print the job and its registration."""
    stream = out or sys.stdout
    for line in (*_summary(request), *_tables(request.job)):
        stream.write(line + "\n")


def _summary(request: Request) -> Iterator[str]:
    from shlex import join

    job = request.job
    slots = job.nodes[0].cores // job.cores_per_task  # the nodes share this machine's
    crowded = "; tasks share cores" if any(job.oversubscribed(node) for node in job.nodes) else ""
    yield (
        f"job {job.jobid}: {_count(job.size, 'task')} on {_count(len(job.nodes), 'node')}, "
        f"{_count(job.cores_per_task, 'core')} a task, {_count(slots, 'slot')}{crowded}"
    )
    yield f"  task map {job.taskmap.encode('list')}  time limit {_seconds(request.time_limit)}"
    for app, variables in zip(job.apps, request.environments, strict=True):
        first = job.app_first_rank(app.index)
        ranks = f"rank {first}" if app.size == 1 else f"ranks {first}-{first + app.size - 1}"
        yield f"  app {app.index}: {ranks} in {app.wdir}, {_count(len(variables), 'variable')}: {join(app.argv)}"
    for pset in job.psets:
        yield f"  process set {pset.name}: ranks {idset.encode(pset.ranks)}"
    yield ""


def _tables(job: Job) -> Iterator[str]:
    rows: dict[str, list[Row]] = {}
    for node in job.nodes:
        realms = _OWN if node.id else (*_SHARED, *_OWN)
        for named, whose, attribute, type_, value in registration(job, predict(job, node.id)).rows(realms):
            rows.setdefault(named, []).append((whose, attribute, type_, value))
    for realm in (*_SHARED, *_OWN):
        found = rows.get(realm.value, [])
        if not found:
            continue
        yield f"{_TITLES[realm]} ({realm.value} realm)"
        yield from _across(found) if realm in _MANY else _down(found)
        yield ""


def predict(job: Job, shell: int) -> LocalFacts:
    """Return what a shell will know, as far as that is known before it runs."""
    import os
    import tempfile

    from fluxpmix.shell.local.machine import topology_signature

    ranks = job.ranks(shell)
    tmpdir = os.path.join(tempfile.gettempdir(), f"flux-pmix-{os.geteuid()}-{job.jobid}", str(shell))
    nsdir = os.path.join(tmpdir, job.nspace)
    return LocalFacts(
        shell_rank=shell,
        server=Proc(f"{job.nspace}.shell", shell),
        tmpdir=tmpdir,
        nsdir=nsdir,
        procdirs={rank: os.path.join(nsdir, str(rank)) for rank in ranks},
        topology_signature=topology_signature(),
        cpus=dict.fromkeys(ranks),
        localities=dict.fromkeys(ranks),
        cpusets=dict.fromkeys(ranks),
        packages=dict.fromkeys(ranks),
        node_map=Regex(",".join(node.hostname for node in job.nodes).encode()),
        proc_map=Regex(job.taskmap.encode("raw").encode()),
    )


def _down(rows: Sequence[Row]) -> Iterator[str]:
    """One attribute a line, by subject."""
    several = len({whose for whose, *_ in rows}) > 1
    header = ("of", "attribute", "type", "value") if several else ("attribute", "type", "value")
    yield from _aligned([header, *(row if several else row[1:] for row in rows)])


def _across(rows: Iterable[Row]) -> Iterator[str]:
    """One subject a line, its attributes in columns under their names and types."""
    names: dict[str, str] = {}
    subjects: dict[str, dict[str, str]] = {}
    for whose, attribute, type_, value in rows:
        names[attribute] = type_
        subjects.setdefault(whose, {})[attribute] = value
    yield from _aligned(
        [
            ("of", *(name.removeprefix("PMIX_").lower() for name in names)),
            ("", *names.values()),
            *((whose, *(values.get(name, "-") for name in names)) for whose, values in subjects.items()),
        ]
    )


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    """Pad columns to the widest of their cells; the last column is left as it is."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield ("  " + "  ".join(padded)).rstrip()


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _seconds(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:g} s"
