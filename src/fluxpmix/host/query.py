"""PMIx_Query_info: what processes may ask of the system. Standard 4.2, section 5.5.

`host.py` hands over each Query upcall, by then without what libpmix itself knows, and tells what becomes of
this shell's tasks. Keys about processes of other nodes are collected from their shells, once for all keys of
a request; a shell that does not answer in time, or is lost, leaves its rows without a state, and the
answer is a partial one. Questions of which attributes are supported libpmix answers, by what `supported.py`
says of this host.

    TABLE  generation: the asker's token
    ROWS   generation: the token asked with; block: (number, pid, exit code, state), ...
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directives import timeout
from fluxpmix.host.directory import Directory, Member
from fluxpmix.host.effects import Effect, Reply, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.pmix import attributes
from fluxpmix.pmix.attributes import Attribute
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.structures import ProcInfo
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, QueryItem, find, is_true
from fluxpmix.pmix.upcalls import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUCCESS = int(Status.SUCCESS)
# How long other shells have to say what they know (seconds), where PMIX_TIMEOUT does not say it.
PATIENCE = 5.0

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


class _Open:
    """A request that waits for rows of other shells."""

    __slots__ = ("deadline", "queries", "rows", "shells", "upcall")

    def __init__(self, upcall: Query, shells: set[int], deadline: float) -> None:
        self.upcall = upcall.id
        self.queries = upcall.queries
        self.shells = shells
        self.deadline = deadline
        self.rows: dict[int, Row] = {}


class Queries(Capability):
    """The queries of one shell."""

    serves = (Query,)
    takes = (Tag.TABLE, Tag.ROWS)

    def __init__(self, directory: Directory, me: int, ends_at: float | None) -> None:
        self._directory = directory
        self._me = me
        self.ends_at = ends_at  # may change while the job runs
        self._rows = {number: Row() for number in directory.numbers_on(me)}
        self._open: dict[int, _Open] = {}  # by token
        self._tokens = 0
        self._lost: set[int] = set()

    @property
    def idle(self) -> bool:
        return not self._open

    @property
    def deadline(self) -> float | None:
        return min((one.deadline for one in self._open.values()), default=None)

    # -- requests ----------------------------------------------------------------------------------

    def upcall(self, upcall: Query, now: float, out: list[Effect]) -> None:
        """Answer at once what this shell knows; ask the others where a key is about their processes."""
        others = set()
        if any(key in _OF_ALL and self._is_wide(item) for item in upcall.queries for key in item.keys):
            others = {shell for member in self._directory.members for shell in member.occupied}
            others -= {self._me} | self._lost
        seconds = min((timeout(item.qualifiers, PATIENCE) or PATIENCE for item in upcall.queries), default=PATIENCE)
        one = _Open(upcall, others, now + seconds)
        if not others:
            self._answer(one, now, out)
            return
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        self._open[self._tokens] = one
        frame = encode(Message(Tag.TABLE, 0, self._tokens, NO_DIGEST))
        out.extend(Send(shell, frame) for shell in sorted(others))

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.TABLE:
            if message.blocks:
                return "a question for a process table with a block"
            mine = tuple((rank, row.pid, row.exit_code, row.state) for rank, row in self._rows.items())
            block = (self._me, wire.encode(mine))
            out.append(Send(source, encode(Message(Tag.ROWS, 0, message.generation, NO_DIGEST, 0, (block,)))))
            return None
        one = self._open.get(message.generation)
        if one is None or source not in one.shells:
            return None  # it came too late
        try:
            rows = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"a process table: {error}"
        if not isinstance(rows, tuple) or not all(map(_is_row, rows)):
            return "a process table without rows"
        if not all(self._directory.is_on(rank, source) for rank, *_ in rows):
            return "a process table with a rank that is not the sender's"
        one.rows.update({rank: Row(pid, code, state) for rank, pid, code, state in rows})
        one.shells.discard(source)
        if not one.shells:
            del self._open[message.generation]
            self._answer(one, now, out)
        return None

    def _answer(self, one: _Open, now: float, out: list[Effect]) -> None:
        rows = {**one.rows, **self._rows}
        found: list[Info] = []
        missing = len(one.shells)
        for item in one.queries:
            for key in item.keys:
                answer = _BY_NAME.get(key)
                info = answer(self, key, _Asked(self._directory, item), rows, now) if answer is not None else None
                if info is None:
                    missing += 1
                else:
                    found.append(info)
        if not found:
            out.append(Reply(one.upcall, Status.ERR_NOT_FOUND))
            return
        out.append(Reply(one.upcall, Status.ERR_PARTIAL_SUCCESS if missing else SUCCESS, tuple(found)))

    def _is_wide(self, item: QueryItem) -> bool:
        """Whether a query is about processes that other shells know."""
        if is_true(item.qualifiers, attributes.QUERY_LOCAL_ONLY):
            return False
        number = _Asked(self._directory, item).number
        return number is None or number not in self._rows

    # -- what happens ------------------------------------------------------------------------------

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._rows.update((number, Row()) for number in member.on(self._me))

    def removed(self, member: Member) -> None:
        for number in member.on(self._me):
            self._rows.pop(number, None)

    def started(self, rank: int, pid: int) -> None:
        row = self._rows[rank]
        row.pid = pid
        row.state = RUNNING

    def connected(self, rank: int) -> None:
        if rank in self._rows:
            self._rows[rank].state = CONNECTED
            self._rows[rank].finalized = False

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        if rank in self._rows:
            self._rows[rank].finalized = True

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._rows[rank].exited(wait_status)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        for token, one in list(self._open.items()):
            if one.shells == {shell}:
                # It stays among those that have not answered: the answer is a partial one.
                del self._open[token]
                self._answer(one, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for token, one in list(self._open.items()):
            if one.deadline <= now:
                del self._open[token]
                self._answer(one, now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(one.upcall, status) for one in self._open.values())
        self._open.clear()

    # -- one method a kind of key: None where there is nothing to say ------------------------------

    def _namespaces(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        return Info(key, ",".join(member.job.nspace for member in self._directory.members), DataType.STRING)

    def _namespace_info(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        if asked.member is None:
            return None
        arrays = []
        for member in (asked.member,) if asked.by_name else self._directory.members:
            job = member.job
            infos = [Info(attributes.NSPACE, job.nspace), Info(attributes.JOBID, job.jobid)]
            infos += [Info(attributes.CMD_LINE, " ".join(app.argv)) for app in job.apps]
            arrays.append(Info(attributes.JOB_INFO_ARRAY, DataArray(DataType.INFO, tuple(infos))))
        return Info(key, DataArray(DataType.INFO, tuple(arrays)), DataType.DATA_ARRAY)

    def _job_status(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        if asked.member is None:
            return None
        states = (rows[number].state for number in asked.member.numbers if number in rows)
        failed = (_FAILURES[state] for state in states if state in _FAILURES)
        return Info(key, int(next(failed, SUCCESS)), DataType.STATUS)

    def _table(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
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
            for rank, row in ((rank, rows.get(first + rank, _NOBODY)) for rank in ranks)
        )
        return Info(key, DataArray(DataType.PROC_INFO, infos), DataType.DATA_ARRAY)

    def _of_process(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        row = rows.get(asked.number) if asked.number is not None else None
        if row is None:
            return None
        if key == attributes.PROC_STATE_STATUS:
            return Info(key, row.state, DataType.PROC_STATE)
        if key == attributes.PROC_PID:
            return Info(key, row.pid, DataType.PID) if row.pid else None
        return Info(key, row.exit_code, DataType.INT) if row.state >= TERMINATED else None

    def _time_remaining(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        if self.ends_at is None:
            return None
        return Info(key, max(0, int(self.ends_at - now)), DataType.UINT32)

    def _peers(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        if asked.member is None:
            return None
        nodes = self._directory.first.job.nodes
        hosts = {name: node.id for node in nodes for name in (node.hostname, *node.aliases)}
        node = hosts.get(asked.host) if asked.host is not None else self._me
        if node is None:
            return None
        jobs = [member.job for member in ((asked.member,) if asked.by_name else self._directory.members)]
        procs = tuple(Proc(job.nspace, rank) for job in jobs for rank in job.ranks(node))
        return Info(key, DataArray(DataType.PROC, procs), DataType.DATA_ARRAY) if procs else None

    def _nodes(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        if asked.member is None:
            return None
        job = asked.member.job
        names = (node.hostname for node in job.nodes if len(job.ranks(node.id)))
        return Info(key, ",".join(names), DataType.STRING)

    def _of_job(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        if asked.member is None:
            return None
        job = asked.member.job
        facts: dict[str, Any] = {
            attributes.NSPACE: job.nspace,
            attributes.JOBID: job.jobid,
            attributes.JOB_SIZE: job.size,
            attributes.JOB_NUM_APPS: len(job.apps),
            attributes.NUM_NODES: len(job.nodes),
            attributes.UNIV_SIZE: job.session.universe_size,
            attributes.SESSION_ID: job.session.id,
        }
        return Info(key, facts[key])

    def _keys(self, key: str, asked: _Asked, rows: dict[int, Row], now: float) -> Info | None:
        return Info(key, ",".join(KEYS), DataType.STRING)


class _Asked:
    """What the qualifiers of a query say."""

    __slots__ = ("by_name", "host", "local_only", "member", "number")

    def __init__(self, directory: Directory, item: QueryItem) -> None:
        qualifiers: Infos = item.qualifiers
        proc = find(qualifiers, attributes.PROCID)
        nspace = proc.nspace if isinstance(proc, Proc) else find(qualifiers, attributes.NSPACE)
        rank = proc.rank if isinstance(proc, Proc) else find(qualifiers, attributes.RANK)
        self.by_name = isinstance(nspace, str) and nspace != ""
        # libpmix does not tell who asks: where no job is named, the first is meant.
        self.member = directory.get(nspace) if isinstance(nspace, str) and nspace else directory.first
        self.number: int | None = None
        if self.member is not None and isinstance(rank, int) and 0 <= rank < self.member.job.size:
            self.number = self.member.first + rank
        self.host = find(qualifiers, attributes.HOSTNAME)
        self.local_only = is_true(qualifiers, attributes.QUERY_LOCAL_ONLY)


_NOBODY = Row(state=UNKNOWN)

_Method = Callable[[Queries, str, _Asked, "dict[int, Row]", float], "Info | None"]
KEYS: dict[Attribute, _Method] = {
    attributes.QUERY_SUPPORTED_KEYS: Queries._keys,
    attributes.QUERY_NAMESPACES: Queries._namespaces,
    attributes.QUERY_NAMESPACE_INFO: Queries._namespace_info,
    attributes.QUERY_JOB_STATUS: Queries._job_status,
    attributes.QUERY_PROC_TABLE: Queries._table,
    attributes.QUERY_LOCAL_PROC_TABLE: Queries._table,
    attributes.PROC_STATE_STATUS: Queries._of_process,
    attributes.PROC_PID: Queries._of_process,
    attributes.EXIT_CODE: Queries._of_process,
    attributes.TIME_REMAINING: Queries._time_remaining,
    attributes.QUERY_RESOLVE_PEERS: Queries._peers,
    attributes.QUERY_RESOLVE_NODE: Queries._nodes,
    attributes.NODE_LIST: Queries._nodes,
    attributes.NSPACE: Queries._of_job,
    attributes.JOBID: Queries._of_job,
    attributes.JOB_SIZE: Queries._of_job,
    attributes.JOB_NUM_APPS: Queries._of_job,
    attributes.NUM_NODES: Queries._of_job,
    attributes.UNIV_SIZE: Queries._of_job,
    attributes.SESSION_ID: Queries._of_job,
}
_BY_NAME: dict[str, _Method] = {str(key): method for key, method in KEYS.items()}
# Those for which the other shells are asked.
_OF_ALL = frozenset(
    (
        attributes.QUERY_JOB_STATUS,
        attributes.QUERY_PROC_TABLE,
        attributes.PROC_STATE_STATUS,
        attributes.PROC_PID,
        attributes.EXIT_CODE,
    )
)


def _is_row(row: Any) -> bool:
    return isinstance(row, tuple) and len(row) == 4 and all(type(each) is int for each in row)
