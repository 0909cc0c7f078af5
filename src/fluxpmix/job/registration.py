"""The registration that the PMIx Standard calls fully compliant, as one table: a line an attribute.

`registration(job, facts)` turns a job into what `Server.register_nspace` wants, in the containers that
the Standard names; the conformance check asks for the same lines back. Standard 4.2, section 17.2.3
(PMIx_server_register_nspace) and the launch description's stage 2.

To add an attribute, add a line to `TABLE`. A source returns None for "does not apply here".
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping

from fluxpmix.job.model import App, Job, Node
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.attributes import Attribute
from fluxpmix.pmix.enumeration import Enum
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.structures import DeviceDistance
from fluxpmix.pmix.types import Column, DataArray, DataType, Info, Proc, Regex, Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Realm(Enum):
    """Whose an attribute is, and so in which container it travels and how it is asked for."""

    SESSION = "session"
    JOB = "job"
    APP = "application"
    NODE = "node"
    OWN_NODE = "own node"  # given only for the node of the server that registers
    PROC = "process"
    LOCAL_PROC = "local process"  # given only for the processes on that node


class Need(Enum):
    """When the Standard requires a host to give an attribute."""

    REQUIRED = "required"
    CONDITIONAL = "conditional"  # where it applies: bound tasks, several applications, ...
    OPTIONAL = "optional"


class LocalFacts(Record):
    """What only the registering shell knows. Mappings are by rank, for its own ranks.

    `cpus` are core lists as text ("0-3"), None for a task that is not bound; `cpusets` and
    `localities` what libpmix makes of them; `packages` the package that holds them all, or None;
    `distances` those from a task's cores to the job's GPUs on this node.
    """

    shell_rank: int
    server: Proc
    tmpdir: str
    nsdir: str
    procdirs: Mapping[int, str]
    topology_signature: str
    cpus: Mapping[int, str | None]
    localities: Mapping[int, str | None]
    cpusets: Mapping[int, str | None]
    packages: Mapping[int, int | None]
    node_map: Regex
    proc_map: Regex
    distances: Mapping[int, tuple[DeviceDistance, ...]] = {}
    answers_sets: bool = True  # whether this libpmix answers which sets a process is in


class Line(Record):
    """One attribute of the registration.

    `source` takes (job, facts), and the app, node or local rank where the realm has one; in the realm
    PROC it takes (job, facts) and returns a column for all ranks. `top` repeats it at top level, where
    a version of libpmix looks for it; `note` says which, or what a version makes of the attribute.
    """

    attribute: Attribute
    realm: Realm
    need: Need
    source: Callable[..., Any]
    top: bool = False
    note: str = ""


# -- sources that are more than a field --------------------------------------------------------------


def _node_slots(job: Job, _facts: LocalFacts, node: Node) -> int:
    return max(node.slots, len(job.ranks(node.id)))


def _job_slots(job: Job, facts: LocalFacts) -> int:
    return sum(_node_slots(job, facts, node) for node in job.nodes)


def _session_slots(job: Job, facts: LocalFacts) -> int:
    return max(job.session.universe_size, _job_slots(job, facts))


def _aliases(_job: Job, _facts: LocalFacts, node: Node) -> str:
    return ",".join(node.aliases or (node.hostname,))


def _local_leader(job: Job, _facts: LocalFacts, node: Node) -> int | None:
    ranks = job.ranks(node.id)
    return ranks[0] if ranks else None


def _local_peers(job: Job, _facts: LocalFacts, node: Node) -> str | None:
    return ",".join(map(str, job.ranks(node.id))) or None


def _local_procs(job: Job, _facts: LocalFacts, node: Node) -> DataArray:
    return DataArray(DataType.PROC, tuple(Proc(job.nspace, rank) for rank in job.ranks(node.id)))


def _local_cpusets(job: Job, facts: LocalFacts, node: Node) -> str | None:
    cpusets = [facts.cpusets.get(rank) for rank in job.ranks(node.id)]
    return ":".join(each or "" for each in cpusets) if any(cpusets) else None


def _package_rank(job: Job, facts: LocalFacts, rank: int) -> int | None:
    package = facts.packages.get(rank)
    if package is None:
        return None
    mates = [each for each in job.ranks(facts.shell_rank) if facts.packages.get(each) == package]
    return mates.index(rank)


def _distances(_job: Job, facts: LocalFacts, rank: int) -> DataArray | None:
    distances = facts.distances.get(rank)
    return DataArray(DataType.DEVICE_DIST, distances) if distances else None


def _set_names(job: Job, facts: LocalFacts, rank: int) -> DataArray | None:
    names = () if facts.answers_sets else tuple(pset.name for pset in job.psets if rank in pset.ranks)
    return DataArray(DataType.STRING, names) if names else None


def _app_set(job: Job, _facts: LocalFacts, app: App) -> str | None:
    pset = job.app_set(app.index)
    return pset.name if pset is not None else None


def _app_set_members(job: Job, _facts: LocalFacts, app: App) -> DataArray | None:
    pset = job.app_set(app.index)
    return DataArray(DataType.PROC, tuple(Proc(job.nspace, rank) for rank in pset.ranks)) if pset is not None else None


def _app_argv(_job: Job, _facts: LocalFacts, app: App) -> str:
    return " ".join(app.argv)


def _node_size(job: Job, _facts: LocalFacts, node: Node) -> int:
    return job.procs_before(node.id) + len(job.ranks(node.id))


_S, _J, _A, _N, _O, _P, _L = Realm
_REQ, _COND, _OPT = Need

# The source of every line below is in the Standard's own words for it: PMIx 4.2, section 17.2.3.1.
TABLE: tuple[Line, ...] = (
    # -- session
    Line(a.SESSION_ID, _S, _REQ, lambda j, f: j.session.id, note="first in its array"),
    Line(a.UNIV_SIZE, _S, _REQ, _session_slots),
    Line(a.MAX_PROCS, _S, _OPT, _session_slots),
    # -- job
    Line(
        a.SESSION_ID,
        _J,
        _COND,
        lambda j, f: j.session.id,
        note="where a server may host several sessions; 4.2 (ds21) and 5.x (hash) find it only here",
    ),
    Line(a.SERVER_NSPACE, _J, _REQ, lambda j, f: f.server.nspace),
    Line(a.SERVER_RANK, _J, _REQ, lambda j, f: f.server.rank),
    Line(a.NSPACE, _J, _REQ, lambda j, f: j.nspace),
    Line(a.JOBID, _J, _REQ, lambda j, f: j.jobid),
    Line(a.JOB_SIZE, _J, _REQ, lambda j, f: j.size, top=True, note="libpmix makes it from the maps"),
    Line(a.MAX_PROCS, _J, _REQ, _job_slots, top=True, note="4.2 heeds only the one at top level"),
    Line(a.CREDENTIAL, _J, _OPT, lambda j, f: j.credential),
    Line(a.JOB_NUM_APPS, _J, _COND, lambda j, f: len(j.apps), note="required with several applications"),
    Line(a.NUM_NODES, _J, _OPT, lambda j, f: j.num_nodes),
    Line(a.PARENT_ID, _J, _COND, lambda j, f: j.parent, note="of spawned jobs"),
    # -- application
    Line(a.APPNUM, _A, _REQ, lambda j, f, app: app.index, note="first in its array"),
    Line(a.APP_SIZE, _A, _REQ, lambda j, f, app: app.size),
    Line(a.MAX_PROCS, _A, _COND, lambda j, f, app: app.size, note="required with several applications"),
    Line(a.APPLDR, _A, _REQ, lambda j, f, app: j.app_first_rank(app.index)),
    Line(a.WDIR, _A, _REQ, lambda j, f, app: app.wdir),
    Line(a.APP_ARGV, _A, _REQ, _app_argv),
    Line(a.PSET_NAME, _A, _COND, _app_set, note="libpmix has it of applications only; Open MPI asks for it"),
    Line(a.PSET_MEMBERS, _A, _COND, _app_set_members),
    # -- node
    Line(a.NODEID, _N, _REQ, lambda j, f, node: node.id, note="first in its array"),
    Line(a.HOSTNAME, _N, _REQ, lambda j, f, node: node.hostname),
    Line(a.HOSTNAME_ALIASES, _N, _REQ, _aliases),
    Line(a.LOCAL_SIZE, _N, _REQ, lambda j, f, node: len(j.ranks(node.id)), note="libpmix overrides it"),
    Line(a.NODE_SIZE, _N, _REQ, _node_size),
    Line(a.MAX_PROCS, _N, _OPT, _node_slots),
    Line(a.LOCALLDR, _N, _REQ, _local_leader, note="libpmix overrides it"),
    Line(a.LOCAL_PEERS, _N, _REQ, _local_peers, note="libpmix overrides it"),
    Line(a.NODE_OVERSUBSCRIBED, _N, _REQ, lambda j, f, node: j.oversubscribed(node)),
    # -- the server's own node
    Line(a.TMPDIR, _O, _REQ, lambda j, f, node: f.tmpdir, top=True, note="5.x (shmem2) looks there"),
    Line(a.NSDIR, _O, _REQ, lambda j, f, node: f.nsdir, top=True, note="5.x (shmem2) looks there"),
    Line(a.LOCAL_PROCS, _O, _REQ, _local_procs),
    Line(a.TOPOLOGY_SIGNATURE, _O, _OPT, lambda j, f, node: f.topology_signature, top=True),
    Line(a.LOCAL_CPUSETS, _O, _OPT, _local_cpusets, note="where tasks are bound"),
    # -- every process, in columns
    Line(a.RANK, _P, _REQ, lambda j, f: array("I", range(j.size)), note="first in its array"),
    Line(a.APPNUM, _P, _REQ, lambda j, f: j.appnum_column()),
    Line(a.APP_RANK, _P, _REQ, lambda j, f: j.app_rank_column()),
    Line(a.GLOBAL_RANK, _P, _REQ, lambda j, f: j.global_rank_column()),
    Line(a.LOCAL_RANK, _P, _REQ, lambda j, f: j.taskmap.local_rank_column()),
    Line(a.NODE_RANK, _P, _REQ, lambda j, f: j.node_rank_column()),
    Line(a.NODEID, _P, _REQ, lambda j, f: j.taskmap.node_column()),
    Line(a.REINCARNATION, _P, _REQ, lambda j, f: 0),
    Line(a.SPAWNED, _P, _REQ, lambda j, f: j.spawned),
    # -- this node's processes
    Line(a.RANK, _L, _OPT, lambda j, f, rank: rank, note="again: libpmix takes the first for the array's owner"),
    Line(a.LOCALITY_STRING, _L, _COND, lambda j, f, rank: f.localities.get(rank), note="of bound tasks"),
    Line(a.CPUSET, _L, _OPT, lambda j, f, rank: f.cpusets.get(rank), note="of bound tasks"),
    Line(a.DEVICE_DISTANCES, _L, _COND, _distances, note="of bound tasks of jobs with GPUs, to these"),
    Line(a.PROCDIR, _L, _REQ, lambda j, f, rank: f.procdirs.get(rank)),
    Line(a.PSET_NAMES, _L, _COND, _set_names, note="from 5.0 on libpmix answers by itself, with a text"),
    Line(a.PACKAGE_RANK, _L, _COND, _package_rank, note="of tasks bound inside one package"),
)

# Taken apart by libpmix, which makes node lists and placement of them: once, at top level, never seen
# again by a client. The programming model selects libpmix's own support for it, and goes likewise.
MAPS: tuple[Line, ...] = (
    Line(a.NODE_MAP, _J, _REQ, lambda j, f: f.node_map),
    Line(a.PROC_MAP, _J, _REQ, lambda j, f: f.proc_map),
    Line(a.MODEL_LIBRARY_NAME, _J, _OPT, lambda j, f: j.model),
)


def lines(realm: Realm) -> tuple[Line, ...]:
    """Return the table's lines of one realm, in order."""
    return tuple(line for line in TABLE if line.realm is realm)


