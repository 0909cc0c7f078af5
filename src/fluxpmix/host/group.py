"""PMIx groups over shells: Standard 4.2, sections 13.2 and 17.3.24 (`group`).

`host.py` hands over each Group upcall: by then all local members have called. Construction and destruction are
collectives of the members' shells, one apart from the other and by the group's name, so that groups of the
same processes may be made at once in any order. What members give each other (PMIX_GROUP_ENDPT_DATA, and with it
PMIX_GROUP_INFO) libpmix packs and unpacks; here it is joined in the order of the shells. Who is still in a group
hears of a member's end where one of them asked for it (`bonds.py`), and of a leader's (`leader.py`). Where all allow it
(PMIX_GROUP_OPTIONAL, PMIX_GROUP_FT_COLLECTIVE), a group goes on without those who ended before they came: their shells
are asked who.

    GONE    generation: the asker's token; block: the members' signature
    ABSENT  generation: the token asked with; block: the ranks that are gone, as an idset
"""

from __future__ import annotations

from _blake2 import blake2b  # see `collective.py`
from collections.abc import Callable, Iterable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.bonds import Bond, Bonds, event
from fluxpmix.host.capability import Capability
from fluxpmix.host.collective import Collectives
from fluxpmix.host.contribution import Entry, contribution, packed, unpacked
from fluxpmix.host.directives import early_timeout, local_status, unsupported
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Notify, Reply, Send
from fluxpmix.host.event import Events
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.invitation import Invitations
from fluxpmix.host.leader import Leaders
from fluxpmix.host.missed import Missed
from fluxpmix.job import idset
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import MAX_NSLEN, DataArray, DataType, GroupOperation, Info, Infos, Proc, find, is_true
from fluxpmix.pmix.upcalls import Group

# Collectives of the same processes are told apart by the group's name: by this many bits of its hash.
CONSTRUCT, DESTRUCT, BITS = 0x4000, 0x8000, 14

SUCCESS = int(Status.SUCCESS)
_DEATHS = (int(Status.ERR_PROC_TERM_WO_SYNC), int(Status.ERR_LOST_CONNECTION))
_MOST = 0xFFFFFFFF
_HONOURED = frozenset(
    (
        attributes.GROUP_ASSIGN_CONTEXT_ID,
        attributes.GROUP_ENDPT_DATA,
        attributes.GROUP_FT_COLLECTIVE,
        attributes.GROUP_INFO,
        attributes.GROUP_LEADER,
        attributes.GROUP_LOCAL_ONLY,
        attributes.GROUP_NOTIFY_TERMINATION,
        attributes.GROUP_OPTIONAL,
        attributes.EMBED_BARRIER,
        attributes.LOCAL_COLLECTIVE_STATUS,
        attributes.TIMEOUT,
        "pmix.sorted.parr",
    )
)
# Members that are not named by those who construct the group.
_GATHERED = frozenset((attributes.GROUP_ADD_MEMBERS, attributes.GROUP_BOOTSTRAP))


class _Attempt:
    """A request of this shell's libpmix, and the members that it is tried with."""

    __slots__ = ("bond", "deadline", "entry", "last", "name", "procs", "status", "tolerant", "upcall")

    def __init__(self, upcall: Group, status: int, entry: Entry | None, deadline: float | None) -> None:
        self.upcall = upcall.id
        self.name = upcall.group
        self.procs = upcall.procs
        self.status = status
        self.entry = entry
        self.deadline = deadline
        self.tolerant = is_true(upcall.directives, attributes.GROUP_FT_COLLECTIVE) or (
            entry is not None and is_true(upcall.directives, attributes.GROUP_OPTIONAL)
        )
        self.bond: Bond | None = None
        self.last = SUCCESS


class _Asked:
    """A question of who is gone."""

    __slots__ = ("attempt", "gone", "shells")

    def __init__(self, attempt: _Attempt, shells: set[int]) -> None:
        self.attempt = attempt
        self.shells = shells
        self.gone: set[int] = set()


