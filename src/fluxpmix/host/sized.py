"""A collective with data that moves as its size wants: little of it over the tree, much among peers.

Chosen by `collective.py` where both ways are open. No shell knows how much the others bring, so the tree asks: a
shell with much data sends up, in their place, that it is much (LARGE). If anybody did, the root answers "among
peers" (AMONG) and all take Bruck's exchange; otherwise the data came up and go down as ever. The question costs a
barrier's time, and small data need none of the links between peers.

A shell that has much data again and again does not ask: it begins the exchange at once, and is quiet in the tree. A
peer's message of the exchange (STEP) tells the same as the root's answer, so all join in; the tree cannot have come
to its end, because somebody is quiet in it. Only where few have much data could the word take long from peer to
peer: a shell that waits does ask in the end (`remind`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fluxpmix.host.bruck import Bruck
from fluxpmix.host.effects import Buffer, Effect, Send
from fluxpmix.host.frames import Message, Tag, encode
from fluxpmix.host.movement import Key, Outcome
from fluxpmix.host.tree import Tree

# Much data: so many bytes in all, if every member brings as much as this shell. Links cost time to open, which a
# single exchange, as most jobs have one, must be worth; a job that exchanges again and again has it back soon.
FIRST, AGAIN = 4 << 20, 256 << 10
_OFTEN = 2


class Appetite:
    """From how many bytes on this shell wants data to move among peers. Nobody else need want the same."""

    __slots__ = ("_again", "_first", "_moved", "_possible")

    def __init__(self, first: int = FIRST, again: int = AGAIN, possible: Callable[[], bool] | None = None) -> None:
        """`possible()`, where it is given, is asked before the first data go among peers."""
        self._first = first
        self._again = again
        self._moved = 0
        self._possible = possible

    @property
    def often(self) -> bool:
        """Whether there was much again and again."""
        return self._moved >= _OFTEN

    def wants(self, size: int) -> bool:
        """Whether so many bytes are much."""
        if size < (self._again if self.often else self._first):
            return False
        return self._possible is None or self._possible()

    def moved(self, size: int, among_peers: bool) -> None:
        """So many bytes have moved, in all."""
        if among_peers:
            self._moved = _OFTEN
        elif size >= self._again:
            self._moved += 1


class Sized(Tree):
    """One generation over the tree, and among peers if that turns out better."""

    __slots__ = ("_appetite", "_begun", "_large", "_peers", "quiet")

    takes = (Tag.UP, Tag.DOWN, Tag.LARGE, Tag.AMONG, Tag.STEP)
    results = (Tag.DOWN, Tag.AMONG)

    def __init__(
        self,
        key: Key,
        generation: int,
        members: Sequence[int],
        me: int,
        blob: Buffer,
        status: int,
        fanout: int,
        appetite: Appetite,
    ) -> None:
        size = len(blob) * len(members) if len(members) > 1 else 0
        self._large = not status and appetite.wants(size)
        self.quiet = self._large and appetite.often
        super().__init__(key, generation, members, me, b"" if self._large else blob, status, fanout)
        self._peers = Bruck(key, generation, members, me, blob, status)
        self._appetite = appetite
        self._begun = self.quiet  # the exchange

    def awaited(self) -> tuple[int, ...]:
        return self._peers.awaited() if self._begun else super().awaited()

    def unheard(self) -> tuple[int, ...]:
        return self._peers.unheard() if self._begun else super().unheard()

    def take(self, source: int, message: Message, frame: Buffer) -> str | None:
        if message.tag is Tag.STEP:
            complaint = self._peers.take(source, message, frame)
            self._begun |= complaint is None
            return complaint
        if message.tag in (Tag.LARGE, Tag.AMONG) and message.blocks:
            return "data beside the word that there are too many"
        complaint = super().take(source, message, frame)
        if complaint is None and message.tag is Tag.LARGE:
            self._large = True
        return complaint

    def remind(self) -> bool:
        if not self.quiet:
            return False
        self.quiet = False
        return True

    def advance(self, out: list[Effect]) -> Outcome | None:
        outcome = self._advance(out)
        if outcome is not None:
            self._appetite.moved(sum(map(len, outcome[1])), self._begun)
        return outcome

    def _advance(self, out: list[Effect]) -> Outcome | None:
        if self.result is not None and self.result.tag is Tag.AMONG:
            self._turn(out)
        outcome = self._peers.advance(out) if self._begun else None
        if outcome is not None or self.quiet or (self.sent and self.result is None):
            return outcome
        if not (self._large or self._begun) or not self.complete or self.worst:  # a failure takes no data with it
            return super().advance(out)
        self.sent = True
        if self.parent is not None:
            out.append(Send(self.parent, encode(self.message(Tag.LARGE, 0))))
            return None
        self._turn(out)
        return self._peers.advance(out)

    def _turn(self, out: list[Effect]) -> None:
        """Go on among peers, with all below."""
        self._begun = True
        self.result = None
        frame = encode(self.message(Tag.AMONG, 0))
        out.extend([Send(child, frame) for child in self.children])
