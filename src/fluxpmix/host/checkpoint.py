"""Checkpoints: processes are told to write down where they are, and the host remembers under which id they did.

What a checkpoint consists of is the processes' own affair. `control.py` hands over each request of a checkpoint: the
shells of the targets tell them, by an event (PMIX_JCTRL_CHECKPOINT) or by a signal, and wait until each has raised
PMIX_JCTRL_CHECKPOINT_COMPLETE. Only when all targets have is the id one that they can be restarted from (`restart.py`).
The event may be for whomever: libpmix tells the host's handler of those, too, that it does not hand up. Standard 4.2,
section 12.2.4.

PMIX_JOB_CTRL_CHECKPOINT_SIGNAL and PMIX_JOB_CTRL_CHECKPOINT_TIMEOUT are one and the same key in the Standard: it is the
signal, and when it comes twice the second is the time; where the event is asked for it is the time.

    CHECKPOINT    a step of `courses.py`: take it, keep it, or forget it
    CHECKPOINTED  it is done
"""

from __future__ import annotations

from fluxpmix.host.courses import Course, Courses, Ticket
from fluxpmix.host.directives import timeout, unsupported
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import Effect, Hear, Level, Log, Reply, Signal
from fluxpmix.host.event import told
from fluxpmix.host.frames import Tag
from fluxpmix.host.publication import Refused
from fluxpmix.host.supported import CHECKPOINT
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, DataArray, Info, Infos, Proc, find, is_true
from fluxpmix.pmix.upcalls import JobControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAKE, KEEP, FORGET = 0, 1, 2
# How long processes have (seconds), where the request does not say it.
PATIENCE = 60.0
BY_EVENT = 0  # in the place of a signal's number
_HIGHEST = 64
_FAILED = int(Status.ERR_PROC_CHECKPOINT)


class _Taking:
    """A checkpoint that processes of this shell are about to take."""

    __slots__ = ("id", "numbers", "waiting")

    def __init__(self, name: str, numbers: set[int]) -> None:
        self.id = name
        self.numbers = frozenset(numbers)
        self.waiting = numbers


