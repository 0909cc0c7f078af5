"""PMIx_IOF_pull and PMIx_IOF_push: tasks' output to whoever asks for it, input to tasks. Standard 4.2, section 18.5.

Where a peer of this shell (a tool, or a task) pulls the output of tasks on other shells, those are told, and send
it here from then on; libpmix gives it to those of its peers that asked. What has no listener is never looked at:
`wants_output` says whether there is one. Who pulls libpmix does not say, nor whose pull ends; so the pulls of tools
end when the last tool leaves, and others when as many have been stopped as there were.

Input for tasks of other shells goes there, and the request is answered when all have said whether they take it.

    WANT    this shell's wish, which replaces its last: ((number, ...), channels)
    OUTPUT  operation: the channel; generation: the number; block: what it printed, nothing at the stream's end
    INPUT   generation: the asker's token; block: ((number, ...), bytes; none: the end)
    TAKEN   generation: the token; status
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directives import timeout
from fluxpmix.host.directory import Directory, UnknownProc
from fluxpmix.host.effects import Buffer, Deliver, Effect, Feed, Level, Listen, Log, Reply, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.job.model import Job
from fluxpmix.pmix import attributes
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, IofChannel, Proc, find, is_true
from fluxpmix.pmix.upcalls import IofPull, PushStdin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUCCESS = int(Status.SUCCESS)
OUTPUTS = int(IofChannel.STDOUT | IofChannel.STDERR | IofChannel.STDDIAG)
PATIENCE = 5.0  # seconds for other shells to take input, where PMIX_TIMEOUT does not say it


class _Pull(Record):
    """What one pull wants."""

    procs: tuple[Proc, ...]
    channels: int
    by_tool: bool


class _Push:
    """Input that other shells are to take."""

    __slots__ = ("deadline", "shells", "status", "taken", "upcall")

    def __init__(self, upcall: int, shells: set[int], deadline: float | None) -> None:
        self.upcall = upcall
        self.shells = shells
        self.deadline = deadline
        self.taken = False  # by a task of any shell
        self.status = SUCCESS  # the first that was another

    @property
    def answer(self) -> int:
        """The status of all: success where one has taken it."""
        return SUCCESS if self.taken else self.status


class Forwarding(Capability):
    """Input and output of one shell's tasks, and of others' for this shell's peers."""

    def __init__(
        self, directory: Directory, job: Job, me: int, *, sees_all: bool = False, tools: Callable[[], int] = lambda: 0
    ) -> None:
        """`sees_all`: this shell's carrier hears what the tasks of all shells print. `tools` counts those that are
        connected here.
        """
        self._tools = tools
        self._sees_all = sees_all
        self._directory = directory
        self._job = job
        self._me = me
        self._pulls: list[_Pull] = []
        self._stopped = 0
        self._wishes: dict[int, tuple[frozenset[int], int]] = {}  # by shell: of this shell's tasks' output
        self._wished: dict[int, tuple[tuple[int, ...], int]] = {}  # by shell: what was asked of it
        self._pushes: dict[int, _Push] = {}  # by token
        self._tokens = 0
        self._lost: set[int] = set()
        self._open: dict[int, int] = {}  # by number: channels that are not at their end, where one is
        self._ended: set[tuple[int, int]] = set()  # number and channel: what this shell's listeners know the end of

    @property
    def idle(self) -> bool:
        return not self._pushes

    @property
    def deadline(self) -> float | None:
        return min((one.deadline for one in self._pushes.values() if one.deadline is not None), default=None)

    @property
    def wants_output(self) -> bool:
        """Whether anybody listens to a task of this shell."""
        return bool(self._wishes)

    @property
    def awaits_output(self) -> bool:
        """Whether streams of other shells that are listened to here have not ended."""
        return any(
            channels & channel and (number, channel) not in self._ended
            for shell, (numbers, channels) in self._wished.items()
            if shell not in (self._me, *self._lost)
            for number in numbers
            for channel in (IofChannel.STDOUT, IofChannel.STDERR)
        )

    # -- requests ----------------------------------------------------------------------------------

    def upcall(self, upcall: IofPull | PushStdin, now: float, out: list[Effect]) -> None:
        """Begin or end to forward output, or give input to tasks."""
        if isinstance(upcall, PushStdin):
            self._push(upcall, now, out)
        elif is_true(upcall.directives, attributes.IOF_STOP):
            self._stopped += 1
            if self._stopped >= len(self._pulls):
                self._pulls.clear()
            self._wish(out)
        else:
            self._pull(upcall, out)

    def tool_left(self, left: int, out: list[Effect]) -> None:
        """A tool is gone; `left` are still there."""
        if not left and any(pull.by_tool for pull in self._pulls):
            self._pulls = [pull for pull in self._pulls if not pull.by_tool]
            self._stopped = 0
            self._wish(out)

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.OUTPUT:
            return self._take_output(source, message, out)
        if message.tag is Tag.TAKEN:
            one = self._pushes.get(message.generation)
            if one is not None and source in one.shells:
                self._taken(message.generation, source, message.status, out)
            return None
        try:
            body: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"forwarded input or output: {error}"
        if type(body) is not tuple or len(body) != 2 or not self._are_mine(body[0]):
            return "forwarding for processes that are not here"
        numbers, what = body
        if message.tag is Tag.WANT:
            if type(what) is not int or what & ~OUTPUTS:
                return f"output of channel {what!r} is wanted"
            self._set_wish(source, numbers, what, out)
        elif type(what) is not bytes:
            return "input that is not bytes"
        else:
            out.append(Feed(numbers, what, (source, message.generation)))
        return None

    # -- what happens ------------------------------------------------------------------------------

    def output(self, number: int, channel: int, data: Buffer, out: list[Effect]) -> None:
        """A task of this shell printed `data`."""
        for shell, (numbers, channels) in self._wishes.items():
            if channels & channel and number in numbers and shell not in self._lost:
                self._send_to(shell, number, channel, data, out)

    def silent(self, rank: int, channel: int, out: list[Effect]) -> None:
        both = int(IofChannel.STDOUT | IofChannel.STDERR)
        self._open[rank] = self._open.get(rank, both) & ~channel
        self.output(rank, channel, b"", out)

    def fed(self, token: tuple[int, int], status: int, now: float, out: list[Effect]) -> None:
        """The tasks that a `Feed` named have taken their input, or have not."""
        asker, number = token
        if asker == self._me:
            if number in self._pushes:
                self._taken(number, self._me, status, out)
        else:
            out.append(Send(asker, encode(Message(Tag.TAKEN, 0, number, NO_DIGEST, status))))

    def revived(self, rank: int, out: list[Effect]) -> None:
        self._open.pop(rank, None)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        if self._wishes.pop(shell, None) is not None:
            out.append(Listen(self.wants_output))
        self._wished.pop(shell, None)
        for token, one in list(self._pushes.items()):
            if shell in one.shells:
                self._taken(token, shell, int(Status.ERR_LOST_CONNECTION), out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for token, one in list(self._pushes.items()):
            if one.deadline is not None and one.deadline <= now:
                del self._pushes[token]
                out.append(Reply(one.upcall, int(Status.ERR_TIMEOUT)))

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(one.upcall, status) for one in self._pushes.values())
        self._pushes.clear()

    # -- output ------------------------------------------------------------------------------------

    def _pull(self, upcall: IofPull, out: list[Effect]) -> None:
        procs = upcall.procs or (Proc(self._job.nspace, RANK_WILDCARD),)
        try:
            self._directory.shells(procs)
        except UnknownProc as error:
            out.append(Log(Level.WARNING, f"no output is forwarded: {error}"))
            return
        channels = int(upcall.channels) & OUTPUTS
        if not channels:
            return  # standard input: there is nothing to be had from it
        out.append(Log(Level.DEBUG, f"the output of {', '.join(map(str, procs[:4]))} is pulled"))
        self._pulls.append(_Pull(procs, channels, self._tools() > 0))
        size = find(upcall.directives, attributes.IOF_CACHE_SIZE)
        oldest = is_true(upcall.directives, attributes.IOF_DROP_OLDEST)
        out.append(Listen(self.wants_output, size if isinstance(size, int) and size > 0 else None, oldest))
        self._wish(out)

    def _wish(self, out: list[Effect]) -> None:
        """Have each shell know what is wanted of it: the union of the pulls here."""
        wanted: dict[int, tuple[tuple[int, ...], int]] = {}
        for pull in self._pulls:
            shells = self._directory.shells(pull.procs)
            numbers = {shell: self._directory.ranks_on(pull.procs, shell) for shell in shells}
            if self._sees_all:
                numbers = {self._me: tuple(number for each in numbers.values() for number in each)}
            for shell, these in numbers.items():
                before = wanted.get(shell, ((), 0))
                wanted[shell] = (tuple(sorted({*before[0], *these})), before[1] | pull.channels)
        if not self._pulls:
            self._stopped = 0
            out.append(Listen(self.wants_output, nobody=True))
        for shell in sorted({*wanted, *self._wished}):
            wish = wanted.get(shell, ((), 0))
            if shell == self._me:
                self._set_wish(shell, *wish, out)
            elif wish != self._wished.get(shell) and shell not in self._lost:
                block = (self._me, wire.encode(wish))
                out.append(Send(shell, encode(Message(Tag.WANT, 0, 0, NO_DIGEST, 0, (block,)))))
        self._wished = wanted

    def _set_wish(self, shell: int, numbers: Sequence[int], channels: int, out: list[Effect]) -> None:
        before = self.wants_output
        if channels:
            self._wishes[shell] = (frozenset(numbers), channels)
        else:
            self._wishes.pop(shell, None)
        if self.wants_output != before:
            out.append(Listen(self.wants_output))
        # Streams that have ended already have nothing to say, and say so.
        for number in sorted(self._open.keys() & set(numbers)):
            for channel in (IofChannel.STDOUT, IofChannel.STDERR):
                if channels & channel and not self._open[number] & channel:
                    self._send_to(shell, number, int(channel), b"", out)

    def _send_to(self, shell: int, number: int, channel: int, data: Buffer, out: list[Effect]) -> None:
        if shell == self._me:
            out.append(Deliver(self._directory.proc(number), channel, data))
        else:
            blocks = ((self._me, data),) if len(data) else ()
            out.append(Send(shell, encode(Message(Tag.OUTPUT, channel, number, NO_DIGEST, 0, blocks))))

    def _take_output(self, source: int, message: Message, out: list[Effect]) -> str | None:
        number, channel = message.generation, message.operation
        if not self._directory.is_on(number, source):
            return "output of a process that is not the sender's"
        if channel not in (IofChannel.STDOUT, IofChannel.STDERR, IofChannel.STDDIAG) or len(message.blocks) > 1:
            return f"output of channel {channel} in {len(message.blocks)} blocks"
        if source in self._wished:  # or it was on its way when the last listener left
            data = message.blocks[0][1] if message.blocks else b""
            out.append(Deliver(self._directory.proc(number), channel, data))
            if not data:
                self._ended.add((number, channel))
        return None

    # -- input -------------------------------------------------------------------------------------

    def _push(self, upcall: PushStdin, now: float, out: list[Effect]) -> None:
        targets = upcall.targets or (Proc(self._job.nspace, RANK_WILDCARD),)
        try:
            shells = set(self._directory.shells(targets))
        except UnknownProc as error:
            out.append(Log(Level.WARNING, f"input of {upcall.source} is refused: {error}"))
            out.append(Reply(upcall.id, int(Status.ERR_NOT_FOUND)))
            return
        seconds = timeout(upcall.directives, PATIENCE)
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        token = self._tokens
        one = self._pushes[token] = _Push(upcall.id, set(shells), None if seconds is None else now + seconds)
        for shell in sorted(shells):
            numbers = self._directory.ranks_on(targets, shell)
            if shell == self._me:
                out.append(Feed(numbers, upcall.data, (self._me, token)))
            elif shell in self._lost:
                one.shells.discard(shell)
                one.status = int(Status.ERR_LOST_CONNECTION)
            else:
                block = (self._me, wire.encode((numbers, upcall.data)))
                out.append(Send(shell, encode(Message(Tag.INPUT, 0, token, NO_DIGEST, 0, (block,)))))
        if not one.shells:
            del self._pushes[token]
            out.append(Reply(upcall.id, one.status))

    def _taken(self, token: int, shell: int, status: int, out: list[Effect]) -> None:
        one = self._pushes[token]
        one.shells.discard(shell)
        one.taken = one.taken or status == SUCCESS
        one.status = one.status or status
        if not one.shells:
            del self._pushes[token]
            out.append(Reply(one.upcall, one.answer))

    def _are_mine(self, numbers: Any) -> bool:
        return type(numbers) is tuple and all(
            type(number) is int and self._directory.is_on(number, self._me) for number in numbers
        )
