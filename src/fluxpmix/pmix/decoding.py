"""From what libpmix hands an upcall to plain data, and the few C arrays that go the other way.

`module_table.py` names one function of the first part for each entry of the server module;
`client.py` uses the arrays of apps and queries. Infos, values and procs are `values.py`'s.
All that libpmix lends is copied: its arguments are valid only while the upcall runs (HOST facts
differ by version and entry, so nothing is kept). Standard 4.2, chapter 3 and section 17.3.
"""

from __future__ import annotations

from fluxpmix.pmix.types import (
    LARGEST_VALUE,
    MAX_NSLEN,
    AppSpec,
    DataType,
    GroupOperation,
    Info,
    Infos,
    IofChannel,
    Proc,
    QueryItem,
    Range,
    find,
)
from fluxpmix.pmix.values import InfoArray, decode_infos, decode_procs, infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from fluxpmix.pmix.library import Library

_USERID = "pmix.euid"
_GRPID = "pmix.egid"
_PROC_PID = "pmix.ppid"


def text(ffi: Any, pointer: Any) -> str:
    """Copy a C string; NULL is the empty string, bytes that are no UTF-8 survive a round trip."""
    return ffi.string(pointer).decode("utf-8", "surrogateescape") if pointer else ""


def encoded(what: str) -> bytes:
    """Return the C string of `what`, or raise `ValueError` where C would cut it short."""
    if "\0" in what:
        raise ValueError(f"{what!r} holds a NUL character: C strings cannot")
    return what.encode("utf-8", "surrogateescape")


def nspace_bytes(nspace: str) -> bytes:
    """Return a namespace as the C string it must fit in, or raise `ValueError`."""
    name = encoded(nspace)
    if len(name) > MAX_NSLEN:
        raise ValueError(f"namespace {nspace!r} has {len(name)} bytes: at most {MAX_NSLEN} fit")
    return name


def text_list(ffi: Any, pointer: Any) -> tuple[str, ...]:
    """Copy a NULL-terminated `char **`; NULL is the empty list."""
    found: list[str] = []
    while pointer and pointer[len(found)]:
        found.append(text(ffi, pointer[len(found)]))
    return tuple(found)


def proc(ffi: Any, pointer: Any) -> Proc:
    """Copy a `pmix_proc_t`; NULL is the process without a name."""
    return Proc(text(ffi, pointer.nspace), pointer.rank) if pointer else Proc("", 0xFFFFFFFF)


def blob(ffi: Any, pointer: Any, size: int) -> bytes:
    """Copy `size` bytes."""
    return bytes(ffi.buffer(pointer, size)) if pointer and size else b""


def byte_object(ffi: Any, pointer: Any) -> bytes:
    """Copy a `pmix_byte_object_t`; NULL is empty."""
    return blob(ffi, pointer.bytes, pointer.size) if pointer else b""


# -- one function an upcall: from the C arguments before `cbfunc, cbdata` to the class's fields ----


def client_connected(library: Library, who: Any, _object: Any) -> tuple[Any, ...]:
    return (proc(library.ffi, who),)


def client_connected2(library: Library, who: Any, _object: Any, array: Any, count: int) -> tuple[Any, ...]:
    told = decode_infos(library, array, count)
    return proc(library.ffi, who), find(told, _USERID), find(told, _GRPID), find(told, _PROC_PID)


def client_finalized(library: Library, who: Any, _object: Any) -> tuple[Any, ...]:
    return (proc(library.ffi, who),)


def abort(
    library: Library, who: Any, _object: Any, status: int, message: Any, procs: Any, count: int
) -> tuple[Any, ...]:
    ffi = library.ffi
    return proc(ffi, who), status, text(ffi, message), decode_procs(library, procs, count)


def fence(library: Library, procs: Any, nprocs: int, array: Any, count: int, data: Any, size: int) -> tuple[Any, ...]:
    try:
        block = blob(library.ffi, data, size)
        return decode_procs(library, procs, nprocs), decode_infos(library, array, count), block
    finally:
        # The block is the host's to free, in every version.
        if data:
            library.lib.free(data)


def proc_and_infos(library: Library, who: Any, array: Any, count: int) -> tuple[Any, ...]:
    return proc(library.ffi, who), decode_infos(library, array, count)


def procs_and_infos(library: Library, procs: Any, nprocs: int, array: Any, count: int) -> tuple[Any, ...]:
    return decode_procs(library, procs, nprocs), decode_infos(library, array, count)


