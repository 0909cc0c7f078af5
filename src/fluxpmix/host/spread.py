"""One message to many shells, over a tree, taken at most once by each: what events and failures travel by.

`event.py` and `failure.py` hold one of these each. The tree has the sender as its root and the targets, in
their order, below it; a shell that is known to be lost is passed over, and those below it are sent to directly.
Carriers neither lose nor repeat messages, so each target takes each message exactly once; a frame that comes
again all the same is recognized by its number. Of the numbers of each sender the last few are remembered.

    generation: the sender's count; block: of the sender, (targets or, for all shells, how many it knows; body)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from fluxpmix.host import wire
from fluxpmix.host.effects import Buffer, Effect, Send
from fluxpmix.host.frames import NO_DIGEST, FrameError, Message, Tag, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.directory import Directory

_WIDTH = 1024  # messages of one sender that may overtake each other
_MASK = (1 << _WIDTH) - 1
_HALF = 1 << 31
_MORE = 1 << 16  # shells that a sender may know of and this one not yet


class Window:
    """Which numbers of a sender have been taken: the newest, and a bit for each of those before it."""

    __slots__ = ("_newest", "_seen")

    def __init__(self) -> None:
        self._newest: int | None = None
        self._seen = 1

    def take(self, number: int) -> bool:
        """Whether `number` is new; it is not any more. Numbers count up and wrap around at 32 bits."""
        if self._newest is None:
            self._newest = number
            return True
        ahead = ((number - self._newest + _HALF) & 0xFFFFFFFF) - _HALF
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < _WIDTH else 1
            self._newest = number
            return True
        if ahead <= -_WIDTH or self._seen >> -ahead & 1:
            return False
        self._seen |= 1 << -ahead
        return True


class Spread:
    """Messages under one tag, from and to this shell."""

    def __init__(self, tag: Tag, me: int, directory: Directory, fanout: int, is_good: Callable[[Any], bool]) -> None:
        """`is_good(body)` says whether a body that came is one that a host would send."""
        self._tag = tag
        self._is_good = is_good
        self._me = me
        self._directory = directory
        self._fanout = fanout
        self._count = 0
        self._windows: dict[int, Window] = {}
        self._lost: set[int] = set()
        self.repeated = 0

    def send(self, targets: Sequence[int] | None, body: Any, out: list[Effect]) -> int:
        """Send `body` to `targets` (ascending; None: all) but this shell. Returns to how many; `WireError`."""
        if targets is None:
            others: int | tuple[int, ...] = self._directory.shell_count
            many = self._directory.shell_count - 1
        else:
            others = tuple(shell for shell in targets if shell != self._me)
            many = len(others)
        if many:
            blob = wire.encode((others, body))
            self._count = (self._count + 1) & 0xFFFFFFFF
            self._pass_on(self._me, self._count, others, 0, blob, out)
        return many

    def take(self, source: int, message: Message, out: list[Effect]) -> tuple[int, Any] | None:
        """Take a frame and pass it on. Returns the sender and the body, None where it is known. `FrameError`."""
        if len(message.blocks) != 1:
            raise FrameError(f"a message for many shells of {len(message.blocks)} blocks")
        sender, blob = message.blocks[0]
        try:
            content = wire.decode(bytes(blob))
        except wire.WireError as error:
            raise FrameError(f"a message for many shells: {error}") from None
        if type(content) is not tuple or len(content) != 2 or not self._are_targets(content[0]):
            raise FrameError("a message for many shells without its targets")
        targets, body = content
        if not self._is_good(body):
            raise FrameError("a message for many shells that none would send")
        place = self._place(sender, targets, self._me)
        if place is None or not self._is_above(source, sender, targets, place):
            raise FrameError("a message from a shell that had not to pass it on, or not to this one")
        window = self._windows.get(sender)
        if window is None:
            window = self._windows[sender] = Window()
        if not window.take(message.generation):
            self.repeated += 1
            return None
        self._pass_on(sender, message.generation, targets, place, blob, out)
        return sender, body

    def shell_lost(self, shell: int) -> None:
        """Peer `shell` is gone for good."""
        self._lost.add(shell)

    # -- the tree: place 0 is the sender's, place n that of the nth target -----------------------------

    def _pass_on(
        self, sender: int, number: int, targets: int | Sequence[int], place: int, blob: Buffer, out: list[Effect]
    ) -> None:
        frame = None
        size = targets if isinstance(targets, int) else len(targets) + 1
        if self._fanout * place + 1 >= size:
            return  # nobody is below
        places = list(range(self._fanout * place + 1, min(self._fanout * (place + 1) + 1, size)))
        for each in places:  # grows on the way, where shells are lost
            shell = self._at(sender, targets, each)
            if shell in self._lost:
                places.extend(range(self._fanout * each + 1, min(self._fanout * (each + 1) + 1, size)))
                continue
            if frame is None:
                frame = encode(Message(self._tag, 0, number, NO_DIGEST, 0, ((sender, blob),)))
            out.append(Send(shell, frame))

    def _at(self, sender: int, targets: int | Sequence[int], place: int) -> int:
        if place == 0:
            return sender
        if not isinstance(targets, int):
            return targets[place - 1]
        return place if place > sender else place - 1

    def _place(self, sender: int, targets: int | Sequence[int], shell: int) -> int | None:
        if shell == sender:
            return None
        if isinstance(targets, int):
            return (shell if shell > sender else shell + 1) if shell < targets else None
        at = bisect_left(targets, shell)
        return at + 1 if at < len(targets) and targets[at] == shell else None

    def _is_above(self, source: int, sender: int, targets: int | Sequence[int], place: int) -> bool:
        while place:
            place = (place - 1) // self._fanout
            if self._at(sender, targets, place) == source:
                return True
        return False

    def _are_targets(self, targets: Any) -> bool:
        if type(targets) is int:
            return 0 < targets <= self._directory.shell_count + _MORE
        last = -1
        for shell in targets if type(targets) is tuple else (-1,):
            if type(shell) is not int or not last < shell < self._directory.shell_count:
                return False
            last = shell
        return True
