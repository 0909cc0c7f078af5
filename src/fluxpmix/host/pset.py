"""Process sets: named by the job, or by a process while it runs. Standard 4.2, section 13.1.

`host.py` holds one. The sets that a job is started with are known to every shell from the beginning. A process
defines another by PMIx_Job_control (PMIX_JOB_CTRL_DEFINE_PSET, which `control.py` hands over): the first shell
decides, so that a name means the same everywhere, has every shell take the set over, and then says so; whoever is
answered can count on all others knowing it. When the first job is over another shell decides (`succession.py`).
libpmix tells local processes (PMIX_PROCESS_SET_DEFINE, and _DELETE once all members have ended), and answers
PMIX_PSET_NAMES; queries are `query.py`'s.

    PSET_WANTED   to the first shell: the asker's token; block: (name, members)
    PSET_DECIDED  from it: the token asked with; status
    PSET          from the first shell: its own count; block: (name, members, or None for a set that is no more)
    PSET_KNOWN    to the first shell: the count
    PSET_LEFT     to the first shell: no member that was here is alive; block: name
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directives import timeout
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import DefineSet, Effect, Frame, Level, Log, Reply, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.publication import Refused
from fluxpmix.host.spread import Window
from fluxpmix.host.succession import Succession
from fluxpmix.job.model import Job, check_set_name
from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Proc, find
from fluxpmix.pmix.upcalls import JobControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

SUCCESS = int(Status.SUCCESS)
TIMED_OUT = int(Status.ERR_TIMEOUT)
# How long the first shell and all others have (seconds), where PMIX_TIMEOUT does not say it.
PATIENCE = 5.0
_COUNTS = 1024  # left out where one shell decides after another, that may have told others of more than this one knows

Members: TypeAlias = tuple[Proc, ...]


class _Asked:
    """A request of a process of this shell that waits for the first shell."""

    __slots__ = ("deadline", "id", "shell", "upcall", "wish")

    def __init__(self, upcall: int, name: str | None, wish: tuple[str, Members], deadline: float | None) -> None:
        self.upcall = upcall
        self.id = name
        self.wish = wish
        self.deadline = deadline
        self.shell = -1  # that is asked


class _Order:
    """What the first shell has told the others: who has not taken it over yet, and who wants to know."""

    __slots__ = ("asker", "deadline", "shells", "token")

    def __init__(self, asker: int | None, token: int, shells: set[int], deadline: float) -> None:
        self.asker = asker
        self.token = token
        self.shells = shells
        self.deadline = deadline


class ProcessSets(Capability):
    """The process sets that one shell knows: all that there are."""

    def __init__(self, directory: Directory, job: Job, me: int, succession: Succession) -> None:
        self._directory = directory
        self._job = job
        self._me = me
        self._succession = succession
        self._first = 0  # who decides; at the end of the first job another
        self._early: list[Callable[[float, list[Effect]], None]] = []  # what this shell is asked before its turn
        self._alive = set(directory.numbers_on(me))
        self._lost: set[int] = set()
        self._sets: dict[str, Members] = {
            one.name: tuple(Proc(job.nspace, rank) for rank in one.ranks) for one in job.psets
        }
        self._tokens = self._count = 0
        self._asked: dict[int, _Asked] = {}  # by token
        self._windows: dict[int, Window] = {}  # by shell: of the wishes that the first shell gets
        self._orders: dict[int, _Order] = {}  # by count
        self._counts: dict[str, int] = {}  # of the last order about each name
        # Of the first shell: where each set still has members; those of all processes end with the job.
        self._where = {name: set(directory.shells(procs)) for name, procs in self._sets.items()}

    @property
    def sets(self) -> Mapping[str, Members]:
        """The members of each set, by name."""
        return self._sets

    def members(self, name: object) -> Members:
        """Return the members of a set by rank, none where there is no such set."""
        return self._directory.expand(self._sets[name]) if isinstance(name, str) and name in self._sets else ()

    @property
    def idle(self) -> bool:
        return not self._asked and not self._orders

    @property
    def deadline(self) -> float | None:
        if not self._asked and not self._orders:
            return None
        ends = [*(one.deadline for one in self._asked.values()), *(one.deadline for one in self._orders.values())]
        return min((end for end in ends if end is not None), default=None)

    # -- requests ----------------------------------------------------------------------------------

    def define(self, upcall: JobControl, now: float, out: list[Effect]) -> None:
        """Have a set defined; the answer follows. Raises `Refused`, or `directory.UnknownProc`."""
        name = find(upcall.directives, attributes.JOB_CTRL_DEFINE_PSET)
        try:
            check_set_name(name)
        except ValueError as error:
            raise Refused(Status.ERR_BAD_PARAM, str(error)) from None
        members = tuple(dict.fromkeys(upcall.targets)) or (Proc(upcall.proc.nspace, RANK_WILDCARD),)
        self._directory.shells(members)
        if self._first in self._lost and not self._succession.leaves(self._first):
            raise Refused(Status.ERR_LOST_CONNECTION, "the shell that names process sets is lost")
        seconds = timeout(upcall.directives, PATIENCE)
        id_ = find(upcall.directives, attributes.JOB_CTRL_ID)
        self._ask(_Asked(upcall.id, id_, (name, members), None if seconds is None else now + seconds), now, out)

    def _ask(self, asked: _Asked, now: float, out: list[Effect]) -> None:
        """Ask whose turn it is to decide."""
        asked.shell = self._first
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        self._asked[self._tokens] = asked
        if self._me == self._first:
            self._decide(self._me, self._tokens, *asked.wish, now, out)
        elif self._first not in self._lost:  # else its successor will be asked
            out.append(Send(self._first, self._frame(Tag.PSET_WANTED, self._tokens, asked.wish)))

    def _decide(self, asker: int, token: int, name: str, members: Members, now: float, out: list[Effect]) -> None:
        """As the first shell: take a set over and have all others do so, unless the name means something else."""
        known = self._sets.get(name)
        if known is not None:
            same = self._directory.expand(known) == self._directory.expand(members)
            if not same or not self._orders:
                self._answer(asker, token, SUCCESS if same else int(Status.ERR_EXISTS), out)
                return
        else:
            self._where[name] = set(self._directory.shells(members)) - self._lost
        self._order(asker, token, name, members, now, out)

    def _order(
        self, asker: int | None, token: int, name: str, members: Members | None, now: float, out: list[Effect]
    ) -> None:
        """As the first shell: tell all."""
        self._count += 1
        others = set(range(self._directory.shell_count)) - {self._me} - self._lost
        self._orders[self._count] = _Order(asker, token, others, now + PATIENCE)
        frame = self._frame(Tag.PSET, self._count, (name, members))
        out.extend(Send(shell, frame) for shell in sorted(others))
        self._adopt(name, members, now, out)
        self._check(self._count, out)

    def _check(self, count: int, out: list[Effect]) -> None:
        """Say that all have taken over what they were told."""
        order = self._orders[count]
        if not order.shells:
            del self._orders[count]
            if order.asker is not None:
                self._answer(order.asker, order.token, SUCCESS, out)

    def _answer(self, asker: int, token: int, status: int, out: list[Effect]) -> None:
        if asker != self._me:
            out.append(Send(asker, encode(Message(Tag.PSET_DECIDED, 0, token, NO_DIGEST, status))))
        else:
            self._decided(token, status, out)

    def _decided(self, token: int, status: int, out: list[Effect]) -> None:
        asked = self._asked.pop(token, None)
        if asked is not None:
            named = status == SUCCESS and asked.id is not None
            out.append(Reply(asked.upcall, status, (Info(attributes.JOB_CTRL_ID, asked.id),) if named else None))

    # -- what every shell does -----------------------------------------------------------------------

    def _adopt(self, name: str, members: Members | None, now: float, out: list[Effect]) -> None:
        """Know a set from now on, or no longer."""
        known = self._sets.pop(name, None)
        if (
            known is not None
            and members is not None
            and self._directory.expand(known) == self._directory.expand(members)
        ):
            self._sets[name] = known
            return
        if known is not None:
            out.append(DefineSet(name, None))
        if members is None:
            return
        self._sets[name] = members
        out.append(DefineSet(name, self._directory.expand(members)))
        if self._me in self._directory.shells(members):
            self._leave(name, now, out)

    def _leave(self, name: str, now: float, out: list[Effect]) -> None:
        """Tell the first shell that a set has nobody left here, unless it is as large as the job."""
        members = self._directory.expand(self._sets[name])
        if len(members) == self._job.size or self._alive.intersection(self._directory.ranks_on(members, self._me)):
            return
        if self._me == self._first:
            self._left(self._me, name, now, out)
        elif self._first not in self._lost:
            out.append(Send(self._first, self._frame(Tag.PSET_LEFT, 0, name)))

    def _left(self, shell: int, name: str, now: float, out: list[Effect]) -> None:
        """As the first shell: a set has nobody left on `shell`; where it has nobody left at all it is no more."""
        where = self._where.get(name)
        if where is not None:
            where.discard(shell)
            if not where:
                del self._where[name]
                self._order(None, 0, name, None, now, out)

    # -- what happens ------------------------------------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        tag, number = message.tag, message.generation
        if tag is Tag.PSET_KNOWN:
            order = self._orders.get(number)
            if order is not None:
                order.shells.discard(source)
                self._check(number, out)
            return None
        if tag is Tag.PSET_DECIDED:
            asked = self._asked.get(number)
            if not self._succession.leads(source) or (asked is not None and asked.shell != source):
                return "a decision on a process set by a shell that does not decide"
            self._decided(number, message.status, out)
            return None
        try:
            body: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"a process set: {error}"
        if tag is Tag.PSET_LEFT:
            if not self._succession.leads(self._me) or not isinstance(body, str):
                return "a process set that nobody is left of, without a name or to a shell that does not count"
            self._early.append(partial(self._left, source, body))
            self._decide_early(now, out)
            return None
        complaint = self._complaint(body, may_end=tag is Tag.PSET)
        if complaint is not None:
            return complaint
        name, members = body
        if tag is Tag.PSET_WANTED:
            if not self._succession.leads(self._me):
                return "a wish for a process set to a shell that does not decide"
            if self._windows.setdefault(source, Window()).take(number):
                self._early.append(partial(self._decide, source, number, name, members))
                self._decide_early(now, out)
            return None
        if not self._succession.leads(source):
            return "a process set by a shell that does not decide"
        if number > self._counts.get(name, 0):
            self._counts[name] = number
            self._adopt(name, members, now, out)
        out.append(Send(source, encode(Message(Tag.PSET_KNOWN, 0, number, NO_DIGEST))))
        return None

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._alive.update(member.on(self._me))

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._alive.discard(rank)
        for name, members in list(self._sets.items()):
            if self._directory.includes(members, rank):
                self._leave(name, now, out)

    def replaced(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        """Stay in its sets."""

    def revived(self, rank: int, out: list[Effect]) -> None:
        if self._directory.is_on(rank, self._me):
            self._alive.add(rank)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        if self._first != self._succession.first:
            self._follow(now, out)
        elif shell == self._first and not self._succession.leaves(shell):
            for token in list(self._asked):
                self._decided(token, int(Status.ERR_LOST_CONNECTION), out)
        for count, order in list(self._orders.items()):
            order.shells.discard(shell)
            order.asker = None if order.asker == shell else order.asker
            self._check(count, out)
        if self._me == self._first:
            for name in list(self._where):
                if shell in self._where[name]:
                    self._left(shell, name, now, out)
        self._decide_early(now, out)

    def _follow(self, now: float, out: list[Effect]) -> None:
        """Another shell decides from now on, perhaps this one. Tell it what the one before it was told."""
        self._first = self._succession.first
        if self._me == self._first:
            self._count = max(self._counts.values(), default=0) + _COUNTS
            self._where = {name: set(self._directory.shells(procs)) for name, procs in self._sets.items()}
        for name, members in list(self._sets.items()):
            if self._me in self._directory.shells(members):
                self._leave(name, now, out)
        for shell in sorted(self._lost) if self._me == self._first else ():
            for name in list(self._where):
                if shell in self._where[name]:
                    self._left(shell, name, now, out)
        asked, self._asked = self._asked, {}
        for one in asked.values():
            self._ask(one, now, out)

    def _decide_early(self, now: float, out: list[Effect]) -> None:
        """Decide on what this shell is asked, once it is its turn."""
        if self._early and self._me == self._first:
            early, self._early = self._early, []
            for each in early:
                each(now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for count, order in list(self._orders.items()):
            if order.deadline <= now:
                del self._orders[count]
                out.append(Log(Level.ERROR, f"a process set: no word from shell(s) {sorted(order.shells)}"))
                if order.asker is not None:
                    self._answer(order.asker, order.token, TIMED_OUT, out)
        for token, asked in list(self._asked.items()):
            if asked.deadline is not None and asked.deadline <= now:
                self._decided(token, TIMED_OUT, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        for token in list(self._asked):
            self._decided(token, status, out)
        self._orders.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _frame(self, tag: Tag, number: int, body: Any) -> Frame:
        return encode(Message(tag, 0, number, NO_DIGEST, 0, ((self._me, wire.encode(body)),)))

    def _complaint(self, body: Any, may_end: bool) -> str | None:
        """Say what is wrong with a set that a peer sent, if something is."""
        if type(body) is not tuple or len(body) != 2:
            return "a process set without a name or members"
        name, members = body
        try:
            check_set_name(name)
            if members is None and may_end:
                return None
            if type(members) is not tuple or not members or not all(isinstance(one, Proc) for one in members):
                return "a process set without members"
            self._directory.shells(members)
        except (UnknownProc, ValueError) as error:
            return str(error)
        return None
