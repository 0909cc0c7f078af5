"""The server module: which entry of `pmix_server_module_t` makes which upcall, and where it stands.

`server.py` builds the module from this table. The struct is the same in every version up to
`client_connected2`; what follows moved between 4.2, 5.0 and 6.1 under one soname, so the pointers
are placed by the version found at run time, in a zeroed block that is larger than any version's
struct (libpmix copies as many bytes as its own has). Standard 4.2, section 17.3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from fluxpmix.pmix import decoding, upcalls
from fluxpmix.pmix.enumeration import Enum
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

MODULE_BYTES = 1024


class Answer(Enum):
    """The C type of the function that completes an upcall."""

    OP = "void (*)(int, void *)"
    MODEX = "void (*)(int, const char *, size_t, void *, void *, void *)"
    INFO = "void (*)(int, pmix_info_t *, size_t, void *, void *, void *)"
    SPAWN = "void (*)(int, char *, void *)"
    LOOKUP = "void (*)(int, pmix_pdata_t *, size_t, void *)"
    CREDENTIAL = "void (*)(int, pmix_byte_object_t *, pmix_info_t *, size_t, void *)"
    VALIDATION = "void (*)(int, pmix_info_t *, size_t, void *)"
    TOOL = "void (*)(int, pmix_proc_t *, void *)"


class Entry(Record):
    """One entry: its upcall, C arguments (but the last two, `cbfunc` and `cbdata`) and answer.

    `hop`: before 6.1 this entry's completion must run on libpmix's own thread, as it touches the
    peer's send queue without shifting there itself.
    """

    field: str
    upcall: type[upcalls.Upcall]
    arguments: str
    decode: Callable[..., tuple[Any, ...]]
    answer: Answer
    hop: bool = False
    returns: bool = True


_PROC = "pmix_proc_t *"
_INFOS = "pmix_info_t *, size_t"
_PROCS = "pmix_proc_t *, size_t"
_OP, _INFO = Answer.OP, Answer.INFO

ENTRIES: tuple[Entry, ...] = (
    # 4.2 tells of a client only after it was let in, but heeds an error of this older entry; from
    # 5.0 on the newer one comes before, and carries the user's id. `layout` picks one of the two.
    Entry("client_connected", upcalls.ClientConnected, f"{_PROC}, void *", decoding.client_connected, _OP),
    Entry(
        "client_connected2",
        upcalls.ClientConnected,
        f"{_PROC}, void *, {_INFOS}",
        decoding.client_connected2,
        _OP,
    ),
    Entry("client_finalized", upcalls.ClientFinalized, f"{_PROC}, void *", decoding.client_finalized, _OP),
    Entry("abort", upcalls.Abort, f"{_PROC}, void *, int, char *, {_PROCS}", decoding.abort, _OP),
    Entry("fence_nb", upcalls.Fence, f"{_PROCS}, {_INFOS}, char *, size_t", decoding.fence, Answer.MODEX),
    Entry("direct_modex", upcalls.DirectModex, f"{_PROC}, {_INFOS}", decoding.proc_and_infos, Answer.MODEX),
    Entry("publish", upcalls.Publish, f"{_PROC}, {_INFOS}", decoding.publish, _OP),
    Entry("lookup", upcalls.Lookup, f"{_PROC}, char **, {_INFOS}", decoding.lookup, Answer.LOOKUP, hop=True),
    Entry("unpublish", upcalls.Unpublish, f"{_PROC}, char **, {_INFOS}", decoding.unpublish, _OP),
    Entry(
        "spawn",
        upcalls.Spawn,
        f"{_PROC}, {_INFOS}, pmix_app_t *, size_t",
        decoding.spawn,
        Answer.SPAWN,
        hop=True,
    ),
    Entry("connect", upcalls.Connect, f"{_PROCS}, {_INFOS}", decoding.procs_and_infos, _OP),
    Entry("disconnect", upcalls.Disconnect, f"{_PROCS}, {_INFOS}", decoding.procs_and_infos, _OP),
    Entry(
        "register_events",
        upcalls.RegisterEvents,
        f"int *, size_t, {_INFOS}",
        decoding.register_events,
        _OP,
        hop=True,
    ),
    Entry(
        "notify_event",
        upcalls.NotifyEvent,
        f"int, {_PROC}, uint8_t, {_INFOS}",
        decoding.notify_event,
        _OP,
        hop=True,
    ),
    Entry("query", upcalls.Query, f"{_PROC}, pmix_query_t *, size_t", decoding.query, _INFO, hop=True),
    Entry(
        "tool_connected",
        upcalls.ToolConnected,
        _INFOS,
        decoding.tool_connected,
        Answer.TOOL,
        returns=False,
    ),
    Entry("log", upcalls.Log, f"{_PROC}, {_INFOS}, {_INFOS}", decoding.log, _OP, returns=False),
    Entry("allocate", upcalls.Allocate, f"{_PROC}, uint8_t, {_INFOS}", decoding.numbered, _INFO, hop=True),
    Entry(
        "job_control",
        upcalls.JobControl,
        f"{_PROC}, {_PROCS}, {_INFOS}",
        decoding.job_control,
        _INFO,
        hop=True,
    ),
    Entry(
        "monitor",
        upcalls.Monitor,
        f"{_PROC}, pmix_info_t *, int, {_INFOS}",
        decoding.monitor,
        _INFO,
        hop=True,
    ),
    Entry(
        "get_credential",
        upcalls.GetCredential,
        f"{_PROC}, {_INFOS}",
        decoding.proc_and_infos,
        Answer.CREDENTIAL,
        hop=True,
    ),
    Entry(
        "validate_credential",
        upcalls.ValidateCredential,
        f"{_PROC}, pmix_byte_object_t *, {_INFOS}",
        decoding.validate_credential,
        Answer.VALIDATION,
        hop=True,
    ),
    Entry("iof_pull", upcalls.IofPull, f"{_PROCS}, {_INFOS}, uint16_t", decoding.iof_pull, _OP),
    Entry(
        "push_stdin",
        upcalls.PushStdin,
        f"{_PROC}, {_PROCS}, {_INFOS}, pmix_byte_object_t *",
        decoding.push_stdin,
        _OP,
    ),
    Entry("group", upcalls.Group, f"int, char *, {_PROCS}, {_INFOS}", decoding.group, _INFO),
    Entry("fabric", upcalls.Fabric, f"{_PROC}, int, {_INFOS}", decoding.numbered, _INFO, hop=True),
    Entry(
        "session_control",
        upcalls.SessionControl,
        f"{_PROC}, uint32_t, {_INFOS}",
        decoding.numbered,
        _INFO,
        hop=True,
    ),
)

# What stands where, in every version. The two that no version ever calls stay NULL.
_COMMON = (
    "client_connected",
    "client_finalized",
    "abort",
    "fence_nb",
    "direct_modex",
    "publish",
    "lookup",
    "unpublish",
    "spawn",
    "connect",
    "disconnect",
    "register_events",
    "deregister_events",
    "listener",
    "notify_event",
    "query",
    "tool_connected",
    "log",
    "allocate",
    "job_control",
    "monitor",
    "get_credential",
    "validate_credential",
    "iof_pull",
    "push_stdin",
    "group",
    "fabric",
    "client_connected2",
)


def layout(version: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the struct's fields in the order of this libpmix version."""
    if version >= (6, 1):
        return (*_COMMON, "tool_connected2", "log2", "session_control", "resource_block")
    if version >= (5, 0):
        return (*_COMMON, "session_control")
    return _COMMON


def connected_field(version: tuple[int, ...]) -> str:
    """Return which of the two client_connected entries this version lets refuse a client."""
    return "client_connected2" if version >= (5, 0) else "client_connected"


def wanted(version: tuple[int, ...], serves: Collection[type[upcalls.Upcall]]) -> tuple[Entry, ...]:
    """Return the entries to fill in for a host that serves these upcalls."""
    fields = set(layout(version))
    fields.discard("client_connected" if version >= (5, 0) else "client_connected2")
    # Whoever connects is judged, whether the host wants to hear of it or not.
    always = {"tool_connected", connected_field(version)}
    return tuple(
        entry for entry in ENTRIES if entry.field in fields and (entry.upcall in serves or entry.field in always)
    )


def build(library: Library, serves: Collection[type[upcalls.Upcall]], pointer_of: Callable[[Entry], Any]) -> Any:
    """Return the bytes of a `pmix_server_module_t` for this library, every other entry NULL."""
    ffi = library.ffi
    fields = layout(library.version)
    module = ffi.new("void *[]", MODULE_BYTES // ffi.sizeof("void *"))
    for entry in wanted(library.version, serves):
        module[fields.index(entry.field)] = ffi.cast("void *", pointer_of(entry))
    return module
