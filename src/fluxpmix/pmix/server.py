"""The PMIx server of this process: what a resource manager asks of libpmix, and what libpmix asks of it.

`shell/server.py` runs the launch sequence with `Server`; so may any program that starts processes.
libpmix's requests ("upcalls") come as the plain data of `upcalls.py`, on libpmix's own thread, and
stay open until `Server.reply`. Standard 4.2, chapter 17 ("Server-Specific Interfaces").

The rest of it: `host_calls.py` (what the host asks), `module_table.py` (which upcalls there are),
`decoding.py` (what comes), `replies.py` (what goes back), `completions.py` (waiting for libpmix),
`gate.py` and `admission.py` (who may connect), `served.py` (who has).
"""

from __future__ import annotations

import atexit
import itertools
import os
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Collection

from fluxpmix.pmix import module_table, spared, upcalls
from fluxpmix.pmix.admission import connections, listening_ports, release_kept, send_at_once, withhold
from fluxpmix.pmix.cleanup import keep_within
from fluxpmix.pmix.completions import OPERATION_SUCCEEDED, SUCCESS, completions, report
from fluxpmix.pmix.gate import Gate, Judge
from fluxpmix.pmix.host_calls import HostCalls
from fluxpmix.pmix.library import scrub_environment
from fluxpmix.pmix.light import signal, suppress
from fluxpmix.pmix.module_table import Answer, Entry
from fluxpmix.pmix.replies import Open, Replies, answers_partly
from fluxpmix.pmix.sensor import hand_up
from fluxpmix.pmix.served import Connections, cut
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import Directives, GroupOperation, Infos, Proc, find
from fluxpmix.pmix.values import infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

_ERROR = -1
_BAD_PARAM = -27
_NO_PERMISSIONS = -23
_NOT_SUPPORTED = -47
_UNREACHABLE = -25
_TURNS = 50  # of libpmix's event loop; it takes one or two to hear of a closed connection

# One server a process, as libpmix has one; the C functions live for ever, as its thread may call late.
_active: Server | None = None
_used = False
_functions: dict[tuple[int, str], Any] = {}


