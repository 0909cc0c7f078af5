"""What a client asks of the system beyond data and processes: groups, events, control, output.

`Client` (`client.py`) inherits `Requests`. All calls block; handlers run on libpmix's own thread and
must not block. Standard 4.2, chapters 7, 9, 10, 12 and 14.
"""

from __future__ import annotations

from fluxpmix.pmix import attributes, decoding
from fluxpmix.pmix.completions import completions, report
from fluxpmix.pmix.decoding import QueryArray, encoded, take_infos
from fluxpmix.pmix.events import Events
from fluxpmix.pmix.status import Status, check, error
from fluxpmix.pmix.types import Directives, Info, Infos, IofChannel, Proc, QueryItem, Range
from fluxpmix.pmix.values import ProcArray, decode_infos, infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeAlias

    from fluxpmix.pmix.library import Library

    # handler(channel, source, data, infos), on libpmix's thread; empty data: the stream has ended
    OutputHandler: TypeAlias = Callable[[IofChannel, Proc, bytes, Infos], None]


_PARTIAL_SUCCESS = -52
_OUTPUT = "void(size_t, uint16_t, pmix_proc_t *, pmix_byte_object_t *, pmix_info_t *, size_t)"


class Requests(Events):
    """The functions of the PMIx client library beyond data and processes."""

    _output_handlers: dict[int, Any]
    proc: Proc

    # -- groups --------------------------------------------------------------------------------

    def group_construct(self, group: str, procs: Iterable[Proc], directives: Directives | None = None) -> Infos:
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
        """Leave a group alone. No libpmix does it (4.2, 5.0, 6.1): raise the event PMIX_GROUP_LEFT instead.

        Raises `PmixNotSupported`. Standard 4.2, section 12.2 (PMIx_Group_leave).
        """
        if self._library.version >= (5, 0):  # its thread crashes, where this process is in the group
            raise error(Status.ERR_NOT_SUPPORTED, "PMIx_Group_leave")
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
            return self._results("PMIx_Job_control", self._pointer(who), who.count, array.pointer, array.count)

    def allocate(self, directive: int, directives: Directives) -> Infos:
        """Ask for resources to be added or given back.

        Raises `PmixError`. Standard 4.2, section 10.1 (PMIx_Allocation_request).
        """
        library = self._begin("PMIx_Allocation_request")
        with infos(library, directives) as array:
            return self._results("PMIx_Allocation_request", directive, array.pointer, array.count)

    def session_control(self, session: int, directives: Directives) -> None:
        """Have something done to a session (0xFFFFFFFF: to the caller's), and wait until it is.

        Raises `PmixError`, `PmixNotSupported` with libpmix before 6, which hands it to nobody. Standard 5.0,
        section 14.3 (PMIx_Session_control).
        """
        library = self._begin("PMIx_Session_control")
        if library.version < (6, 0):
            raise error(int(Status.ERR_NOT_SUPPORTED), "PMIx_Session_control")
        null = library.ffi.NULL
        with infos(library, directives) as array:
            status = library.lib.PMIx_Session_control(session, array.pointer, array.count, null, null)
        check(status, "PMIx_Session_control")

    def monitor(self, what: Info, error: int, directives: Directives | None = None) -> Infos:
        """Ask to be watched, with event `error` where that fails.

        Raises `PmixError`. Standard 4.2, section 10.3 (PMIx_Process_monitor).
        """
        library = self._begin("PMIx_Process_monitor")
        with infos(library, [what]) as watched, infos(library, directives) as array:
            return self._results("PMIx_Process_monitor", watched.pointer, error, array.pointer, array.count)

    def heartbeat(self) -> None:
        """Say that this process is alive, to a server that it has asked to monitor its heartbeats; does not wait.

        Raises `PmixError`. Standard 4.2, section 12.3 (PMIx_Heartbeat).
        """
        library = self._begin("PMIx_Heartbeat")
        null = library.ffi.NULL
        with infos(library, [Info(attributes.SEND_HEARTBEAT, True)]) as beat:
            check(library.lib.PMIx_Process_monitor_nb(beat.pointer, 0, null, 0, null, null), "PMIx_Heartbeat")

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

        Servers of libpmix 4.2 and 5.0 answer with whatever is in their memory, which is not looked at. Raises
        `PmixError`. Standard 4.2, section 17.3.3 (PMIx_IOF_deregister).
        """
        library, name = self._begin("PMIx_IOF_deregister"), "PMIx_IOF_deregister"
        waiting = completions(library)
        status = waiting.wait(
            name,
            lambda key: library.lib.PMIx_IOF_deregister(reference, library.ffi.NULL, 0, waiting.op, key),
        )[0]
        if status in (Status.ERR_BAD_PARAM, Status.ERR_UNREACH, Status.ERR_INIT):  # this process's own word
            check(status, name)
        self._output_handlers.pop(reference, None)

    def iof_push(self, procs: Iterable[Proc], data: bytes, directives: Directives | None = None) -> None:
        """Write to the standard input of `procs`; no data closes it. Waits until they have it.

        Raises `PmixError`, e.g. where a process has closed it. Standard 4.2, section 18.5 (PMIx_IOF_push).
        """
        library, name = self._begin("PMIx_IOF_push"), "PMIx_IOF_push"
        ffi, waiting = library.ffi, completions(library)
        who, array = ProcArray(library, tuple(procs)), infos(library, directives)
        memory = ffi.new("char[]", data) if data else ffi.NULL
        given = ffi.new("pmix_byte_object_t *", {"bytes": memory, "size": len(data)})
        came = waiting.wait(
            name,
            lambda key: library.lib.PMIx_IOF_push(
                who.pointer, who.count, given, array.pointer, array.count, waiting.op, key
            ),
            array,
            who,
            memory,
            given,
        )
        check(came[0], name)

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
