"""What a job is: sessions, jobs, applications and nodes as immutable data with nothing but queries.

Made by the carriers (`shell/local` from a command line, `shell/flux` from R and jobspec), read by
`registration.py` and `host/`. Ranks count over the applications in their order, each a run of
consecutive ranks; what is asked of all ranks comes as an `array`. Standard 4.2, section 1.4 (session,
job, application).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix.record import Record, replace
from fluxpmix.pmix.types import MAX_KEYLEN, MAX_NSLEN, Proc

EXEC, INIT, APP = "exec", "init", "app"  # where a job's processes may wait for a debugger
MOST_ON_NODE = 2**16  # local and node ranks have 16 bits


class Session(Record):
    """Resources assigned together: in Flux an instance, here the machine.

    `universe_size` is its slots in all; `rank_offset` counts the processes of its earlier jobs (the
    global rank of this job's rank 0), `node_procs` those of them on each of this job's nodes, of which `node_busy`
    ran when it started.
    """

    id: int
    universe_size: int
    rank_offset: int = 0
    node_procs: tuple[int, ...] = ()
    node_busy: tuple[int, ...] = ()


class Node(Record):
    """One node of a job: `id` counts from 0 in the job, and is the rank of the shell on it."""

    id: int
    hostname: str
    aliases: tuple[str, ...] = ()
    slots: int = 1  # processes that fit without sharing a core
    cores: int = 1


class App(Record):
    """One application: `size` processes of one command in one directory."""

    index: int
    argv: tuple[str, ...]
    wdir: str
    size: int


class ProcessSet(Record):
    """Processes of a job under a name of the user's (PMIX_PSET_NAME); ranks ascend."""

    name: str
    ranks: tuple[int, ...]


class Job(Record):
    """One job. ValueError where its parts contradict each other."""

    nspace: str
    jobid: str
    session: Session
    nodes: tuple[Node, ...]
    apps: tuple[App, ...]
    taskmap: TaskMap
    credential: str
    cores_per_task: int = 1
    spawned: bool = False
    model: str | None = None  # PMIX_MODEL_LIBRARY_NAME: whose programming model, e.g. "ompi"
    parent: Proc | None = None
    psets: tuple[ProcessSet, ...] = ()

    def __post_init__(self) -> None:
        size = sum(app.size for app in self.apps)
        if not self.apps or not self.nodes:
            raise ValueError(f"job {self.jobid}: at least one application and one node are wanted")
        if size != self.taskmap.ntasks:
            raise ValueError(
                f"job {self.jobid}: the applications have {size} tasks, the task map {self.taskmap.ntasks}"
            )
        if self.taskmap.nnodes > len(self.nodes):
            raise ValueError(
                f"job {self.jobid}: the task map names node {self.taskmap.nnodes - 1}, "
                f"but there are {len(self.nodes)} nodes, counted from 0"
            )
        if any(app.size < 1 for app in self.apps):
            raise ValueError(f"job {self.jobid}: an application has one process or more")
        for node, count in enumerate(self.taskmap.counts()):
            if self.procs_before(node) + count > MOST_ON_NODE:
                raise ValueError(
                    f"job {self.jobid}: node {node} has more than {MOST_ON_NODE} processes, "
                    "and PMIX_NODE_RANK counts no further: use more nodes"
                )
        if [node.id for node in self.nodes] != list(range(len(self.nodes))):
            raise ValueError(f"job {self.jobid}: nodes are numbered from 0 in their order")
        if [app.index for app in self.apps] != list(range(len(self.apps))):
            raise ValueError(f"job {self.jobid}: applications are numbered from 0 in their order")
        if len({node.hostname for node in self.nodes}) != len(self.nodes):
            raise ValueError(f"job {self.jobid}: host names must be unique; hostlist.unique makes them so")
        if not 1 <= len(self.nspace.encode()) <= MAX_NSLEN:
            raise ValueError(f"job {self.jobid}: a namespace has 1 to {MAX_NSLEN} bytes, not {self.nspace!r}")
        for pset in self.psets:
            check_set_name(pset.name)
            if not pset.ranks or pset.ranks[0] < 0 or pset.ranks[-1] >= self.size:
                raise ValueError(
                    f"process set {pset.name!r} names rank {pset.ranks[-1] if pset.ranks else 'none'}: "
                    f"the job's ranks are 0 to {self.size - 1}"
                )

    @property
    def size(self) -> int:
        """The number of processes."""
        return self.taskmap.ntasks

    @property
    def num_nodes(self) -> int:
        """The number of nodes; of a spawned job, of those that it uses."""
        return sum(map(bool, self.taskmap.counts())) if self.spawned else len(self.nodes)

    def ranks(self, node: int) -> Sequence[int]:
        """Return the ranks on `node`, ascending; none where the job only holds it."""
        return self.taskmap.tasks(node) if node < self.taskmap.nnodes else ()

    def app_first_rank(self, index: int) -> int:
        """Return the lowest rank of an application."""
        return sum(app.size for app in self.apps[:index])

    def app_of(self, rank: int) -> App:
        """Return the application of `rank`."""
        first = 0
        for app in self.apps:
            if first <= rank < first + app.size:
                return app
            first += app.size
        raise ValueError(f"job {self.jobid}: no rank {rank} among {self.size}")

    def procs_before(self, node: int) -> int:
        """Return how many processes of earlier jobs of the session run on `node`."""
        before = self.session.node_procs
        return before[node] if node < len(before) else 0

    def oversubscribed(self, node: Node) -> bool:
        """Whether more processes are on a node, with those of other jobs, than it has slots."""
        busy = self.session.node_busy
        return len(self.ranks(node.id)) + (busy[node.id] if node.id < len(busy) else 0) > node.slots

    def appnum_column(self) -> array[int] | int:
        """Return each rank's application number, one number where there is one application."""
        if len(self.apps) == 1:
            return 0
        column = array("I")
        for app in self.apps:
            column.extend(array("I", [app.index]) * app.size)
        return column

    def app_set(self, index: int) -> ProcessSet | None:
        """Return the first process set that all of an application's processes are in."""
        first = self.app_first_rank(index)
        return next((one for one in self.psets if {*range(first, first + self.apps[index].size)} <= {*one.ranks}), None)

    def app_rank_column(self) -> array[int]:
        """Return each rank's place in its application."""
        column = array("I")
        for app in self.apps:
            column.extend(range(app.size))
        return column

    def global_rank_column(self) -> array[int]:
        """Return each rank's place among all processes that the session has had."""
        first = self.session.rank_offset
        return array("I", range(first, first + self.size))

    def node_rank_column(self) -> array[int]:
        """Return each rank's place among all processes on its node, of every job of the session."""
        local = self.taskmap.local_rank_column()
        if not any(self.session.node_procs):
            return local
        nodes = self.taskmap.node_column()
        before = [self.procs_before(node) for node in range(len(self.nodes))]
        return array("H", [before[node] + rank for node, rank in zip(nodes, local, strict=True)])


def check_set_name(name: object) -> None:
    """Raise ValueError where `name` cannot be a process set's: names travel in lists with commas between them."""
    if not isinstance(name, str) or not 1 <= len(name.encode("utf-8", "surrogateescape")) <= MAX_KEYLEN:
        raise ValueError(f"process set {str(name)[:80]!r}: a name has 1 to {MAX_KEYLEN} bytes")
    if "," in name or "\0" in name:
        raise ValueError(f"process set {name[:80]!r}: a name has no commas; take another")


def spawned(
    job: Job,
    ordinal: int,
    parent: Proc | None,
    apps: tuple[App, ...],
    taskmap: TaskMap,
    first: int,
    procs: tuple[int, ...],
    busy: tuple[int, ...],
    credential: str | None = None,
    nspace: str | None = None,
    nodes: tuple[Node, ...] = (),
) -> Job:
    """Return the `ordinal`-th job (from 1) that is spawned within `job`, on its nodes or those after them, by `parent`.

    A job that came by itself has no `parent`.
    `first` processes came before it in the host of `job`, `procs` of them on each node, of which `busy` run.
    Without a `credential` it gets one that follows from that of `job`, and likewise its `nspace`. Raises ValueError
    as `Job` does.
    """
    from _blake2 import blake2b

    nspace = nspace or f"{job.nspace}.{ordinal}"
    return Job(
        nspace,
        nspace,
        replace(
            job.session,
            universe_size=job.session.universe_size + sum(node.slots for node in nodes),
            rank_offset=job.session.rank_offset + first,
            node_procs=tuple(procs),
            node_busy=tuple(busy),
        ),
        job.nodes + nodes,
        apps,
        taskmap,
        credential or blake2b(nspace.encode(), key=job.credential.encode()[:64], digest_size=32).hexdigest(),
        job.cores_per_task,
        spawned=parent is not None,
        model=job.model,
        parent=parent,
    )


def new_credential() -> str:
    """Return a fresh random key for a job, as text that is the same as bytes (256 bits)."""
    import os

    return os.urandom(32).hex()
