"""A collective over a k-ary tree: contributions go up, the result comes down. 2 log_k N messages' time.

Chosen by `collective.py` for barriers, and for all where the shells' messages follow a tree anyhow (Flux's
overlay). The tree is laid over the members' order so that a subtree is a run of neighbours: its first member,
then its children's subtrees one after the other. So a shell passes its own blob and its children's runs on
as they are, and what it gets from above goes down as it came.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.host.effects import Buffer, Effect, Send
from fluxpmix.host.frames import Message, Tag, encode_runs
from fluxpmix.host.movement import Key, Movement, Outcome


class Tree(Movement):
    """One generation over the tree."""

    __slots__ = ("_frame", "_result", "_sent", "children", "parent")

    takes = (Tag.UP, Tag.DOWN)

    def __init__(
        self,
        key: Key,
        generation: int,
        members: Sequence[int],
        me: int,
        blob: Buffer | None,
        status: int,
        fanout: int,
    ) -> None:
        super().__init__(key, generation, members, me, blob, status)
        parent, children = place(self.position, len(members), fanout)
        self.parent = None if parent is None else members[parent]
        self.children = tuple([members[child] for child in children])
        self._sent = False
        self._result: Message | None = None
        self._frame: Buffer = b""

    def awaited(self) -> tuple[int, ...]:
        return self.unheard() or (() if self.parent is None else (self.parent,))

    def unheard(self) -> tuple[int, ...]:
        return tuple(child for child in self.children if child not in self.answers)

    def take(self, source: int, message: Message, frame: Buffer) -> str | None:
        if message.tag is Tag.DOWN:
            if source != self.parent:
                return "a result from a shell that is not the parent in the tree"
            if not self._sent:
                return "a result before all contributions were made"
            if not _one_run(message, self.members[0]):
                return "a result that is no run of all members"
            self._result, self._frame = message, frame
            return None
        if source not in self.children:
            return "a contribution from a shell that is no child in the tree"
        if source in self.answers:
            return "a second contribution to the same collective"
        if not _one_run(message, source):
            return "a block of a shell that takes no part"
        self.answers[source] = message
        return None

    def advance(self, out: list[Effect]) -> Outcome | None:
        if self._result is not None:
            # The frame goes on as it came: nothing is encoded again.
            out.extend([Send(child, (self._frame,)) for child in self.children])
            return self._result.status, [blob for _, blob in self._result.blocks]
        if self._sent or len(self.answers) < len(self.children):
            return None
        self._sent = True
        answers = [self.answers[child] for child in self.children]
        status = min([self.status, 0, *(answer.status for answer in answers)])
        parts = [self.blob, *(blob for answer in answers for _, blob in answer.blocks)] if status == 0 else []
        runs = [(self.members[self.position], parts)]
        if self.parent is not None:
            out.append(Send(self.parent, encode_runs(self.message(Tag.UP, status), runs)))
            return None
        if self.children:
            frame = encode_runs(self.message(Tag.DOWN, status), runs)
            out.extend([Send(child, frame) for child in self.children])
        return status, [part for part in parts if len(part)]


def _one_run(message: Message, first: int) -> bool:
    """Whether a message holds nothing or one run that starts at shell `first`."""
    return not message.blocks or (len(message.blocks) == 1 and message.blocks[0][0] == first)


def place(position: int, count: int, fanout: int) -> tuple[int | None, list[int]]:
    """Return the parent and the children of a position in the tree over positions 0 to `count` - 1.

    The tree over [low, high) has `low` at its root and what follows in up to `fanout` equal parts below it.
    """
    low, high, parent = 0, count, None
    while low != position:
        starts, left = _parts(low, high, fanout)
        part = ((position - low) * starts - 1) // left
        parent = low
        low, high = low + 1 + part * left // starts, low + 1 + (part + 1) * left // starts
    starts, left = _parts(low, high, fanout)
    return parent, [low + 1 + part * left // starts for part in range(starts)]


def _parts(low: int, high: int, fanout: int) -> tuple[int, int]:
    """Return into how many parts what is below a root is cut, and how much that is."""
    left = high - low - 1
    return min(fanout, left), left
