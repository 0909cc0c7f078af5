"""PMIx_Query_info: what processes may ask of the system. Standard 4.2, section 5.5.

`host.py` hands over each Query upcall, by then without what libpmix itself knows, and tells what becomes of
this shell's tasks; `answers.py` has what each key is answered with. Keys about processes of other nodes, and
groups, are collected from their shells, once for all keys of a request; a shell that does not answer in time,
or is lost, leaves its rows without a state, and the answer is a partial one. Questions of which attributes are
supported libpmix answers, by what `supported.py` says of this host. What the scheduler knows it is asked for.

    TABLE  generation: the asker's token; operation: whether memory is to be measured
    ROWS   generation: the token asked with; block: ((number, pid, exit code, state), ...), ((group, members), ...),
           () or (bytes of the shell, ((number, bytes), ...))
"""

from __future__ import annotations

from collections.abc import Mapping

from fluxpmix.host import scheduled, wire
from fluxpmix.host.answers import CONNECTED, OF_ALL, RUNNING, TERMINATED, Answers, Asked, Known, Row
from fluxpmix.host.capability import Capability
from fluxpmix.host.directives import timeout
from fluxpmix.host.directory import Directory, Member
from fluxpmix.host.effects import Effect, Enquire, Measure, Reply, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.group import Groups
from fluxpmix.host.pset import ProcessSets
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc, QueryItem, is_true
from fluxpmix.pmix.upcalls import Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUCCESS = int(Status.SUCCESS)
# How long other shells have to say what they know (seconds), where PMIX_TIMEOUT does not say it.
PATIENCE = 5.0


class _Open:
    """A request that waits for rows of other shells, or for the scheduler."""

    __slots__ = ("deadline", "groups", "memory", "queries", "questions", "rows", "said", "shells", "upcall")

    def __init__(self, upcall: Query, shells: set[int], deadline: float) -> None:
        self.upcall = upcall.id
        self.queries = upcall.queries
        self.shells = shells
        self.deadline = deadline
        self.rows: dict[int, Row] = {}
        self.groups: dict[str, tuple[Proc, ...]] = {}
        self.memory: dict[int, tuple[int, dict[int, int]]] = {}  # by shell
        self.questions: set[tuple[str, str]] = set()  # to the scheduler
        self.said: dict[tuple[str, str], str] = {}

    @property
    def complete(self) -> bool:
        """Whether all have answered."""
        return not self.shells and not self.questions

    def heard_of(self, groups: Mapping[str, tuple[Proc, ...]]) -> None:
        """Take a shell's word for its groups: who is known to be gone to one shell is gone."""
        for name, members in groups.items():
            known = self.groups.get(name, members)
            self.groups[name] = tuple(proc for proc in known if proc in members)


