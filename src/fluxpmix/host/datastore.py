"""PMIx_Publish, PMIx_Lookup, PMIx_Unpublish over shells. Standard 4.2, chapter 8.

`host.py` hands over the upcalls. Every key has an owner, the shell that its hash picks, so there is no hot
spot; a request goes to the owners of its keys, one message each. Whoever asked collects the answers: a
publication that one owner refuses is taken back from the others; a lookup that waits is over when
enough of its keys are found, at its timeout, or with the process that made it, and values that were there
for one reading and came too late go back to their owner.

What outlives the job (PMIX_PERSIST_SESSION, INDEF) lives as long as the job's shells do. Where Flux jobs were spawned
that live on, the shells of the next have the keys then (`succession.py`): they are given what is there, and asked again
what was not answered.
"""

from __future__ import annotations

from _blake2 import blake2b  # as in collective.py
from collections.abc import Iterable, Mapping, Sequence

from fluxpmix.host import publication, wire
from fluxpmix.host.applications import Applications
from fluxpmix.host.capability import Alarm, Capability
from fluxpmix.host.directives import timeout
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import Effect, Level, Log, Reply, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.keyowner import BadBody, KeyOwner, found, packed_item
from fluxpmix.host.openrequest import DIED, LOST, SUCCESS, Open
from fluxpmix.host.succession import Succession
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Persistence, Proc, Published, Value, find
from fluxpmix.pmix.upcalls import Lookup, Publish, Unpublish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Kinds of PURGE: a process has ended, the last of an application here has, an application has.
_PROC_ENDED, _APP_ENDED_HERE, _APP_ENDED = 1, 2, 3


