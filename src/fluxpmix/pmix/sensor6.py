"""The same as `sensor.py` for libpmix 6, which answers PMIx_Process_monitor by itself, and never alerts.

It asks a plugin of its own (pstat) for what a process or node uses, and takes whatever else is asked for as done. Two
places are ours instead: that plugin's entry in the table that libpmix exports, which says what was asked for, and, in
the table of functions that libpmix calls of its own exported ones (as in `gate.py`), pmix_server_monitor, which says
who has it answered: libpmix itself would do that at once. So a request to watch a heartbeat or a file, or to do so no
longer, becomes an upcall like any other; all else goes its way.

libpmix calls both, and what answers, on its one thread, the last two of them one after the other.
"""

from __future__ import annotations

from fluxpmix.pmix import attributes, decoding
from fluxpmix.pmix.completions import report
from fluxpmix.pmix.gate import import_slot
from fluxpmix.pmix.library import LibraryError
from fluxpmix.pmix.module_table import ENTRIES, Answer
from fluxpmix.pmix.sensor import take_beats
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.upcalls import Monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library
    from fluxpmix.pmix.sensor import Offer

_REQUEST = "int (*)(void *, void *, void *, void *)"
_QUERY = "int (*)(pmix_proc_t *, pmix_info_t *, int, pmix_info_t *, size_t, pmix_info_t **, size_t *)"
_RELEASE = "void (*)(void *)"
_WATCHED = (attributes.MONITOR_HEARTBEAT, attributes.MONITOR_FILE, attributes.MONITOR_CANCEL)
_TARGETS = "pmix.monitor.tgt"  # PMIX_MONITOR_TARGET_PROCS and its like
_SUCCESS, _ERROR, _NOT_SUPPORTED = int(Status.SUCCESS), int(Status.ERROR), int(Status.ERR_NOT_SUPPORTED)
_kept: list[Any] = []  # for ever: libpmix's thread may call it until the process ends


def hand_up(library: Library, offer: Offer) -> None:
    """Have requests to watch something reach the host; after PMIx_server_init, before a client is there."""
    ffi, lib = library.ffi, library.lib
    try:
        slot = import_slot(library, b"pmix_server_monitor")
        real_request, table, beats = lib.pmix_server_monitor, lib.pmix_pstat, lib.pmix_psensor
    except (LibraryError, AttributeError):  # a libpmix that does it in another way
        return
    real_query = ffi.cast(_QUERY, table.query)
    (entry,) = (each for each in ENTRIES if each.upcall is Monitor)
    open_requests: dict[int, tuple[Any, Any, Any]] = {}  # by number: who asks, what completes it, that one's data
    asked: list[tuple[Any, ...]] = []  # of the one that is being answered: its fields
    hears_beats = False
    count = 0

    def request(peer: Any, buffer: Any, function: Any, data: Any) -> int:
        nonlocal count
        count += 1
        open_requests[count] = peer, function, data
        status: int = real_request(peer, buffer, answer, ffi.cast("void *", count))
        if status != _SUCCESS:
            open_requests.pop(count, None)
        return status

    def query(who: Any, what: Any, error: int, array: Any, size: int, found: Any, found_size: Any) -> int:
        if decoding.text(ffi, what.key) not in _WATCHED:
            status: int = real_query(who, what, error, array, size, found, found_size)
            return status
        fields = decoding.monitor(library, who, what, error, array, size)
        if any(info.key.startswith(_TARGETS) for info in fields[3]):
            return _NOT_SUPPORTED  # a process watches itself, and files of its node
        asked[:] = [fields]
        found[0], found_size[0] = ffi.NULL, 0
        return _SUCCESS

    def complete(status: int, array: Any, size: int, data: Any, release: Any, release_data: Any) -> None:
        nonlocal hears_beats
        peer, function, original = open_requests.pop(int(ffi.cast("uintptr_t", data)))
        answers = ffi.cast(Answer.INFO.value, function)
        if not asked:
            answers(status, array, size, original, release, release_data)
            return
        fields = asked.pop()
        if release:
            ffi.cast(_RELEASE, release)(release_data)
        if fields[1].key == attributes.MONITOR_HEARTBEAT and not hears_beats:
            hears_beats = True
            take_beats(library, beats.start, peer)
        outcome = offer(entry, fields, function, original)
        if outcome != _SUCCESS:
            answers(outcome, ffi.NULL, 0, original, ffi.NULL, ffi.NULL)

    answer = ffi.callback(Answer.INFO.value, complete, onerror=report)
    request_function = ffi.callback(_REQUEST, request, error=_ERROR, onerror=report)
    query_function = ffi.callback(_QUERY, query, error=_ERROR, onerror=report)
    _kept.extend((answer, request_function, query_function))
    slot[0] = ffi.cast("void *", request_function)
    table.query = ffi.cast("void *", query_function)
