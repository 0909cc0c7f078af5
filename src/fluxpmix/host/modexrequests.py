"""What is open in a direct modex (`dmodex.py`): on the side that wants a rank's data, and on the side that hosts it."""

from __future__ import annotations

AGAIN = 0.005  # seconds after the first answer without the key, and libpmix is asked again


class Waiting:
    """An open upcall of this shell."""

    __slots__ = ("deadline", "key")

    def __init__(self, key: bytes, deadline: float | None) -> None:
        self.key = key
        self.deadline = deadline


class Request:
    """What this shell wants of one rank: one message stands for all that wait."""

    __slots__ = ("shell", "token", "told", "until", "waiting")

    def __init__(self, shell: int, token: int) -> None:
        self.shell = shell
        self.token = token
        self.waiting: dict[int, Waiting] = {}  # by upcall
        # What the rank's shell has been told: the keys, and until when they are wanted.
        self.told: frozenset[bytes] = frozenset()
        self.until: float | None = 0.0


class Asker:
    """What one shell (this one too) wants of one rank that is here."""

    __slots__ = ("deadline", "keys", "token")

    def __init__(self, token: int, keys: tuple[bytes, ...], deadline: float | None) -> None:
        self.token = token
        self.keys = keys
        self.deadline = deadline


class Held:
    """A rank of this shell whose data somebody waits for."""

    __slots__ = ("again", "askers", "pause")

    def __init__(self) -> None:
        self.askers: dict[int, Asker] = {}  # by shell
        self.again: float | None = None  # when to ask libpmix again, or to wait for it no longer
        self.pause = AGAIN