class Groups(Capability):
    """The groups of one shell."""

    def __init__(
        self,
        collectives: Collectives,
        directory: Directory,
        job: Job,
        me: int,
        default_timeout: float | None,
        events: Events,
        ended: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        """`ended()` are the processes that have ended, as far as is known here."""
        self._collectives = collectives
        self._directory = directory
        self._job = job
        self._me = me
        self._default_timeout = default_timeout
        self._bonds = Bonds(directory, me, Tag.MEMBER, _told)
        self._base = int.from_bytes(blake2b(job.nspace.encode(), digest_size=4).digest(), "big") >> 1 << 32
        self._proposed = 0
        self._failed: list[_Attempt] = []  # to be tried again
        self._asked: dict[int, _Asked] = {}  # by token
        self._tokens = 0
        self._lost: set[int] = set()
        self._invitations = Invitations(directory, me)
        self._leaders = Leaders(directory, me, events)
        self._missed = Missed(directory, me, events, ended, self._lost)

    @property
    def idle(self) -> bool:
        return self._bonds.idle and not self._failed and not self._asked and not self._missed

    @property
    def deadline(self) -> float | None:
        if self._failed:
            return 0.0
        ends = [one.attempt.deadline for one in self._asked.values()]
        ends += (self._bonds.deadline, self._missed.deadline)
        return min((end for end in ends if end is not None), default=None)

    @property
    def groups(self) -> dict[str, tuple[Proc, ...]]:
        """The members of each group that has one here, as far as they are known to be in it still, by name."""
        made = {_name(bond.key): self._bonds.left_in(bond) for bond in self._bonds if bond.times}
        return {**self._invitations.groups, **made}

    # -- requests ----------------------------------------------------------------------------------

    def upcall(self, upcall: Group, now: float, out: list[Effect]) -> None:
        """Enter this shell's part; the reply comes when all shells have entered theirs."""
        name, status = upcall.group, local_status(upcall.directives)
        if gathered := [info.key for info in upcall.directives if info.key in _GATHERED]:
            # From 6.0 on each leader comes by itself then, with other members than the others: no collective.
            out.append(Log(Level.ERROR, f"group {name}: {gathered[0]} is not supported; name all members in each call"))
            out.append(Reply(upcall.id, int(Status.ERR_NOT_SUPPORTED)))
            return
        unknown = unsupported(upcall.directives, _HONOURED)
        if unknown:
            out.append(Log(Level.ERROR, f"group {name}: {unknown} is required, but not supported"))
            status = int(Status.ERR_NOT_SUPPORTED)
        elif len(set(upcall.procs)) != len(upcall.procs) or not 1 <= len(_key(name)) <= MAX_NSLEN:
            status = int(Status.ERR_BAD_PARAM)
        entry = None
        if upcall.operation is not GroupOperation.DESTRUCT:
            entry = contribution(upcall, self._propose(), self._leader(upcall, out))
            if status == SUCCESS and self._bonds.get(_key(name)) is not None:
                out.append(Log(Level.ERROR, f"group {name}: there is one of this name already"))
                status = int(Status.ERR_EXISTS)
        limit = early_timeout(upcall.directives, self._default_timeout)
        self._try(_Attempt(upcall, status, entry, None if limit is None else now + limit), now, out)

    def _try(self, attempt: _Attempt, now: float, out: list[Effect]) -> None:
        """Enter the collective of the members as they are now."""
        key, entry = _key(attempt.name), attempt.entry
        try:
            shells = self._directory.shells(attempt.procs)
            if entry is not None and attempt.status == SUCCESS:
                attempt.bond = self._bonds.enter(key, self._directory.expand(attempt.procs), shells)
            self._collectives.contribute(
                (DESTRUCT if entry is None else CONSTRUCT) | _bucket(key),
                attempt.procs,
                None if entry is None else packed(entry),
                attempt.status,
                None if attempt.deadline is None else max(0.0, attempt.deadline - now),
                partial(self._done, attempt),
                now,
                out,
            )
        except (UnknownProc, ValueError) as error:
            out.append(Log(Level.ERROR, f"group {attempt.name}: {error}"))
            out.append(self._fail(attempt, getattr(error, "status", Status.ERR_BAD_PARAM)))

    def _done(self, attempt: _Attempt, status: int, blobs: Sequence[Buffer]) -> Effect:
        """The collective has ended: answer, or see who can go on."""
        if status in _DEATHS and attempt.tolerant and attempt.status == SUCCESS:
            attempt.last = status
            self._failed.append(attempt)
            return Log(Level.DEBUG, f"group {attempt.name}: is anybody gone?")
        if status in _DEATHS and attempt.entry is not None:
            self._missed.note(attempt.name, attempt.procs, attempt.entry.leader)
        if status != SUCCESS or attempt.bond is None:
            return self._fail(attempt, status)
        try:
            entries = unpacked(b"".join(blobs))
        except wire.WireError:
            return self._fail(attempt, Status.ERR_UNPACK_FAILURE)
        if {entry.name for entry in entries} != {attempt.name}:
            # Two groups whose names have one hash, made at once and here in another order than there.
            return self._fail(attempt, Status.ERR_RESOURCE_BUSY)
        bond, attempt.bond = attempt.bond, None
        self._invitations.forget(attempt.name)
        bond.announces = any(entry.notifies for entry in entries)
        infos = [Info(attributes.GROUP_MEMBERSHIP, DataArray(DataType.PROC, bond.procs), DataType.DATA_ARRAY)]
        if any(entry.wants_context for entry in entries):
            bond.context = entries[0].context
            infos.append(Info(attributes.GROUP_CONTEXT_ID, bond.context, DataType.SIZE))
        leaders = {entry.leader for entry in entries} & set(map(self._directory.number, bond.procs))
        if leaders:
            self._leaders.led(attempt.name, map(self._directory.number, bond.procs), leaders)
        data = b"".join(entry.data for entry in entries)
        if data:
            infos.append(Info(attributes.GROUP_ENDPT_DATA, data, DataType.BYTE_OBJECT))
        self._bonds.made(bond)
        return Reply(attempt.upcall, SUCCESS, tuple(infos))

    def _fail(self, attempt: _Attempt, status: int) -> Effect:
        """Answer without a group; one that was to be destructed is none any more, come what may."""
        if attempt.bond is not None:
            self._bonds.failed(attempt.bond)
            attempt.bond = None
        elif attempt.entry is None:
            self._bonds.undone(_key(attempt.name))
            self._leaders.forget(attempt.name)
        return Reply(attempt.upcall, status)

    def _leader(self, upcall: Group, out: list[Effect]) -> int:
        """Return who of this shell leads a group to come, as a number; -1: nobody.

        libpmix joins the directives of all members on a node: of several it does not say whose PMIX_GROUP_LEADER is.
        """
        if not is_true(upcall.directives, attributes.GROUP_LEADER):
            return -1
        try:
            mine = self._directory.ranks_on(upcall.procs, self._me)
        except UnknownProc:
            return -1
        if len(mine) == 1:
            return mine[0]
        out.append(
            Log(Level.WARNING, f"group {upcall.group}: libpmix does not tell which member on this node leads it")
        )
        return -1

    def _propose(self) -> int:
        """Return a context id that no other shell proposes, in this job or another, and no group here has.

        The lower half counts down from the end, past those of the other shells; the upper is the namespace's.
        """
        used = {bond.context for bond in self._bonds}
        while True:
            low = _MOST - (self._proposed * len(self._job.nodes) + self._me) % _MOST
            self._proposed += 1
            if self._base + low not in used:
                return self._base + low

    # -- those who are gone ------------------------------------------------------------------------

    def _ask(self, attempt: _Attempt, now: float, out: list[Effect]) -> None:
        """Ask the members' shells who is gone; lost shells are gone with all of theirs."""
        shells = set(self._directory.shells(attempt.procs))
        self._tokens = (self._tokens + 1) & _MOST
        one = self._asked[self._tokens] = _Asked(attempt, shells - {self._me} - self._lost)
        one.gone.update(self._absent(attempt.procs))
        for shell in shells & self._lost:
            one.gone.update(self._directory.ranks_on(attempt.procs, shell))
        block = (self._me, self._directory.signature(attempt.procs))
        frame = encode(Message(Tag.GONE, 0, self._tokens, NO_DIGEST, 0, (block,)))
        out.extend(Send(shell, frame) for shell in sorted(one.shells))
        if not one.shells:
            self._go_on(self._tokens, now, out)

    def _go_on(self, token: int, now: float, out: list[Effect]) -> None:
        """Try again with those who are left, where that makes a difference."""
        attempt, gone = self._asked[token].attempt, self._asked.pop(token).gone
        members = self._directory.expand(attempt.procs)
        left = tuple(proc for proc in members if self._directory.number(proc) not in gone)
        if len(left) == len(members) or not self._directory.ranks_on(left, self._me):
            out.append(self._fail(attempt, attempt.last))
            return
        if attempt.bond is not None:
            self._bonds.failed(attempt.bond)
            attempt.bond = None
        attempt.procs = left
        self._try(attempt, now, out)

    def _absent(self, procs: Sequence[Proc]) -> tuple[int, ...]:
        here = self._bonds.here
        return tuple(rank for rank in self._directory.ranks_on(procs, self._me) if rank not in here)

    # -- what happens ------------------------------------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.MEMBER:
            return self._bonds.receive(source, message, out)
        if len(message.blocks) != 1:
            return "a group's question or answer without its block"
        text = bytes(message.blocks[0][1])
        if message.tag is Tag.GONE:
            try:
                gone = self._absent(self._directory.parse(text))
            except (LookupError, ValueError) as error:
                return str(error)
            block = (self._me, idset.encode(gone).encode())
            out.append(Send(source, encode(Message(Tag.ABSENT, 0, message.generation, NO_DIGEST, 0, (block,)))))
            return None
        one = self._asked.get(message.generation)
        if one is None or source not in one.shells:
            return None  # it came too late
        try:
            ranges = idset.ranges(text.decode("ascii", "replace"))
        except ValueError as error:
            return str(error)
        theirs = self._directory.ranks_on(one.attempt.procs, source)
        one.gone.update(rank for rank in theirs if any(low <= rank <= high for low, high in ranges))
        one.shells.discard(source)
        if not one.shells:
            self._go_on(message.generation, now, out)
        return None

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._bonds.here.update(member.on(self._me))

    def on_event(self, status: int, source: Proc, infos: Infos) -> None:
        """Take an event of any process: some make groups, or end a membership."""
        self._invitations.heard(status, source, infos)
        self._leaders.on_event(status, source, infos)
        name = find(infos, attributes.GROUP_ID)
        if status == Status.GROUP_LEFT and isinstance(name, str):
            self._bonds.left(_key(name), source)

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        self._leaders.finalized(rank, out)

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._bonds.exited(rank, out)
        self._invitations.exited(rank)
        self._leaders.exited(rank, out)

    def revived(self, rank: int, out: list[Effect]) -> None:
        if self._directory.is_on(rank, self._me):
            self._bonds.here.add(rank)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        self._bonds.shell_lost(shell, out)
        self._leaders.shell_lost(shell, out)
        for token, one in list(self._asked.items()):
            if shell in one.shells:
                one.shells.discard(shell)
                one.gone.update(self._directory.ranks_on(one.attempt.procs, shell))
                if not one.shells:
                    self._go_on(token, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        self._bonds.tick(out)
        self._missed.tick(now, out)
        failed, self._failed = self._failed, []
        for attempt in failed:
            self._ask(attempt, now, out)
        for token, one in list(self._asked.items()):
            if one.attempt.deadline is not None and one.attempt.deadline <= now:
                del self._asked[token]
                out.append(self._fail(one.attempt, Status.ERR_TIMEOUT))

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(self._fail(attempt, status) for attempt in self._failed)
        out.extend(self._fail(one.attempt, status) for one in self._asked.values())
        self._failed.clear()
        self._asked.clear()
        self._bonds.clear()
        self._invitations.clear()
        self._leaders.clear()
        self._missed.clear()


def _told(bond: Bond, status: int, affected: Proc, targets: Sequence[Proc]) -> Notify:
    context = () if bond.context is None else (Info(attributes.GROUP_CONTEXT_ID, bond.context, DataType.SIZE),)
    return event(status, affected, targets, Info(attributes.GROUP_ID, _name(bond.key)), *context)


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _name(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


def _bucket(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=2).digest(), "big") & ((1 << BITS) - 1)