def publish(library: Library, who: Any, array: Any, count: int) -> tuple[Any, ...]:
    """As `proc_and_infos`; too much is refused before any of it is copied. Raises ValueError."""
    size = sum(array[i].value.data.bo.size for i in range(count) if array[i].value.type == DataType.BYTE_OBJECT)
    if size > LARGEST_VALUE:
        raise ValueError(f"a publication of {size} bytes: {LARGEST_VALUE} are the most in one call")
    return proc_and_infos(library, who, array, count)


def lookup(library: Library, who: Any, keys: Any, array: Any, count: int) -> tuple[Any, ...]:
    return proc(library.ffi, who), text_list(library.ffi, keys), decode_infos(library, array, count)


def unpublish(library: Library, who: Any, keys: Any, array: Any, count: int) -> tuple[Any, ...]:
    names = text_list(library.ffi, keys) if keys else None
    return proc(library.ffi, who), names, decode_infos(library, array, count)


def spawn(library: Library, who: Any, array: Any, count: int, apps: Any, napps: int) -> tuple[Any, ...]:
    wanted = tuple(decode_app(library, apps[i]) for i in range(napps))
    return proc(library.ffi, who), decode_infos(library, array, count), wanted


def register_events(library: Library, codes: Any, ncodes: int, array: Any, count: int) -> tuple[Any, ...]:
    wanted = tuple(codes[i] for i in range(ncodes)) if codes and ncodes else None
    return wanted, decode_infos(library, array, count)


def notify_event(library: Library, status: int, source: Any, range_: int, array: Any, count: int) -> tuple[Any, ...]:
    return status, proc(library.ffi, source), _range(range_), decode_infos(library, array, count)


def query(library: Library, who: Any, queries: Any, count: int) -> tuple[Any, ...]:
    ffi = library.ffi
    items = tuple(
        QueryItem(text_list(ffi, q.keys), decode_infos(library, q.qualifiers, q.nqual))
        for q in (queries[i] for i in range(count))
    )
    return proc(ffi, who), items


def tool_connected(library: Library, array: Any, count: int) -> tuple[Any, ...]:
    return (decode_infos(library, array, count),)


def log(library: Library, who: Any, data: Any, ndata: int, array: Any, count: int) -> tuple[Any, ...]:
    return (
        proc(library.ffi, who),
        decode_infos(library, data, ndata),
        decode_infos(library, array, count),
    )


def numbered(library: Library, who: Any, number: int, array: Any, count: int) -> tuple[Any, ...]:
    """Allocate, session control: a process, a number, infos."""
    return proc(library.ffi, who), int(number), decode_infos(library, array, count)


def job_control(library: Library, who: Any, targets: Any, ntargets: int, array: Any, count: int) -> tuple[Any, ...]:
    ffi = library.ffi
    return proc(ffi, who), decode_procs(library, targets, ntargets), decode_infos(library, array, count)


def monitor(library: Library, who: Any, what: Any, error: int, array: Any, count: int) -> tuple[Any, ...]:
    watched = decode_infos(library, what, 1)[0] if what else Info("", None)
    return proc(library.ffi, who), watched, error, decode_infos(library, array, count)


def validate_credential(library: Library, who: Any, credential: Any, array: Any, count: int) -> tuple[Any, ...]:
    ffi = library.ffi
    return proc(ffi, who), byte_object(ffi, credential), decode_infos(library, array, count)


def iof_pull(library: Library, procs: Any, nprocs: int, array: Any, count: int, channels: int) -> tuple[Any, ...]:
    return *procs_and_infos(library, procs, nprocs, array, count), IofChannel(channels)


def push_stdin(
    library: Library, source: Any, targets: Any, ntargets: int, array: Any, count: int, data: Any
) -> tuple[Any, ...]:
    ffi = library.ffi
    who = decode_procs(library, targets, ntargets)
    return proc(ffi, source), who, decode_infos(library, array, count), byte_object(ffi, data)


def group(
    library: Library, operation: int, name: Any, procs: Any, nprocs: int, array: Any, count: int
) -> tuple[Any, ...]:
    members = decode_procs(library, procs, nprocs)
    return (
        GroupOperation(operation),
        text(library.ffi, name),
        members,
        decode_infos(library, array, count),
    )


