"""The answers to open upcalls: from plain data to the C call that completes each.

`Server.reply` goes through here. Who owns what, and on which thread a completion is safe, differs by
entry and version: before 6.1 many completions touch a peer's send queue at once, so they are made on
libpmix's own thread, reached with a register_resources call that registers nothing. Memory lent to
libpmix lives until its release function was called, or, where it copies at once, until its thread
has been passed through once more. Standard 4.2, section 17.3.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable

from fluxpmix.pmix.completions import SUCCESS, close_all, completions
from fluxpmix.pmix.decoding import nspace_bytes
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.module_table import Answer, Entry
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import DataType, Info, Proc
from fluxpmix.pmix.upcalls import Group, NotifyEvent
from fluxpmix.pmix.values import InfoArray, ProcArray, infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

_PARTIAL_SUCCESS = -52
_LENT = 1 << 16  # bytes; a larger block is lent to libpmix as it is, a smaller one is sooner copied than given back


class Open(Record):
    """An upcall that waits for its answer."""

    entry: Entry
    function: Any
    data: Any


class Replies:
    """Completes upcalls of one server."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._completions = completions(library)
        self._hops = library.version < (6, 1)
        self._together: list[Callable[[], None]] = []  # what waits for libpmix's thread, in one hop
        self._lock = allocate_lock()
        ffi = library.ffi
        self._free = ffi.cast("void *", ffi.addressof(library.lib, "free"))
        self._release = ffi.cast("void *", self._completions.release)
        self._encode: dict[Answer, Callable[..., None]] = {
            Answer.OP: self._op,
            Answer.MODEX: self._modex,
            Answer.INFO: self._info,
            Answer.SPAWN: self._spawn,
            Answer.LOOKUP: self._lookup,
            Answer.CREDENTIAL: self._credential,
            Answer.VALIDATION: self._validation,
            Answer.TOOL: self._tool,
        }

    def send(self, upcall: Open, status: int, payload: Any) -> None:
        """Complete `upcall`. Raises `ValueError` or `TypeError`, before anything was sent, for a payload
        that is not what its class says."""
        if upcall.function:
            if status == _PARTIAL_SUCCESS and upcall.entry.answer is Answer.INFO:
                # From 5.0 on what was found goes along with it; clients of 4.2 drop it but after success.
                self._info(upcall, status if self._library.version >= (5, 0) else SUCCESS, payload)
                return
            self._encode[upcall.entry.answer](upcall, status, payload if status == SUCCESS else None)

    def hop(self, call: Callable[[], None]) -> None:
        """Run `call` on libpmix's thread, after all that was queued there before."""
        library, waiting = self._library, self._completions
        key = waiting.expect(lambda _status: call())
        if library.lib.PMIx_server_register_resources(library.ffi.NULL, 0, waiting.op, key) != SUCCESS:
            waiting.forget(key)

    def _hop_together(self, call: Callable[[], None]) -> None:
        """Run `call` there too, perhaps before what was queued since others were: where the order is all the same."""
        with self._lock:
            self._together.append(call)
            first = len(self._together) == 1
        if first:
            self.hop(self._arrived)

    def _arrived(self) -> None:
        with self._lock:
            calls, self._together = self._together, []
        for call in calls:
            call()

    # -- one method an answer ------------------------------------------------------------------

    def _call(self, upcall: Open, *arguments: Any, keep: tuple[Any, ...] = ()) -> None:
        """Call the completion where it is safe; `keep` lives until libpmix has copied it."""
        function = self._library.ffi.cast(upcall.entry.answer.value, upcall.function)
        hops = upcall.entry.hop and self._hops
        copies = hops and upcall.entry.answer is Answer.LOOKUP  # on its own thread it packs a lookup's data at once

        def complete() -> None:
            self._completions.call(partial(function, *arguments))
            if copies:
                close_all(keep)
            elif keep:
                self.hop(lambda: close_all(keep))

        if hops and upcall.entry.upcall is NotifyEvent:  # as many come as people raise events
            self._hop_together(complete)
        elif hops:
            self.hop(complete)
        else:
            complete()

    def _op(self, upcall: Open, status: int, _payload: Any) -> None:
        self._call(upcall, status, upcall.data)

    def _modex(self, upcall: Open, status: int, payload: Any) -> None:
        ffi, lib = self._library.ffi, self._library.lib
        parts = [payload] if isinstance(payload, (bytes, bytearray, memoryview)) else payload or ()
        views = [memoryview(part).cast("B") for part in parts]
        size = sum(view.nbytes for view in views)
        if not size:
            # Nothing must be NULL: a pointer with no bytes makes libpmix read past the end.
            self._call(upcall, status, ffi.NULL, 0, upcall.data, ffi.NULL, ffi.NULL)
            return
        if len(views) == 1 and size >= _LENT:
            lent = ffi.from_buffer("char[]", views[0])
            key = self._completions.expect(lambda: None, lent)
            self._call(upcall, status, lent, size, upcall.data, self._release, key)
            return
        memory = ffi.cast("char *", lib.malloc(size))
        if not memory:
            raise MemoryError(f"no memory for a block of {size} bytes")
        at = 0
        for view in views:
            ffi.memmove(memory + at, view, view.nbytes)
            at += view.nbytes
        self._call(upcall, status, memory, size, upcall.data, self._free, memory)

    def _info(self, upcall: Open, status: int, payload: Any) -> None:
        ffi = self._library.ffi
        array = infos(self._library, payload)
        if not array.count:
            array.close()
            self._call(upcall, status, ffi.NULL, 0, upcall.data, ffi.NULL, ffi.NULL)
            return
        keep: tuple[Any, ...] = (array,)
        if upcall.entry.upcall is Group:
            keep = (_GivenBytes(self._library, array), array)
        key = self._completions.expect(lambda: close_all(keep), keep)
        self._call(upcall, status, array.pointer, array.count, upcall.data, self._release, key)

    def _spawn(self, upcall: Open, status: int, payload: Any) -> None:
        name = self._library.ffi.new("char[]", nspace_bytes(payload or ""))
        self._call(upcall, status, name, upcall.data, keep=(name,))

    def _lookup(self, upcall: Open, status: int, payload: Any) -> None:
        found = tuple(payload or ())
        array = infos(self._library, [Info(one.key, one.value) for one in found])
        procs = ProcArray(self._library, [one.proc for one in found])
        data = self._library.ffi.new("pmix_pdata_t[]", max(1, len(found)))
        for index in range(len(found)):
            data[index].proc = procs.pointer[index]
            data[index].key = array.pointer[index].key
            data[index].value = array.pointer[index].value
        self._call(upcall, status, data, len(found), upcall.data, keep=(data, procs, array))

    def _credential(self, upcall: Open, status: int, payload: Any) -> None:
        ffi = self._library.ffi
        secret = bytes(payload or b"")
        memory = ffi.new("char[]", secret)
        credential = ffi.new("pmix_byte_object_t *", {"bytes": memory, "size": len(secret)})
        self._call(upcall, status, credential, ffi.NULL, 0, upcall.data, keep=(memory, credential))

    def _validation(self, upcall: Open, status: int, payload: Any) -> None:
        array = infos(self._library, payload)
        self._call(upcall, status, array.pointer, array.count, upcall.data, keep=(array,))

    def _tool(self, upcall: Open, status: int, payload: Any) -> None:
        # Read even when the tool is refused: never NULL.
        procs = ProcArray(self._library, (payload or Proc("", 0),))
        self._call(upcall, status, procs.pointer, upcall.data, keep=(procs,))


class _GivenBytes:
    """The byte objects of a group's reply, in libc's memory: libpmix takes endpoint data for its own.

    It frees what it takes and clears the pointer to it; `close` frees the rest.
    """

    def __init__(self, library: Library, array: InfoArray) -> None:
        self._lib = library.lib
        self._values = [
            array.pointer[index].value
            for index in range(array.count)
            if array.pointer[index].value.type == DataType.BYTE_OBJECT
        ]
        for value in self._values:
            data, size = value.data.bo.bytes, value.data.bo.size
            value.data.bo.bytes = self._lib.malloc(max(1, size))
            if size:
                library.ffi.memmove(value.data.bo.bytes, data, size)

    def close(self) -> None:
        for value in self._values:
            if value.data.bo.bytes:
                self._lib.free(value.data.bo.bytes)


def answers_partly(entry: Entry, status: int) -> int:
    """Return the status that makes libpmix pass on what was found.

    It drops the data of a lookup that ends in PMIX_ERR_PARTIAL_SUCCESS, in all versions, though the
    Standard has that status for it.
    """
    return SUCCESS if entry.answer is Answer.LOOKUP and status == _PARTIAL_SUCCESS else status
