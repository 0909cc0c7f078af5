"""Direct modex: fetch what a process put from the server that hosts it. Standard 4.2, section 7.2.

`host.py` hands over each DirectModex upcall: a local process wants a key of a process that is not here,
and libpmix does not have it. The rank's shell is asked, asks its own libpmix, and answers with all that
the rank has put; requests of one shell for one rank share one message, and those of all shells for one
rank share one question to libpmix. libpmix answers at the rank's first commit and says nothing of later
ones, so a key that is not among what was committed is looked for again, less and less often, until
it is there, the request's time is over, or the rank can put no more.
"""

from __future__ import annotations

from collections.abc import Mapping

from fluxpmix.host.capability import Alarm, Capability
from fluxpmix.host.directives import timeout, unsupported
from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.host.effects import Buffer, Effect, Level, Log, Reply, RequestModex, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.modexdata import ANYTHING, ask, asked, holds
from fluxpmix.host.modexrequests import Asker, Held, Request, Waiting
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_VALID, find
from fluxpmix.pmix.upcalls import DirectModex

SUCCESS = int(Status.SUCCESS)
NOT_FOUND = int(Status.ERR_NOT_FOUND)
TIMEOUT = int(Status.ERR_TIMEOUT)
LOST = int(Status.ERR_LOST_CONNECTION)
DIED = int(Status.ERR_PROC_TERM_WO_SYNC)

# What libpmix says of a rank that has put nothing for others.
_NOTHING = (Status.ERR_NOT_FOUND, Status.ERR_PROC_ENTRY_NOT_FOUND, Status.ERR_DATA_VALUE_NOT_FOUND)
_AT_MOST = 0.5  # seconds after an answer without the key, and libpmix is asked again
# How long libpmix has to answer for a rank that has finalized: it does at once, or never.
_LAST_WORD = 1.0
_RESERVED = "pmix"
_LATERAL = 4 << 20  # bytes of an answer, from which on a link of its own is worth opening
_HONOURED = frozenset(
    (
        attributes.REQUIRED_KEY,
        attributes.TIMEOUT,
        attributes.IMMEDIATE,
        attributes.OPTIONAL,
        attributes.GET_REFRESH_CACHE,
        attributes.GET_STATIC_VALUES,
        attributes.GET_POINTER_VALUES,
        attributes.DATA_SCOPE,
    )
)


