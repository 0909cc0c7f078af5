"""What each key of a query is answered with. Standard 4.2, section 5.5.

`query.py` collects what shells know of their processes and groups (`Known`), and asks `Answers` key by key. A
method here answers keys of one kind; `KEYS` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fluxpmix.host import scheduled
from fluxpmix.host.directory import Directory
from fluxpmix.host.pset import ProcessSets
from fluxpmix.host.supported import SPAWN
from fluxpmix.pmix import attributes
from fluxpmix.pmix.attributes import Attribute
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.structures import ProcInfo
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, QueryItem, find, is_true

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUCCESS = int(Status.SUCCESS)
_MEGABYTE = 1 << 20

# `pmix_proc_state_t`
UNKNOWN, PREPARED, RUNNING, CONNECTED, TERMINATED = 0, 1, 5, 6, 20
KILLED_BY_SIGNAL, ENDED_WITHOUT_FINALIZE, ENDED_NONZERO = 54, 55, 62
# The job's status by the state of the process that went wrong first, in the order of the ranks.
_FAILURES = {
    KILLED_BY_SIGNAL: Status.ERR_JOB_ABORTED_BY_SIG,
    ENDED_WITHOUT_FINALIZE: Status.ERR_JOB_TERM_WO_SYNC,
    ENDED_NONZERO: Status.ERR_JOB_NON_ZERO_TERM,
}


class Row:
    """What is known of one process."""

    __slots__ = ("exit_code", "finalized", "pid", "state")

    def __init__(self, pid: int = 0, exit_code: int = 0, state: int = PREPARED) -> None:
        self.pid = pid
        self.exit_code = exit_code
        self.state = state
        self.finalized = False

    def exited(self, wait_status: int) -> None:
        """The process ended so, as `waitpid` says it."""
        signal = wait_status & 0x7F
        connected = self.state == CONNECTED and not self.finalized
        self.exit_code = 128 + signal if signal else wait_status >> 8 & 0xFF
        if signal:
            self.state = KILLED_BY_SIGNAL
        elif connected:
            self.state = ENDED_WITHOUT_FINALIZE
        else:
            self.state = ENDED_NONZERO if self.exit_code else TERMINATED


class Known:
    """What the shells that were asked know: of their processes by rank, of the groups that they have members of."""

    __slots__ = ("groups", "memory", "now", "rows", "scheduled")

    def __init__(
        self,
        rows: dict[int, Row],
        groups: Mapping[str, tuple[Proc, ...]],
        memory: Mapping[int, tuple[int, dict[int, int]]],
        now: float,
        scheduled: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self.rows = rows
        self.groups = groups
        self.memory = memory  # bytes of each shell, and of its processes by number
        self.now = now
        self.scheduled = scheduled or {}  # what the scheduler says, by question


class Asked:
    """What the qualifiers of a query say."""

    __slots__ = ("by_name", "group", "host", "local_only", "member", "number", "pset")

    def __init__(self, directory: Directory, item: QueryItem) -> None:
        qualifiers: Infos = item.qualifiers
        proc = find(qualifiers, attributes.PROCID)
        nspace = proc.nspace if isinstance(proc, Proc) else find(qualifiers, attributes.NSPACE)
        rank = proc.rank if isinstance(proc, Proc) else find(qualifiers, attributes.RANK)
        self.by_name = isinstance(nspace, str) and nspace != ""
        # libpmix does not tell who asks: where no job is named, the first is meant.
        self.member = directory.called(nspace) if isinstance(nspace, str) and nspace else directory.first
        self.number: int | None = None
        if self.member is not None and isinstance(rank, int) and 0 <= rank < self.member.job.size:
            self.number = self.member.first + rank
        self.host = find(qualifiers, attributes.HOSTNAME)
        self.pset = find(qualifiers, attributes.PSET_NAME)
        self.group = find(qualifiers, attributes.GROUP_ID)
        self.local_only = is_true(qualifiers, attributes.QUERY_LOCAL_ONLY)


class Answers:
    """What one shell answers, to itself: the shells that know more have been asked."""

    def __init__(
        self, directory: Directory, me: int, ends_at: float | None, psets: ProcessSets, scheduler: bool = False
    ) -> None:
        self._directory = directory
        self._me = me
        self.ends_at = ends_at  # may change while the job runs
        self._psets = psets
        self._keys_known = (*KEYS, *scheduled.KEYS) if scheduler else tuple(KEYS)

    def answer(self, key: str, item: QueryItem, known: Known) -> list[Info]:
        """Return what answers a key, nothing where there is nothing to say."""
        for question in scheduled.questions(item):
            if question[0] == key and question in known.scheduled:
                return [Info(key, known.scheduled[question], DataType.STRING)]
        method = _BY_NAME.get(key)
        info = method(self, key, Asked(self._directory, item), known) if method is not None else None
        if info is None:
            return []
        if key == attributes.QUERY_NUM_PSETS and _drops_counts(item):
            return [Info(attributes.QUERY_PSET_NAMES, ",".join(self._psets.sets), DataType.STRING), info]
        return [info]

    # -- one method a kind of key: None where there is nothing to say ------------------------------

    def _namespaces(self, key: str, asked: Asked, known: Known) -> Info | None:
        return Info(key, ",".join(member.job.nspace for member in self._directory.members), DataType.STRING)

    def _namespace_info(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        arrays = []
        for member in (asked.member,) if asked.by_name else self._directory.members:
            job = member.job
            infos = [Info(attributes.NSPACE, job.nspace), Info(attributes.JOBID, job.jobid)]
            infos += [Info(attributes.CMD_LINE, " ".join(app.argv)) for app in job.apps]
            arrays.append(Info(attributes.JOB_INFO_ARRAY, DataArray(DataType.INFO, tuple(infos))))
        return Info(key, DataArray(DataType.INFO, tuple(arrays)), DataType.DATA_ARRAY)

    def _job_status(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        states = (known.rows[number].state for number in asked.member.numbers if number in known.rows)
        failed = (_FAILURES[state] for state in states if state in _FAILURES)
        return Info(key, int(next(failed, SUCCESS)), DataType.STATUS)

    def _table(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        job, first = asked.member.job, asked.member.first
        local = key == attributes.QUERY_LOCAL_PROC_TABLE or asked.local_only
        ranks = job.ranks(self._me) if local else range(job.size)
        nodes, nspace = job.taskmap.node_column(), job.nspace
        infos = tuple(
            ProcInfo(
                Proc(nspace, rank),
                job.nodes[nodes[rank]].hostname,
                job.app_of(rank).argv[0],
                row.pid,
                row.exit_code,
                row.state,
            )
            for rank, row in ((rank, known.rows.get(first + rank, _NOBODY)) for rank in ranks)
        )
        return Info(key, DataArray(DataType.PROC_INFO, infos), DataType.DATA_ARRAY)

    def _of_process(self, key: str, asked: Asked, known: Known) -> Info | None:
        row = known.rows.get(asked.number) if asked.number is not None else None
        if row is None:
            return None
        if key == attributes.PROC_STATE_STATUS:
            return Info(key, row.state, DataType.PROC_STATE)
        if key == attributes.PROC_PID:
            return Info(key, row.pid, DataType.PID) if row.pid else None
        return Info(key, row.exit_code, DataType.INT) if row.state >= TERMINATED else None

    def _time_remaining(self, key: str, asked: Asked, known: Known) -> Info | None:
        if self.ends_at is None:
            return None
        return Info(key, max(0, int(self.ends_at - known.now)), DataType.UINT32)

    def _peers(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        nodes = self._directory.nodes
        hosts = {name: node.id for node in nodes for name in (node.hostname, *node.aliases)}
        node = hosts.get(asked.host) if asked.host is not None else self._me
        if node is None:
            return None
        jobs = [member.job for member in ((asked.member,) if asked.by_name else self._directory.members)]
        procs = tuple(Proc(job.nspace, rank) for job in jobs for rank in job.ranks(node))
        return Info(key, DataArray(DataType.PROC, procs), DataType.DATA_ARRAY) if procs else None

    def _nodes(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        job = asked.member.job
        names = (node.hostname for node in job.nodes if len(job.ranks(node.id)))
        return Info(key, ",".join(names), DataType.STRING)

    def _of_job(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        job = asked.member.job
        facts: dict[str, Any] = {
            attributes.NSPACE: job.nspace,
            attributes.JOBID: job.jobid,
            attributes.JOB_SIZE: job.size,
            attributes.JOB_NUM_APPS: len(job.apps),
            attributes.NUM_NODES: job.num_nodes,
            attributes.UNIV_SIZE: job.session.universe_size,
            attributes.SESSION_ID: job.session.id,
        }
        return Info(key, facts[key])

    def _sets(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        if key == attributes.QUERY_NUM_PSETS:
            return Info(key, len(self._psets.sets), DataType.SIZE)
        if key == attributes.QUERY_PSET_NAMES:
            return Info(key, ",".join(self._psets.sets), DataType.STRING)
        members = self._psets.members(asked.pset)
        return Info(key, DataArray(DataType.PROC, members), DataType.DATA_ARRAY) if members else None

    def _of_groups(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        if key == attributes.QUERY_NUM_GROUPS:
            return Info(key, len(known.groups), DataType.SIZE)
        if key == attributes.QUERY_GROUP_NAMES:
            return Info(key, DataArray(DataType.STRING, tuple(sorted(known.groups))), DataType.DATA_ARRAY)
        ended = {number for number, row in known.rows.items() if row.state >= TERMINATED}
        members = tuple(
            proc for proc in known.groups.get(asked.group or "", ()) if self._directory.number(proc) not in ended
        )
        return Info(key, DataArray(DataType.PROC, members), DataType.DATA_ARRAY) if members else None

    def _memory(self, key: str, asked: Asked, known: Known) -> Info | None:
        if asked.member is None:
            return None
        nodes = []
        for shell, (own, tasks) in sorted(known.memory.items()):
            node = self._directory.nodes[shell]
            meant = asked.member.numbers if asked.number is None else (asked.number,)
            sizes = [size for number, size in tasks.items() if number in meant]
            if (asked.host is not None and asked.host not in (node.hostname, *node.aliases)) or (
                asked.number is not None and not sizes
            ):
                continue
            infos = [Info(attributes.HOSTNAME, node.hostname), Info(attributes.DAEMON_MEMORY, own / _MEGABYTE)]
            if sizes:
                infos.append(Info(attributes.CLIENT_AVG_MEMORY, sum(sizes) / len(sizes) / _MEGABYTE))
            nodes.append(Info(attributes.NODE_INFO_ARRAY, DataArray(DataType.INFO, tuple(infos))))
        return Info(key, DataArray(DataType.INFO, tuple(nodes)), DataType.DATA_ARRAY) if nodes else None

    def _spawning(self, key: str, asked: Asked, known: Known) -> Info | None:
        return Info(key, ",".join(map(str, SPAWN)), DataType.STRING)

    def _keys(self, key: str, asked: Asked, known: Known) -> Info | None:
        return Info(key, ",".join(self._keys_known), DataType.STRING)


_NOBODY = Row(state=UNKNOWN)

_Method = Callable[[Answers, str, Asked, Known], "Info | None"]
KEYS: dict[Attribute, _Method] = {
    attributes.QUERY_SUPPORTED_KEYS: Answers._keys,
    attributes.QUERY_NAMESPACES: Answers._namespaces,
    attributes.QUERY_NAMESPACE_INFO: Answers._namespace_info,
    attributes.QUERY_JOB_STATUS: Answers._job_status,
    attributes.QUERY_PROC_TABLE: Answers._table,
    attributes.QUERY_LOCAL_PROC_TABLE: Answers._table,
    attributes.PROC_STATE_STATUS: Answers._of_process,
    attributes.PROC_PID: Answers._of_process,
    attributes.EXIT_CODE: Answers._of_process,
    attributes.TIME_REMAINING: Answers._time_remaining,
    attributes.QUERY_MEMORY_USAGE: Answers._memory,
    attributes.QUERY_SPAWN_SUPPORT: Answers._spawning,
    attributes.QUERY_NUM_PSETS: Answers._sets,
    attributes.QUERY_PSET_NAMES: Answers._sets,
    attributes.QUERY_PSET_MEMBERSHIP: Answers._sets,
    attributes.QUERY_NUM_GROUPS: Answers._of_groups,
    attributes.QUERY_GROUP_NAMES: Answers._of_groups,
    attributes.QUERY_GROUP_MEMBERSHIP: Answers._of_groups,
    attributes.QUERY_RESOLVE_PEERS: Answers._peers,
    attributes.QUERY_RESOLVE_NODE: Answers._nodes,
    attributes.NODE_LIST: Answers._nodes,
    attributes.NSPACE: Answers._of_job,
    attributes.JOBID: Answers._of_job,
    attributes.JOB_SIZE: Answers._of_job,
    attributes.JOB_NUM_APPS: Answers._of_job,
    attributes.NUM_NODES: Answers._of_job,
    attributes.UNIV_SIZE: Answers._of_job,
    attributes.SESSION_ID: Answers._of_job,
}
_BY_NAME: dict[str, _Method] = {str(key): method for key, method in KEYS.items()}
# Those for which the other shells are asked.
OF_ALL = frozenset(
    (
        attributes.QUERY_JOB_STATUS,
        attributes.QUERY_PROC_TABLE,
        attributes.PROC_STATE_STATUS,
        attributes.PROC_PID,
        attributes.EXIT_CODE,
        attributes.QUERY_MEMORY_USAGE,
        attributes.QUERY_NUM_GROUPS,
        attributes.QUERY_GROUP_NAMES,
        attributes.QUERY_GROUP_MEMBERSHIP,
    )
)


def _drops_counts(item: QueryItem) -> bool:
    """Whether Open MPI 5 asks: it drops the number of process sets, but counts the names where they come first."""
    alone = len(item.keys) == 1 and len(item.qualifiers) == 1
    return alone and item.qualifiers[0].key == attributes.QUERY_REFRESH_CACHE
