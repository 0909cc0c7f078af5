"""A PMIx client: what a process that a PMIx server started asks of it.

Test programs, `flux-pmix pmi` and Python tasks use `Client`. All calls block and leave the GIL free
meanwhile; event and output handlers run on libpmix's own thread and must not block. Standard 4.2,
chapters 3 to 13.
"""

from __future__ import annotations

import os

from fluxpmix.pmix import decoding
from fluxpmix.pmix.completions import completions
from fluxpmix.pmix.decoding import AppArray, CArgv, encoded, nspace_bytes
from fluxpmix.pmix.light import Mapping
from fluxpmix.pmix.requests import Requests
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import (
    RANK_WILDCARD,
    AppSpec,
    DataType,
    Directives,
    Info,
    Proc,
    Published,
    Rows,
    Scope,
    Value,
)
from fluxpmix.pmix.values import ProcArray, decode_value, infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from fluxpmix.pmix.library import Library

_PARTIAL_SUCCESS = -52


class Client(Requests):
    """This process as a PMIx client: connects on construction, `finalize` or `with` ends it.

    `library` None loads the one that `library.load` finds. `directives` are PMIx_Init's. Raises
    `PmixError` (`PmixUnreachable` where no server answers), `LibraryError`. Standard 4.2, section 4.2
    (PMIx_Init).
    """

    def __init__(self, library: Library | None = None, directives: Directives | None = None) -> None:
        if library is None:
            from fluxpmix.pmix.library import load

            library = load()
        self._library = library
        self._handlers = {}
        self._output_handlers: dict[int, Any] = {}
        self._process = os.getpid()
        self._finalized = True
        who = library.ffi.new("pmix_proc_t *")
        with infos(library, directives) as array:
            check(library.lib.PMIx_Init(who, array.pointer, array.count), "PMIx_Init")
        self._finalized = False
        self.proc = decoding.proc(library.ffi, who)

    @property
    def library(self) -> Library:
        """The libpmix that this client uses."""
        return self._library

    @property
    def job(self) -> Proc:
        """This process's whole namespace."""
        return Proc(self.proc.nspace, RANK_WILDCARD)

    def finalize(self, directives: Directives | None = None) -> None:
        """Leave the server. Safe to call twice; does nothing in a forked child.

        Raises `PmixError`. Standard 4.2, section 4.2 (PMIx_Finalize).
        """
        if self._finalized or self._process != os.getpid():
            return
        self._finalized = True
        self._call("PMIx_Finalize", directives)
        completions(self._library).progress_thread = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.finalize()

    # -- data ----------------------------------------------------------------------------------

    def put(self, scope: Scope, key: str, value: Any) -> None:
        """Set a value for others to get, from `commit` on.

        Raises `PmixError`; `ValueError` for a key or value that does not fit. Standard 4.2,
        section 5.1 (PMIx_Put).
        """
        library = self._begin("PMIx_Put")
        with infos(library, [Info(key, value)]) as array:
            pointer = library.ffi.addressof(array.pointer[0], "value")
            check(library.lib.PMIx_Put(int(scope), encoded(key), pointer), "PMIx_Put")

    def commit(self) -> None:
        """Send the server all that was put. Raises `PmixError`. Standard 4.2, section 5.1 (PMIx_Commit)."""
        check(self._begin("PMIx_Commit").lib.PMIx_Commit(), "PMIx_Commit")

    def get(self, key: str, proc: Proc | None = None, directives: Directives | None = None) -> Any:
        """Return the value of `key` of `proc` (None: of this process).

        The job's own keys are the wildcard rank's: `get(attributes.JOB_SIZE, client.job)`. Raises
        `PmixNotFound` and other `PmixError`s. Standard 4.2, section 5.3 (PMIx_Get).
        """
        return self.get_value(key, proc, directives).data

    def get_value(self, key: str, proc: Proc | None = None, directives: Directives | None = None) -> Value:
        """Return what `get` does, with the type that it came in; UNDEF and None for a value without one."""
        library = self._begin("PMIx_Get")
        ffi, lib = library.ffi, library.lib
        # Never NULL for the process: 4.2 waits for ever on a key that it does not find then.
        who = ProcArray(library, (proc or self.proc,))
        place = ffi.new("pmix_value_t **")
        with infos(library, directives) as array:
            status = lib.PMIx_Get(who.pointer, encoded(key), array.pointer, array.count, place)
        value = place[0]
        try:
            check(status, "PMIx_Get")
            if not value:
                return Value(DataType.UNDEF, None)
            known = value.type in DataType._value2member_map_  # a later libpmix may have more
            return Value(DataType(value.type) if known else DataType.UNDEF, decode_value(library, value))
        finally:
            if value:
                lib.PMIx_Value_destruct(value)
                lib.free(value)

    def fence(
        self, procs: Iterable[Proc] | None = None, directives: Directives | None = None, collect: bool = False
    ) -> None:
        """Wait until all `procs` (None: this namespace) are here; `collect` spreads what was committed.

        Raises `PmixError`. Standard 4.2, section 6.1 (PMIx_Fence).
        """
        wanted = _infos_of(directives) + ((Info("pmix.collect", True),) if collect else ())
        self._over("PMIx_Fence", procs or (), wanted)

    def publish(self, data: Directives) -> None:
        """Publish values, and directives for how (range, persistence), in one.

        Raises `PmixError`. Standard 4.2, section 8.1 (PMIx_Publish).
        """
        self._call("PMIx_Publish", data)

    def lookup(self, keys: Sequence[str], directives: Directives | None = None) -> tuple[Published, ...]:
        """Return what was published under `keys`; those that nobody did are left out.

        Raises `PmixNotFound` where there is nothing at all, and other `PmixError`s. Standard 4.2,
        section 8.2 (PMIx_Lookup).
        """
        library = self._begin("PMIx_Lookup")
        ffi, lib = library.ffi, library.lib
        data = ffi.new("pmix_pdata_t[]", max(1, len(keys)))
        with infos(library, [Info(key, True) for key in keys]) as named:
            for index in range(len(keys)):
                data[index].key = named.pointer[index].key
        with infos(library, directives) as array:
            status = lib.PMIx_Lookup(data, len(keys), array.pointer, array.count)
        try:
            check(status, "PMIx_Lookup", _PARTIAL_SUCCESS)
            return tuple(
                Published(
                    decoding.proc(ffi, ffi.addressof(one, "proc")),
                    decoding.text(ffi, one.key),
                    decode_value(library, ffi.addressof(one, "value")),
                )
                for one in data[0 : len(keys)]
                if one.value.type
            )
        finally:
            for one in data[0 : len(keys)]:
                lib.PMIx_Value_destruct(ffi.addressof(one, "value"))

    def unpublish(self, keys: Sequence[str] | None = None, directives: Directives | None = None) -> None:
        """Take back what this process published under `keys` (None: all of it).

        Raises `PmixError`. Standard 4.2, section 8.3 (PMIx_Unpublish).
        """
        library = self._begin("PMIx_Unpublish")
        with CArgv(library, keys or ()) as names, infos(library, directives) as array:
            check(
                library.lib.PMIx_Unpublish(names.pointer, array.pointer, array.count),
                "PMIx_Unpublish",
            )

    # -- processes -----------------------------------------------------------------------------

    def spawn(self, apps: Sequence[AppSpec], directives: Directives | None = None) -> str:
        """Start a new job; returns its namespace.

        Raises `PmixError`. Standard 4.2, section 11.2 (PMIx_Spawn).
        """
        library = self._begin("PMIx_Spawn")
        nspace = library.ffi.new("char[256]")
        with infos(library, directives) as array, AppArray(library, apps) as wanted:
            status = library.lib.PMIx_Spawn(array.pointer, array.count, wanted.pointer, wanted.count, nspace)
        check(status, "PMIx_Spawn")
        return decoding.text(library.ffi, nspace)

    def connect(self, procs: Iterable[Proc], directives: Directives | None = None) -> None:
        """Join `procs` into one that shares job information and failures.

        Raises `PmixError`. Standard 4.2, section 11.3 (PMIx_Connect).
        """
        self._over("PMIx_Connect", procs, directives)

    def disconnect(self, procs: Iterable[Proc], directives: Directives | None = None) -> None:
        """Undo `connect` of the same `procs`.

        Raises `PmixError`. Standard 4.2, section 11.3 (PMIx_Disconnect).
        """
        self._over("PMIx_Disconnect", procs, directives)

    def abort(self, status: int, message: str = "", procs: Iterable[Proc] = ()) -> None:
        """Ask for `procs` (none: this namespace) to be ended with `status`, and wait for the answer.

        Raises `PmixError`. Standard 4.2, section 11.1 (PMIx_Abort).
        """
        library = self._begin("PMIx_Abort")
        who = ProcArray(library, tuple(procs))
        check(
            library.lib.PMIx_Abort(status, encoded(message), self._pointer(who), who.count),
            "PMIx_Abort",
        )

    def resolve_peers(self, node: str | None = None, nspace: str | None = None) -> tuple[Proc, ...]:
        """Return the processes of `nspace` (None: of any) on `node` (None: on this one).

        Raises `PmixError`. Standard 4.2, section 11.4 (PMIx_Resolve_peers).
        """
        library = self._begin("PMIx_Resolve_peers")
        ffi, lib = library.ffi, library.lib
        procs, count = ffi.new("pmix_proc_t **"), ffi.new("size_t *")
        where = ffi.NULL if node is None else encoded(node)
        name = ffi.NULL if nspace is None else nspace_bytes(nspace)
        try:
            check(lib.PMIx_Resolve_peers(where, name, procs, count), "PMIx_Resolve_peers")
            return tuple(decoding.proc(ffi, procs[0] + i) for i in range(count[0]))
        finally:
            lib.free(procs[0])

    def resolve_nodes(self, nspace: str) -> tuple[str, ...]:
        """Return the names of the nodes on which `nspace` has processes.

        Raises `PmixError`. Standard 4.2, section 11.4 (PMIx_Resolve_nodes).
        """
        library = self._begin("PMIx_Resolve_nodes")
        ffi, lib = library.ffi, library.lib
        nodes = ffi.new("char **")
        try:
            check(lib.PMIx_Resolve_nodes(nspace_bytes(nspace), nodes), "PMIx_Resolve_nodes")
            return tuple(filter(None, decoding.text(ffi, nodes[0]).split(",")))
        finally:
            lib.free(nodes[0])


def _infos_of(directives: Directives | None) -> tuple[Info | Rows, ...]:
    if isinstance(directives, Mapping):
        return tuple(Info(key, value) for key, value in directives.items())
    return tuple(directives or ())
