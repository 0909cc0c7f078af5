"""What a host wants done: its only output. A carrier (`fluxpmix.shell`) carries each one out.

Called by nobody: these are values that `Host`'s methods return in a list, in the order in which
they must happen.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.pmix.enumeration import IntEnum
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import Infos, Proc, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from fluxpmix.host.spawnrequest import Command, Policy
    from fluxpmix.host.wantedresources import Resources
    from fluxpmix.job.model import Job


Buffer: TypeAlias = bytes | bytearray | memoryview
# A message to a peer shell: parts that the carrier sends as one message, in order, without joining.
Frame: TypeAlias = tuple[Buffer, ...]


class Level(IntEnum):
    """Log levels, numbered as Flux's shell log (and syslog) numbers them."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    DEBUG = 6  # shown at verbose=1
    TRACE = 7  # shown at verbose=2


class Send(Record):
    """Send one message to a peer shell, kept in order with the others to that shell.

    One that is `lateral` is large and needs no place among the others: it may take a link of its own.
    """

    shell: int
    frame: Frame
    lateral: bool = False


class Reply(Record):
    """Complete the upcall `upcall`: what `payload` must be stands at the upcall's class.

    A fence's payload is a sequence of buffers, in order; the binding joins them once.
    """

    upcall: int
    status: int
    payload: Any = None


class Notify(Record):
    """Tell this shell's own clients of an event (PMIx_Notify_event)."""

    status: int
    source: Proc
    range: Range
    infos: Infos = ()


class Hear(Record):
    """Have this shell's libpmix tell of an event of its processes, whatever its range; it comes back as `told`."""

    status: int


class RequestModex(Record):
    """Ask this shell's libpmix what local `proc` put; the answer comes back as `modex_ready`."""

    token: int
    proc: Proc


class Raise(Record):
    """End the job: a job exception of severity 0 with the exit code that the job shall have."""

    message: str
    exit_code: int


class Place(Record):
    """Where the shells of a Flux job are reached: the job's id, its service, and the broker of each shell."""

    job: int
    service: str
    brokers: tuple[int, ...]


class Launch(Record):
    """A spawned job: what a carrier must know to start its tasks.

    `first` is the number of its rank 0, `ordinal` counts the jobs that were spawned, from 1; `parent_first` is the
    first number of the job that it ends with, None where it has none here or is `separate`.
    """

    first: int
    ordinal: int
    job: Job
    commands: tuple[Command, ...]
    asker: Proc
    parent_first: int | None
    notify: bool
    separate: bool
    job_events: bool = False  # the asker hears of its start, too
    holds: bool = False  # it is an allocation, whose processes only keep it
    place: Place | None = None  # of a job that is a Flux job of its own, and has shells of its own

    @property
    def base(self) -> int:
        """The first of its own shells, where it has some: the last nodes of its job."""
        return len(self.job.nodes) - (len(self.place.brokers) if self.place is not None else 0)

    @property
    def shells(self) -> range:
        """Its own shells: none where it runs on those of others."""
        return range(self.base, len(self.job.nodes))


class Prepare(Record):
    """Ask libpmix what all shells must be told of a job that is to be registered; answered by `prepared`."""

    launch: Launch


class Register(Record):
    """Register a job with libpmix, with what `Prepare` brought, and look for its commands; answered by `launched`."""

    launch: Launch
    packed: bytes


class Start(Record):
    """Start the tasks of a registered job that are this shell's; answered by `launched`."""

    launch: Launch


class Submit(Record):
    """Submit a job of its own to the resource manager; what comes of it is `submitted` and `joined`.

    `policy` is where its processes go on the nodes that it gets, `resources` what is asked for. It is known by
    `ticket` until it has joined. `streams` (1, 2) of its processes are shown with the asker's.
    """

    ticket: int
    commands: tuple[Command, ...]
    policy: Policy
    resources: Resources
    wdir: str
    holds: bool = False  # it is an allocation
    streams: tuple[int, ...] = (1, 2)


class Withdraw(Record):
    """End the job that was submitted under `ticket`: nobody waits for it any more."""

    ticket: int
    why: str
    job: int = 0  # the job's id, where a shell that is gone has submitted it


