"""Restarts: processes are ended, if they live, and start again as who they were. Standard 4.2, section 12.2.4.

`control.py` hands over each request with PMIX_JOB_CTRL_RESTART, which names the checkpoint (`checkpoint.py`) that the
processes are to go on from; without a name they begin from the beginning. A process that has failed can be restarted,
too, as long as its job goes on without it; one that has ended as it should is done. In this order (`courses.py`):

    CHECK   the targets' shells: can each of them be restarted? If so nobody else may, until this is over
    END     they kill those that live, and hear that they are gone: that is no failure, and its exit code nobody's
    FORGET  all shells forget the death, and count the incarnation (PMIX_REINCARNATION); those that live hear of the
            end by PMIX_EVENT_PROC_TERMINATED, if they have not heard of a failure before
    BEGIN   the targets' shells start them
    OVER    where one of these steps went wrong: somebody else may try again

A new incarnation takes no part in what its predecessor was in: collectives that wait for that one end with
PMIX_ERR_PROC_TERM_WO_SYNC, as they do where a process dies (libpmix ends those that others of its node are in, and
has no way to keep them), direct modexes too; groups have lost a member. What is begun after the request has been
answered waits for the new one. Where the answer's time is up a restart that is under way goes on.

    RESTART    a step: the checkpoint; which processes; of these (FORGET) those that have died by themselves
    RESTARTED  it is done (END: who had died by itself), or why not
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host.courses import TIMED_OUT, Course, Courses, Ticket
from fluxpmix.host.directives import timeout, unsupported
from fluxpmix.host.directory import Directory, Member, UnknownProc
from fluxpmix.host.effects import Effect, Level, Log, Recount, Reply, Restart, Retire
from fluxpmix.host.frames import Tag
from fluxpmix.host.publication import Refused
from fluxpmix.host.supported import RESTART
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Proc, find
from fluxpmix.pmix.upcalls import JobControl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.failure import Failures

CHECK, END, FORGET, BEGIN, OVER = range(5)
# How long it may take (seconds), where PMIX_TIMEOUT does not say it.
PATIENCE = 30.0
_LOOK = 0.01  # seconds between looks whether a death has been heard of that is to be forgotten
_HEARSAY = 2.0  # seconds that its news may take
_NEVER_RAN = 127 << 8  # the wait status of a process that could not be started


class _Part:
    """This shell's part of a restart."""

    __slots__ = ("awaited", "id", "numbers")

    def __init__(self, name: str, numbers: frozenset[int]) -> None:
        self.id = name
        self.numbers = numbers
        self.awaited: set[int] = set()  # who is to end, then who is to start


