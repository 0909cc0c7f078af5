"""Requests that several shells carry out together, in steps: none begins one before all have done the last.

`restart.py` and `checkpoint.py` are made of these. The shell where a request is made leads it: it asks the shells of
a step, and once all have said that it is done it asks those of the next. The first that cannot do its part ends the
request, and the leader then has the step `over` done where the course has been.

    the tag to ask   operation: the step; generation: the leader's token; block: what the request is about
    the tag to tell  operation, generation: the same; status: how it went; block: what is to be told of it, or why not
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host import wire
from fluxpmix.host.capability import Capability
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect, Level, Log, Reply, Send
from fluxpmix.host.frames import NO_DIGEST, Message, Tag, encode
from fluxpmix.host.spread import Window
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

SUCCESS = int(Status.SUCCESS)
TIMED_OUT = int(Status.ERR_TIMEOUT)
LOST = int(Status.ERR_LOST_CONNECTION)
_STEPS = 8  # no course has more

# A request as the shells of a step know it: its leader, and the leader's token.
Ticket: TypeAlias = "tuple[int, int]"


class Course:
    """A request that is led from here: `steps` are the shells of each, and what each of them is told."""

    __slots__ = ("awaited", "been", "deadline", "infos", "name", "over", "said", "step", "steps", "upcall")

    def __init__(
        self,
        upcall: int,
        name: str,
        steps: Sequence[dict[int, Any]],
        over: int,
        infos: Infos | None,
        deadline: float | None,
    ) -> None:
        self.upcall: int | None = upcall  # None: it has been answered
        self.name = name
        self.steps = steps
        self.over = over
        self.infos = infos
        self.deadline = deadline
        self.step = -1
        self.awaited: set[int] = set()
        self.been: dict[int, Any] = {}  # the shells that were asked for anything, and what they were told last
        self.said: dict[int, Any] = {}  # what shells have said besides, in the last step


class Courses(Capability):
    """The requests of one shell, and its part in those of others: what is done in a step is a subclass's."""

    _ask: Tag
    _told: Tag
    _of_step: tuple[int, ...]  # the steps that may be asked for

    def __init__(self, directory: Directory, me: int) -> None:
        self._directory = directory
        self._me = me
        self._courses: dict[int, Course] = {}  # by token
        self._tokens = 0
        self._windows: dict[int, Window] = {}  # by shell
        self._lost: set[int] = set()

    @property
    def idle(self) -> bool:
        return not self._courses

    @property
    def deadline(self) -> float | None:
        return min((one.deadline for one in self._courses.values() if one.deadline is not None), default=None)

    # -- what a subclass does ----------------------------------------------------------------------

    def _is_good(self, step: int, body: Any) -> bool:
        """Say whether a peer may tell that to this shell."""
        raise NotImplementedError

    def _do(self, step: int, ticket: Ticket, body: Any, now: float, out: list[Effect]) -> None:
        """Do this shell's part of a step, and call `_answer` now or later."""
        raise NotImplementedError

    def _bodies(self, course: Course) -> dict[int, Any]:
        """Return what each shell is told in a course's present step."""
        return course.steps[course.step]

    # -- leading -----------------------------------------------------------------------------------

    def _lead(self, course: Course, now: float, out: list[Effect]) -> None:
        self._tokens = (self._tokens + 1) & 0xFFFFFFFF
        self._courses[self._tokens] = course
        self._next(self._tokens, course, now, out)

    def _next(self, token: int, course: Course, now: float, out: list[Effect]) -> None:
        """Have the next step done that somebody has a part in; after the last, say that all is done."""
        while True:
            course.step += 1
            if course.step == len(course.steps):
                self._end(token, course, SUCCESS, out)
                return
            whom = {shell: body for shell, body in self._bodies(course).items() if shell not in self._lost}
            if whom:
                break
        course.awaited, course.said = set(whom), {}
        course.been |= whom
        self._tell_step(token, course.step, whom, now, out)

    def _tell_step(self, token: int, step: int, whom: dict[int, Any], now: float, out: list[Effect]) -> None:
        for shell, body in sorted(whom.items()):
            if shell != self._me:
                block = (self._me, wire.encode(body))
                out.append(Send(shell, encode(Message(self._ask, step, token, NO_DIGEST, 0, (block,)))))
        if self._me in whom:
            self._do(step, (self._me, token), whom[self._me], now, out)

    def _told_of(
        self, source: int, token: int, step: int, status: int, said: Any, now: float, out: list[Effect]
    ) -> None:
        course = self._courses.get(token)
        if course is None or course.step != step or source not in course.awaited:
            return
        course.said[source] = said
        if status != SUCCESS:
            out.append(Log(Level.WARNING, f"{course.name}: {said or f'shell {source} could not do its part'}"))
            self._give_up(token, course, status, now, out)
            return
        course.awaited.discard(source)
        if not course.awaited:
            self._next(token, course, now, out)

    def _give_up(self, token: int, course: Course, status: int, now: float, out: list[Effect]) -> None:
        self._end(token, course, status, out)
        self._tell_step(token, course.over, course.been, now, out)

    def _end(self, token: int, course: Course, status: int, out: list[Effect]) -> None:
        del self._courses[token]
        if course.upcall is not None:
            out.append(Reply(course.upcall, status, course.infos if status == SUCCESS else None))
            course.upcall = None

    # -- taking part -------------------------------------------------------------------------------

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        body: Any = None
        try:
            body = wire.decode(bytes(message.blocks[0][1])) if len(message.blocks) == 1 else None
        except wire.WireError as error:
            return f"a step of a request: {error}"
        if message.tag is self._told:
            self._told_of(source, message.generation, message.operation, message.status, body, now, out)
            return None
        if message.operation not in self._of_step or not self._is_good(message.operation, body):
            return "a step of a request that none would ask for"
        window = self._windows.get(source)
        if window is None:
            window = self._windows[source] = Window()
        if window.take((message.generation * _STEPS + message.operation) & 0xFFFFFFFF):
            self._do(message.operation, (source, message.generation), body, now, out)
        return None

    def _answer(
        self, step: int, ticket: Ticket, now: float, out: list[Effect], status: int = SUCCESS, said: Any = None
    ) -> None:
        """Tell the leader how this shell's part of a step went; `said` is why, where it went wrong."""
        leader, token = ticket
        if leader == self._me:
            self._told_of(self._me, token, step, status, said, now, out)
        elif leader not in self._lost:
            blocks = ((self._me, wire.encode(said)),) if said else ()
            out.append(Send(leader, encode(Message(self._told, step, token, NO_DIGEST, status, blocks))))

    # -- what happens ------------------------------------------------------------------------------

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        self._lost.add(shell)
        for token, course in list(self._courses.items()):
            if shell in course.awaited:
                out.append(Log(Level.WARNING, f"{course.name}: shell {shell} is lost"))
                self._give_up(token, course, LOST, now, out)

    def tick(self, now: float, out: list[Effect]) -> None:
        for token, course in list(self._courses.items()):
            if course.deadline is not None and course.deadline <= now:
                out.append(Log(Level.WARNING, f"{course.name}: no answer from shell(s) {sorted(course.awaited)}"))
                self._late(token, course, now, out)

    def _late(self, token: int, course: Course, now: float, out: list[Effect]) -> None:
        """Do what is to be done when a request has run out of time."""
        self._give_up(token, course, TIMED_OUT, now, out)

    def abandon(self, status: int, out: list[Effect]) -> None:
        for token, course in list(self._courses.items()):
            self._end(token, course, status, out)