class Checkpoints(Courses):
    """The checkpoints of one shell's processes."""

    _ask, _told = Tag.CHECKPOINT, Tag.CHECKPOINTED
    _of_step = (TAKE, KEEP, FORGET)

    def __init__(self, directory: Directory, me: int) -> None:
        super().__init__(directory, me)
        self._server = Proc(f"{directory.first.job.nspace}.shell", me)
        self._alive = set(directory.numbers_on(me))
        self._taking: dict[Ticket, _Taking] = {}
        self._kept: dict[str, set[int]] = {}  # by id: who of this shell can be restarted from it
        self._hears = False

    def has(self, name: str, number: int) -> bool:
        """Whether process `number` of this shell has taken the checkpoint of that name."""
        return number in self._kept.get(name, ())

    # -- requests ----------------------------------------------------------------------------------

    def request(self, upcall: JobControl, now: float, out: list[Effect]) -> None:
        """Have the targets take a checkpoint."""
        try:
            course = self._course(upcall, now)
        except (Refused, UnknownProc) as error:
            status = error.status if isinstance(error, Refused) else int(Status.ERR_NOT_FOUND)
            out.append(Log(Level.WARNING, f"a checkpoint for rank {upcall.proc.rank} is refused: {error}"))
            out.append(Reply(upcall.id, status))
            return
        self._lead(course, now, out)

    def _course(self, upcall: JobControl, now: float) -> Course:
        name = find(upcall.directives, attributes.JOB_CTRL_CHECKPOINT)
        if not isinstance(name, str) or not name:
            raise Refused(Status.ERR_BAD_PARAM, "PMIX_JOB_CTRL_CHECKPOINT must name the checkpoint")
        unknown = unsupported(upcall.directives, CHECKPOINT)
        if unknown:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{unknown} is required, but not supported")
        signum, seconds = _how(upcall.directives)
        targets = upcall.targets or (Proc(upcall.proc.nspace, RANK_WILDCARD),)
        bodies = {
            shell: (name, signum, self._directory.ranks_on(targets, shell))
            for shell in self._directory.shells(targets)
            if shell not in self._lost
        }
        request = find(upcall.directives, attributes.JOB_CTRL_ID)
        infos = (Info(attributes.JOB_CTRL_ID, request),) if isinstance(request, str) else None
        deadline = None if seconds is None else now + seconds
        return Course(upcall.id, f"the checkpoint {name!r}", (bodies, bodies), FORGET, infos, deadline)

    # -- steps -------------------------------------------------------------------------------------

    def _is_good(self, step: int, body: Any) -> bool:
        if type(body) is not tuple or len(body) != 3:
            return False
        name, signum, ranks = body
        return (
            type(name) is str
            and type(signum) is int
            and 0 <= signum <= _HIGHEST
            and type(ranks) is tuple
            and all(type(number) is int and self._directory.is_on(number, self._me) for number in ranks)
        )

    def _do(self, step: int, ticket: Ticket, body: Any, now: float, out: list[Effect]) -> None:
        name, signum, ranks = body
        if step == TAKE:
            self._take(ticket, name, signum, set(ranks), now, out)
            return
        taking = self._taking.pop(ticket, None)
        if step == KEEP and taking is not None:
            self._kept[name] = self._kept.get(name, set()) | taking.numbers
        self._answer(step, ticket, now, out)

    def _take(self, ticket: Ticket, name: str, signum: int, numbers: set[int], now: float, out: list[Effect]) -> None:
        if not numbers <= self._alive:
            ended = ", ".join(str(self._directory.proc(number).rank) for number in sorted(numbers - self._alive))
            self._answer(TAKE, ticket, now, out, int(Status.ERR_NOT_FOUND), f"of those that are meant {ended} ended")
            return
        self._kept.get(name, set()).difference_update(numbers)  # it is taken anew
        self._taking[ticket] = _Taking(name, set(numbers))
        if not self._hears:
            self._hears = True
            out.append(Hear(int(Status.JCTRL_CHECKPOINT_COMPLETE)))
        if signum != BY_EVENT:
            out.append(Signal(signum, tuple(sorted(numbers))))
            return
        infos = (
            Info(attributes.JOB_CTRL_CHECKPOINT, name),
            Info(attributes.EVENT_NON_DEFAULT, True),
            Info(attributes.EVENT_DO_NOT_CACHE, True),  # who comes later is another incarnation
        )
        whom = [self._directory.proc(number) for number in sorted(numbers)]
        out.append(told(whom, int(Status.JCTRL_CHECKPOINT), self._server, infos))

    def completed(self, source: Proc, infos: Infos, now: float, out: list[Effect]) -> None:
        """A process of this shell says that it has taken a checkpoint: that which it names, else the oldest."""
        name = find(infos, attributes.JOB_CTRL_CHECKPOINT)
        try:
            number = self._directory.number(source)
        except UnknownProc:
            return
        for ticket, taking in list(self._taking.items()):
            if number in taking.waiting and name in (None, taking.id):
                taking.waiting.discard(number)
                if not taking.waiting:
                    self._answer(TAKE, ticket, now, out)
                return

    # -- what happens ------------------------------------------------------------------------------

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        self._alive.update(member.on(self._me))

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._alive.discard(rank)
        for ticket, taking in list(self._taking.items()):
            if rank in taking.waiting:
                del self._taking[ticket]
                why = f"rank {self._directory.proc(rank).rank} ended before it had taken the checkpoint {taking.id!r}"
                self._answer(TAKE, ticket, now, out, _FAILED, why)

    def revived(self, rank: int, out: list[Effect]) -> None:
        if self._directory.is_on(rank, self._me):
            self._alive.add(rank)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        super().shell_lost(shell, now, out)
        for ticket in [ticket for ticket in self._taking if ticket[0] == shell]:
            del self._taking[ticket]


def _how(directives: Infos) -> tuple[int, float | None]:
    """Return the signal by which processes are told (or BY_EVENT), and the seconds that they have."""
    numbers = [info.value for info in directives if info.key == attributes.JOB_CTRL_CHECKPOINT_SIGNAL]
    if not all(type(number) is int for number in numbers):
        raise Refused(Status.ERR_BAD_PARAM, "PMIX_JOB_CTRL_CHECKPOINT_SIGNAL is no number")
    signum = BY_EVENT
    methods = find(directives, attributes.JOB_CTRL_CHECKPOINT_METHOD)
    if is_true(directives, attributes.JOB_CTRL_CHECKPOINT_EVENT):
        pass
    elif isinstance(methods, DataArray):
        signum = _chosen(methods)
    elif numbers:
        signum = numbers.pop(0)
        if not 0 < signum <= _HIGHEST:
            raise Refused(Status.ERR_BAD_PARAM, f"there is no signal {signum}")
    if numbers and numbers[-1] < 0:
        raise Refused(Status.ERR_BAD_PARAM, f"PMIX_JOB_CTRL_CHECKPOINT_TIMEOUT of {numbers[-1]} s")
    given = timeout(directives, PATIENCE)
    return signum, (float(numbers[-1]) or None) if numbers else given


def _chosen(methods: DataArray) -> int:
    """Return the first of the methods that the caller allows and that there is here."""
    for info in methods.items:
        if not isinstance(info, Info):
            continue
        if info.key == attributes.JOB_CTRL_CHECKPOINT_EVENT and info.value is not False:
            return BY_EVENT
        if info.key == attributes.JOB_CTRL_CHECKPOINT_SIGNAL and type(info.value) is int and 0 < info.value <= _HIGHEST:
            return info.value
    raise Refused(Status.ERR_NOT_SUPPORTED, "PMIX_JOB_CTRL_CHECKPOINT_METHOD allows neither the event nor a signal")
