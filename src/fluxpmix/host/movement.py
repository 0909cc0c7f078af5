"""How one generation of a collective moves its bytes: what `tree.py` and `bruck.py` have in common.

`collective.py` holds the names, generations, deadlines and failures; a movement only knows its members,
which messages it waits for and what it sends when they have come. What travels are *runs*: the blobs of
shells that are neighbours in the order of members, joined. A frame therefore has one or two blocks, however
many shells are behind them, and nobody on the way looks into them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from fluxpmix.host.effects import Buffer, Effect
from fluxpmix.host.frames import Message, Tag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


Key: TypeAlias = tuple[int, bytes]  # an operation, and the digest of its participants
# How it ended: the status, and buffers that joined are the blobs of all members in their order.
Outcome: TypeAlias = tuple[int, Sequence[Buffer]]


class Movement:
    """One generation's messages at one shell: a base to derive from."""

    __slots__ = ("answers", "blob", "generation", "key", "members", "position", "status")

    takes: tuple[Tag, ...] = ()
    quiet = False  # whether there is something to say if it takes long

    def __init__(
        self,
        key: Key,
        generation: int,
        members: Sequence[int],
        me: int,
        blob: Buffer | None,
        status: int,
    ) -> None:
        self.key = key
        self.generation = generation
        self.members = members
        self.position = bisect_left(members, me)
        self.blob = b"" if blob is None else blob
        self.status = status
        self.answers: dict[int, Message] = {}

    def awaited(self) -> tuple[int, ...]:
        """Return the shells whose message must come next."""
        raise NotImplementedError

    def unheard(self) -> tuple[int, ...]:
        """Return those among them that may not have entered yet, and can be asked whether they will."""
        return self.awaited()

    def take(self, source: int, message: Message, frame: Buffer) -> str | None:
        """Enter a message of a peer, with the frame that it came in. Returns what is wrong with it."""
        raise NotImplementedError

    def remind(self) -> bool:
        """Something does not come: say what was left unsaid. Returns whether there is more to send now."""
        return False

    def advance(self, out: list[Effect]) -> Outcome | None:
        """Send what can be sent by now; return the outcome once it is there."""
        raise NotImplementedError

    def message(self, tag: Tag, status: int) -> Message:
        """Return a message of this generation; runs are added by `frames.encode_runs`."""
        operation, digest = self.key
        return Message(tag, operation, self.generation, digest, status)


def among(members: Sequence[int], shell: int) -> bool:
    """Whether `shell` is one of `members`, which ascend (a job may have many)."""
    at = bisect_left(members, shell)
    return at < len(members) and members[at] == shell
