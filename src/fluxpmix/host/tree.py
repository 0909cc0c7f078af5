"""A collective over a k-ary tree: contributions go up, the result comes down. 2 log_k N messages' time.

Chosen by `collective.py` for barriers, and for all where the shells' messages follow a tree anyhow: members
are numbered level by level, as Flux numbers its brokers, so that with the same fan-out each message is one hop
of Flux's overlay. Each level of a subtree is then a run of neighbours. So a shell joins what its children say
level by level, in frames of as many blocks as there are levels below it; the levels of the whole tree are all
members in their order, and that one run goes down as it came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from fluxpmix.host.effects import Buffer, Effect, Send
from fluxpmix.host.frames import Message, Tag, encode_runs
from fluxpmix.host.movement import Key, Movement, Outcome


class Tree(Movement):
    """One generation over the tree."""

    __slots__ = ("_fanout", "_frame", "children", "parent", "result", "sent")

    takes: tuple[Tag, ...] = (Tag.UP, Tag.DOWN)
    results: tuple[Tag, ...] = (Tag.DOWN,)  # what comes from the parent

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
        self.parent = members[(self.position - 1) // fanout] if self.position else None
        first = fanout * self.position + 1
        self.children = members[first : first + fanout]
        self._fanout = fanout
        self.sent = False
        self.result: Message | None = None
        self._frame: Buffer = b""

    def awaited(self) -> tuple[int, ...]:
        return self.unheard() or (() if self.parent is None else (self.parent,))

    def unheard(self) -> tuple[int, ...]:
        return tuple(child for child in self.children if child not in self.answers)

    def take(self, source: int, message: Message, frame: Buffer) -> str | None:
        if message.tag in self.results:
            if source != self.parent:
                return "a result from a shell that is not the parent in the tree"
            if not self.sent:
                return "a result before all contributions were made"
            if message.blocks and [shell for shell, _ in message.blocks] != [self.members[0]]:
                return "a result that is not one run of all members"
            self.result, self._frame = message, frame
            return None
        if source not in self.children:
            return "a contribution from a shell that is no child in the tree"
        if source in self.answers:
            return "a second contribution to the same collective"
        levels = self._levels(source)
        if any(shell not in levels for shell, _ in message.blocks):
            return "a run that starts at another shell than it must"
        self.answers[source] = message
        return None

    @property
    def complete(self) -> bool:
        """Whether all below has come, and is still to be passed on."""
        return not self.sent and len(self.answers) == len(self.children)

    @property
    def worst(self) -> int:
        """The status of this shell and all below it."""
        return min([self.status, 0, *(answer.status for answer in self.answers.values())])

    def advance(self, out: list[Effect]) -> Outcome | None:
        if self.result is not None:
            # The frame goes on as it came: nothing is encoded again.
            out.extend([Send(child, (self._frame,)) for child in self.children])
            return self.result.status, [blob for _, blob in self.result.blocks]
        if not self.complete:
            return None
        self.sent = True
        status = self.worst
        me = self.members[self.position]
        runs: list[tuple[int, Sequence[Buffer]]] = [(me, (self.blob,)), *self._joined(me)] if status == 0 else []
        if self.parent is not None:
            out.append(Send(self.parent, encode_runs(self.message(Tag.UP, status), runs)))
            return None
        parts = [part for _, run in runs for part in run if len(part)]
        if self.children:
            frame = encode_runs(self.message(Tag.DOWN, status), [(me, parts)])
            out.extend([Send(child, frame) for child in self.children])
        return status, parts

    def _joined(self, me: int) -> list[tuple[int, Sequence[Buffer]]]:
        """Return the levels below this shell: each its first shell, and the children's runs of it."""
        below: dict[int, list[Buffer]] = {shell: [] for shell in self._levels(me)[1:]}
        for child in self.children:
            runs = dict(self.answers[child].blocks)
            for first, shell in zip(below, self._levels(child), strict=False):
                if shell in runs:
                    below[first].append(runs[shell])
        return list(below.items())

    def _levels(self, shell: int) -> list[int]:
        """Return the first shell of each level of the subtree of `shell`, from itself on."""
        position = bisect_left(self.members, shell)
        found = []
        while position < len(self.members):
            found.append(self.members[position])
            position = self._fanout * position + 1
        return found
