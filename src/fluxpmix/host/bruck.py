"""A collective among peers: an allgather by doubling (Bruck and others, 1997). log2 N messages' time.

Chosen by `collective.py` for collectives that carry data, where any two shells reach each other directly:
every shell sends and receives each byte about once, and none is in the middle of everything.

Members stand in a ring. A shell that has the blobs of c members from itself on gets c more from the one c
ahead, so 2c; where the number of members has a further binary digit, it also gets the single blob of the one
that follows those. The digits of N from the highest down, so c becomes N exactly: no blob goes anywhere twice,
no run is ever cut but where the ring closes, and each peer sends each other one message at most. Frames
of the same generation may therefore come in any order.

    N = 7 = 111b     has 1, gets 1 from +1 and 1 from +2: has 3, gets 3 from +3 and 1 from +6: has 7
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from fluxpmix.host.effects import Buffer, Effect, Frame, Send
from fluxpmix.host.frames import Message, Tag, encode_runs
from fluxpmix.host.movement import Key, Movement, Outcome, among

_plans: dict[int, tuple[tuple[int, int], ...]] = {}


class Bruck(Movement):
    """One generation among peers."""

    __slots__ = ("_behind", "_has", "_next", "_onwards")

    takes = (Tag.STEP,)

    def __init__(
        self,
        key: Key,
        generation: int,
        members: Sequence[int],
        me: int,
        blob: Buffer | None,
        status: int,
    ) -> None:
        super().__init__(key, generation, members, me, blob, min(status, 0))
        self._has = 0  # blobs of how many members
        self._next = 0  # which entry of the plan is awaited
        # The blobs from this member to the last, and from the first on once the ring has closed.
        self._onwards: list[Buffer] = []
        self._behind: list[Buffer] = []

    def awaited(self) -> tuple[int, ...]:
        """Return who sends what is appended next, and those whose own blob alone is missing."""
        steps = plan(len(self.members))[self._next :]
        wanted = [offset for number, (offset, count) in enumerate(steps) if not number or count == 1]
        shells = (self._ahead(offset) for offset in wanted)
        return tuple(shell for shell in shells if shell not in self.answers)

    def take(self, source: int, message: Message, frame: Buffer) -> str | None:
        if not among(self.members, source):
            return "a block of a shell that takes no part"
        at = bisect_left(self.members, source)
        offset = (at - self.position) % len(self.members)
        count = next((count for first, count in plan(len(self.members)) if first == offset), 0)
        if not count:
            return "a contribution from a shell that is no peer in the exchange"
        if source in self.answers:
            return "a second contribution to the same collective"
        closes = at + count > len(self.members)
        if any(shell != source and not (closes and shell == self.members[0]) for shell, _ in message.blocks):
            return "a run that starts at another shell than it must"
        self.answers[source] = message
        return None

    def advance(self, out: list[Effect]) -> Outcome | None:
        steps = plan(len(self.members))
        if not self._has:
            self._onwards.append(self.blob)
            self._grow(1, out)
        while self._next < len(steps):
            offset, count = steps[self._next]
            source = self._ahead(offset)
            message = self.answers.get(source)
            if message is None:
                return None
            self._next += 1
            self._append(source, offset, message)
            self._grow(count, out)
        if self.status:
            return self.status, ()
        return 0, [blob for blob in (*self._behind, *self._onwards) if len(blob)]

    def _append(self, source: int, offset: int, message: Message) -> None:
        """Add what a peer gathered, behind all that is here."""
        self.status = min(self.status, message.status)
        closed = self.position + offset >= len(self.members)
        self.answers[source] = _HEARD
        for shell, blob in reversed(message.blocks):  # the run from the first member on comes second
            (self._onwards if shell == source and not closed else self._behind).append(blob)

    def _grow(self, count: int, out: list[Effect]) -> None:
        """Count `count` more members' blobs, and send all to those who need as many."""
        self._has += count
        frame: Frame = ()
        for offset, wanted in plan(len(self.members)):
            if wanted == self._has:
                frame = frame or self._encoded()
                out.append(Send(self._ahead(-offset), frame, lateral=True))

    def _encoded(self) -> Frame:
        runs: list[tuple[int, Sequence[Buffer]]] = []
        if not self.status:
            runs = [(self.members[0], self._behind)] if self._behind else []
            runs.append((self.members[self.position], self._onwards))
        return encode_runs(self.message(Tag.STEP, self.status), runs)

    def _ahead(self, offset: int) -> int:
        """Return the shell that stands `offset` further in the ring."""
        return self.members[(self.position + offset) % len(self.members)]


def plan(members: int) -> tuple[tuple[int, int], ...]:
    """Return what each member gets, in the order of the ring: (from how far ahead, blobs of how many)."""
    found = _plans.get(members)
    if found is None:
        steps: list[tuple[int, int]] = []
        has = 1
        for digit in bin(members)[3:]:
            steps.append((has, has))
            has *= 2
            if digit == "1":
                steps.append((has, 1))
                has += 1
        if len(_plans) > 64:
            _plans.clear()
        found = _plans[members] = tuple(steps)
    return found


_HEARD = Message(Tag.STEP, 0, 0, b"")  # stands for a message whose runs are gathered
