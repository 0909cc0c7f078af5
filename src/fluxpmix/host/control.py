"""PMIx_Job_control: kill, terminate, signal, pause and resume processes. Standard 4.2, section 12.2.

`host.py` hands over each JobControl upcall. What is to be done is a signal, which each shell sends to those of
its tasks that are meant, and says so; the request is answered when all have, or when its time is up. A request
with a PMIX_JOB_CTRL_ID is known by it meanwhile, and can be cancelled: its answer is, what has been sent stays.
Files that a process wants removed when it ends (PMIX_REGISTER_CLEANUP and its kin, with which Open MPI 5
registers its shared memory) are libpmix's own affair, but only where the host serves job control at all. What
nobody here can do (provision, preempt) is refused, and the job's log says why. A process set to be defined is
`pset.py`'s, a checkpoint `checkpoint.py`'s, a restart `restart.py`'s.

    CONTROL     generation: the asker's token; block: signal, (number, ...)
    CONTROLLED  generation: the token asked with; status: whether one of those was there
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directives import timeout, unsupported
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import Effect, Level, Log, Reply, Send, Signal
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.pset import ProcessSets
from fluxpmix.host.publication import Refused
from fluxpmix.host.spread import Window
from fluxpmix.host.supported import JOB_CONTROL
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Infos, Proc, find, is_true
from fluxpmix.pmix.upcalls import JobControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.checkpoint import Checkpoints
    from fluxpmix.host.restart import Restarts

SUCCESS = int(Status.SUCCESS)
NOT_FOUND = int(Status.ERR_NOT_FOUND)
TIMED_OUT = int(Status.ERR_TIMEOUT)
CANCELED = int(Status.ERR_JOB_CANCELED)
# How long other shells have (seconds), where PMIX_TIMEOUT does not say it.
PATIENCE = 5.0
# As Linux numbers them.
SIGKILL, SIGTERM, SIGCONT, SIGSTOP = 9, 15, 18, 19
_HIGHEST = 64

_ACTIONS: dict[str, int] = {
    attributes.JOB_CTRL_KILL: SIGKILL,
    attributes.JOB_CTRL_TERMINATE: SIGTERM,
    attributes.JOB_CTRL_PAUSE: SIGSTOP,
    attributes.JOB_CTRL_RESUME: SIGCONT,
}
_OF_CHECKPOINTS = (
    *(attributes.JOB_CTRL_CHECKPOINT, attributes.JOB_CTRL_CHECKPOINT_EVENT, attributes.JOB_CTRL_CHECKPOINT_SIGNAL),
    attributes.JOB_CTRL_CHECKPOINT_METHOD,
)
_REFUSED: dict[str, str] = {
    attributes.JOB_CTRL_PROVISION: "a job's nodes are those that it was given, as they are",
    attributes.JOB_CTRL_PROVISION_IMAGE: "a job's nodes are those that it was given, as they are",
    attributes.JOB_CTRL_PREEMPTIBLE: "whether a job may be preempted is said when it is submitted",
}


class _Open:
    """A request that waits for other shells."""

    __slots__ = ("deadline", "found", "id", "requestor", "shells", "upcall")

    def __init__(self, upcall: JobControl, name: str | None, shells: set[int], deadline: float | None) -> None:
        self.upcall = upcall.id
        self.requestor = upcall.proc
        self.id = name
        self.shells = shells
        self.deadline = deadline
        self.found = False


class JobControls(Capability):
    """The job control requests of one shell, and what others want of it."""

    def __init__(
        self,
        directory: Directory,
        me: int,
        psets: ProcessSets,
        killing: Callable[[Iterable[int]], None] = lambda _numbers: None,
        *,
        checkpoints: Callable[[], Checkpoints],
        restarts: Callable[[], Restarts],
    ) -> None:
        """`killing(numbers)` is told of those of this shell that are about to be killed or terminated."""
        self._directory = directory
        self._psets = psets
        self._killing = killing
        self._checkpoints = checkpoints
        self._restarts = restarts
        self._me = me
        self._alive = set(directory.numbers_on(me))
        self._lost: set[int] = set()
        self._open: dict[int, _Open] = {}  # by token
        self._tokens = 0
        self._windows: dict[int, Window] = {}  # by shell

    @property
    def idle(self) -> bool:
        return not self._open

    @property
    def deadline(self) -> float | None:
        if not self._open:
            return None
        return min((one.deadline for one in self._open.values() if one.deadline is not None), default=None)

    # -- requests ----------------------------------------------------------------------------------

    def upcall(self, upcall: JobControl, now: float, out: list[Effect]) -> None:
        """Do what is asked for here, and have the other shells do it."""
        try:
            if any(info.key == attributes.JOB_CTRL_CANCEL for info in upcall.directives):
                self._cancel(upcall, out)
                return
            if any(info.key == attributes.JOB_CTRL_DEFINE_PSET for info in upcall.directives):
                self._define(upcall, now, out)
                return
            other = self._other(upcall)
            if other is not None:
                other.request(upcall, now, out)
                return
            signum = _signal(upcall.directives)
            name = self._name(upcall)
            targets = upcall.targets or (Proc(upcall.proc.nspace, RANK_WILDCARD),)
            shells = self._directory.shells(targets)
        except (Refused, UnknownProc) as error:
            status = error.status if isinstance(error, Refused) else NOT_FOUND
            out.append(Log(Level.WARNING, f"PMIx_Job_control by rank {upcall.proc.rank} is refused: {error}"))
            out.append(Reply(upcall.id, status))
            return
        seconds = timeout(upcall.directives, PATIENCE)
        others = set(shells) - {self._me} - self._lost
        one = _Open(upcall, name, set(others), None if seconds is None else now + seconds)
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        for shell in sorted(others):
            block = (self._me, wire.encode((signum, self._directory.ranks_on(targets, shell))))
            out.append(Send(shell, encode(Message(Tag.CONTROL, 0, self._tokens, NO_DIGEST, 0, (block,)))))
        self._open[self._tokens] = one
        if self._me in shells:
            one.found = self._signal(signum, self._directory.ranks_on(targets, self._me), out)
        self._check(self._tokens, out)

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        if message.tag is Tag.CONTROLLED:
            one = self._open.get(message.generation)
            if one is not None and source in one.shells:
                one.shells.discard(source)
                one.found = one.found or message.status == SUCCESS
                self._check(message.generation, out)
            return None
        try:
            order: Any = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"job control: {error}"
        if not self._is_order(order):
            return "job control that asks for nothing, or of processes that are not here"
        window = self._windows.get(source)
        if window is None:
            window = self._windows[source] = Window()
        if window.take(message.generation):
            signum, ranks = order
            status = SUCCESS if self._signal(signum, ranks, out) else NOT_FOUND
            out.append(Send(source, encode(Message(Tag.CONTROLLED, 0, message.generation, NO_DIGEST, status))))
        return None

    # -- what happens ------------------------------------------------------------------------------

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._alive.update(member.on(self._me))

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._alive.discard(rank)

    def revived(self, rank: int, out: list[Effect]) -> None:
        if self._directory.is_on(rank, self._me):
            self._alive.add(rank)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        for token, one in list(self._open.items()):
            one.shells.discard(shell)
            self._check(token, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for token, one in list(self._open.items()):
            if one.deadline is not None and one.deadline <= now:
                del self._open[token]
                out.append(Log(Level.ERROR, f"job control: no answer from shell(s) {sorted(one.shells)}"))
                out.append(Reply(one.upcall, TIMED_OUT))

    def abandon(self, status: int, out: list[Effect]) -> None:
        out.extend(Reply(one.upcall, status) for one in self._open.values())
        self._open.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _define(self, upcall: JobControl, now: float, out: list[Effect]) -> None:
        """Have a process set defined, and nothing else."""
        unknown = unsupported(upcall.directives, JOB_CONTROL)
        if unknown:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{unknown} is required, but not supported")
        if any(info.key in _ACTIONS or info.key == attributes.JOB_CTRL_SIGNAL for info in upcall.directives):
            raise Refused(Status.ERR_BAD_PARAM, "it asks for several things at once")
        self._psets.define(upcall, now, out)

    def _other(self, upcall: JobControl) -> Checkpoints | Restarts | None:
        """Return whose request it is, where not a signal is asked for."""
        keys = {info.key for info in upcall.directives}
        wanted = [attributes.JOB_CTRL_RESTART in keys, any(key in keys for key in _OF_CHECKPOINTS)]
        if not any(wanted):
            return None
        if all(wanted) or keys.intersection(_ACTIONS) or attributes.JOB_CTRL_SIGNAL in keys:
            raise Refused(Status.ERR_BAD_PARAM, "it asks for several things at once")
        return self._restarts() if wanted[0] else self._checkpoints()

    def _name(self, upcall: JobControl) -> str | None:
        name = find(upcall.directives, attributes.JOB_CTRL_ID)
        if name is not None and not isinstance(name, str):
            raise Refused(Status.ERR_BAD_PARAM, "PMIX_JOB_CTRL_ID is no text")
        if name is not None and any(one.id == name for one in self._open.values()):
            raise Refused(Status.ERR_EXISTS, f"a request with the id {name!r} is under way")
        return name

    def _cancel(self, upcall: JobControl, out: list[Effect]) -> None:
        """Answer this requestor's requests with that id, or all of them, before they are done."""
        name = find(upcall.directives, attributes.JOB_CTRL_CANCEL)
        meant = [
            token
            for token, one in self._open.items()
            if one.requestor == upcall.proc and (name in (None, "") or one.id == name)
        ]
        if not meant:
            raise Refused(Status.ERR_NOT_FOUND, f"no request {name or ''} is under way: a signal once sent stays sent")
        out.extend(Reply(self._open.pop(token).upcall, CANCELED) for token in meant)
        out.append(Reply(upcall.id, SUCCESS))

    def _signal(self, signum: int, ranks: Sequence[int], out: list[Effect]) -> bool:
        """Send a signal to tasks of this shell. Returns whether one was there."""
        alive = self._alive.intersection(ranks)
        if signum in (SIGKILL, SIGTERM):
            self._killing(alive)
        if alive:
            out.append(Signal(signum, tuple(sorted(alive))))
        return bool(alive)

    def _check(self, token: int, out: list[Effect]) -> None:
        """Answer a request that no shell is awaited for."""
        one = self._open[token]
        if one.shells:
            return
        del self._open[token]
        infos = (Info(attributes.JOB_CTRL_ID, one.id),) if one.id is not None else None
        out.append(Reply(one.upcall, SUCCESS, infos) if one.found else Reply(one.upcall, NOT_FOUND))

    def _is_order(self, order: Any) -> bool:
        if type(order) is not tuple or len(order) != 2 or not _is_signal(order[0]):
            return False
        ranks = order[1]
        return type(ranks) is tuple and all(type(n) is int and self._directory.is_on(n, self._me) for n in ranks)


def _signal(directives: Infos) -> int:
    """Return the signal that a request comes down to."""
    found = [signum for key, signum in _ACTIONS.items() if is_true(directives, key)]
    for info in directives:
        if info.key == attributes.JOB_CTRL_SIGNAL:
            if not _is_signal(info.value):
                raise Refused(Status.ERR_BAD_PARAM, f"there is no signal {info.value!r}")
            found.append(info.value)
        elif info.key in _REFUSED and (not isinstance(info.value, bool) or info.value or info.required):
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{info.key}: {_REFUSED[info.key]}")
        elif info.required and info.key not in JOB_CONTROL:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{info.key} is required, but not supported")
    if len(found) > 1:
        raise Refused(Status.ERR_BAD_PARAM, "it asks for several things at once")
    if not found:
        raise Refused(Status.ERR_NOT_SUPPORTED, "it asks for nothing that is known here")
    return found[0]


def _is_signal(value: Any) -> bool:
    return type(value) is int and 0 < value <= _HIGHEST