def _range(number: int) -> Range:
    try:
        return Range(number)
    except ValueError:
        return Range.INVALID


# -- apps and queries ------------------------------------------------------------------------------


def decode_app(library: Library, app: Any) -> AppSpec:
    """Copy a `pmix_app_t`."""
    ffi = library.ffi
    return AppSpec(
        command=text(ffi, app.cmd),
        argv=text_list(ffi, app.argv),
        env=text_list(ffi, app.env),
        cwd=text(ffi, app.cwd) or None,
        maxprocs=app.maxprocs,
        directives=decode_infos(library, app.info, app.ninfo),
    )


def free_infos(library: Library, pointer: Any, count: int) -> None:
    """Free an info array that libpmix allocated and gave away."""
    if pointer:
        for index in range(count):
            library.lib.PMIx_Value_destruct(library.ffi.addressof(pointer[index], "value"))
        library.lib.free(pointer)


def take_infos(library: Library, pointer: Any, count: int) -> Infos:
    """Copy an info array that libpmix gave away, and free it."""
    try:
        return decode_infos(library, pointer, count)
    finally:
        free_infos(library, pointer, count)


class CArgv:
    """A `char **` of libc's memory, which libpmix may extend; freed with `close`."""

    def __init__(self, library: Library, items: Iterable[str]) -> None:
        self._library = library
        ffi, lib = library.ffi, library.lib
        coded = [encoded(item) for item in items]
        self.place = ffi.new("char ***")
        if coded:
            pointers = ffi.cast("char **", lib.calloc(len(coded) + 1, ffi.sizeof("char *")))
            for index, item in enumerate(coded):
                pointers[index] = lib.strdup(item)
            self.place[0] = pointers

    @property
    def pointer(self) -> Any:
        return self.place[0]

    def items(self) -> tuple[str, ...]:
        return text_list(self._library.ffi, self.place[0])

    def close(self) -> None:
        pointers, self.place[0] = self.place[0], self._library.ffi.NULL
        index = 0
        while pointers and pointers[index]:
            self._library.lib.free(pointers[index])
            index += 1
        if pointers:
            self._library.lib.free(pointers)

    def __enter__(self) -> CArgv:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AppArray:
    """A `pmix_app_t` array for PMIx_Spawn."""

    def __init__(self, library: Library, apps: Sequence[AppSpec]) -> None:
        ffi = library.ffi
        self._parts: list[CArgv | InfoArray] = []
        self._texts: list[Any] = []
        self.count = len(apps)
        self.pointer = ffi.new("pmix_app_t[]", max(1, self.count))
        try:
            for place, app in zip(self.pointer, apps, strict=False):
                self._fill(library, place, app)
        except BaseException:
            self.close()
            raise

    def _fill(self, library: Library, place: Any, app: AppSpec) -> None:
        place.cmd = self._text(library, app.command)
        place.cwd = self._text(library, app.cwd) if app.cwd is not None else library.ffi.NULL
        place.maxprocs = app.maxprocs
        place.argv = self._argv(library, app.argv)
        place.env = self._argv(library, app.env)
        array = infos(library, app.directives)
        self._parts.append(array)
        place.info, place.ninfo = array.pointer, array.count

    def _text(self, library: Library, what: str) -> Any:
        self._texts.append(library.ffi.new("char[]", encoded(what)))
        return self._texts[-1]

    def _argv(self, library: Library, items: Sequence[str]) -> Any:
        argv = CArgv(library, items)
        self._parts.append(argv)
        return argv.pointer

    def close(self) -> None:
        while self._parts:
            self._parts.pop().close()

    def __enter__(self) -> AppArray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class QueryArray:
    """A `pmix_query_t` array for PMIx_Query_info."""

    def __init__(self, library: Library, queries: Sequence[QueryItem]) -> None:
        self._parts: list[CArgv | InfoArray] = []
        self.count = len(queries)
        self.pointer = library.ffi.new("pmix_query_t[]", max(1, self.count))
        try:
            for place, query_ in zip(self.pointer, queries, strict=False):
                keys = CArgv(library, query_.keys)
                self._parts.append(keys)
                qualifiers = infos(library, query_.qualifiers)
                self._parts.append(qualifiers)
                place.keys = keys.pointer
                place.qualifiers, place.nqual = qualifiers.pointer, qualifiers.count
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        while self._parts:
            self._parts.pop().close()

    def __enter__(self) -> QueryArray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