class DirectModexes(Capability):
    """The direct modex of one shell: what its processes want, and what is wanted of them."""

    def __init__(self, directory: Directory, me: int, default_timeout: float | None) -> None:
        self._directory = directory
        self._me = me
        self._default_timeout = default_timeout
        self._requests: dict[int, Request] = {}  # by rank
        self._ranks: dict[int, int] = {}  # token of a request: its rank
        self._held: dict[int, Held] = {}  # by rank
        # Questions that libpmix has not answered, by rank and by token; it keeps them until the rank commits.
        self._questions: dict[int, int] = {}
        self._asked: dict[int, int] = {}
        self._over: dict[int, int] = {}  # rank here that can put no more: what to say of it
        self._ended: set[int] = set()  # ranks here whose task is gone
        self._lost: set[int] = set()
        self._tokens = 0
        self._alarm = Alarm()
        self._counters = {"fetched": 0, "fetched for others": 0, "late": 0}

    @property
    def counters(self) -> Mapping[str, int]:
        return self._counters

    @property
    def idle(self) -> bool:
        return not self._requests and not self._held

    @property
    def deadline(self) -> float | None:
        return None if self.idle else self._alarm.when

    # -- what processes of this shell want ---------------------------------------------------------

    def upcall(self, upcall: DirectModex, now: float, out: list[Effect]) -> None:
        """Ask for what `upcall.proc` put; the reply comes when its shell has answered."""
        unknown = unsupported(upcall.directives, _HONOURED)
        if unknown:
            out.append(Log(Level.ERROR, f"get: {unknown} is required, but not supported"))
            out.append(Reply(upcall.id, Status.ERR_NOT_SUPPORTED))
            return
        key = find(upcall.directives, attributes.REQUIRED_KEY) or ""
        if upcall.proc.rank > RANK_VALID or key.startswith(_RESERVED):
            # All that a server must tell of a namespace and its processes is registered, so it is not to be had.
            # Nor is a key of whatever rank: libpmix (4.2, 5.0) drops such a request at the next local commit,
            # and would use what it freed if the answer came after that.
            out.append(Reply(upcall.id, NOT_FOUND))
            return
        try:
            rank = self._directory.number(upcall.proc)
        except UnknownProc:
            out.append(Reply(upcall.id, NOT_FOUND))
            return
        shell = self._directory.shell_of(rank)
        if shell in self._lost:
            out.append(Reply(upcall.id, LOST))
            return
        seconds = timeout(upcall.directives, self._default_timeout)
        wanted = key.encode("utf-8", "surrogateescape")
        request = self._requests.get(rank)
        if request is None:
            request = self._requests[rank] = Request(shell, self._token())
            self._ranks[request.token] = rank
        deadline = None if seconds is None else now + seconds
        request.waiting[upcall.id] = Waiting(wanted, deadline)
        self._alarm.set(deadline)
        self._ask(rank, request, now, out)

    def _ask(self, rank: int, request: Request, now: float, out: list[Effect]) -> None:
        """Tell the rank's shell what is wanted, unless it knows."""
        keys = frozenset(one.key for one in request.waiting.values())
        until: float | None = 0.0
        for one in request.waiting.values():
            until = None if until is None or one.deadline is None else max(until, one.deadline)
        longer = request.until is not None and (until is None or until > request.until)
        if keys <= request.told and not longer:
            return
        request.told, request.until = keys, until
        if request.shell == self._me:
            self._wanted(self._me, rank, request.token, tuple(sorted(keys)), until, now, out)
            return
        seconds = None if until is None else until - now
        body = ask(rank, seconds, keys)
        message = Message(Tag.ASK, 0, request.token, NO_DIGEST, 0, ((self._me, body),))
        out.append(Send(request.shell, encode(message)))

    def _answered(self, rank: int, status: int, blob: Buffer, now: float, out: list[Effect]) -> None:
        """Complete what waits for `rank`; ask again for keys that are not in what came."""
        request = self._requests[rank]
        for upcall, one in list(request.waiting.items()):
            if status != SUCCESS:
                out.append(Reply(upcall, status))
            elif holds(blob, one.key):
                self._counters["fetched"] += 1
                out.append(Reply(upcall, SUCCESS, (blob,)))
            else:
                continue
            del request.waiting[upcall]
        del self._ranks[request.token]
        if not request.waiting:
            del self._requests[rank]
            return
        request.token = self._token()
        request.told = frozenset()
        self._ranks[request.token] = rank
        self._ask(rank, request, now, out)

    # -- what is wanted of processes of this shell -------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        """Take a question about a rank that is here, or the answer to one of ours."""
        if message.tag is Tag.DATA:
            return self._receive_data(source, message, now, out)
        try:
            rank, seconds, keys = asked(bytes(message.blocks[0][1]) if len(message.blocks) == 1 else b"")
            shell = self._directory.shell_of(rank)
        except (ValueError, LookupError) as error:
            return f"a modex request: {error}"
        if shell != self._me:
            return f"a modex request for rank {rank}, which is not here"
        deadline = None if seconds is None else now + seconds
        self._wanted(source, rank, message.generation, keys, deadline, now, out)
        return None

    def _receive_data(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        rank = self._ranks.get(message.generation)
        if rank is None:
            self._counters["late"] += 1
            return None
        if self._requests[rank].shell != source:
            return f"the data of rank {rank} from a shell that does not host it"
        if message.status > 0 or len(message.blocks) != (message.status == SUCCESS):
            return f"the data of rank {rank} with status {message.status} and {len(message.blocks)} blocks"
        self._answered(rank, message.status, message.blocks[0][1] if message.blocks else b"", now, out)
        return None

    def _wanted(
        self,
        source: int,
        rank: int,
        token: int,
        keys: tuple[bytes, ...],
        deadline: float | None,
        now: float,
        out: list[Effect],
    ) -> None:
        if rank in self._ended:
            self._tell(source, rank, token, self._over[rank], b"", now, out)
            return
        held = self._held.get(rank)
        if held is None:
            held = self._held[rank] = Held()
        known = held.askers.get(source)
        if known is not None and _newer(known.token, token):
            return  # a question that came late
        held.askers[source] = Asker(token, keys, deadline)
        self._alarm.set(deadline)
        if rank not in self._questions:
            self._question(rank, held, out)
        if rank in self._over and held.again is None:
            self._wake(held, now + _LAST_WORD)

    def _question(self, rank: int, held: Held, out: list[Effect]) -> None:
        held.again = None
        token = self._questions[rank] = self._token()
        self._asked[token] = rank
        out.append(RequestModex(token, self._directory.proc(rank)))

    def modex_ready(self, token: int, status: int, data: bytes, now: float, out: list[Effect]) -> None:
        """Take what libpmix says of a rank."""
        rank = self._asked.pop(token, None)
        if rank is None:
            self._counters["late"] += 1
            return
        del self._questions[rank]
        held = self._held.get(rank)
        if held is None:
            return
        if status != SUCCESS and status not in _NOTHING:
            self._end(rank, status, now, out)
            return
        for source, asker in list(held.askers.items()):
            # A rank that has put nothing for others has no blob, and libpmix would take none for another thing.
            if data and any(holds(data, key) for key in asker.keys):
                del held.askers[source]
                self._tell(source, rank, asker.token, SUCCESS, data, now, out)
            elif ANYTHING in asker.keys:
                del held.askers[source]
                self._tell(source, rank, asker.token, NOT_FOUND, b"", now, out)
        # Telling ourselves may have asked anew.
        if rank not in self._held:
            return
        if not held.askers:
            del self._held[rank]
        elif rank in self._over:
            self._end(rank, self._over[rank], now, out)
        elif rank not in self._questions:
            self._wake(held, now + held.pause)
            held.pause = min(2 * held.pause, _AT_MOST)

    def _tell(
        self, shell: int, rank: int, token: int, status: int, blob: Buffer, now: float, out: list[Effect]
    ) -> None:
        if shell == self._me:
            if self._ranks.get(token) == rank:
                self._answered(rank, status, blob, now, out)
            return
        if status == SUCCESS:
            self._counters["fetched for others"] += 1
        blocks: tuple[tuple[int, Buffer], ...] = ((self._me, blob),) if status == SUCCESS else ()
        frame = encode(Message(Tag.DATA, 0, token, NO_DIGEST, status, blocks))
        out.append(Send(shell, frame, lateral=len(blob) >= _LATERAL))

    def _end(self, rank: int, status: int, now: float, out: list[Effect]) -> None:
        """Nothing more will come of `rank`."""
        held = self._held.pop(rank, None)
        if held is None:
            return
        for source, asker in held.askers.items():
            self._tell(source, rank, asker.token, status, b"", now, out)

    # -- what happens ------------------------------------------------------------------------------

    def connected(self, rank: int) -> None:
        self._over.pop(rank, None)

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        """What `rank` has not committed by now will not come: ask libpmix for the last time."""
        self._over[rank] = NOT_FOUND
        held = self._held.get(rank)
        if held is None:
            return
        if rank not in self._questions:
            self._question(rank, held, out)
        self._wake(held, now + _LAST_WORD)

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._ended.add(rank)
        status = self._over.setdefault(rank, DIED)
        self._asked.pop(self._questions.pop(rank, 0), None)
        self._end(rank, status, now, out)

    def revived(self, rank: int, out: list[Effect]) -> None:
        self._over.pop(rank, None)
        self._ended.discard(rank)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        for rank, request in list(self._requests.items()):
            if request.shell == shell:
                self._answered(rank, LOST, b"", now, out)
        for rank, held in list(self._held.items()):
            held.askers.pop(shell, None)
            self._forget_unwanted(rank, held)

    def tick(self, now: float, out: list[Effect]) -> None:
        if not self._alarm.rings(now):
            return
        for rank, request in list(self._requests.items()):
            for upcall, one in list(request.waiting.items()):
                if one.deadline is not None and one.deadline <= now:
                    del request.waiting[upcall]
                    out.append(Reply(upcall, TIMEOUT))
                else:
                    self._alarm.set(one.deadline)
            if not request.waiting:
                # Its shell forgets by itself: it was told until when.
                del self._requests[rank], self._ranks[request.token]
        for rank, held in list(self._held.items()):
            for source, asker in list(held.askers.items()):
                if asker.deadline is not None and asker.deadline <= now:
                    del held.askers[source]
                else:
                    self._alarm.set(asker.deadline)
            if self._forget_unwanted(rank, held) or held.again is None or held.again > now:
                self._alarm.set(held.again)
                continue
            if rank in self._over:
                self._end(rank, self._over[rank], now, out)
            else:
                self._question(rank, held, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        for request in self._requests.values():
            out.extend(Reply(upcall, status) for upcall in request.waiting)
        for table in (self._requests, self._ranks, self._held, self._questions, self._asked):
            table.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _token(self) -> int:
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        return self._tokens

    def _wake(self, held: Held, moment: float) -> None:
        held.again = moment
        self._alarm.set(moment)

    def _forget_unwanted(self, rank: int, held: Held) -> bool:
        """Drop a rank that nobody asks for any more; libpmix's answer, if it comes, is nobody's."""
        if held.askers:
            return False
        del self._held[rank]
        return True


def _newer(known: int, token: int) -> bool:
    """Whether `known` was made after `token`: tokens count up and wrap around."""
    return known != token and (known - token) & 0xFFFFFFFF < 1 << 31
