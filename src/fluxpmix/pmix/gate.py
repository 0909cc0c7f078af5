"""The door before libpmix's own: who may connect is decided before libpmix hears of the connection.

`server.py` puts a `Gate` in front of a server whose carrier gives it a judge. It has to be before,
because libpmix (4.2, 5.0 and 6.1) cannot turn anybody away unharmed: a connection that fails its
checks leaves the rank that was claimed freed but listed, so that one connect by another user stops
the job, an unwanted tool ends the process, and a peer that connects and says nothing stops all others.

A judge may want to hear what a connection says first, as its name decides: it then waits outside (`greeting.py`)
until it has said it. To let it in after that, the gate knocks on libpmix's door itself, and libpmix is
given the connection that waited in place of the knock.

libpmix offers no hook there (the module's `listener` entry is never called), so the gate takes the
place of one function in its table of imported ones: `accept`. Linux, 64 bits, any ELF libpmix that
imports `accept`. Nothing of libpmix's own code or data is touched.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from struct import iter_unpack, unpack_from

from fluxpmix.pmix.completions import report
from fluxpmix.pmix.greeting import Greeting, Waiting
from fluxpmix.pmix.library import LibraryError
from fluxpmix.pmix.light import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from fluxpmix.pmix.library import Library

Verdict: TypeAlias = "str | Callable[[Greeting], str | None] | None"
Judge: TypeAlias = Callable[[int], Verdict]

_RTLD_NOW_NOLOAD = 0x2 | 0x4
_RTLD_DI_LINKMAP = 2
_READ_WRITE = 0x1 | 0x2
_NEWCOMERS = 4096  # as many as may connect at once
# Tags of an ELF file's dynamic section, and the sizes of its records (64 bits).
_PLTRELSZ, _STRTAB, _SYMTAB, _RELA, _RELASZ, _STRSZ, _JMPREL = 2, 5, 6, 7, 8, 10, 23


class Gate:
    """Asks `judge(descriptor)` about each connection that libpmix accepts, on libpmix's thread.

    `judge` returns None to let it in, the reason to close it at once, or a function to be asked again, on
    another thread, with the `Greeting` of that connection. Raises `LibraryError` where this libpmix does
    not import `accept`.
    """

    def __init__(self, library: Library, judge: Judge) -> None:
        self._library = library
        self._judge = judge
        self._asked: dict[int, Callable[[Greeting], str | None]] = {}
        self._waiting = Waiting(self._heard)
        self._knocks: dict[int, int] = {}  # by our end's port: the connection that is to come in
        self.refused = 0
        self.entered: deque[int] = deque(maxlen=_NEWCOMERS)  # let in, and not yet known to somebody by name
        self._slot = import_slot(library, b"accept")
        self._real = library.lib.accept
        self._saved = self._slot[0]
        # Kept for ever: libpmix's thread may be on its way in when the gate is taken down.
        self._function = library.ffi.callback("int(int, void *, void *)", self._accept, error=-1, onerror=report)
        _kept.append(self._function)
        self._slot[0] = library.ffi.cast("void *", self._function)

    def close(self) -> None:
        """Let libpmix accept for itself again."""
        self._slot[0] = self._saved
        self._waiting.close()
        while self._knocks:
            os.close(self._knocks.popitem()[1])

    def _accept(self, listener: int, address: Any, length: Any) -> int:
        ffi = self._library.ffi
        descriptor: int = self._real(listener, address, length)
        if descriptor >= 0:
            waited = self._knocks.pop(_peer_port(descriptor), None) if self._knocks else None
            if waited is not None:
                os.close(descriptor)
                self.entered.append(waited)
                return waited
            try:
                verdict = self._judge(descriptor)
            except BaseException:
                os.close(descriptor)
                ffi.errno = errno.EAGAIN
                raise
            if verdict is None:
                self.entered.append(descriptor)
                return descriptor
            if isinstance(verdict, str):
                self.refused += 1
                os.close(descriptor)
            else:
                self._asked[descriptor] = verdict
                self._waiting.add(descriptor)
        elif ffi.errno == errno.EINTR:
            return -1
        # On any other error 5.0 and 6.1 close the listening socket for good, for a peer that hung up.
        ffi.errno = errno.EAGAIN
        return -1

    def _heard(self, descriptor: int, greeting: Greeting) -> None:
        """Have libpmix take a connection that waited, or close it; on the thread of `Waiting`."""
        import _socket

        if self._asked.pop(descriptor)(greeting) is not None:
            self.refused += 1
            os.close(descriptor)
            return
        with _closing(_socket.socket(fileno=os.dup(descriptor))) as sock:
            family, door = sock.family, sock.getsockname()
        with _closing(_socket.socket(family, _socket.SOCK_STREAM)) as knock:
            knock.bind((door[0], 0))
            self._knocks[knock.getsockname()[1]] = descriptor
            knock.connect(door)


_kept: list[Any] = []


def _peer_port(descriptor: int) -> int:
    import _socket

    with _closing(_socket.socket(fileno=os.dup(descriptor))) as sock, suppress(OSError):
        port: int = sock.getpeername()[1]
        return port
    return -1


class _closing:
    """A low-level socket as a context manager."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __enter__(self) -> Any:
        return self._sock

    def __exit__(self, *_: object) -> None:
        self._sock.close()


def import_slot(library: Library, name: bytes) -> Any:
    """Return a `void **` to the address at which libpmix calls the imported function `name`."""
    ffi, lib = library.ffi, library.lib
    handle = lib.dlopen(os.fsencode(library.path), _RTLD_NOW_NOLOAD)
    where = ffi.new("void **")
    if not handle or lib.dlinfo(handle, _RTLD_DI_LINKMAP, where) != 0:
        raise LibraryError(f"cannot guard {library.path}: the loader does not tell where it is")
    lib.dlclose(handle)
    base, _name, dynamic = unpack_from("QQQ", ffi.buffer(where[0], 24))
    tags = dict(_dynamic(ffi, dynamic))

    def at(tag: int) -> int:
        # glibc relocates these addresses in place, others do not.
        address = tags.get(tag, 0)
        return address if address >= base else address + base

    # Where the names of symbols may start that read `name`: in bulk, for somebody waits at every launch.
    names = bytes(ffi.buffer(ffi.cast("char *", at(_STRTAB)), tags.get(_STRSZ, 0)))
    starts = set()
    found = names.find(name + b"\0")
    while found >= 0:
        starts.add(found)
        found = names.find(name + b"\0", found + 1)
    symbols = ffi.cast("uint32_t *", at(_SYMTAB))  # six words each, the first where its name starts
    for table, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ)):
        records = ffi.buffer(ffi.cast("char *", at(table)), tags.get(size, 0)) if table in tags else b""
        for offset, info, _addend in iter_unpack("QQq", records):
            if info >> 32 and symbols[(info >> 32) * 6] in starts:
                return _writable(library, base + offset)
    raise LibraryError(f"cannot guard {library.path}: it does not import {name.decode()}()")


def _dynamic(ffi: Any, address: int) -> Iterator[tuple[int, int]]:
    entry = ffi.cast("uint64_t *", address)
    while entry[0]:
        yield entry[0], entry[1]
        entry += 2


def _writable(library: Library, address: int) -> Any:
    ffi, lib = library.ffi, library.lib
    page = os.sysconf("SC_PAGESIZE")
    if lib.mprotect(ffi.cast("void *", address // page * page), page, _READ_WRITE) != 0:
        raise LibraryError(f"cannot guard {library.path}: {os.strerror(ffi.errno)}")
    return ffi.cast("void **", address)
