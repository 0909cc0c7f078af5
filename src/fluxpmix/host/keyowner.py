"""The shell that owns a published key: what it does with requests, and the lookups that wait here.

`datastore.py` sends requests to the owner of each key, which may be this very shell. A lookup that waits is
answered the moment that its key is published. Standard 4.2, chapter 8.

The bodies of the frames are tuples (`wire.py`), and are checked here:

    PUBLISH    who, range, procs, persistence, uids, gids, token, ((key, value), ...)
    LOOKUP     who, range, procs, waits, milliseconds (0: no limit), (key, ...)
    UNPUBLISH  proc, range or None, token or None, (key, ...) or None
    STORED     nothing; its status says all
    FOUND      (found, ...), (key that was denied, ...), whether more may come
    PURGE      kind, proc or application
"""

from __future__ import annotations

from collections.abc import Callable

from fluxpmix.host.capability import Alarm
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Effect
from fluxpmix.host.frames import Tag
from fluxpmix.host.keystore import Denied, Item, KeyStore, Reach, Rights, Who
from fluxpmix.host.publication import byte_length
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import MAX_KEYLEN, Persistence, Proc, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias


# answer(shell, tag, token, status, body, now, out)
Answer: TypeAlias = "Callable[[int, Tag, int, int, tuple[Any, ...], float, list[Effect]], None]"

SUCCESS = int(Status.SUCCESS)


class BadBody(ValueError):
    """The body of a frame that no host would write."""


class _Wait:
    """A lookup that waits here for keys."""

    __slots__ = ("deadline", "keys", "reader", "shell", "token", "within")

    def __init__(
        self, shell: int, token: int, reader: Who, within: Reach, keys: list[str], deadline: float | None
    ) -> None:
        self.shell = shell
        self.token = token
        self.reader = reader
        self.within = within
        self.keys = keys
        self.deadline = deadline


class KeyOwner:
    """The keys of one shell."""

    def __init__(self, directory: Directory, answer: Answer) -> None:
        self._directory = directory
        self._answer = answer
        self.store = KeyStore()
        # Lookups that wait, in the order in which they came; and by key, those that wait for it.
        self._waits: dict[tuple[int, int], _Wait] = {}
        self._by_key: dict[str, dict[tuple[int, int], _Wait]] = {}
        self._alarm = Alarm()

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return not self._waits

    @property
    def deadline(self) -> float | None:
        """When the first wait is over."""
        return self._alarm.when if self._waits else None

    # -- requests ----------------------------------------------------------------------------------

    def take(self, shell: int, tag: Tag, token: int, body: tuple[Any, ...], now: float, out: list[Effect]) -> None:
        """Do what a request asks. Raises `BadBody`."""
        if tag is Tag.PUBLISH:
            self._publish(shell, token, self._items(body), now, out)
        elif tag is Tag.LOOKUP:
            who, range_, procs, waits, milliseconds, keys = _fields(body, 6)
            if type(waits) is not bool or type(milliseconds) is not int or milliseconds < 0:
                raise BadBody(f"a lookup that waits {waits!r} for {milliseconds!r} ms")
            within = Reach(_range(range_), _procs(procs))
            deadline = now + milliseconds / 1000 if milliseconds else None
            self._lookup(shell, token, self._who(who), within, _keys(keys), deadline, waits, now, out)
        elif tag is Tag.UNPUBLISH:
            proc, range_, publication, keys = _fields(body, 4)
            if not isinstance(proc, Proc) or not (publication is None or type(publication) is int):
                raise BadBody("an unpublish of nobody's")
            only = None if range_ is None else _range(range_)
            dropped = self.store.unpublish(proc, None if keys is None else _keys(keys), only, publication)
            status = SUCCESS if dropped or keys is None else int(Status.ERR_NOT_FOUND)
            self._answer(shell, Tag.STORED, token, status, (), now, out)
        else:
            self._forget((shell, token))

    def _publish(self, shell: int, token: int, items: tuple[Item, ...], now: float, out: list[Effect]) -> None:
        stored = self.store.publish(items)
        status = SUCCESS if stored else int(Status.ERR_DUPLICATE_KEY)
        self._answer(shell, Tag.STORED, token, status, (), now, out)
        if not stored:
            return
        for item in items:
            for name, wait in list(self._by_key.get(item.key, {}).items()):
                if self._waits.get(name) is wait and item.key in wait.keys:
                    self._look(wait, [item.key], now, out)

    def _lookup(
        self,
        shell: int,
        token: int,
        reader: Who,
        within: Reach,
        keys: tuple[str, ...],
        deadline: float | None,
        waits: bool,
        now: float,
        out: list[Effect],
    ) -> None:
        wait = _Wait(shell, token, reader, within, list(keys), deadline)
        if waits:
            self._forget((shell, token))
            self._waits[shell, token] = wait
            self._alarm.set(deadline)
            for key in keys:
                self._by_key.setdefault(key, {})[shell, token] = wait
        self._look(wait, keys, now, out, always=not waits)

    def _look(
        self, wait: _Wait, keys: tuple[str, ...] | list[str], now: float, out: list[Effect], always: bool = False
    ) -> None:
        """Answer a lookup with what there is of `keys`; where there is nothing, only if it cannot wait."""
        found: list[Item] = []
        denied: list[str] = []
        for key in keys:
            try:
                item = self.store.read(key, wait.reader, wait.within)
            except Denied:
                denied.append(key)
                continue
            if item is not None:
                found.append(item)
        if not (found or denied or always):
            return
        for key in (*denied, *(item.key for item in found)):
            self._satisfied(wait, key)
        more = bool(wait.keys) and not always
        if not more:
            self._forget((wait.shell, wait.token))
        body = (tuple(_found(item) for item in found), tuple(denied), more)
        self._answer(wait.shell, Tag.FOUND, wait.token, SUCCESS, body, now, out)

    # -- what happens ------------------------------------------------------------------------------

    def shell_lost(self, shell: int) -> None:
        """Forget what a shell waits for, and what its processes published for their lives."""
        for name in [name for name in self._waits if name[0] == shell]:
            self._forget(name)
        self.store.purge(lambda item: item.publisher.shell == shell and item.persistence is Persistence.PROCESS)

    def tick(self, now: float) -> None:
        """Forget waits that are over: who waits knows it by itself."""
        if not self._alarm.rings(now):
            return
        for name, wait in list(self._waits.items()):
            if wait.deadline is not None and wait.deadline <= now:
                self._forget(name)
            else:
                self._alarm.set(wait.deadline)

    def clear(self) -> None:
        """Forget all."""
        self._waits.clear()
        self._by_key.clear()
        self.store.clear()

    # -- inside ------------------------------------------------------------------------------------

    def _satisfied(self, wait: _Wait, key: str) -> None:
        wait.keys.remove(key)
        waiting = self._by_key.get(key, {})
        waiting.pop((wait.shell, wait.token), None)
        if not waiting:
            self._by_key.pop(key, None)

    def _forget(self, name: tuple[int, int]) -> None:
        wait = self._waits.pop(name, None)
        if wait is not None:
            for key in list(wait.keys):
                self._satisfied(wait, key)

    def _items(self, body: tuple[Any, ...]) -> tuple[Item, ...]:
        who, range_, procs, persistence, uids, gids, token, pairs = _fields(body, 8)
        publisher, reach, rights = self._who(who), Reach(_range(range_), _procs(procs)), Rights(_ids(uids), _ids(gids))
        try:
            kept = Persistence(persistence)
        except ValueError:
            raise BadBody(f"persistence {persistence!r}") from None
        if type(token) is not int or not isinstance(pairs, tuple) or not pairs:
            raise BadBody("a publication without values")
        items = []
        for key, value in (_fields(pair, 2) for pair in pairs):
            if not isinstance(value, bytes):
                raise BadBody("a published value that is not packed")
            items.append(Item(_keys((key,))[0], value, publisher, token, reach, kept, rights))
        return tuple(items)

    def _who(self, fields: Any) -> Who:
        proc, uid, gid = _fields(fields, 3)
        if not isinstance(proc, Proc) or not all(each is None or type(each) is int for each in (uid, gid)):
            raise BadBody("a request of nobody")
        try:
            (shell,) = self._directory.shells((proc,))
        except (LookupError, ValueError) as error:
            raise BadBody(str(error)) from None
        return Who(proc, shell, uid, gid)