class Restarts(Courses):
    """The restarts of one shell's processes, and those that its processes ask for."""

    _ask, _told = Tag.RESTART, Tag.RESTARTED
    _of_step = (CHECK, END, FORGET, BEGIN, OVER)

    def __init__(
        self,
        directory: Directory,
        me: int,
        failures: Failures,
        has_checkpoint: Callable[[str, int], bool],
        revive: Callable[[int, list[Effect]], None],
        never_started: Callable[[int, int, float, list[Effect]], None],
        home: str = "",
        obstacle: str = "",
    ) -> None:
        """`has_checkpoint(id, number)` says whether a process has taken that one; `revive(number, out)` has this shell
        forget its death; `never_started(number, wait_status, now, out)` has it take the end of one that did not start.
        `obstacle` is why the tasks of the job `home` (a namespace) cannot be restarted, empty where they can.
        """
        super().__init__(directory, me)
        self._failures = failures
        self._has_checkpoint = has_checkpoint
        self._revive = revive
        self._never_started = never_started
        self._home = home
        self._obstacle = obstacle
        self._there: set[int] = set()  # processes of this shell that were started
        self._gone: dict[int, bool] = {}  # those that have ended: whether as they should
        self._clients: set[int] = set()  # connected and not finalized
        self._parts: dict[Ticket, _Part] = {}
        self._taken: dict[int, Ticket] = {}  # by number, who is being restarted
        self._counts: dict[int, int] = {}  # how often each was
        self._forgetting: list[tuple[Ticket, tuple[int, ...], tuple[int, ...], float]] = []
        self._look_at: float | None = None

    @property
    def deadline(self) -> float | None:
        first = super().deadline
        return first if self._look_at is None else self._look_at if first is None else min(first, self._look_at)

    def replaces(self, number: int) -> bool:
        """Whether the end of a process of this shell is that of an old incarnation, and no failure."""
        ticket = self._taken.get(number)
        return ticket is not None and number in self._parts[ticket].awaited and number in self._there

    # -- requests ----------------------------------------------------------------------------------

    def request(self, upcall: JobControl, now: float, out: list[Effect]) -> None:
        """Restart the targets."""
        try:
            course = self._course(upcall, now)
        except (Refused, UnknownProc) as error:
            status = error.status if isinstance(error, Refused) else int(Status.ERR_NOT_FOUND)
            out.append(Log(Level.WARNING, f"a restart for rank {upcall.proc.rank} is refused: {error}"))
            out.append(Reply(upcall.id, status))
            return
        self._lead(course, now, out)

    def _course(self, upcall: JobControl, now: float) -> Course:
        name = find(upcall.directives, attributes.JOB_CTRL_RESTART)
        if name is not None and not isinstance(name, str):
            raise Refused(Status.ERR_BAD_PARAM, "PMIX_JOB_CTRL_RESTART is no text")
        unknown = unsupported(upcall.directives, RESTART)
        if unknown:
            raise Refused(Status.ERR_NOT_SUPPORTED, f"{unknown} is required, but not supported")
        targets = upcall.targets or (Proc(upcall.proc.nspace, RANK_WILDCARD),)
        ranks = {shell: self._directory.ranks_on(targets, shell) for shell in self._directory.shells(targets)}
        lost = sorted(self._lost & set(ranks))
        if lost:
            raise Refused(Status.ERR_LOST_CONNECTION, f"shell(s) {lost} of the processes are lost")
        there = {shell: (name or "", numbers, ()) for shell, numbers in ranks.items()}
        everybody = tuple(sorted(number for numbers in ranks.values() for number in numbers))
        everywhere = dict.fromkeys(range(self._directory.shell_count), ("", everybody, ()))
        request = find(upcall.directives, attributes.JOB_CTRL_ID)
        infos = (Info(attributes.JOB_CTRL_ID, request),) if isinstance(request, str) else None
        seconds = timeout(upcall.directives, PATIENCE)
        deadline = None if seconds is None else now + seconds
        steps = [there, there, everywhere, there, there]
        return Course(upcall.id, "a restart", steps, OVER, infos, deadline)

    def _bodies(self, course: Course) -> dict[int, Any]:
        bodies = super()._bodies(course)
        if course.step != FORGET:
            return bodies
        died = tuple(sorted(number for said in course.said.values() for number in said or ()))
        return {shell: (name, numbers, died) for shell, (name, numbers, _) in bodies.items()}

    def _late(self, token: int, course: Course, now: float, out: list[Effect]) -> None:
        """Answer; but who has been ended is to be started all the same."""
        if course.step == CHECK:
            super()._late(token, course, now, out)
            return
        course.deadline = None
        if course.upcall is not None:
            out.append(Reply(course.upcall, TIMED_OUT))
            course.upcall = None

    # -- steps -------------------------------------------------------------------------------------

    def _is_good(self, step: int, body: Any) -> bool:
        if type(body) is not tuple or list(map(type, body)) != [str, tuple, tuple]:
            return False
        _, numbers, died = body
        if not all(type(number) is int and 0 <= number < self._directory.size for number in (*numbers, *died)):
            return False
        return step == FORGET or all(self._directory.is_on(number, self._me) for number in numbers)

    def _do(self, step: int, ticket: Ticket, body: Any, now: float, out: list[Effect]) -> None:
        name, numbers, died = body
        if step == CHECK:
            self._check(ticket, name, numbers, now, out)
        elif step == FORGET:
            self._forgetting.append((ticket, numbers, died, now + _HEARSAY))
            self._forget(now, out)
        elif step == OVER:
            self._leave(ticket, now, out)
            self._answer(step, ticket, now, out)
        elif (part := self._parts.get(ticket)) is None:
            self._answer(step, ticket, now, out, int(Status.ERR_BAD_PARAM), "a restart that nobody has asked for")
        elif step == END:
            part.awaited = set(part.numbers - self._gone.keys())
            if part.awaited:
                out.append(Retire(tuple(sorted(part.awaited))))
            else:
                self._ended(part, ticket, now, out)
        else:
            self._begin(part, out)

    def _check(self, ticket: Ticket, name: str, numbers: tuple[int, ...], now: float, out: list[Effect]) -> None:
        for number in numbers:
            status, why = self._complaint(name, number)
            if why:
                why = f"{self._name(number)} cannot be restarted: {why}"
                self._answer(CHECK, ticket, now, out, int(status), why)
                return
        self._parts[ticket] = _Part(name, frozenset(numbers))
        self._taken.update(dict.fromkeys(numbers, ticket))
        self._answer(CHECK, ticket, now, out)

    def _complaint(self, name: str, number: int) -> tuple[Status, str]:
        """Say why a process of this shell cannot be restarted; the text is empty where it can."""
        if self._obstacle and self._directory.member_of(number).job.nspace == self._home:
            return Status.ERR_NOT_SUPPORTED, self._obstacle
        if number in self._taken:
            return Status.ERR_RESOURCE_BUSY, "it is being restarted"
        if number not in self._there:
            return Status.ERR_NOT_AVAILABLE, "it has not been started yet"
        if self._gone.get(number):
            return Status.ERR_NOT_FOUND, "it has ended as it should"
        if name and not self._has_checkpoint(name, number):
            return Status.ERR_NOT_FOUND, f"it has no checkpoint {name!r}"
        return Status.SUCCESS, ""

    def _ended(self, part: _Part, ticket: Ticket, now: float, out: list[Effect]) -> None:
        """Say that nobody runs any more who is to be restarted, and who has died by itself."""
        died = tuple(sorted(part.numbers.intersection(self._gone)))
        self._answer(END, ticket, now, out, said=died)

    def _forget(self, now: float, out: list[Effect]) -> None:
        """Have this shell forget ends, once it has heard of them: or their news would come after that."""
        later, self._look_at = [], None
        for one in self._forgetting:
            ticket, numbers, died, until = one
            if now < until and not set(died).issubset(self._failures.ended):
                later.append(one)
                self._look_at = now + _LOOK
                continue
            for number in numbers:
                self._gone.pop(number, None)
                self._clients.discard(number)
                self._revive(number, out)
                self._counts[number] = self._counts.get(number, 0) + 1
                out.append(Recount(self._directory.proc(number), self._counts[number]))
            self._answer(FORGET, ticket, now, out)
        self._forgetting = later

    def _begin(self, part: _Part, out: list[Effect]) -> None:
        part.awaited = set(part.numbers)
        for number in sorted(part.numbers):
            out.append(Restart(number, self._directory.proc(number), self._counts[number], part.id))

    def restarted(self, number: int, status: int, why: str, now: float, out: list[Effect]) -> None:
        """A process that was to start runs, or does not (`status`, `why`)."""
        ticket = self._taken.get(number)
        if ticket is None:
            return
        part = self._parts[ticket]
        part.awaited.discard(number)
        if status:
            self._leave(ticket, now, out)
            self._never_started(number, _NEVER_RAN, now, out)
            self._answer(BEGIN, ticket, now, out, status, f"{self._name(number)} could not be started again: {why}")
        elif not part.awaited:
            self._answer(BEGIN, ticket, now, out)

    def _leave(self, ticket: Ticket, now: float, out: list[Effect]) -> None:
        """This restart is over here."""
        part = self._parts.pop(ticket, None)
        for number in part.numbers if part is not None else ():
            self._taken.pop(number, None)

    def _name(self, number: int) -> str:
        proc = self._directory.proc(number)
        return f"rank {proc.rank} of {proc.nspace}"

    # -- what happens ------------------------------------------------------------------------------

    def started(self, rank: int, pid: int) -> None:
        self._there.add(rank)

    def removed(self, member: Member) -> None:
        self._there.difference_update(member.on(self._me))

    def connected(self, rank: int) -> None:
        self._clients.add(rank)

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        self._clients.discard(rank)

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        self._gone[rank] = wait_status == 0 and rank not in self._clients

    def replaced(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        ticket = self._taken[rank]
        part = self._parts[ticket]
        self._there.discard(rank)
        part.awaited.discard(rank)
        if not part.awaited:
            self._ended(part, ticket, now, out)

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        super().shell_lost(shell, now, out)
        for ticket in [ticket for ticket in self._parts if ticket[0] == shell]:
            limbo = [n for n in self._parts[ticket].numbers if n not in self._gone and n not in self._there]
            self._leave(ticket, now, out)
            for number in limbo:
                self._never_started(number, _NEVER_RAN, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        super().tick(now, out)
        if self._look_at is not None and self._look_at <= now:
            self._forget(now, out)