class Server(HostCalls):
    """A running PMIx server.

    `on_upcall(upcall)` is called on libpmix's progress thread: it must hand the upcall over and
    return. Each upcall is answered once, from any thread, by `reply`. `serves` names the upcall
    classes that this host answers; clients are told "not supported" for the others.

    `gate(descriptor)` is asked, on a thread of libpmix's, about each connection before anything is
    read from it, and returns None to let it in, the reason to close it, or a function to be asked again
    when it has said its name: the kernel knows whose the other end is. `admit(proc)` is asked when somebody
    has connected under that name and before it is served, and returns None or a reason; tools come as they
    name themselves, without a name as `Proc("", RANK_UNDEF)`. Refuse by `gate` what can be: see `gate.py`.
    Without ToolConnected in `serves` every tool is refused.

    `directives` are PMIx_server_init's; name, rank, node and directories should all be given.
    Raises `PmixError` where libpmix refuses, `RuntimeError` where this process has had a server:
    libpmix can be one only once in a process.
    Standard 4.2, section 17.1 (PMIx_server_init).
    """

    def __init__(
        self,
        library: Library,
        on_upcall: Callable[[upcalls.AnyUpcall], None],
        *,
        serves: Collection[type[upcalls.Upcall]],
        gate: Judge | None = None,
        admit: Callable[[Proc], str | None] | None = None,
        directives: Directives | None = None,
    ) -> None:
        global _active
        if _used:
            raise RuntimeError(
                "this process has had a PMIx server, and libpmix can be one only once in a process: "
                "start a new process for the next"
            )
        self._library = library
        self._on_upcall = on_upcall
        self._serves = frozenset(serves)
        self._gate: Gate | None = None
        self._admit = admit
        self.connections = Connections()  # which is whose
        self._completions = completions(library)
        self._replies = Replies(library)
        self._ids = itertools.count(1)
        self._open: dict[int, Open] = {}
        self._has_connected = False
        self._inside: set[Proc] = set()  # clients that are connected and have not finalized
        self._forsaken = False  # whether one of them was dropped: collectives may wait for it for ever
        self._destructed: tuple[str, Any] | None = None  # the group, where the last upcall ended one
        self._handlers = {}
        self._fork_lock = allocate_lock()
        self._process = os.getpid()
        self._ports: tuple[int, ...] = ()
        # Told of an exception in `on_upcall`, `admit` or a conversion; those never reach libpmix.
        self.on_error: Callable[[BaseException], None] = _show
        self._connected_field = module_table.connected_field(library.version)
        scrub_environment()
        _active = self
        try:
            if gate is not None:
                self._gate = Gate(library, gate)
            self._start(directives)
        except BaseException:
            _active = None
            self._open_gate()
            raise
        atexit.register(self.close)

    def _start(self, directives: Directives | None) -> None:
        library = self._library
        module = module_table.build(library, self._serves, lambda entry: _function(library, entry))
        module_type = library.ffi.typeof("pmix_server_module_t *")
        before = listening_ports()
        global _used
        # libpmix's threads inherit the mask: signals are for this program's own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with infos(library, directives) as array:
                _used = True  # 4.2 and 5.0 abort soon after a second PMIx_server_init, 6.1 refuses it
                status = library.lib.PMIx_server_init(library.ffi.cast(module_type, module), array.pointer, array.count)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        check(status, "PMIx_server_init")
        self._ports = self.connections.ports = tuple(sorted(set(listening_ports()) - set(before)))
        send_at_once(self._ports)
        if upcalls.Monitor in self._serves:
            hand_up(library, self._offer)
        if upcalls.JobControl in self._serves:
            keep_within(library)
            spared.guard(library)

    def close(self, *, exiting: bool = False) -> None:
        """Answer what is open with an error and stop the server. Safe to call twice.

        With `exiting` the process ends now, and its end is what stops libpmix: files of it stay where they are.
        Where clients have connected to each other, or one was dropped before it finalized, libpmix's thread
        goes on until the process ends: see below.

        Not to be called on libpmix's thread. In a forked child it does nothing: the server is the
        parent's. Standard 4.2, section 17.1 (PMIx_server_finalize).
        """
        global _active
        if _active is not self or self._process != os.getpid():
            return
        self._completions.refuse_here("PMIx_server_finalize")
        for number in list(self._open):
            self._drop(number, _UNREACHABLE)
        self._flush()
        _active = None
        atexit.unregister(self.close)
        # Never after a connect, or with a collective that will not end: 4.2 and 5.0 then go round for ever in
        # their list of collectives, or use what they have freed.
        status = SUCCESS if exiting or self.stays_up else self._library.lib.PMIx_server_finalize()
        self._open_gate()
        self._completions.progress_thread = None
        self._handlers.clear()
        release_kept()
        check(status, "PMIx_server_finalize")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def listening_ports(self) -> tuple[int, ...]:
        """The TCP ports on which libpmix waits for clients."""
        return self._ports

    def deregister_client(self, proc: Proc) -> bool:
        """Drop `proc`, connected or not; needed for processes that end without PMIx_Finalize.

        Returns whether it was such a one: libpmix waits for one client less then (`await_clients`). Standard 4.2,
        section 17.2 (PMIx_server_deregister_client).
        """
        # libpmix closes a connection here without telling libevent, before 5.0.2 for good: whoever
        # connects next under that descriptor would never be heard. Of those who hung up it hears first.
        before = connections(self._ports)
        for _ in range(_TURNS):
            if not any(before.values()):
                break
            self._flush()
            before = connections(self._ports)
        self.connections.forget(proc)
        forsaken = proc in self._inside
        if forsaken:
            self._inside.discard(proc)
            self._forsaken = True
        super().deregister_client(proc)
        if self._library.version < (5, 0, 2):
            for descriptor in before.keys() - connections(self._ports).keys():
                withhold(descriptor)
        return forsaken

    # -- upcalls -------------------------------------------------------------------------------

    def reply(self, upcall_id: int, status: int, payload: Any = None) -> None:
        """Complete an upcall, exactly once; what `payload` must be stands at its class.

        May be called from any thread, libpmix's own included, and does not wait. A payload goes with
        success only; a lookup's PMIX_ERR_PARTIAL_SUCCESS is sent as success, which libpmix needs to
        pass on what was found; an event that a client raised is over for it before the reply with 4.2.
        Raises `ValueError` for an id that is not open, and where the payload
        cannot be converted: the client is then told PMIX_ERR_BAD_PARAM. Standard 4.2, section 17.3.
        """
        upcall = self._open.pop(upcall_id, None)
        if upcall is None:
            raise ValueError(f"upcall {upcall_id} is not open: it was answered already, or never made")
        if self.connections.is_asking(upcall_id):
            let_in = payload if status == SUCCESS and isinstance(payload, Proc) else None
            connection = self.connections.answered(upcall_id, let_in)
            if status != SUCCESS:
                self._cut(connection)
                return
        try:
            self._replies.send(upcall, answers_partly(upcall.entry, status), payload)
        except Exception:
            self._replies.send(upcall, _BAD_PARAM, None)
            raise

    def tools_written(self) -> tuple[int, int]:
        """Let libpmix write what it can; return how much it has written for tools in all, and what waits in the kernel.

        Where that is the same twice in a row libpmix has nothing left to write, or the kernel no room. Not to be
        called on libpmix's thread.
        """
        self._flush()
        return self.connections.tools_written()

    @property
    def open_upcalls(self) -> int:
        """How many upcalls wait for their reply."""
        return len(self._open)

    @property
    def stays_up(self) -> bool:
        """Whether `close` leaves libpmix's thread running, and its files: see there."""
        return self._has_connected or self._forsaken

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the jobs that were registered is left: 4.2 and 5.0 never forget a connection."""
        return not self._open and not self.stays_up

    def _receive(self, entry: Entry, arguments: tuple[Any, ...], function: Any, data: Any) -> int:
        """Take an upcall on libpmix's thread; returns what its C function returns."""
        self._completions.progress_thread = get_ident()
        try:
            fields = entry.decode(self._library, *arguments)
        except Exception as error:
            self.on_error(error)
            return self._fail(entry, _BAD_PARAM, function, data)
        if entry.field == self._connected_field:
            return self._connected(entry, fields, function, data)
        if entry.answer is Answer.TOOL:
            return self._tool_connected(entry, fields, function, data)
        if entry.upcall is upcalls.IofPull:
            # libpmix frees the request on return: success would let it be used after that.
            return OPERATION_SUCCEEDED if self._deliver(upcalls.IofPull(0, *fields)) else _ERROR
        if entry.upcall is upcalls.NotifyEvent and self._library.version < (5, 0):
            # On return 4.2 frees what the callback would use, and answers the client itself.
            status = self._offer(entry, fields, self._library.ffi.NULL, data)
            return OPERATION_SUCCEEDED if status == SUCCESS else status
        if entry.upcall is upcalls.JobControl:
            rest, done = spared.take(self._library, fields[0], fields[-1])
            if done is not None:
                return done
            fields = (*fields[:-1], rest)
        if self._is_asked_twice(entry, fields, data):
            return SUCCESS
        return self._offer(entry, fields, function, data)

    def _is_asked_twice(self, entry: Entry, fields: tuple[Any, ...], data: Any) -> bool:
        """Whether this is what was asked just before: 5.0 asks twice to end a group whose members are all local.

        Both times it wants one and the same answer; a second would use what the first has freed.
        """
        ends = entry.upcall is upcalls.Group and fields[0] is GroupOperation.DESTRUCT
        before, self._destructed = self._destructed, (fields[1], data) if ends else None
        return ends and before == self._destructed and (5, 0) <= self._library.version < (6, 0)

    def _offer(self, entry: Entry, fields: tuple[Any, ...], function: Any, data: Any) -> int:
        number = next(self._ids)
        self._open[number] = Open(entry, function, data)
        self._has_connected |= entry.upcall is upcalls.Connect
        if entry.upcall is upcalls.ClientFinalized:
            self._inside.discard(fields[0])
        if self._deliver(entry.upcall(number, *fields)):
            return SUCCESS
        if self._open.pop(number, None) is None:
            return SUCCESS  # answered before it failed
        return self._fail(entry, _ERROR, function, data)

    def _deliver(self, upcall: upcalls.Upcall) -> bool:
        try:
            self._on_upcall(upcall)  # type: ignore[arg-type]  # the table holds the union's classes
        except Exception as error:
            self.on_error(error)
            return False
        return True

    def _fail(self, entry: Entry, status: int, function: Any, data: Any) -> int:
        """Answer with an error: by the return code, or by the callback of an entry that has none."""
        if not entry.returns:
            self._replies.send(Open(entry, function, data), status, None)
        return status

    def _connected(self, entry: Entry, fields: tuple[Any, ...], function: Any, data: Any) -> int:
        if self._judge(fields[0]) is not None:
            connection = self.connections.in_handshake()
            if self._cut(connection, let_in=self._library.version < (5, 0)):
                return OPERATION_SUCCEEDED
            if not function:  # 4.2
                return _NO_PERMISSIONS
            # An error code on return makes 5.0 and 6.1 free the connection twice; the callback does not.
            self._replies.send(Open(entry, function, data), _NO_PERMISSIONS, None)
            return SUCCESS
        if upcalls.ClientFinalized in self._serves:
            self._inside.add(fields[0])
        if self._gate is not None and upcalls.Monitor in self._serves:
            self.connections.client_came(fields[0], self._gate.entered)
        # The client is let in at once, as 4.2 does in any case: what the host answers changes nothing.
        if upcalls.ClientConnected in self._serves:
            self._offer(entry, fields, self._library.ffi.NULL, data)
        return OPERATION_SUCCEEDED

    def _tool_connected(self, entry: Entry, fields: tuple[Any, ...], function: Any, data: Any) -> int:
        told: Infos = fields[0]
        name = Proc(find(told, "pmix.nspace", ""), find(told, "pmix.rank", 0xFFFFFFFF))
        connection = self.connections.in_handshake()
        if self._judge(name) is not None or upcalls.ToolConnected not in self._serves:
            # Never answered: 4.2, 5.0 and 6.1 crash on their way to refuse some tools.
            self._cut(connection)
            return SUCCESS
        number = next(self._ids)
        self.connections.tool_asks(number, connection)
        self._open[number] = Open(entry, function, data)
        if not self._deliver(upcalls.ToolConnected(number, *fields)) and number in self._open:
            self.reply(number, _ERROR)
        return SUCCESS

    def _cut(self, connection: int | None, *, let_in: bool = False) -> bool:
        return cut(connection, self.on_error, let_in=let_in)

    def _open_gate(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()

    def _judge(self, who: Proc) -> str | None:
        if self._admit is None:
            return None
        try:
            return self._admit(who)
        except Exception as error:
            self.on_error(error)
            return f"could not tell who connects: {error}"

    def _drop(self, number: int, status: int) -> None:
        with suppress(ValueError):  # answered meanwhile
            self.reply(number, status)

    def _flush(self) -> None:
        """Wait until libpmix's thread has done what was queued for it."""
        library, lib = self._library, self._library.lib
        for _ in range(2):  # a completion may queue the release of its memory
            self._completions.wait(
                "PMIx_server_register_resources",
                lambda key: lib.PMIx_server_register_resources(library.ffi.NULL, 0, self._completions.op, key),
            )


def _function(library: Library, entry: Entry) -> Any:
    """Return the process's C function for a module entry."""
    key = (id(library.ffi), entry.field)
    found = _functions.get(key)
    if found is None:

        def call(*arguments: Any) -> int | None:
            server = _active
            *told, function, data = arguments
            if server is None:
                return _UNREACHABLE if entry.returns else None
            status = server._receive(entry, tuple(told), function, data)
            return status if entry.returns else None

        returned = "int" if entry.returns else "void"
        extra = {"error": _ERROR} if entry.returns else {}
        found = _functions[key] = library.ffi.callback(
            f"{returned}({entry.arguments}, void *, void *)", call, onerror=report, **extra
        )
    return found


def _show(error: BaseException) -> None:
    report(type(error), error, error.__traceback__)
