"""Event handlers and notifications, as server and client both have them.

`Server` and `Client` inherit `Events`. A handler runs on libpmix's progress thread (for an event that
its own process raises, on the thread that does): it must not block. Its completion function is
called for it, in every case, or libpmix would hold the event's chain for ever. Standard 4.2,
chapter 9 ("Event Notification").
"""

from __future__ import annotations

from fluxpmix.pmix import decoding
from fluxpmix.pmix.completions import completions, report
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import Directives, Infos, Proc, Range
from fluxpmix.pmix.values import ProcArray, decode_infos, infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, TypeAlias

    from fluxpmix.pmix.library import Library

    # handler(status, source, infos), on libpmix's thread
    EventHandler: TypeAlias = Callable[[int, Proc, Infos], None]


_NO_ACTION_TAKEN = -331
_HANDLER = (
    "void(size_t, int, pmix_proc_t *, pmix_info_t *, size_t, pmix_info_t *, size_t, "
    "void (*)(int, pmix_info_t *, size_t, void *, void *, void *), void *)"
)


class Events:
    """Register for events and raise them."""

    _library: Library
    _handlers: dict[int, Any]

    def register_event_handler(
        self, codes: Collection[int] | None, handler: EventHandler, directives: Directives | None = None
    ) -> int:
        """Have `handler(status, source, infos)` called for events with these codes (None: for all).

        `handler` runs on libpmix's thread and must not block; an exception in it is reported and
        goes no further. Returns the reference for `deregister_event_handler`. Raises `PmixError`.
        Standard 4.2, section 9.1 (PMIx_Register_event_handler).
        """
        library, name = self._library, "PMIx_Register_event_handler"
        ffi, waiting = library.ffi, completions(library)
        waiting.refuse_here(name)
        function = ffi.callback(_HANDLER, _handler(library, handler), onerror=report)
        wanted = ffi.new("int[]", list(codes)) if codes else ffi.NULL
        ncodes = len(codes) if codes else 0
        array = infos(library, directives)
        status, reference = waiting.wait(
            name,
            lambda key: library.lib.PMIx_Register_event_handler(
                wanted, ncodes, array.pointer, array.count, function, waiting.registered, key
            ),
            array,
            function,
            wanted,
        )
        check(status, name)
        self._handlers[reference] = function
        return int(reference)

    def deregister_event_handler(self, reference: int) -> None:
        """Drop an event handler.

        Raises `PmixError`. Standard 4.2, section 9.1 (PMIx_Deregister_event_handler).
        """
        library, name = self._library, "PMIx_Deregister_event_handler"
        waiting = completions(library)
        status = waiting.wait(
            name,
            lambda key: library.lib.PMIx_Deregister_event_handler(reference, waiting.op, key),
        )[0]
        check(status, name)
        self._handlers.pop(reference, None)

    def _notify(
        self,
        status: int,
        source: Proc,
        range_: Range,
        directives: Directives | None,
        done: Callable[[int], None] | None,
    ) -> None:
        library, name = self._library, "PMIx_Notify_event"
        waiting = completions(library)
        procs = ProcArray(library, (source,))
        array = infos(library, directives)
        waiting.start(
            name,
            lambda key: library.lib.PMIx_Notify_event(
                status, procs.pointer, int(range_), array.pointer, array.count, waiting.op, key
            ),
            array,
            procs,
            done=done,
        )


def _handler(library: Library, handler: EventHandler) -> Callable[..., None]:
    ffi = library.ffi

    def call(
        _reference: int,
        status: int,
        source: Any,
        array: Any,
        count: int,
        _results: Any,
        _nresults: int,
        complete: Any,
        data: Any,
    ) -> None:
        try:
            handler(status, decoding.proc(ffi, source), decode_infos(library, array, count))
        finally:
            if complete:
                # "No action taken" lets the chain go on to other handlers for the event.
                complete(_NO_ACTION_TAKEN, ffi.NULL, 0, ffi.NULL, ffi.NULL, data)

    return call