class Registration(Record):
    """The attributes of one job as one shell registers them; see `registration`."""

    job: Job
    facts: LocalFacts

    def infos(self) -> list[Info | Rows]:
        """Return what goes to `Server.register_nspace`, in the Standard's containers."""
        job, facts = self.job, self.facts
        found: list[Info | Rows] = [
            Info(a.SESSION_INFO_ARRAY, self._array(Realm.SESSION)),
            *self._top(),
            Info(a.JOB_INFO_ARRAY, self._array(Realm.JOB)),
        ]
        found += [Info(a.APP_INFO_ARRAY, self._array(Realm.APP, app)) for app in job.apps]
        for node in job.nodes:
            items = self._array(Realm.NODE, node)
            if node.id == facts.shell_rank:
                items += self._array(Realm.OWN_NODE, node)
            found.append(Info(a.NODE_INFO_ARRAY, items))
        found += self._procs()
        return found

    def rows(self, realms: Collection[Realm] = tuple(Realm)) -> Iterator[tuple[str, str, str, str, str]]:
        """Yield (realm, whose, attribute, type, value) of all that is registered in `realms`, as text."""
        job = self.job
        own = job.nodes[self.facts.shell_rank]
        subjects: list[tuple[Realm, str, tuple[Any, ...]]] = [
            (Realm.SESSION, str(job.session.id), ()),
            (Realm.JOB, job.jobid, ()),
            *((Realm.APP, str(app.index), (app,)) for app in job.apps),
            *((Realm.NODE, node.hostname, (node,)) for node in (job.nodes if Realm.NODE in realms else ())),
            (Realm.OWN_NODE, own.hostname, (own,)),
        ]
        for realm, whose, subject in subjects:
            named = [*MAPS, *lines(realm)] if realm is Realm.JOB else lines(realm)
            for line in named if realm in realms else ():
                value = line.source(job, self.facts, *subject)
                if value is not None:
                    yield _row(line, whose, value)
        if Realm.PROC in realms:
            columns = [(line, line.source(job, self.facts)) for line in lines(Realm.PROC)]
            for rank in range(job.size):
                for line, column in columns:
                    yield _row(line, str(rank), column[rank] if isinstance(column, array) else column)
        for rank in job.ranks(self.facts.shell_rank) if Realm.LOCAL_PROC in realms else ():
            for line in lines(Realm.LOCAL_PROC):
                value = line.source(job, self.facts, rank)
                if value is not None:
                    yield _row(line, str(rank), value)

    # -- inside ----------------------------------------------------------------------------------

    def _array(self, realm: Realm, *subject: Any) -> list[Info]:
        found: list[Info] = []
        for line in lines(realm):
            value = line.source(self.job, self.facts, *subject)
            if value is not None:
                found.append(Info(line.attribute, value))
        return found

    def _top(self) -> Iterator[Info]:
        node = self.job.nodes[self.facts.shell_rank]
        for line in (*MAPS, *(line for line in TABLE if line.top)):
            subject = (node,) if line.realm is Realm.OWN_NODE else ()
            value = line.source(self.job, self.facts, *subject)
            if value is not None:
                yield Info(line.attribute, value)

    def _procs(self) -> Iterator[Info | Rows]:
        """Yield an array for each rank, in order: libpmix wants all ranks' arrays or none.

        Runs of other nodes' ranks go as columns; a rank of this node has more to say.
        """
        job = self.job
        columns = [(line.attribute, line.source(job, self.facts)) for line in lines(Realm.PROC)]
        start = 0
        for rank in (*job.ranks(self.facts.shell_rank), job.size):
            if rank > start:
                yield Rows(a.PROC_INFO_ARRAY, rank - start, _slice(columns, start, rank))
            if rank < job.size:
                own = [
                    Info(attribute, column[rank] if isinstance(column, array) else column)
                    for attribute, column in columns
                ]
                yield Info(a.PROC_INFO_ARRAY, own + self._array(Realm.LOCAL_PROC, rank))
            start = rank + 1


def registration(job: Job, facts: LocalFacts) -> Registration:
    """Return what shell `facts.shell_rank` registers for `job`."""
    return Registration(job, facts)


def _slice(columns: list[tuple[Attribute, Any]], start: int, end: int) -> tuple[Column, ...]:
    return tuple(
        Column(attribute, attribute.type, column[start:end] if isinstance(column, array) else column)
        for attribute, column in columns
    )


def _row(line: Line, whose: str, value: Any) -> tuple[str, str, str, str, str]:
    if isinstance(value, DataArray):
        text = ",".join(map(str, value.items))
    elif isinstance(value, Regex):
        text = value.data.rstrip(b"\0").decode("ascii", "replace")
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return line.realm.value, whose, line.attribute.name, line.attribute.type.name.lower(), text