class Queries(Capability):
    """The queries of one shell."""

    def __init__(
        self,
        directory: Directory,
        me: int,
        ends_at: float | None,
        psets: ProcessSets,
        groups: Groups,
        scheduler: bool = False,
    ) -> None:
        """`scheduler`: the carrier has one that can be asked."""
        self._directory = directory
        self._me = me
        self.answers = Answers(directory, me, ends_at, psets, scheduler)
        self._scheduler = scheduler
        self._enquiries: dict[int, tuple[int, tuple[str, str]]] = {}  # request and question, by token
        self._groups = groups
        self._rows = {number: Row() for number in directory.numbers_on(me)}
        self._open: dict[int, _Open] = {}  # by token
        self._tokens = 0
        self._lost: set[int] = set()
        self._measuring: dict[int, tuple[int, int]] = {}  # what for, by token: the shell and its token
        self._measures = 0

    @property
    def idle(self) -> bool:
        return not self._open

    @property
    def deadline(self) -> float | None:
        return min(one.deadline for one in self._open.values()) if self._open else None

    # -- requests ----------------------------------------------------------------------------------

    def upcall(self, upcall: Query, now: float, out: list[Effect]) -> None:
        """Answer at once what this shell knows; ask the others where a key is about their processes."""
        others = set()
        if any(key in OF_ALL and self._is_wide(item) for item in upcall.queries for key in item.keys):
            others = {shell for member in self._directory.members for shell in member.occupied}
            others -= {self._me} | self._lost
        seconds = min((timeout(item.qualifiers, PATIENCE) or PATIENCE for item in upcall.queries), default=PATIENCE)
        measures = any(attributes.QUERY_MEMORY_USAGE in item.keys for item in upcall.queries)
        one = _Open(upcall, others | {self._me} if measures else set(others), now + seconds)
        if self._scheduler:
            one.questions = {question for item in upcall.queries for question in scheduled.questions(item)}
        if one.complete:
            self._answer(one, now, out)
            return
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        self._open[self._tokens] = one
        if others:
            frame = encode(Message(Tag.TABLE, int(measures), self._tokens, NO_DIGEST))
            out.extend(Send(shell, frame) for shell in sorted(others))
        for question in sorted(one.questions):
            self._measures += 1
            self._enquiries[self._measures] = (self._tokens, question)
            out.append(Enquire(self._measures, *question))
        if measures:
            self._measure(self._me, self._tokens, out)

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.TABLE:
            if message.blocks:
                return "a question for a process table with a block"
            if message.operation:
                self._measure(source, message.generation, out)
            else:
                self._tell(source, message.generation, (), out)
            return None
        one = self._open.get(message.generation)
        if one is None or source not in one.shells:
            return None  # it came too late
        try:
            body = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"a process table: {error}"
        rows, groups, memory = body if isinstance(body, tuple) and len(body) == 3 else (None, (), ())
        if not isinstance(rows, tuple) or not all(map(_is_row, rows)):
            return "a process table without rows"
        if not isinstance(groups, tuple) or not all(map(_is_group, groups)):
            return "a process table with groups that have no name or members"
        if not _is_memory(memory):
            return "a process table with memory that nobody has"
        if not all(self._directory.is_on(rank, source) for rank, *_ in rows):
            return "a process table with a rank that is not the sender's"
        one.rows.update({rank: Row(pid, code, state) for rank, pid, code, state in rows})
        one.heard_of(dict(groups))
        if memory:
            one.memory[source] = (memory[0], dict(memory[1]))
        self._heard(message.generation, source, now, out)
        return None

    def measured(self, token: int, own: int, tasks: tuple[tuple[int, int], ...], now: float, out: list[Effect]) -> None:
        """Take how much memory this shell and its tasks have, and tell who has asked."""
        shell, generation = self._measuring.pop(token, (self._me, -1))
        if shell != self._me:
            self._tell(shell, generation, (own, tasks), out)
        elif generation in self._open:
            self._open[generation].memory[shell] = (own, dict(tasks))
            self._heard(generation, shell, now, out)

    def enquired(self, token: int, text: str | None, now: float, out: list[Effect]) -> None:
        """Take what the scheduler says; None: it does not know."""
        request, question = self._enquiries.pop(token)
        one = self._open.get(request)
        if one is None:
            return  # it came too late
        one.questions.discard(question)
        if text is not None:
            one.said[question] = text
        self._end_if_complete(request, now, out)

    def _measure(self, shell: int, token: int, out: list[Effect]) -> None:
        self._measures += 1
        self._measuring[self._measures] = (shell, token)
        running = tuple((number, row.pid) for number, row in self._rows.items() if row.pid and row.state < TERMINATED)
        out.append(Measure(self._measures, running))

    def _tell(self, shell: int, token: int, memory: tuple[Any, ...], out: list[Effect]) -> None:
        """Say what this shell knows of its processes."""
        mine = tuple((number, row.pid, row.exit_code, row.state) for number, row in self._rows.items())
        block = (self._me, wire.encode((mine, tuple(self._groups.groups.items()), memory)))
        out.append(Send(shell, encode(Message(Tag.ROWS, 0, token, NO_DIGEST, 0, (block,)))))

    def _heard(self, token: int, shell: int, now: float, out: list[Effect]) -> None:
        """A shell has said what it knows; answer where all have."""
        self._open[token].shells.discard(shell)
        self._end_if_complete(token, now, out)

    def _end_if_complete(self, token: int, now: float, out: list[Effect]) -> None:
        one = self._open[token]
        if one.complete:
            del self._open[token]
            self._answer(one, now, out)

    def _answer(self, one: _Open, now: float, out: list[Effect]) -> None:
        one.heard_of(self._groups.groups)
        known = Known({**one.rows, **self._rows}, one.groups, one.memory, now, one.said)
        found: list[Info] = []
        missing = len(one.shells)
        for item in one.queries:
            for key in item.keys:
                infos = self.answers.answer(key, item, known)
                found += infos
                missing += not infos
        if not found:
            out.append(Reply(one.upcall, Status.ERR_NOT_FOUND))
            return
        out.append(Reply(one.upcall, Status.ERR_PARTIAL_SUCCESS if missing else SUCCESS, tuple(found)))

    def _is_wide(self, item: QueryItem) -> bool:
        """Whether a query is about processes that other shells know."""
        if is_true(item.qualifiers, attributes.QUERY_LOCAL_ONLY):
            return False
        number = Asked(self._directory, item).number
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

    def revived(self, rank: int, out: list[Effect]) -> None:
        if self._directory.is_on(rank, self._me):
            self._rows[rank] = Row()

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        for token, one in list(self._open.items()):
            if one.shells == {shell} and not one.questions:
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


def _is_row(row: Any) -> bool:
    return isinstance(row, tuple) and len(row) == 4 and all(type(each) is int for each in row)


def _is_memory(memory: Any) -> bool:
    if memory == ():
        return True
    if not (isinstance(memory, tuple) and len(memory) == 2 and type(memory[0]) is int):
        return False
    tasks = memory[1]
    pairs = isinstance(tasks, tuple) and all(isinstance(each, tuple) and len(each) == 2 for each in tasks)
    return pairs and all(type(value) is int for each in tasks for value in each)


def _is_group(group: Any) -> bool:
    if not (isinstance(group, tuple) and len(group) == 2):
        return False
    name, members = group
    return isinstance(name, str) and isinstance(members, tuple) and all(isinstance(one, Proc) for one in members)
