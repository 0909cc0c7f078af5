"""What a PMIx server asks of its host: one frozen class for each entry of the server module.

`server.py` makes these on libpmix's progress thread from copies of what it was handed; the host
(`fluxpmix.host`) answers each by its `id`. Plain data: no cffi here. Standard 4.2, section 17.3
("Server Function Pointers").
"""

from __future__ import annotations

from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import AppSpec, GroupOperation, Info, Infos, IofChannel, Proc, QueryItem, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias


class Upcall(Record):
    """A request that is open until `Server.reply(id, status, payload)`."""

    id: int


class ClientConnected(Upcall):
    """A local process called PMIx_Init. Reply: nothing."""

    proc: Proc
    uid: int | None = None  # as libpmix tells it (5.0 on), else None
    gid: int | None = None
    pid: int | None = None


class ClientFinalized(Upcall):
    """A local process called PMIx_Finalize and waits for the reply. Reply: nothing."""

    proc: Proc


class Abort(Upcall):
    """PMIx_Abort: end `procs` (none: the caller's whole job). Reply: nothing."""

    proc: Proc
    status: int
    message: str
    procs: tuple[Proc, ...]


class Fence(Upcall):
    """All local participants of `procs` called PMIx_Fence. Reply: the blocks of all servers."""

    procs: tuple[Proc, ...]
    directives: Infos
    data: bytes


class DirectModex(Upcall):
    """A local process wants what remote `proc` put. Reply: its blob (bytes), or none."""

    proc: Proc
    directives: Infos


class Publish(Upcall):
    """Data and directives (range, persistence, user id) come in one array. Reply: nothing."""

    proc: Proc
    infos: Infos


class Lookup(Upcall):
    """Reply: a sequence of `Published`."""

    proc: Proc
    keys: tuple[str, ...]
    directives: Infos


class Unpublish(Upcall):
    """`keys` None: all that `proc` published. Reply: nothing."""

    proc: Proc
    keys: tuple[str, ...] | None
    directives: Infos


class Spawn(Upcall):
    """Reply: the new namespace (str)."""

    proc: Proc
    directives: Infos
    apps: tuple[AppSpec, ...]


class Connect(Upcall):
    """Reply: nothing."""

    procs: tuple[Proc, ...]
    directives: Infos


class Disconnect(Upcall):
    """Reply: nothing."""

    procs: tuple[Proc, ...]
    directives: Infos


class RegisterEvents(Upcall):
    """`codes` None: a default handler. Reply: nothing."""

    codes: tuple[int, ...] | None
    directives: Infos


class NotifyEvent(Upcall):
    """Reply: nothing."""

    status: int
    source: Proc
    range: Range
    directives: Infos


class Query(Upcall):
    """Reply: infos."""

    proc: Proc
    queries: tuple[QueryItem, ...]


class ToolConnected(Upcall):
    """Reply: the tool's `Proc`."""

    directives: Infos


class Log(Upcall):
    """Reply: nothing."""

    proc: Proc
    data: Infos
    directives: Infos


class Allocate(Upcall):
    """Reply: infos."""

    proc: Proc
    directive: int
    directives: Infos


class JobControl(Upcall):
    """`targets` empty: all. Reply: infos."""

    proc: Proc
    targets: tuple[Proc, ...]
    directives: Infos


class Monitor(Upcall):
    """Reply: infos."""

    proc: Proc
    monitor: Info
    error: int
    directives: Infos


class GetCredential(Upcall):
    """Reply: the credential (bytes)."""

    proc: Proc
    directives: Infos


class ValidateCredential(Upcall):
    """Reply: infos (user and group id)."""

    proc: Proc
    credential: bytes
    directives: Infos


class IofPull(Upcall):
    """Answered by the binding at once, as libpmix frees the request on return: no reply to give."""

    procs: tuple[Proc, ...]
    directives: Infos
    channels: IofChannel


class PushStdin(Upcall):
    """`data` empty: end of file. Reply: nothing."""

    source: Proc
    targets: tuple[Proc, ...]
    directives: Infos
    data: bytes


class Group(Upcall):
    """Reply: infos (context id, membership, endpoint data)."""

    operation: GroupOperation
    group: str
    procs: tuple[Proc, ...]
    directives: Infos


class Fabric(Upcall):
    """Reply: infos."""

    proc: Proc
    operation: int
    directives: Infos


class SessionControl(Upcall):
    """Reply: infos."""

    proc: Proc
    session: int
    directives: Infos


AnyUpcall: TypeAlias = (
    ClientConnected
    | ClientFinalized
    | Abort
    | Fence
    | DirectModex
    | Publish
    | Lookup
    | Unpublish
    | Spawn
    | Connect
    | Disconnect
    | RegisterEvents
    | NotifyEvent
    | Query
    | ToolConnected
    | Log
    | Allocate
    | JobControl
    | Monitor
    | GetCredential
    | ValidateCredential
    | IofPull
    | PushStdin
    | Group
    | Fabric
    | SessionControl
)
