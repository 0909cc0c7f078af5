"""What libpmix's own monitors of processes are kept from, so that the host's serve instead (`host/monitor.py`).

Used by `server.py` where the host takes PMIx_Process_monitor. libpmix (4.2, 5.0) offers each such request to monitors
of its own first, and hands up only what none of them is there for. They fall short of the Standard: of heartbeats they
know no drops, no id, no cancellation and no event but one, of files 4.2's never raise the alert and 5.0's end the
server with it. With one of them switched off, the other says that it serves what it does not know.

So their start function gives way to one that serves nothing: all requests reach the host. It leaves libpmix one thing
to do, which only a monitor of its own makes it do: to take heartbeats in. Where nobody does, the server answers each
with an error, and the client keeps those answers for ever. That monitor's time is never up.

libpmix exports the table in which its start function stands. 6.1 does not use it: see `sensor6.py`.
"""

from __future__ import annotations

from fluxpmix.pmix import attributes
from fluxpmix.pmix.completions import report
from fluxpmix.pmix.decoding import text
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataType, Info
from fluxpmix.pmix.values import infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from fluxpmix.pmix.library import Library

Offer: TypeAlias = "Callable[[Any, tuple[Any, ...], Any, Any], int]"

_FUNCTION = "int (*)(void *, int, const pmix_info_t *, const pmix_info_t *, size_t)"
_NEVER = 1 << 30  # seconds: 34 years
_NOT_SUPPORTED = int(Status.ERR_NOT_SUPPORTED)
_kept: list[Any] = []  # for ever: libpmix's thread may call it until the process ends


def hand_up(library: Library, offer: Offer) -> None:
    """Have every PMIx_Process_monitor reach the host; after PMIx_server_init, before a client is there.

    `offer(entry, fields, function, data)` makes an upcall, where libpmix would not.
    """
    if library.version >= (6, 1):
        from fluxpmix.pmix import sensor6

        sensor6.hand_up(library, offer)
        return
    ffi = library.ffi
    try:
        table = library.lib.pmix_psensor
    except AttributeError:  # a libpmix that does not export it
        return
    real = table.start
    hears_beats = False

    def start(peer: Any, _error: int, monitor: Any, _directives: Any, _count: int) -> int:
        nonlocal hears_beats
        if not hears_beats and text(ffi, monitor.key) == attributes.MONITOR_HEARTBEAT:
            hears_beats = True
            take_beats(library, real, peer)
        return _NOT_SUPPORTED

    function = ffi.callback(_FUNCTION, start, error=_NOT_SUPPORTED, onerror=report)
    _kept.append(function)
    table.start = function


def take_beats(library: Library, start: Any, peer: Any) -> None:
    """Have libpmix's own monitor, by its start function, take in what a peer sends; for ever, and for all peers."""
    what = Info(attributes.MONITOR_HEARTBEAT, True, DataType.BOOL)
    never = Info(attributes.MONITOR_HEARTBEAT_TIME, _NEVER, DataType.UINT32)
    with infos(library, [what]) as monitor, infos(library, [never]) as directives:
        library.ffi.cast(_FUNCTION, start)(peer, 0, monitor.pointer, directives.pointer, directives.count)