class Welcome(Record):
    """Tell the shells of a job that was submitted, which wait, what they join: a launch, and all that is here."""

    launch: Launch
    world: bytes


class Drop(Record):
    """A job comes to nothing: kill its tasks, where some may run (`started`), else forget it."""

    launch: Launch
    started: bool


class JobEnded(Record):
    """All processes of a job have ended, as far as has been heard: said where there are several jobs."""

    first: int  # the number of its rank 0


class Signal(Record):
    """Send a signal to this shell's tasks with these ranks (None: all)."""

    signum: int
    ranks: Sequence[int] | None = None


class Retire(Record):
    """Kill this shell's tasks with these numbers. How they end is not to count: they are to start again."""

    numbers: Sequence[int]


class Restart(Record):
    """Start a task of this shell again, which has ended: as it was started, the `count`th time after that.

    `checkpoint` is what it is to go on from, empty where from its beginning. Answered by `restarted`.
    """

    number: int
    proc: Proc
    count: int
    checkpoint: str


class Recount(Record):
    """Have libpmix tell that a process, of any shell, is restarted for the `count`th time (PMIX_REINCARNATION)."""

    proc: Proc
    count: int


class Log(Record):
    """One line for the job's log. Never holds a payload."""

    level: Level
    message: str


class Measure(Record):
    """Say how much memory this shell and its tasks with these numbers and pids have; comes back as `measured`."""

    token: int
    tasks: tuple[tuple[int, int], ...]


class DefineSet(Record):
    """Have libpmix know a process set, by its members' names and ranks (None: it is no more)."""

    name: str
    members: tuple[Proc, ...] | None


class Output(Record):
    """Show a line as if local task `rank` had printed it: stream 1 is standard output, 2 standard error."""

    rank: int
    stream: int
    data: bytes


class Deliver(Record):
    """Give what a task printed to those of this shell's peers that pull it; no data: the stream has ended."""

    source: Proc
    channel: int
    data: Buffer


class Listen(Record):
    """Tell the host what this shell's tasks print, or no longer (`on`).

    `size`, where it is given, is how much (bytes) may wait for a reader here that is slow; then what it
    misses is the `oldest`, or what comes next. `nobody`: the last reader here has gone.
    """

    on: bool
    size: int | None = None
    oldest: bool = False
    nobody: bool = False


class Forget(Record):
    """Have this shell's libpmix drop a namespace that only tools had, now that the last of them has left."""

    nspace: str


class Feed(Record):
    """Write to the standard input of this shell's tasks with these numbers; no data: close it.

    What came of it goes back to the host as `fed(token, status)`.
    """

    numbers: Sequence[int]
    data: bytes
    token: tuple[int, int]


class Seal(Record):
    """Answer upcall `upcall` with a credential of munge's; where there is no munge, with `token`, if there is one."""

    upcall: int
    token: bytes | None


class Unseal(Record):
    """Answer upcall `upcall` with what munge says of the owner of `credential`."""

    upcall: int
    credential: bytes


class Extend(Record):
    """Let the job run `seconds` longer, and answer upcall `upcall`, with `infos` where that is done."""

    upcall: int
    seconds: float
    infos: Infos = ()


class Enquire(Record):
    """Ask the scheduler what `key` wants to know of `subject` ("": this job); tell the host as `enquired`."""

    token: int
    key: str
    subject: str


class Look(Record):
    """Look at a file, and tell the host as `looked(number, found)`."""

    number: int
    path: str


class Heed(Record):
    """See how much a process of this shell has sent so far (bytes), and tell the host as `heard(number, size)`."""

    number: int
    proc: Proc


Effect: TypeAlias = (
    Send
    | Reply
    | Notify
    | Hear
    | RequestModex
    | Raise
    | Signal
    | Retire
    | Restart
    | Recount
    | Log
    | Measure
    | DefineSet
    | Output
    | Prepare
    | Register
    | Start
    | Drop
    | Submit
    | Withdraw
    | Welcome
    | Deliver
    | Listen
    | Feed
    | Forget
    | Seal
    | Unseal
    | Extend
    | JobEnded
    | Look
    | Heed
    | Enquire
)
