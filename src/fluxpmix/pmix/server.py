"""The PMIx server of this process: what a resource manager asks of libpmix, and what libpmix asks of it.

`shell/server.py` runs the launch sequence with `Server`; so may any program that starts processes.
libpmix's requests ("upcalls") come as the plain data of `upcalls.py`, on libpmix's own thread, and
stay open until `Server.reply`. Standard 4.2, chapter 17 ("Server-Specific Interfaces").

The rest of it: `module_table.py` (which upcalls there are), `decoding.py` (what comes), `replies.py`
(what goes back), `completions.py` (waiting for libpmix), `admission.py` (who may connect).
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
from _thread import allocate_lock, get_ident
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fluxpmix.pmix import decoding, module_table, upcalls
from fluxpmix.pmix.admission import in_handshake, listening_ports, release_severed, sever
from fluxpmix.pmix.completions import OPERATION_SUCCEEDED, SUCCESS, completions, report
from fluxpmix.pmix.decoding import CArgv, encoded
from fluxpmix.pmix.events import Events
from fluxpmix.pmix.gate import Gate
from fluxpmix.pmix.library import scrub_environment
from fluxpmix.pmix.module_table import Answer, Entry
from fluxpmix.pmix.packing import UnpackedInfos, pack_infos
from fluxpmix.pmix.replies import Open, Replies, answers_partly, nspace_bytes
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import DataType, Directives, Info, Infos, IofChannel, Proc, Range, Regex, find
from fluxpmix.pmix.values import ProcArray, decode_value, infos

if TYPE_CHECKING:
    from fluxpmix.pmix.library import Library

_ERROR = -1
_BAD_PARAM = -27
_NO_PERMISSIONS = -23
_NOT_SUPPORTED = -47
_UNREACHABLE = -25

# One server a process, as libpmix has one; the C functions live for ever, as its thread may call late.
_active: Server | None = None
_functions: dict[tuple[int, str], Any] = {}


class Server(Events):
    """A running PMIx server.

    `on_upcall(upcall)` is called on libpmix's progress thread: it must hand the upcall over and
    return. Each upcall is answered once, from any thread, by `reply`. `serves` names the upcall
    classes that this host answers; clients are told "not supported" for the others.

    `gate(descriptor)` is asked, on a thread of libpmix's, about each connection before anything is
    read from it, and returns None to let it in or the reason to close it: the kernel knows whose the
    other end is. `admit(proc)` is asked when somebody has connected under that name and before it is
    served, and returns the same; tools come as they name themselves, without a name as
    `Proc("", RANK_UNDEF)`. Refuse by `gate` what can be: see `gate.py`. Without ToolConnected in
    `serves` every tool is refused.

    `directives` are PMIx_server_init's; name, rank, node and directories should all be given.
    Raises `PmixError` where libpmix refuses, `RuntimeError` where this process has a server already.
    Standard 4.2, section 17.1 (PMIx_server_init).
    """

    def __init__(
        self,
        library: Library,
        on_upcall: Callable[[upcalls.AnyUpcall], None],
        *,
        serves: Collection[type[upcalls.Upcall]],
        gate: Callable[[int], str | None] | None = None,
        admit: Callable[[Proc], str | None] | None = None,
        directives: Directives | None = None,
    ) -> None:
        global _active
        if _active is not None:
            raise RuntimeError(
                "this process has a PMIx server already: close it first, or start a new process"
            )
        self._library = library
        self._on_upcall = on_upcall
        self._serves = frozenset(serves)
        self._gate: Gate | None = None
        self._admit = admit
        self._tools: dict[int, int | None] = {}  # open ToolConnected upcalls: the connection of each
        self._completions = completions(library)
        self._replies = Replies(library)
        self._ids = itertools.count(1)
        self._open: dict[int, Open] = {}
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
        # libpmix's threads inherit the mask: signals are for this program's own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with infos(library, directives) as array:
                status = library.lib.PMIx_server_init(
                    library.ffi.cast(module_type, module), array.pointer, array.count
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        check(status, "PMIx_server_init")
        self._ports = tuple(sorted(set(listening_ports()) - set(before)))

    def close(self) -> None:
        """Answer what is open with an error and stop the server. Safe to call twice.

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
        status = self._library.lib.PMIx_server_finalize()
        self._open_gate()
        self._completions.progress_thread = None
        self._handlers.clear()
        release_severed()
        check(status, "PMIx_server_finalize")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def listening_ports(self) -> tuple[int, ...]:
        """The TCP ports on which libpmix waits for clients."""
        return self._ports

    # -- upcalls -------------------------------------------------------------------------------

    def reply(self, upcall_id: int, status: int, payload: Any = None) -> None:
        """Complete an upcall, exactly once; what `payload` must be stands at its class.

        May be called from any thread, libpmix's own included, and does not wait. A payload goes with
        success only; a lookup's PMIX_ERR_PARTIAL_SUCCESS is sent as success, which libpmix needs to
        pass on what was found. Raises `ValueError` for an id that is not open, and where the payload
        cannot be converted: the client is then told PMIX_ERR_BAD_PARAM. Standard 4.2, section 17.3.
        """
        upcall = self._open.pop(upcall_id, None)
        if upcall is None:
            raise ValueError(f"upcall {upcall_id} is not open: it was answered already, or never made")
        if status != SUCCESS and upcall_id in self._tools:
            self._cut(self._tools.pop(upcall_id))
            return
        self._tools.pop(upcall_id, None)
        try:
            self._replies.send(upcall, answers_partly(upcall.entry, status), payload)
        except Exception:
            self._replies.send(upcall, _BAD_PARAM, None)
            raise

    @property
    def open_upcalls(self) -> int:
        """How many upcalls wait for their reply."""
        return len(self._open)

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
        return self._offer(entry, fields, function, data)

    def _offer(self, entry: Entry, fields: tuple[Any, ...], function: Any, data: Any) -> int:
        number = next(self._ids)
        self._open[number] = Open(entry, function, data)
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
            if self._cut(in_handshake(self._ports, self._tool_connections())):
                return OPERATION_SUCCEEDED
            if not function:  # 4.2
                return _NO_PERMISSIONS
            # An error code on return makes 5.0 and 6.1 free the connection twice; the callback does not.
            self._replies.send(Open(entry, function, data), _NO_PERMISSIONS, None)
            return SUCCESS
        # The client is let in at once, as 4.2 does in any case: what the host answers changes nothing.
        if upcalls.ClientConnected in self._serves:
            self._offer(entry, fields, self._library.ffi.NULL, data)
        return OPERATION_SUCCEEDED

    def _tool_connected(self, entry: Entry, fields: tuple[Any, ...], function: Any, data: Any) -> int:
        told: Infos = fields[0]
        name = Proc(find(told, "pmix.nspace", ""), find(told, "pmix.rank", 0xFFFFFFFF))
        connection = in_handshake(self._ports, self._tool_connections())
        if self._judge(name) is not None or upcalls.ToolConnected not in self._serves:
            # Never answered: 4.2, 5.0 and 6.1 crash on their way to refuse some tools.
            self._cut(connection)
            return SUCCESS
        number = next(self._ids)
        self._tools[number] = connection
        self._open[number] = Open(entry, function, data)
        if not self._deliver(upcalls.ToolConnected(number, *fields)) and number in self._open:
            self.reply(number, _ERROR)
        return SUCCESS

    def _tool_connections(self) -> list[int]:
        return [one for one in self._tools.values() if one is not None]

    def _cut(self, connection: int | None) -> bool:
        """Take a connection away from whoever is at its other end."""
        if connection is None:
            return False
        try:
            sever(connection)
        except OSError as error:
            self.on_error(error)
            return False
        return True

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
                lambda key: lib.PMIx_server_register_resources(
                    library.ffi.NULL, 0, self._completions.op, key
                ),
            )

    # -- namespaces, clients, resources --------------------------------------------------------

    def register_nspace(self, nspace: str, nlocal: int, directives: Directives | None = None) -> None:
        """Register a namespace of which `nlocal` processes run here (negative: update a known one).

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_register_nspace).
        """
        name = nspace_bytes(nspace)
        with infos(self._library, directives) as array:
            self._blocking("PMIx_server_register_nspace", name, nlocal, array.pointer, array.count)

    def deregister_nspace(self, nspace: str) -> None:
        """Drop a namespace and all that libpmix keeps for it; unknown ones are no error.

        Standard 4.2, section 17.2 (PMIx_server_deregister_nspace).
        """
        self._blocking("PMIx_server_deregister_nspace", nspace_bytes(nspace))

    def register_client(self, proc: Proc, uid: int, gid: int) -> None:
        """Expect `proc` to connect, with this user and group; before or after its namespace.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_register_client).
        """
        who = self._proc(proc)
        self._blocking("PMIx_server_register_client", who.pointer, uid, gid, self._library.ffi.NULL)

    def deregister_client(self, proc: Proc) -> None:
        """Drop `proc`, connected or not; needed for processes that end without PMIx_Finalize.

        Standard 4.2, section 17.2 (PMIx_server_deregister_client).
        """
        self._blocking("PMIx_server_deregister_client", self._proc(proc).pointer)

    def register_resources(self, directives: Directives) -> None:
        """Add to what every namespace registered from now on is told of the system.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_register_resources).
        """
        with infos(self._library, directives) as array:
            self._blocking("PMIx_server_register_resources", array.pointer, array.count)

    def deregister_resources(self, directives: Directives) -> None:
        """Take back what `register_resources` added, by key.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_deregister_resources).
        """
        with infos(self._library, directives) as array:
            self._blocking("PMIx_server_deregister_resources", array.pointer, array.count)

    # -- launch --------------------------------------------------------------------------------

    def setup_application(self, nspace: str, directives: Directives | None = None) -> bytes:
        """Ask the network and programming-model plugins what a job needs; on one server of it.

        Returns the infos packed, to be shipped to each server of the job for `setup_local_support`.
        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_setup_application).
        """
        library, name = self._library, "PMIx_server_setup_application"
        waiting, job = self._completions, nspace_bytes(nspace)
        array = infos(library, directives)
        came = waiting.wait(
            name,
            lambda key: library.lib.PMIx_server_setup_application(
                job, array.pointer, array.count, waiting.setup_application, key
            ),
            array,
        )
        if len(came) == 1:
            return b""
        status, made, count, done, done_data = came
        try:
            check(status, name)
            return pack_infos(library, made, count)
        finally:
            if done:
                library.ffi.cast("void (*)(int, void *)", done)(SUCCESS, done_data)

    def setup_local_support(self, nspace: str, packed: bytes | Directives) -> None:
        """Give this node's plugins what `setup_application` made; after `register_nspace`, before forks.

        Raises `PmixError`; `ValueError` where `packed` is damaged. Standard 4.2, section 17.2
        (PMIx_server_setup_local_support).
        """
        library = self._library
        array = UnpackedInfos(library, packed) if isinstance(packed, bytes) else infos(library, packed)
        with array:
            self._blocking(
                "PMIx_server_setup_local_support", nspace_bytes(nspace), array.pointer, array.count
            )

    def setup_fork(self, proc: Proc, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment variables that make a process `proc`, a client of this server.

        `env` is what the process has already: plugins may add to its lists, as LD_LIBRARY_PATH.
        Only what is new or changed is returned. Raises `PmixError`. Standard 4.2, section 17.2
        (PMIx_server_setup_fork).
        """
        base = dict(env or {})
        who, library = self._proc(proc), self._library
        with CArgv(library, [f"{name}={value}" for name, value in base.items()]) as argv:
            with self._fork_lock:  # libpmix does this on the caller's thread, unlocked
                status = library.lib.PMIx_server_setup_fork(who.pointer, argv.place)
            check(status, "PMIx_server_setup_fork")
            pairs = (item.partition("=") for item in argv.items())
            return {name: value for name, _, value in pairs if base.get(name) != value}

    def generate_regex(self, nodes: str) -> Regex:
        """Compress a comma-delimited list of node names for PMIX_NODE_MAP.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_generate_regex).
        """
        return self._regex("PMIx_generate_regex", nodes)

    def generate_ppn(self, ranks: str) -> Regex:
        """Compress the ranks of each node ("0,2;1,3") for PMIX_PROC_MAP.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_generate_ppn).
        """
        return self._regex("PMIx_generate_ppn", ranks)

    def locality_string(self, cpus: str) -> str | None:
        """Return where cores `cpus` ("0-3,7") lie in this node's topology; None where libpmix cannot say.

        Standard 4.2, section 17.2 (PMIx_server_generate_locality_string).
        """
        return self._of_cpuset("PMIx_server_generate_locality_string", cpus)

    def cpuset_string(self, cpus: str) -> str | None:
        """Return cores `cpus` ("0-3,7") as PMIX_CPUSET has them ("hwloc:0-3,7"); None if it cannot.

        Standard 4.2, section 17.2 (PMIx_server_generate_cpuset_string).
        """
        return self._of_cpuset("PMIx_server_generate_cpuset_string", cpus)

    # -- data ----------------------------------------------------------------------------------

    def request_modex(self, proc: Proc, done: Callable[[int, bytes], None]) -> None:
        """Have `done(status, blob)` called with what local `proc` has put, once it has committed.

        `done` runs on libpmix's thread, and never for a process that libpmix does not know: keep a
        deadline. Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_dmodex_request).
        """
        library, waiting, who = self._library, self._completions, self._proc(proc)

        def came(status: int, data: Any, size: int) -> None:
            done(status, decoding.blob(library.ffi, data, size))

        key = waiting.expect(came, who)
        status = library.lib.PMIx_server_dmodex_request(who.pointer, waiting.modex, key)
        if status != SUCCESS:
            waiting.forget(key)
            check(status, "PMIx_server_dmodex_request")

    def store_internal(self, proc: Proc, key: str, value: Any) -> None:
        """Keep a value for `proc` in this server's own store.

        Raises `PmixError`. Standard 4.2, section 5.3 (PMIx_Store_internal).
        """
        library, name, who = self._library, "PMIx_Store_internal", self._proc(proc)
        self._completions.refuse_here(name)
        with infos(library, [Info(key, value)]) as array:
            pointer = library.ffi.addressof(array.pointer[0], "value")
            check(library.lib.PMIx_Store_internal(who.pointer, encoded(key), pointer), name)

    def define_process_set(self, members: Sequence[Proc], name: str) -> None:
        """Tell local clients of a named set of processes; on every server.

        Raises `PmixError`, but not with 4.2. Standard 4.2, section 17.2 (PMIx_server_define_process_set).
        """
        call = "PMIx_server_define_process_set"
        self._completions.refuse_here(call)
        procs = ProcArray(self._library, members)
        status = self._library.lib.PMIx_server_define_process_set(procs.pointer, len(members), encoded(name))
        self._check_set(status, call)

    def delete_process_set(self, name: str) -> None:
        """Drop a named set of processes; on every server.

        Raises `PmixError`, but not with 4.2. Standard 4.2, section 17.2 (PMIx_server_delete_process_set).
        """
        call = "PMIx_server_delete_process_set"
        self._completions.refuse_here(call)
        self._check_set(self._library.lib.PMIx_server_delete_process_set(encoded(name)), call)

    def notify_event(
        self,
        status: int,
        source: Proc,
        range: Range,
        directives: Directives | None = None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Tell local clients of an event; does not wait, `done(status)` comes on libpmix's thread.

        A `source` that is this server itself comes back as a NotifyEvent upcall. Raises `PmixError`.
        Standard 4.2, section 9.2 (PMIx_Notify_event).
        """
        self._notify(status, source, range, directives, done)

    def iof_deliver(
        self,
        source: Proc,
        channel: IofChannel,
        data: bytes,
        directives: Directives | None = None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Give `source`'s output to the clients that pull it; empty `data` ends the stream.

        Does not wait; `done(status)` comes on libpmix's thread. Raises `PmixError`. Standard 4.2,
        section 17.2 (PMIx_server_IOF_deliver).
        """
        library, waiting, who = self._library, self._completions, self._proc(source)
        array = infos(library, directives)
        memory = library.ffi.from_buffer("char[]", data) if data else library.ffi.NULL
        payload = library.ffi.new("pmix_byte_object_t *", {"bytes": memory, "size": len(data)})
        waiting.start(
            "PMIx_server_IOF_deliver",
            lambda key: library.lib.PMIx_server_IOF_deliver(
                who.pointer, int(channel), payload, array.pointer, array.count, waiting.op, key
            ),
            array,
            who,
            _Held(payload, memory),
            done=done,
        )

    def collect_inventory(self, directives: Directives | None = None) -> Infos:
        """Return what the plugins know of this node's fabric and devices.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_collect_inventory).
        """
        library, waiting = self._library, self._completions
        array = infos(library, directives)
        return waiting.wait_infos(
            library,
            "PMIx_server_collect_inventory",
            lambda key: library.lib.PMIx_server_collect_inventory(
                array.pointer, array.count, waiting.info, key
            ),
            array,
        )

    def deliver_inventory(self, inventory: Directives, directives: Directives | None = None) -> None:
        """Hand the plugins what another node's `collect_inventory` returned.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_deliver_inventory).
        """
        with infos(self._library, inventory) as array, infos(self._library, directives) as how:
            self._blocking(
                "PMIx_server_deliver_inventory", array.pointer, array.count, how.pointer, how.count
            )

    def register_attributes(self, function: str, names: Sequence[str]) -> None:
        """Declare which attributes (by name, "PMIX_TIMEOUT") this host honours in `function`.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_Register_attributes).
        """
        call = "PMIx_Register_attributes"
        self._completions.refuse_here(call)
        with CArgv(self._library, names) as argv:
            check(self._library.lib.PMIx_Register_attributes(encoded(function), argv.pointer), call)

    # -- inside --------------------------------------------------------------------------------

    def _proc(self, proc: Proc) -> ProcArray:
        return ProcArray(self._library, (proc,))

    def _blocking(self, name: str, *arguments: Any) -> None:
        """Call a function of libpmix in its blocking form: without a callback."""
        self._completions.refuse_here(name)
        null = self._library.ffi.NULL
        status = getattr(self._library.lib, name)(*arguments, null, null)
        check(SUCCESS if status is None else status, name)

    def _check_set(self, status: int, call: str) -> None:
        if self._library.version >= (5, 0):  # 4.2 returns what happened to lie in memory
            check(status, call)

    def _regex(self, name: str, text: str) -> Regex:
        library = self._library
        ffi, lib = library.ffi, library.lib
        made = ffi.new("char **")
        check(getattr(lib, name)(encoded(text), made), name)
        # The text may hold NULs; libpmix alone knows its length, and tells it in a value.
        value = ffi.new("pmix_value_t *")
        try:
            check(lib.PMIx_Value_load(value, made[0], DataType.REGEX), "PMIx_Value_load")
            regex = decode_value(library, value)
        finally:
            lib.PMIx_Value_destruct(value)
            lib.free(made[0])
        assert isinstance(regex, Regex)
        return regex

    def _of_cpuset(self, name: str, cpus: str) -> str | None:
        library = self._library
        ffi, lib = library.ffi, library.lib
        cpuset, made = ffi.new("pmix_cpuset_t *"), ffi.new("char **")
        if lib.PMIx_Parse_cpuset_string(encoded(f"hwloc:{cpus}"), cpuset) != SUCCESS:
            return None
        try:
            if getattr(lib, name)(cpuset, made) != SUCCESS:
                return None
            return decoding.text(ffi, made[0]) or None
        finally:
            lib.free(made[0])
            lib.PMIx_Cpuset_destruct(cpuset)


class _Held:
    """Memory that stays while this is referred to."""

    def __init__(self, *things: Any) -> None:
        self.things = things


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
