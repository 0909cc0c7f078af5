"""What a resource manager asks of libpmix: registration, launch support, data, events, output.

`Server` (`server.py`) inherits `HostCalls`; the other half of it, what libpmix asks, is there. Calls
wait for libpmix's thread and say so where they do not. Standard 4.2, chapter 17.
"""

from __future__ import annotations

from _thread import LockType
from collections.abc import Callable, Iterable, Mapping, Sequence

from fluxpmix.pmix import attributes, decoding, spared
from fluxpmix.pmix.completions import SUCCESS, Completions
from fluxpmix.pmix.decoding import CArgv, encoded, nspace_bytes
from fluxpmix.pmix.events import Events
from fluxpmix.pmix.packing import UnpackedInfos, pack_infos
from fluxpmix.pmix.status import check
from fluxpmix.pmix.structures import DeviceDistance, read
from fluxpmix.pmix.types import DataArray, DataType, Directives, Info, Infos, IofChannel, Proc, Range, Regex, Rows
from fluxpmix.pmix.values import ProcArray, decode_value, infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

_GPU = 2  # PMIX_DEVTYPE_GPU
_MOST_ROWS = 1024  # processes in one call of a registration: 5 MiB, which stay in the processor's cache


class HostCalls(Events):
    """The functions of the PMIx server library that a host calls."""

    _library: Library
    _completions: Completions
    _fork_lock: LockType

    # -- namespaces, clients, resources --------------------------------------------------------

    def register_nspace(self, nspace: str, nlocal: int, directives: Directives | None = None) -> None:
        """Register a namespace of which `nlocal` processes run here (negative: update a known one).

        What is told of many processes goes to libpmix in parts, so that only one of them takes memory beside its
        copy. Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_register_nspace).
        """
        name = nspace_bytes(nspace)
        for part in self._parts(directives):
            with infos(self._library, part) as array:
                self._blocking("PMIx_server_register_nspace", name, nlocal, array.pointer, array.count)

    def deregister_nspace(self, nspace: str) -> None:
        """Drop a namespace and all that libpmix keeps for it; unknown ones are no error.

        Standard 4.2, section 17.2 (PMIx_server_deregister_nspace).
        """
        self._blocking("PMIx_server_deregister_nspace", nspace_bytes(nspace))
        spared.forget(nspace)

    def register_client(self, proc: Proc, uid: int, gid: int) -> None:
        """Expect `proc` to connect, with this user and group; before or after its namespace.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_register_client).
        """
        who = self._proc(proc)
        self._blocking("PMIx_server_register_client", who.pointer, uid, gid, self._library.ffi.NULL)

    def expect_again(self, proc: Proc, uid: int, gid: int) -> None:
        """Expect another process under the name of one that has been deregistered. Raises `PmixError`."""
        self.register_client(proc, uid, gid)
        if self._library.version < (5, 0):
            from fluxpmix.pmix.dstore import make_room

            make_room(self.setup_fork(proc), proc.nspace)

    def await_clients(self, nspace: str, count: int) -> None:
        """Have collectives that begin from now on wait for so many clients of a known namespace. Raises `PmixError`.

        libpmix (4.2 to 6.1) waits for one less after each that hangs up and had not finalized.
        """
        self.register_nspace(nspace, count, [Info(attributes.REGISTER_NODATA, True)])

    def recount(self, proc: Proc, count: int) -> None:
        """Tell the number of a process's incarnation, of any node, to whom asks from now on. Raises `PmixError`.

        Clients that connect, and those that refresh what they have, get it from two different places.
        """
        self.store_internal(proc, attributes.REINCARNATION, count)
        told = (Info(attributes.RANK, proc.rank), Info(attributes.REINCARNATION, count))
        array = DataArray(DataType.INFO, told)
        self.register_nspace(proc.nspace, -1, [Info(attributes.PROC_INFO_ARRAY, array)])

    def deregister_client(self, proc: Proc) -> bool:
        """Drop `proc`, connected or not; needed for processes that end without PMIx_Finalize.

        Standard 4.2, section 17.2 (PMIx_server_deregister_client).
        """
        self._blocking("PMIx_server_deregister_client", self._proc(proc).pointer)
        return False

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
            self._blocking("PMIx_server_setup_local_support", nspace_bytes(nspace), array.pointer, array.count)

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

    def gpu_distances(self, cpus: str, devices: Sequence[str]) -> tuple[DeviceDistance, ...]:
        """Return how far the GPUs of these names ("nvml0") are from cores `cpus` ("0-3,7").

        None where libpmix cannot say: its topology has no such device, or no part that holds just these cores.
        Standard 4.2, section 11.4 (PMIx_Compute_distances).
        """
        library, ffi, lib = self._library, self._library.ffi, self._library.lib
        cpuset, made, count = ffi.new("pmix_cpuset_t *"), ffi.new("pmix_device_distance_t **"), ffi.new("size_t *")
        if not devices or lib.PMIx_Parse_cpuset_string(encoded(f"hwloc:{cpus}"), cpuset) != SUCCESS:
            return ()
        wanted = [Info(attributes.DEVICE_TYPE, _GPU), *(Info(attributes.DEVICE_ID, name) for name in devices)]
        try:
            with infos(library, wanted) as array:
                if lib.PMIx_Compute_distances(ffi.NULL, cpuset, array.pointer, array.count, made, count) != SUCCESS:
                    return ()
            found = [read(ffi, DataType.DEVICE_DIST, made[0][at]) for at in range(count[0])]
            for at in range(count[0]):
                lib.free(made[0][at].uuid)
                lib.free(made[0][at].osname)
            lib.free(made[0])
        finally:
            lib.PMIx_Cpuset_destruct(cpuset)
        return tuple(found)

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
        library = self._library
        if done is not None or library.version >= (6, 0):
            self._notify(status, source, range, directives, done)
            return
        # A server of 4.2 and 5.0 copies all of it at once, and need not call back: events may be many.
        procs = ProcArray(library, (source,))
        with infos(library, directives) as array:
            called = library.lib.PMIx_Notify_event(
                status, procs.pointer, int(range), array.pointer, array.count, library.ffi.NULL, library.ffi.NULL
            )
        check(called, "PMIx_Notify_event")

    def iof_deliver(
        self,
        source: Proc,
        channel: IofChannel,
        data: bytes | bytearray | memoryview,
        directives: Directives | None = None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        """Give `source`'s output to the clients that pull it; empty `data` ends the stream.

        Does not wait; `done(status)` comes on libpmix's thread. Raises `PmixError`. Standard 4.2,
        section 17.2 (PMIx_server_IOF_deliver).
        """
        library, waiting, who = self._library, self._completions, self._proc(source)
        array = infos(library, directives)
        memory = library.ffi.from_buffer("char[]", data) if len(data) else library.ffi.NULL
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
            lambda key: library.lib.PMIx_server_collect_inventory(array.pointer, array.count, waiting.info, key),
            array,
        )

    def deliver_inventory(self, inventory: Directives, directives: Directives | None = None) -> None:
        """Hand the plugins what another node's `collect_inventory` returned.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_server_deliver_inventory).
        """
        with infos(self._library, inventory) as array, infos(self._library, directives) as how:
            self._blocking("PMIx_server_deliver_inventory", array.pointer, array.count, how.pointer, how.count)

    def register_attributes(self, function: str, names: Sequence[str]) -> None:
        """Declare which attributes (by name, "PMIX_TIMEOUT") this host honours in `function`.

        Raises `PmixError`. Standard 4.2, section 17.2 (PMIx_Register_attributes).
        """
        call = "PMIx_Register_attributes"
        self._completions.refuse_here(call)
        with CArgv(self._library, names) as argv:
            check(self._library.lib.PMIx_Register_attributes(encoded(function), argv.pointer), call)

    # -- inside --------------------------------------------------------------------------------

    def _parts(self, directives: Directives | None) -> Iterable[Directives | None]:
        """Return the directives of a registration for one call after another.

        From 5.0 on libpmix adds what a later call tells of processes; 4.2 would share the namespace's data twice.
        """
        if directives is None or isinstance(directives, Mapping) or self._library.version < (5, 0):
            return (directives,)
        items = list(directives)
        if sum(item.count for item in items if isinstance(item, Rows)) <= _MOST_ROWS:
            return (items,)
        from fluxpmix.pmix.rows import batches

        return batches(items, _MOST_ROWS)

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
