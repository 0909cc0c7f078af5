"""A PMIx client: what a process that a PMIx server started asks of it.

Test programs, `flux-pmix pmi` and Python tasks use `Client`. All calls block and leave the GIL free
meanwhile; event and output handlers run on libpmix's own thread and must not block. Standard 4.2,
chapters 3 to 13.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from fluxpmix.pmix import decoding
from fluxpmix.pmix.completions import completions, report
from fluxpmix.pmix.decoding import AppArray, CArgv, QueryArray, encoded, take_infos
from fluxpmix.pmix.events import Events
from fluxpmix.pmix.replies import nspace_bytes
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import (
    RANK_WILDCARD,
    AppSpec,
    Directives,
    Info,
    Infos,
    IofChannel,
    Proc,
    Published,
    QueryItem,
    Range,
    Rows,
    Scope,
)
from fluxpmix.pmix.values import ProcArray, decode_infos, decode_value, infos

if TYPE_CHECKING:
    from fluxpmix.pmix.library import Library

# handler(channel, source, data, infos), on libpmix's thread; empty data: the stream has ended
OutputHandler: TypeAlias = Callable[[IofChannel, Proc, bytes, Infos], None]

_PARTIAL_SUCCESS = -52
_OUTPUT = "void(size_t, uint16_t, pmix_proc_t *, pmix_byte_object_t *, pmix_info_t *, size_t)"


class Client(Events):
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
            return decode_value(library, value) if value else None
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

    # -- groups --------------------------------------------------------------------------------

    def group_construct(
        self, group: str, procs: Iterable[Proc], directives: Directives | None = None
    ) -> Infos:
        """Make a group of `procs`, all of which call this; returns its context id and the like.

        Raises `PmixError`. Standard 4.2, section 12.2 (PMIx_Group_construct).
        """
        return self._group_of("PMIx_Group_construct", group, procs, directives)

    def group_destruct(self, group: str, directives: Directives | None = None) -> None:
        """End a group; all its members call this.

        Raises `PmixError`. Standard 4.2, section 12.2 (PMIx_Group_destruct).
        """
        self._call("PMIx_Group_destruct", directives, encoded(group))

    def group_invite(self, group: str, procs: Iterable[Proc], directives: Directives | None = None) -> Infos:
        """Invite `procs` to a group and wait for their answers.

        Raises `PmixError`. Standard 4.2, section 12.2 (PMIx_Group_invite).
        """
        return self._group_of("PMIx_Group_invite", group, procs, directives)

    def group_join(
        self,
        group: str,
        leader: Proc | None = None,
        accept: bool = True,
        directives: Directives | None = None,
    ) -> Infos:
        """Answer an invitation of `leader`.

        Raises `PmixError`. Standard 4.2, section 12.2 (PMIx_Group_join).
        """
        library = self._begin("PMIx_Group_join")
        ffi, name = library.ffi, encoded(group)
        who = ProcArray(library, (leader,)) if leader is not None else None
        with infos(library, directives) as array:
            return self._results(
                "PMIx_Group_join",
                name,
                who.pointer if who else ffi.NULL,
                int(accept),
                array.pointer,
                array.count,
            )

    def group_leave(self, group: str, directives: Directives | None = None) -> None:
        """Leave a group alone.

        Raises `PmixError`. Standard 4.2, section 12.2 (PMIx_Group_leave).
        """
        self._call("PMIx_Group_leave", directives, encoded(group))

    # -- events, requests ----------------------------------------------------------------------

    def notify_event(
        self, status: int, range: Range, directives: Directives | None = None, source: Proc | None = None
    ) -> None:
        """Raise an event, and wait until the server has it.

        Raises `PmixError`. Standard 4.2, section 9.2 (PMIx_Notify_event).
        """
        library, name = self._begin("PMIx_Notify_event"), "PMIx_Notify_event"
        waiting = completions(library)
        who, array = ProcArray(library, (source or self.proc,)), infos(library, directives)
        outcome = waiting.wait(
            name,
            lambda key: library.lib.PMIx_Notify_event(
                status, who.pointer, int(range), array.pointer, array.count, waiting.op, key
            ),
            array,
            who,
        )[0]
        check(outcome, name)

    def query(self, queries: Sequence[QueryItem]) -> Infos:
        """Ask the system about itself.

        Raises `PmixNotFound` and other `PmixError`s; a partial answer is returned. Standard 4.2,
        section 7.1 (PMIx_Query_info).
        """
        with QueryArray(self._begin("PMIx_Query_info"), queries) as wanted:
            return self._results("PMIx_Query_info", wanted.pointer, wanted.count)

    def log(self, data: Directives, directives: Directives | None = None) -> None:
        """Have data logged, by keys such as `attributes.LOG_STDERR`.

        Raises `PmixError`. Standard 4.2, section 10.4 (PMIx_Log).
        """
        library = self._begin("PMIx_Log")
        with infos(library, data) as what, infos(library, directives) as how:
            check(library.lib.PMIx_Log(what.pointer, what.count, how.pointer, how.count), "PMIx_Log")

    def job_control(self, targets: Iterable[Proc], directives: Directives) -> Infos:
        """Have something done to `targets` (none: to all of this namespace).

        Raises `PmixError`. Standard 4.2, section 10.2 (PMIx_Job_control).
        """
        library = self._begin("PMIx_Job_control")
        who = ProcArray(library, tuple(targets))
        with infos(library, directives) as array:
            return self._results(
                "PMIx_Job_control", self._pointer(who), who.count, array.pointer, array.count
            )

    def allocate(self, directive: int, directives: Directives) -> Infos:
        """Ask for resources to be added or given back.

        Raises `PmixError`. Standard 4.2, section 10.1 (PMIx_Allocation_request).
        """
        library = self._begin("PMIx_Allocation_request")
        with infos(library, directives) as array:
            return self._results("PMIx_Allocation_request", directive, array.pointer, array.count)

    def monitor(self, what: Info, error: int, directives: Directives | None = None) -> Infos:
        """Ask to be watched, with event `error` where that fails.

        Raises `PmixError`. Standard 4.2, section 10.3 (PMIx_Process_monitor).
        """
        library = self._begin("PMIx_Process_monitor")
        with infos(library, [what]) as watched, infos(library, directives) as array:
            return self._results("PMIx_Process_monitor", watched.pointer, error, array.pointer, array.count)

    def credential(self, directives: Directives | None = None) -> bytes:
        """Return a credential of this process.

        Raises `PmixError`. Standard 4.2, section 14.1 (PMIx_Get_credential).
        """
        library = self._begin("PMIx_Get_credential")
        made = library.ffi.new("pmix_byte_object_t *")
        with infos(library, directives) as array:
            status = library.lib.PMIx_Get_credential(array.pointer, array.count, made)
        try:
            check(status, "PMIx_Get_credential")
            return decoding.byte_object(library.ffi, made)
        finally:
            library.lib.free(made.bytes)

    def validate_credential(self, credential: bytes, directives: Directives | None = None) -> Infos:
        """Return what a credential says of its owner.

        Raises `PmixError` where it is not valid. Standard 4.2, section 14.1 (PMIx_Validate_credential).
        """
        library = self._begin("PMIx_Validate_credential")
        memory = library.ffi.new("char[]", credential)
        given = library.ffi.new("pmix_byte_object_t *", {"bytes": memory, "size": len(credential)})
        with infos(library, directives) as array:
            return self._results("PMIx_Validate_credential", given, array.pointer, array.count)

    # -- output --------------------------------------------------------------------------------

    def iof_pull(
        self,
        procs: Iterable[Proc],
        channels: IofChannel,
        handler: OutputHandler,
        directives: Directives | None = None,
    ) -> int:
        """Have `handler(channel, source, data, infos)` called with the output of `procs`.

        Returns the reference for `iof_deregister`. Raises `PmixError`. Standard 4.2, section 17.3.3
        (PMIx_IOF_pull).
        """
        library, name = self._begin("PMIx_IOF_pull"), "PMIx_IOF_pull"
        ffi, waiting = library.ffi, completions(library)

        def came(_reference: int, channel: int, source: Any, data: Any, array: Any, count: int) -> None:
            handler(
                IofChannel(channel),
                decoding.proc(ffi, source),
                decoding.byte_object(ffi, data),
                decode_infos(library, array, count),
            )

        function = ffi.callback(_OUTPUT, came, onerror=report)
        who, array = ProcArray(library, tuple(procs)), infos(library, directives)
        status, reference = waiting.wait(
            name,
            lambda key: library.lib.PMIx_IOF_pull(
                who.pointer,
                who.count,
                array.pointer,
                array.count,
                int(channels),
                function,
                waiting.registered,
                key,
            ),
            array,
            who,
            function,
        )
        check(status, name)
        self._output_handlers[reference] = function
        return int(reference)

    def iof_deregister(self, reference: int) -> None:
        """Take no more of the output that `iof_pull` asked for.

        Raises `PmixError`. Standard 4.2, section 17.3.3 (PMIx_IOF_deregister).
        """
        library, name = self._begin("PMIx_IOF_deregister"), "PMIx_IOF_deregister"
        waiting = completions(library)
        status = waiting.wait(
            name,
            lambda key: library.lib.PMIx_IOF_deregister(reference, library.ffi.NULL, 0, waiting.op, key),
        )[0]
        check(status, name)
        self._output_handlers.pop(reference, None)

    # -- inside --------------------------------------------------------------------------------

    def _begin(self, name: str) -> Library:
        completions(self._library).refuse_here(name)
        return self._library

    def _call(self, name: str, directives: Directives | None, *before: Any) -> None:
        library = self._begin(name)
        with infos(library, directives) as array:
            check(getattr(library.lib, name)(*before, array.pointer, array.count), name)

    def _over(self, name: str, procs: Iterable[Proc], directives: Directives | None) -> None:
        who = ProcArray(self._library, tuple(procs))
        self._call(name, directives, self._pointer(who), who.count)

    def _group_of(self, name: str, group: str, procs: Iterable[Proc], directives: Directives | None) -> Infos:
        library = self._begin(name)
        who, group_name = ProcArray(library, tuple(procs)), encoded(group)
        with infos(library, directives) as array:
            return self._results(name, group_name, self._pointer(who), who.count, array.pointer, array.count)

    def _results(self, name: str, *arguments: Any) -> Infos:
        """Call a function whose last arguments take the infos that it makes."""
        library = self._library
        made, count = library.ffi.new("pmix_info_t **"), library.ffi.new("size_t *")
        status = getattr(library.lib, name)(*arguments, made, count)
        found = take_infos(library, made[0], count[0])
        check(status, name, _PARTIAL_SUCCESS)
        return found

    def _pointer(self, procs: ProcArray) -> Any:
        return procs.pointer if procs.count else self._library.ffi.NULL


def _infos_of(directives: Directives | None) -> tuple[Info | Rows, ...]:
    if isinstance(directives, Mapping):
        return tuple(Info(key, value) for key, value in directives.items())
    return tuple(directives or ())
