"""What a PMIx server asks of its host: one frozen class for each entry of the server module.

`server.py` makes these on libpmix's progress thread from copies of what it was handed; the host
(`fluxpmix.host`) answers each by its `id`. Plain data: no cffi here. Standard 4.2, section 17.3
("Server Function Pointers").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fluxpmix.pmix.types import AppSpec, GroupOperation, Info, Infos, IofChannel, Proc, QueryItem, Range


@dataclass(frozen=True, slots=True)
class Upcall:
    """A request that is open until `Server.reply(id, status, payload)`."""

    id: int


@dataclass(frozen=True, slots=True)
class ClientConnected(Upcall):
    """A local process called PMIx_Init. Reply: nothing."""

    proc: Proc
    uid: int | None = None  # as libpmix tells it (5.0 on), else None
    gid: int | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class ClientFinalized(Upcall):
    """A local process called PMIx_Finalize and waits for the reply. Reply: nothing."""

    proc: Proc


@dataclass(frozen=True, slots=True)
class Abort(Upcall):
    """PMIx_Abort: end `procs` (none: the caller's whole job). Reply: nothing."""

    proc: Proc
    status: int
    message: str
    procs: tuple[Proc, ...]


@dataclass(frozen=True, slots=True)
class Fence(Upcall):
    """All local participants of `procs` called PMIx_Fence. Reply: the blocks of all servers."""

    procs: tuple[Proc, ...]
    directives: Infos
    data: bytes


@dataclass(frozen=True, slots=True)
class DirectModex(Upcall):
    """A local process wants what remote `proc` put. Reply: its blob (bytes), or none."""

    proc: Proc
    directives: Infos


@dataclass(frozen=True, slots=True)
class Publish(Upcall):
    """Data and directives (range, persistence, user id) come in one array. Reply: nothing."""

    proc: Proc
    infos: Infos


@dataclass(frozen=True, slots=True)
class Lookup(Upcall):
    """Reply: a sequence of `Published`."""

    proc: Proc
    keys: tuple[str, ...]
    directives: Infos


@dataclass(frozen=True, slots=True)
class Unpublish(Upcall):
    """`keys` None: all that `proc` published. Reply: nothing."""

    proc: Proc
    keys: tuple[str, ...] | None
    directives: Infos


@dataclass(frozen=True, slots=True)
class Spawn(Upcall):
    """Reply: the new namespace (str)."""

    proc: Proc
    directives: Infos
    apps: tuple[AppSpec, ...]


@dataclass(frozen=True, slots=True)
class Connect(Upcall):
    """Reply: nothing."""

    procs: tuple[Proc, ...]
    directives: Infos


@dataclass(frozen=True, slots=True)
class Disconnect(Upcall):
    """Reply: nothing."""

    procs: tuple[Proc, ...]
    directives: Infos


@dataclass(frozen=True, slots=True)
class RegisterEvents(Upcall):
    """`codes` None: a default handler. Reply: nothing."""

    codes: tuple[int, ...] | None
    directives: Infos


@dataclass(frozen=True, slots=True)
class NotifyEvent(Upcall):
    """Reply: nothing."""

    status: int
    source: Proc
    range: Range
    directives: Infos


@dataclass(frozen=True, slots=True)
class Query(Upcall):
    """Reply: infos."""

    proc: Proc
    queries: tuple[QueryItem, ...]


@dataclass(frozen=True, slots=True)
class ToolConnected(Upcall):
    """Reply: the tool's `Proc`."""

    directives: Infos


@dataclass(frozen=True, slots=True)
class Log(Upcall):
    """Reply: nothing."""

    proc: Proc
    data: Infos
    directives: Infos


@dataclass(frozen=True, slots=True)
class Allocate(Upcall):
    """Reply: infos."""

    proc: Proc
    directive: int
    directives: Infos


@dataclass(frozen=True, slots=True)
class JobControl(Upcall):
    """`targets` empty: all. Reply: infos."""

    proc: Proc
    targets: tuple[Proc, ...]
    directives: Infos


@dataclass(frozen=True, slots=True)
class Monitor(Upcall):
    """Reply: infos."""

    proc: Proc
    monitor: Info
    error: int
    directives: Infos


@dataclass(frozen=True, slots=True)
class GetCredential(Upcall):
    """Reply: the credential (bytes)."""

    proc: Proc
    directives: Infos


@dataclass(frozen=True, slots=True)
class ValidateCredential(Upcall):
    """Reply: infos (user and group id)."""

    proc: Proc
    credential: bytes
    directives: Infos


@dataclass(frozen=True, slots=True)
class IofPull(Upcall):
    """Answered by the binding at once, as libpmix frees the request on return: no reply to give."""

    procs: tuple[Proc, ...]
    directives: Infos
    channels: IofChannel


@dataclass(frozen=True, slots=True)
class PushStdin(Upcall):
    """`data` empty: end of file. Reply: nothing."""

    source: Proc
    targets: tuple[Proc, ...]
    directives: Infos
    data: bytes


@dataclass(frozen=True, slots=True)
class Group(Upcall):
    """Reply: infos (context id, membership, endpoint data)."""

    operation: GroupOperation
    group: str
    procs: tuple[Proc, ...]
    directives: Infos


@dataclass(frozen=True, slots=True)
class Fabric(Upcall):
    """Reply: infos."""

    proc: Proc
    operation: int
    directives: Infos


@dataclass(frozen=True, slots=True)
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