class Datastore(Capability):
    """The published data of one shell: what its processes ask, and the keys that it owns."""

    def __init__(
        self, directory: Directory, job: Job, me: int, default_timeout: float | None, succession: Succession
    ) -> None:
        self._directory = directory
        self._me = me
        self._succession = succession
        self._shells = directory.first.shells  # that own keys; at the end of the first job others
        self._default_timeout = default_timeout
        self._owner = KeyOwner(directory, self._to)
        self._open: dict[int, Open] = {}  # by token
        self._tokens = 0
        self._alarm = Alarm()
        self._lost: set[int] = set()
        self._gone: set[int] = set()  # processes here whose task has ended
        self._kept_by: dict[Proc, set[int]] = {}  # owners of what a process here published for its life
        self._apps = Applications(directory, me, self._gone, len(job.apps) > 1)
        self._counters = {"published": 0, "looked up": 0, "given back": 0}

    @property
    def counters(self) -> Mapping[str, int]:
        return self._counters

    @property
    def idle(self) -> bool:
        return not self._open and self._owner.idle

    @property
    def stored(self) -> int:
        """How many values this shell keeps."""
        return len(self._owner.store)

    @property
    def deadline(self) -> float | None:
        mine, owned = self._alarm.when if self._open else None, self._owner.deadline
        return owned if mine is None else mine if owned is None else min(mine, owned)

    # -- requests of processes here ----------------------------------------------------------------

    def upcall(self, upcall: Publish | Lookup | Unpublish, now: float, out: list[Effect]) -> None:
        directives = upcall.infos if isinstance(upcall, Publish) else upcall.directives
        seconds = timeout(directives, self._default_timeout)
        self._ask(upcall, self._token(), None if seconds is None else now + seconds, now, out)

    def _ask(
        self, upcall: Publish | Lookup | Unpublish, token: int, deadline: float | None, now: float, out: list[Effect]
    ) -> None:
        try:
            if isinstance(upcall, Publish):
                self._publish(upcall, token, deadline, now, out)
            elif isinstance(upcall, Lookup):
                self._lookup(upcall, token, deadline, now, out)
            else:
                self._unpublish(upcall, token, deadline, now, out)
        except publication.Refused as refused:
            out.append(Log(Level.ERROR, f"{type(upcall).__name__.lower()} by {upcall.proc}: {refused}"))
            out.append(Reply(upcall.id, refused.status))

    def _publish(self, upcall: Publish, token: int, deadline: float | None, now: float, out: list[Effect]) -> None:
        infos = upcall.infos
        values = publication.values(infos)
        range_, procs = publication.reach(infos)
        persistence = publication.persistence(infos)
        uids, gids = publication.permissions(infos)
        who = publication.who(upcall.proc, infos)
        one = self._begin(upcall, Tag.PUBLISH, deadline)
        groups = self._by_owner(values)
        if persistence is Persistence.PROCESS:
            self._kept_by.setdefault(upcall.proc, set()).update(groups)
        bodies = {
            owner: (
                *(who, range_, procs, persistence, uids, gids, token),
                tuple((key, values[key]) for key in keys),
            )
            for owner, keys in groups.items()
        }
        self._start(token, one, bodies, now, out)

    def _lookup(self, upcall: Lookup, token: int, deadline: float | None, now: float, out: list[Effect]) -> None:
        infos = upcall.directives
        publication.refuse_unknown(infos)
        keys = publication.keys(upcall.keys)
        range_, procs = publication.reach(infos)
        who = publication.who(upcall.proc, infos)
        one = self._begin(upcall, Tag.LOOKUP, deadline)
        one.keys = keys
        waits = any(info.key == attributes.WAIT for info in infos)
        if waits:
            count = find(infos, attributes.WAIT)
            one.needed = min(count, len(keys)) if type(count) is int and count > 0 else len(keys)
        milliseconds = 0 if one.deadline is None else max(1, int((one.deadline - now) * 1000))
        bodies = {
            owner: (who, range_, procs, waits, milliseconds, tuple(mine))
            for owner, mine in self._by_owner(keys).items()
        }
        self._start(token, one, bodies, now, out)

    def _unpublish(self, upcall: Unpublish, token: int, deadline: float | None, now: float, out: list[Effect]) -> None:
        infos, keys = upcall.directives, upcall.keys
        publication.refuse_unknown(infos)
        # Without keys all goes that the process has, unless one range is named.
        range_ = None if keys is None and find(infos, attributes.RANGE) is None else publication.reach(infos)[0]
        one = self._begin(upcall, Tag.UNPUBLISH, deadline)
        if keys is None:
            bodies: dict[int, tuple[Any, ...]] = {
                shell: (upcall.proc, range_, None, None) for shell in self._shells if shell not in self._lost
            }
        else:
            groups = self._by_owner(publication.keys(keys))
            bodies = {owner: (upcall.proc, range_, None, tuple(mine)) for owner, mine in groups.items()}
        self._start(token, one, bodies, now, out)

    def _begin(self, upcall: Publish | Lookup | Unpublish, tag: Tag, deadline: float | None) -> Open:
        try:
            number = self._directory.number(upcall.proc)
        except UnknownProc as error:
            raise publication.Refused(error.status, str(error)) from None
        if number in self._gone:
            raise publication.Refused(Status.ERR_PROC_TERM_WO_SYNC, "the process is gone")
        return Open(upcall, tag, deadline)

    def _start(self, token: int, one: Open, bodies: dict[int, tuple[Any, ...]], now: float, out: list[Effect]) -> None:
        """Send each owner its part; this shell's own comes last, as its answer may end it all."""
        self._open[token] = one
        self._alarm.set(one.deadline)
        one.owners = set(bodies)
        for owner in sorted(bodies, key=lambda owner: owner == self._me):
            self._to(owner, one.tag, token, SUCCESS, bodies[owner], now, out)
        for owner in sorted(self._lost & set(bodies)):
            if not self._succession.leaves(owner):
                self._answered(token, owner, LOST, now, out)

    # -- answers -----------------------------------------------------------------------------------

    def _answered(self, token: int, owner: int, status: int, now: float, out: list[Effect]) -> None:
        """Note that an owner has no more to say; end the request where all have spoken."""
        one = self._open.get(token)
        if one is None or owner not in one.owners:
            return
        one.owners.discard(owner)
        one.answers[owner] = status
        if status == LOST and one.needed is not None:
            self._end(token, one, LOST, now, out)  # what it waits for may never come
        elif not one.owners:
            self._end(token, one, one.outcome(), now, out)

    def _found(self, owner: int, token: int, body: tuple[Any, ...], now: float, out: list[Effect]) -> None:
        values, denied, more = found(body)
        one = self._open.get(token)
        lent = [(owner, key, whole) for key, _, _, whole in values if whole is not None]
        if one is None or owner not in one.owners:
            self._give_back(lent, now, out)
            return
        came = {key: Published(proc, key, wire.decode(packed)) for key, proc, packed, _ in values}
        if not {*came, *denied} <= set(one.keys) or not all(isinstance(each.value, Value) for each in came.values()):
            raise BadBody("values that were not asked for, or without a type")
        one.lent += lent
        one.denied.update(denied)
        one.found.update(came)
        if one.needed is not None and len(one.found) >= one.needed:
            if not more:
                one.owners.discard(owner)
            self._end(token, one, SUCCESS, now, out)
        elif not more:
            self._answered(token, owner, SUCCESS, now, out)

    def _end(self, token: int, one: Open, status: int, now: float, out: list[Effect]) -> None:
        """Answer an upcall, and undo what was done for it where it failed."""
        del self._open[token]
        if one.tag is Tag.LOOKUP:
            for owner in sorted(one.owners):
                self._to(owner, Tag.CANCEL, token, SUCCESS, (), now, out)
            if status in (SUCCESS, int(Status.ERR_PARTIAL_SUCCESS)):
                self._counters["looked up"] += 1
                out.append(Reply(one.upcall, status, tuple(one.found[key] for key in one.keys if key in one.found)))
                return
            self._give_back(one.lent, now, out)
        elif one.tag is Tag.PUBLISH:
            if status == SUCCESS:
                self._counters["published"] += 1
            else:
                done = [owner for owner, answer in one.answers.items() if answer == SUCCESS]
                for owner in sorted({*one.owners, *done}):
                    self._to(owner, Tag.UNPUBLISH, self._token(), SUCCESS, (one.proc, None, token, None), now, out)
        out.append(Reply(one.upcall, status))

    def _give_back(self, lent: Sequence[tuple[int, str, tuple[Any, ...]]], now: float, out: list[Effect]) -> None:
        for owner, _, whole in lent:
            self._counters["given back"] += 1
            self._to(owner, Tag.PUBLISH, self._token(), SUCCESS, whole, now, out)

    # -- frames ------------------------------------------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        tag, token = message.tag, message.generation
        if len(message.blocks) != 1 or message.status > 0:
            return f"{tag.name.lower()} with {len(message.blocks)} blocks and status {message.status}"
        try:
            body = wire.decode(bytes(message.blocks[0][1]))
            if not isinstance(body, tuple):
                return f"{tag.name.lower()} without fields"
            self._take(source, tag, token, message.status, body, now, out)
        except (wire.WireError, BadBody) as error:
            return f"{tag.name.lower()}: {error}"
        return None

    def _take(
        self, source: int, tag: Tag, token: int, status: int, body: tuple[Any, ...], now: float, out: list[Effect]
    ) -> None:
        if tag is Tag.FOUND:
            self._found(source, token, body, now, out)
        elif tag is Tag.STORED:
            self._answered(token, source, status, now, out)
        elif tag is Tag.PURGE:
            self._purge(source, body, now, out)
        else:
            self._owner.take(source, tag, token, body, now, out)

    def _to(
        self, shell: int, tag: Tag, token: int, status: int, body: tuple[Any, ...], now: float, out: list[Effect]
    ) -> None:
        """Say something to a shell, which may be this one."""
        if shell == self._me:
            self._take(self._me, tag, token, status, body, now, out)
        elif shell not in self._lost:
            self._send(shell, tag, token, status, wire.encode(body), out)

    def _send(self, shell: int, tag: Tag, token: int, status: int, body: bytes, out: list[Effect]) -> None:
        out.append(Send(shell, encode(Message(tag, 0, token, NO_DIGEST, status, ((self._me, body),)))))

    # -- what happens ------------------------------------------------------------------------------

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        """End what a process waited for, and what it published for its life or its application's."""
        self._gone.add(rank)
        proc = self._directory.proc(rank)
        for token, one in list(self._open.items()):
            if one.proc == proc and token in self._open:
                self._end(token, one, DIED, now, out)
        for owner in sorted(self._kept_by.pop(proc, ())):
            self._to(owner, Tag.PURGE, 0, SUCCESS, (_PROC_ENDED, proc), now, out)
        app = self._apps.exited(rank)
        if app is not None:
            self._to(self._shells[0], Tag.PURGE, 0, SUCCESS, (_APP_ENDED_HERE, app), now, out)

    def revived(self, rank: int, out: list[Effect]) -> None:
        if rank in self._gone:
            self._gone.discard(rank)
            self._apps.revived(rank)

    def _purge(self, source: int, body: tuple[Any, ...], now: float, out: list[Effect]) -> None:
        if len(body) != 2 or body[0] not in (_PROC_ENDED, _APP_ENDED_HERE, _APP_ENDED):
            raise BadBody("the end of nothing")
        kind, what = body
        if kind == _PROC_ENDED:
            if not isinstance(what, Proc):
                raise BadBody("the end of no process")
            self._owner.store.purge(
                lambda item: item.publisher.proc == what and item.persistence is Persistence.PROCESS
            )
        elif type(what) is not int or not self._apps.known(what):
            raise BadBody(f"the end of application {what!r}")
        elif kind == _APP_ENDED:
            self._owner.store.purge(
                lambda item: (
                    item.persistence is Persistence.APPLICATION
                    and self._apps.of(self._directory.number(item.publisher.proc)) == what
                )
            )
        else:
            self._apps.ended_on(what, source)
            self._count_ended(now, out)

    def _count_ended(self, now: float, out: list[Effect]) -> None:
        """Tell all shells of applications that have ended on all of theirs."""
        for app in self._apps.over(self._lost):
            for shell in self._shells:
                self._to(shell, Tag.PURGE, 0, SUCCESS, (_APP_ENDED, app), now, out)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        self._owner.shell_lost(shell)
        if self._shells != self._succession.shells:
            self._follow(now, out)
        for token in list(self._open) if not self._succession.leaves(shell) else ():
            self._answered(token, shell, LOST, now, out)
        self._count_ended(now, out)

    def _follow(self, now: float, out: list[Effect]) -> None:
        """The shells of another job own all keys from now on: ask them what those before have not answered."""
        self._shells = self._succession.shells
        self._kept_by = {proc: set(self._shells) for proc in self._kept_by}
        for app in self._apps.ended_here:
            self._to(self._shells[0], Tag.PURGE, 0, SUCCESS, (_APP_ENDED_HERE, app), now, out)
        opened, self._open = self._open, {}
        for token, one in opened.items():
            for _, key, whole in one.lent:  # to be found again
                self._keep(key, whole, now, out)
            self._ask(one.call, token, one.deadline, now, out)

    def _keep(self, key: str, whole: tuple[Any, ...], now: float, out: list[Effect]) -> None:
        """Have a value kept that was published before, by whoever owns its key now."""
        (owner,) = self._by_owner((key,))
        self._to(owner, Tag.PUBLISH, self._token(), SUCCESS, whole, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        self._owner.tick(now)
        if not self._alarm.rings(now):
            return
        for token, one in list(self._open.items()):
            if one.deadline is None or one.deadline > now:
                self._alarm.set(one.deadline)
            elif token in self._open:
                self._end(token, one, int(Status.ERR_TIMEOUT), now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(one.upcall, status) for one in self._open.values())
        self._open.clear()
        self._hand_over(out)
        self._owner.clear()

    def _hand_over(self, out: list[Effect]) -> None:
        """This job is over, and others are not: give what may still be looked up to the shells that come next."""
        mine = next(member.shells for member in self._directory.members if self._me in member.shells)
        self._shells = self._succession.after(mine)
        for item in self._owner.store if self._shells else ():
            theirs = self._directory.shells((Proc(item.publisher.proc.nspace, RANK_WILDCARD),))
            if item.persistence is not Persistence.APPLICATION or not set(mine).issuperset(theirs):
                self._keep(item.key, packed_item(item), 0.0, out)

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        if self._apps.added(member):
            self._to(self._shells[0], Tag.PURGE, 0, SUCCESS, (_APP_ENDED_HERE, 0), now, out)

    # -- inside ------------------------------------------------------------------------------------

    def _token(self) -> int:
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        return self._tokens

    def _by_owner(self, keys: Iterable[str]) -> dict[int, list[str]]:
        """Return the keys of each owner."""
        groups: dict[int, list[str]] = {}
        for key in keys:
            digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=4).digest()
            owner = self._shells[int.from_bytes(digest, "big") % len(self._shells)]
            groups.setdefault(owner, []).append(key)
        return groups
