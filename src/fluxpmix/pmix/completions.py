"""What libpmix calls back: one set of C functions for the whole process, and the waiting behind them.

`server.py`, `client.py` and `events.py` pass these where libpmix wants a callback function. Each use
gets a number that travels as `cbdata`; what it refers to stays in a dictionary here until libpmix
calls, so neither the C function nor the memory lent to libpmix can go away too early, even when the
caller is interrupted. The C functions live for ever: libpmix's thread may call late.

They run on libpmix's progress thread, so what they call must not block. Standard 4.2, section 3.3.
"""

from __future__ import annotations

import itertools
import sys
from _thread import allocate_lock, get_ident

from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import Infos
from fluxpmix.pmix.values import decode_infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from fluxpmix.pmix.library import Library

SUCCESS = 0
OPERATION_SUCCEEDED = -157


class Completions:
    """The C callbacks of one `ffi`, and what waits for each."""

    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Callable[..., None], Any]] = {}
        # The thread that libpmix calls from: it must not wait for itself.
        self.progress_thread: int | None = None
        # Threads inside a call that libpmix may complete before it returns: PROC_LOCAL events, and in 6.1 the release
        # of what an answer lent to it.
        self._calling: set[int] = set()
        make = self._make
        self.op = make("void(int, void *)", lambda status, key: self._finish(key, status))
        self.info = make(
            "void(int, pmix_info_t *, size_t, void *, void *, void *)",
            lambda status, array, count, key, free, freed: self._finish(key, status, array, count, free, freed),
        )
        self.setup_application = make(
            "void(int, pmix_info_t *, size_t, void *, void *, void *)",
            lambda status, array, count, key, done, done_data: self._finish(key, status, array, count, done, done_data),
        )
        self.modex = make(
            "void(int, char *, size_t, void *)",
            lambda status, data, size, key: self._finish(key, status, data, size),
        )
        self.registered = make(
            "void(int, size_t, void *)", lambda status, reference, key: self._finish(key, status, reference)
        )
        self.release = make("void(void *)", self._finish)

    def _make(self, signature: str, function: Callable[..., None]) -> Any:
        return self._ffi.callback(signature, function, onerror=report)

    def _finish(self, key: Any, *arguments: Any) -> None:
        if (here := get_ident()) not in self._calling:
            self.progress_thread = here
        waiting = self._waiting.pop(int(self._ffi.cast("uintptr_t", key)), None)
        if waiting is not None:
            waiting[0](*arguments)

    def expect(self, done: Callable[..., None], keep: Any = None) -> Any:
        """Return a `cbdata` under which one callback calls `done`; `keep` lives until then."""
        number = next(self._ids)
        self._waiting[number] = (done, keep)
        return self._ffi.cast("void *", number)

    def forget(self, key: Any) -> None:
        """Take back an `expect` that libpmix will not answer."""
        self._waiting.pop(int(self._ffi.cast("uintptr_t", key)), None)

    def refuse_here(self, call: str) -> None:
        """Raise `RuntimeError` on libpmix's own thread, where a call that waits would never end."""
        if self.progress_thread == get_ident():
            raise RuntimeError(
                f"{call} waits for libpmix's thread and was called on it: hand the work over to another thread"
            )

    def wait(self, name: str, call: Callable[[Any], int], *keep: Any) -> tuple[Any, ...]:
        """Start `call(cbdata)` and wait for what it calls back with; the GIL is free meanwhile.

        `keep` is lent to libpmix: closed when it has called back, or when it refused the call, and
        never while it may still look. Returns the callback's arguments, without `cbdata`. Raises
        `PmixError` where the call was refused; one that was done at once
        (PMIX_OPERATION_SUCCEEDED) returns `(PMIX_SUCCESS,)`.
        """
        self.refuse_here(name)
        lock = allocate_lock()
        lock.acquire()
        came: list[tuple[Any, ...]] = []

        def done(*arguments: Any) -> None:
            came.append(arguments)
            lock.release()

        key = self.expect(done, keep)
        status = self.call(partial(call, key))
        if status != SUCCESS:
            self.forget(key)
            close_all(keep)
            check(status, name)
            return (SUCCESS,)
        lock.acquire()  # interrupted here, what was lent stays alive, unclosed
        close_all(keep)
        return came[0]

    def start(
        self, name: str, call: Callable[[Any], int], *keep: Any, done: Callable[[int], None] | None = None
    ) -> None:
        """Start `call(cbdata)`, which ends in `op`, and do not wait; `done(status)` on libpmix's thread.

        `keep` is lent to libpmix and closed when it has called back. Raises `PmixError` where the
        call was refused.
        """

        def ended(status: int) -> None:
            close_all(keep)
            if done is not None:
                done(status)

        key = self.expect(ended, keep)
        status = self.call(partial(call, key))
        if status != SUCCESS:
            self.forget(key)
            close_all(keep)
            check(status, name)
            if done is not None:
                done(SUCCESS)

    def call(self, call: Callable[[], Any]) -> Any:
        """Return `call()`, a call of libpmix that may call back before it returns, on whatever thread this is."""
        here = get_ident()
        self._calling.add(here)
        try:
            return call()
        finally:
            self._calling.discard(here)

    def wait_infos(self, library: Library, name: str, call: Callable[[Any], int], *keep: Any) -> Infos:
        """As `wait`, for a call that ends in `info`: returns the infos, or raises `PmixError`."""
        came = self.wait(name, call, *keep)
        if len(came) == 1:
            return ()
        status, array, count, free, freed = came
        try:
            check(status, name)
            return decode_infos(library, array, count)
        finally:
            if free:
                library.ffi.cast("void (*)(void *)", free)(freed)


def close_all(things: Iterable[Any]) -> None:
    """Close each of these that has a `close`."""
    for thing in things:
        close = getattr(thing, "close", None)
        if close is not None:
            close()


_by_ffi: dict[int, Completions] = {}


def completions(library: Library) -> Completions:
    """Return the process's callbacks for this library's ffi."""
    found = _by_ffi.get(id(library.ffi))
    if found is None:
        found = _by_ffi[id(library.ffi)] = Completions(library.ffi)
    return found


def report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Show an exception that has nobody to go to, as it must not leave libpmix's thread."""
    sys.excepthook(kind, error, trace)
