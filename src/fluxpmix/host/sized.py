"""A collective with data that moves as its size wants: little of it over the tree, much among peers.

Chosen by `collective.py` where both ways are open. No shell knows how much the others bring, so the tree asks: a
shell with much data sends up, in their place, that it is much (LARGE). If anybody did, the root answers "among
peers" (AMONG) and all take Bruck's exchange; otherwise the data came up and go down as ever. The question costs a
barrier's time, which large data do not notice, and small data need none of the links between peers.
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

    def wants(self, size: int) -> bool:
        """Whether so many bytes are much."""
        if size < (self._again if self._moved >= _OFTEN else self._first):
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

    __slots__ = ("_among", "_appetite", "_large", "_peers")

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
        self._large = len(members) > 1 and appetite.wants(len(blob) * len(members))
        super().__init__(key, generation, members, me, b"" if self._large else blob, status, fanout)
        self._peers = Bruck(key, generation, members, me, blob, 0)
        self._appetite = appetite
        self._among = False

    def awaited(self) -> tuple[int, ...]:
        return self._peers.awaited() if self._among else super().awaited()

    def unheard(self) -> tuple[int, ...]:
        return () if self._among else super().unheard()

    def take(self, source: int, message: Message, frame: Buffer) -> str | None:
        if message.tag is Tag.STEP:  # a peer may have heard of it before
            return self._peers.take(source, message, frame)
        if message.tag in (Tag.LARGE, Tag.AMONG) and message.blocks:
            return "data beside the word that there are too many"
        complaint = super().take(source, message, frame)
        if complaint is None and message.tag is Tag.LARGE:
            self._large = True
        return complaint

    def advance(self, out: list[Effect]) -> Outcome | None:
        outcome = self._advance(out)
        if outcome is not None:
            self._appetite.moved(sum(map(len, outcome[1])), self._among)
        return outcome

    def _advance(self, out: list[Effect]) -> Outcome | None:
        if self._among:
            return self._peers.advance(out)
        if self.result is not None and self.result.tag is Tag.AMONG:
            return self._turn(out)
        if not self._large or not self.complete or self.worst:  # a failure takes no data with it
            return super().advance(out)
        self.sent = True
        if self.parent is None:
            return self._turn(out)
        out.append(Send(self.parent, encode(self.message(Tag.LARGE, 0))))
        return None

    def _turn(self, out: list[Effect]) -> Outcome | None:
        """Go on among peers."""
        self._among = True
        frame = encode(self.message(Tag.AMONG, 0))
        out.extend([Send(child, frame) for child in self.children])
        return self._peers.advance(out)