def packed_item(item: Item) -> tuple[Any, ...]:
    """Return the body of a PUBLISH with one value: to give back what was read for nothing."""
    who = (item.publisher.proc, item.publisher.uid, item.publisher.gid)
    reach, rights = item.reach, item.rights
    pairs = ((item.key, item.value),)
    return who, reach.range, reach.procs, item.persistence, rights.uids, rights.gids, item.token, pairs


def _found(item: Item) -> tuple[Any, ...]:
    """Return what a FOUND says of one value: with all that it takes to give back one that is gone now."""
    whole = packed_item(item) if item.persistence is Persistence.FIRST_READ else None
    return item.key, item.publisher.proc, item.value, whole


def found(body: tuple[Any, ...]) -> tuple[list[tuple[str, Proc, bytes, tuple[Any, ...] | None]], tuple[str, ...], bool]:
    """Check the body of a FOUND and return its parts. Raises `BadBody`."""
    values, denied, more = _fields(body, 3)
    if not isinstance(values, tuple) or not isinstance(denied, tuple) or type(more) is not bool:
        raise BadBody("an answer to a lookup that says nothing")
    parts = [_fields(each, 4) for each in values]
    for key, proc, value, whole in parts:
        if not isinstance(proc, Proc) or not isinstance(value, bytes) or not isinstance(whole, tuple | None):
            raise BadBody("a value that was not published")
        _keys((key,))
    return parts, _keys(denied) if denied else (), more


def _fields(body: Any, count: int) -> tuple[Any, ...]:
    if not isinstance(body, tuple) or len(body) != count:
        raise BadBody(f"{count} fields are wanted")
    return body


def _keys(keys: Any) -> tuple[str, ...]:
    if not isinstance(keys, tuple) or not keys:
        raise BadBody("keys are wanted")
    for key in keys:
        if not isinstance(key, str) or not 0 < byte_length(key) <= MAX_KEYLEN:
            raise BadBody(f"a key is text of 1 to {MAX_KEYLEN} bytes")
    if len(set(keys)) != len(keys):
        raise BadBody("a key is given twice")
    return keys


def _procs(procs: Any) -> tuple[Proc, ...]:
    if not isinstance(procs, tuple) or not all(isinstance(proc, Proc) for proc in procs):
        raise BadBody("processes are wanted")
    return procs


def _ids(ids: Any) -> tuple[int, ...] | None:
    if ids is not None and not (isinstance(ids, tuple) and all(type(each) is int for each in ids)):
        raise BadBody("user or group ids are wanted")
    return ids


def _range(number: Any) -> Range:
    found = _RANGES.get(number) if isinstance(number, int) else None
    if found is None:
        raise BadBody(f"range {number!r}")
    return found


_RANGES = {int(each): each for each in Range}
