"""The published values of which one shell is the owner: a table, and the rules for who may read what.

`datastore.py` decides which shell owns a key and moves requests there; here is what happens to them. Standard
4.2, chapter 8: duplicates (8.1), ranges and persistence (8.5), retrieval rules (8.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import RANK_WILDCARD, Persistence, Proc, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Who(Record):
    """A process as the datastore knows it: its name, its shell, and its user as libpmix tells."""

    proc: Proc
    shell: int
    uid: int | None
    gid: int | None = None


class Reach(Record):
    """A range with what it is relative to: the processes of PMIX_RANGE_CUSTOM."""

    range: Range
    procs: tuple[Proc, ...] = ()

    def covers(self, one: Who, other: Who) -> bool:
        """Whether `other` is in this range of `one`."""
        kind = self.range
        if kind in (Range.SESSION, Range.GLOBAL):
            return True
        if kind is Range.NAMESPACE:
            return one.proc.nspace == other.proc.nspace
        if kind is Range.LOCAL:
            return one.shell == other.shell
        if kind is Range.PROC_LOCAL:
            return one.proc == other.proc
        if kind is Range.CUSTOM:
            return any(
                proc.nspace == other.proc.nspace and proc.rank in (other.proc.rank, RANK_WILDCARD)
                for proc in self.procs
            )
        return False  # RM: no process of a job is the resource manager

    def admits(self, publisher: Who, reader: Who) -> bool:
        """Whether `reader` may see what `publisher` published into this range: the publisher itself always may."""
        return publisher.proc == reader.proc or self.covers(publisher, reader)


class Rights(Record):
    """Who may read besides the publisher's own user; None: does not matter."""

    uids: tuple[int, ...] | None = None
    gids: tuple[int, ...] | None = None

    def allow(self, publisher: Who, reader: Who) -> bool:
        """Whether the reader's user may read. Without any permission only the publisher's own may."""
        if publisher.uid == reader.uid or publisher.proc == reader.proc:
            return True
        if self.uids is None and self.gids is None:
            return False
        return (self.uids is None or reader.uid in self.uids) and (self.gids is None or reader.gid in self.gids)


class Item(Record):
    """One published value. `token` is its publication's: unique with the shell that made it."""

    key: str
    value: bytes  # as `wire.py` packs it: nobody looks at it here
    publisher: Who
    token: int
    reach: Reach
    persistence: Persistence
    rights: Rights

    @property
    def slot(self) -> tuple[Any, ...]:
        """Where it is: a key may be there once in each range."""
        kind, who = self.reach.range, self.publisher
        if kind is Range.NAMESPACE:
            return kind, who.proc.nspace
        if kind is Range.LOCAL:
            return kind, who.shell
        if kind is Range.PROC_LOCAL:
            return kind, who.proc
        if kind is Range.CUSTOM:
            return kind, frozenset(self.reach.procs)
        return (kind,)


class Denied(Exception):
    """The value is there and in range, but the reader's user may not have it."""


# Of several values that a reader may have, the one of the narrowest range is meant.
_NARROWEST_FIRST = (
    Range.PROC_LOCAL,
    Range.LOCAL,
    Range.CUSTOM,
    Range.NAMESPACE,
    Range.SESSION,
    Range.GLOBAL,
    Range.RM,
)


class KeyStore:
    """The table of one shell."""

    def __init__(self) -> None:
        self._items: dict[str, list[Item]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def __iter__(self) -> Iterator[Item]:
        return (item for items in self._items.values() for item in items)

    def publish(self, items: tuple[Item, ...]) -> bool:
        """Enter values; none of them where one is there already. Returns whether they are in."""
        fresh: list[Item] = []
        for item in items:
            same = [each for each in self._items.get(item.key, ()) if each.slot == item.slot]
            if any(each.token != item.token or each.publisher.proc != item.publisher.proc for each in same):
                return False
            if not same:  # else it came twice
                fresh.append(item)
        for item in fresh:
            there = self._items.setdefault(item.key, [])
            there.append(item)
            there.sort(key=lambda each: _NARROWEST_FIRST.index(each.reach.range))
        return True

    def read(self, key: str, reader: Who, within: Reach) -> Item | None:
        """Return the value that `reader` means, and drop it where it is there for one reading.

        Raises `Denied` where only the reader's user stands against it.
        """
        denied = False
        for item in self._items.get(key, ()):
            if not within.covers(reader, item.publisher) or not item.reach.admits(item.publisher, reader):
                continue
            if item.rights.allow(item.publisher, reader):
                break
            denied = True
        else:
            if denied:
                raise Denied
            return None
        if item.persistence is Persistence.FIRST_READ:
            self._drop(key, lambda each: each is item)
        return item

    def unpublish(self, proc: Proc, keys: tuple[str, ...] | None, range_: Range | None, token: int | None) -> int:
        """Drop what `proc` published: under these keys, in this range, by this publication (None: any)."""

        def is_meant(item: Item) -> bool:
            return (
                item.publisher.proc == proc
                and (range_ is None or item.reach.range is range_)
                and (token is None or item.token == token)
            )

        return sum(self._drop(key, is_meant) for key in (tuple(self._items) if keys is None else keys))

    def purge(self, is_over: Callable[[Item], bool]) -> None:
        """Drop all whose time is over."""
        for key in tuple(self._items):
            self._drop(key, is_over)

    def clear(self) -> None:
        """Drop all."""
        self._items.clear()

    def _drop(self, key: str, is_meant: Callable[[Item], bool]) -> int:
        there = self._items.get(key, [])
        left = [item for item in there if not is_meant(item)]
        if left:
            self._items[key] = left
        else:
            self._items.pop(key, None)
        return len(there) - len(left)
