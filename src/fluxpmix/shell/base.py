"""What a host needs from whatever carries it, and the glue between the two.

`Carrier` is the small protocol that each face implements (`shell/local`: a process and an epoll
loop; `shell/flux`: the real flux-shell). `Driver` feeds a sans-IO `Host` with upcalls of a real
PMIx server, frames of peer shells, task changes and deadlines, and carries its effects out.
All of `Driver` runs on the carrier's thread but `_from_library`, which libpmix's thread calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from fluxpmix.host.effects import (
    Buffer,
    DefineSet,
    Deliver,
    Drop,
    Effect,
    Extend,
    Feed,
    Forget,
    Frame,
    JobEnded,
    Launch,
    Level,
    Listen,
    Log,
    Look,
    Measure,
    Notify,
    Output,
    Prepare,
    Raise,
    Register,
    Reply,
    RequestModex,
    Seal,
    Send,
    Signal,
    Start,
    Unseal,
)
from fluxpmix.host.host import Host
from fluxpmix.host.sized import Appetite
from fluxpmix.host.supported import SUPPORTED
from fluxpmix.job import idset
from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import PmixError, Status
from fluxpmix.pmix.types import IofChannel, Proc, find
from fluxpmix.pmix.upcalls import Connect, Group, Spawn
from fluxpmix.shell.server import JobServer, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from fluxpmix.job.model import Job
    from fluxpmix.pmix.library import Library
    from fluxpmix.pmix.upcalls import Upcall
    from fluxpmix.shell.outlets import Outlets
else:
    Protocol = object

# Starts a frame that carries what setup_application gave shell 0; a host's frame never starts so.
SETUP_MAGIC = b"fluxpmix setup 1\n"
_CHANNELS = {1: int(IofChannel.STDOUT), 2: int(IofChannel.STDERR)}
_LAST_WORDS = 2.0  # seconds that tools have at the job's end to read what has been printed
_STEP = 0.002


def _file_facts(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_atime_ns, found.st_mtime_ns


class Carrier(Protocol):
    """Input and output for one shell of a job."""

    rank: int
    size: int

    def send(self, shell: int, frame: Frame, lateral: bool = False) -> None:
        """Send one message to a peer shell, ordered with the others to it unless it is lateral; never blocks."""

    def post(self, call: Callable[[], None]) -> None:
        """Run `call` soon on the carrier's thread; may be called from any thread."""

    def now(self) -> float:
        """Monotonic time in seconds."""

    def set_deadline(self, when: float | None) -> None:
        """Have `Driver.tick` called at `when` (seconds, as `now` counts them), or not at all."""

    def raise_job(self, message: str, exit_code: int) -> None:
        """End the job with a job exception; `exit_code` becomes the job's."""

    def signal_tasks(self, signum: int, ranks: Sequence[int] | None) -> None:
        """Send a signal to this shell's tasks with these ranks (None: to all)."""

    def log(self, level: Level, message: str) -> None:
        """Write one line to the job's log."""

    def find_commands(self, launch: Launch) -> None:
        """See that the commands of a job that is to be spawned are there. Raises `spawning.CannotStart`."""

    def start_tasks(self, launch: Launch) -> None:
        """Start this shell's tasks of a spawned job. Raises `spawning.CannotStart`."""

    def job_ended(self, first: int) -> None:
        """All tasks of the job with that first number have ended, on all shells; told where there are several."""

    def drop_tasks(self, launch: Launch, started: bool) -> None:
        """Forget a job that came to nothing; kill those of its tasks that run, if tasks were `started`."""

    def extend(self, seconds: float, done: Callable[[int], None]) -> None:
        """Let the job run `seconds` longer; `done(status)` is called with a PMIx status, on the carrier's thread."""

    def listen(self, on: bool) -> None:
        """Call `Driver.task_output` with what tasks print, or no longer."""

    def feed(self, numbers: Sequence[int], data: bytes) -> int:
        """Write to the standard input of this shell's tasks with these numbers; b"": close it.

        Returns a PMIx status: success where one of them takes it.
        """


class Driver:
    """One shell's PMIx: a real server, the host that decides for it, and a carrier's hands.

    The life of it: `open()`, then `start(ready)` (or the two halves of it, `setup_application` and
    `setup_local_support`, where the carrier ships the result itself), `task_environment(rank)` and
    `task_started` for each task, events while they run, `close()`. `timeout` (seconds) ends what no
    PMIX_TIMEOUT does; `ends_at` is when the job's time is up, as `Carrier.now` counts.
    `output(rank, stream, line)` shows what a task logs with its output; without it that goes to the log.
    """

    def __init__(
        self,
        job: Job,
        carrier: Carrier,
        site: Site,
        library: Library,
        *,
        fanout: int = 16,
        exchange: str = "tree",
        appetite: Appetite | None = None,
        timeout: float | None = None,
        ends_at: float | None = None,
        output: Callable[[int, int, bytes], None] | None = None,
        oversubscribe: bool = False,
        sees_all_output: bool = False,
        stop: str | None = None,
    ) -> None:
        self._job = job
        self._carrier = carrier
        self._library = library
        self._warned = False
        self._host = Host(
            job,
            carrier.rank,
            fanout=fanout,
            exchange=exchange,
            appetite=appetite,
            default_timeout=timeout,
            ends_at=ends_at,
            oversubscribe=oversubscribe,
            sees_all_output=sees_all_output,
            stop=stop,
            owner=(os.geteuid(), os.getegid()),
            key=os.urandom(32),
        )
        self._tasks: dict[int, Proc] = {}  # by number, of those that are not the job's own
        self._server = JobServer(
            job, site, library, self._from_library, self._host.serves, SUPPORTED, self._connection_lost
        )
        self._output = output
        self._outlets: Outlets | None = None  # since somebody listens
        self._deadline: float | None = None
        self._ready: Callable[[], None] | None = None
        self._closed = False

    @property
    def host(self) -> Host:
        """The host that decides, for its counters and tests."""
        return self._host

    @property
    def server(self) -> JobServer:
        """The PMIx server with the job registered."""
        return self._server

    # -- the launch sequence -------------------------------------------------------------------

    def open(self) -> None:
        """Start the PMIx server and register the job and its local tasks (launch stage 2)."""
        self._server.open()

    def open_server(self) -> None:
        """Do the first half of `open`: start the server, which knows no job yet; on any thread."""
        self._server.start()

    def open_job(self, credential: str) -> None:
        """Do the second half: register the job, with the credential that shell 0 made for it."""
        self._server.register(credential)

    def start(self, ready: Callable[[], None]) -> None:
        """Set the application up on every shell, then call `ready`: tasks may be forked.

        Network keys that a plugin of libpmix makes must be the same on all nodes, so shell 0 asks
        for them and sends them to the others (Standard 4.2, section 17.2.4).
        """
        if self._carrier.rank == 0:
            packed = self.setup_application()
            for shell in range(1, self._carrier.size):
                self._carrier.send(shell, (SETUP_MAGIC, packed))
            self.setup_local_support(packed)
            ready()
        else:
            self._ready = ready

    def setup_application(self) -> bytes:
        """Ask libpmix, once for the job, what its tasks need; packed, to ship to every shell."""
        return self._server.setup_application()

    def setup_local_support(self, packed: bytes) -> None:
        """Give this shell's libpmix what `setup_application` made."""
        self._server.setup_local_support(packed)

    def task_environment(self, number: int) -> Mapping[str, str]:
        """Return the variables that a task needs to find this server; its number is its rank, in the first job."""
        return self._server.task_environment(self._proc(number))

    def _proc(self, number: int) -> Proc:
        return self._tasks[number] if number in self._tasks else Proc(self._job.nspace, number)

    # -- events --------------------------------------------------------------------------------

    def receive(self, shell: int, frame: Buffer) -> None:
        """Take one message from peer `shell`."""
        if frame[: len(SETUP_MAGIC)] == SETUP_MAGIC:
            self._receive_setup(shell, bytes(frame[len(SETUP_MAGIC) :]))
            return
        self._run(partial(self._host.receive, shell, frame))

    def numbers(self, names: str) -> Sequence[int]:
        """Return the numbers of tasks as output names them: ranks of the job, or one of a spawned job, as 1.0."""
        ordinal, _, rank = names.partition(".")
        if not rank:
            return idset.parse(names)
        member = self._host.directory.get(f"{self._job.nspace}.{ordinal}")
        return (member.first + int(rank),) if member is not None else ()

    def task_started(self, number: int, pid: int) -> None:
        """The task with that number runs as process `pid`."""
        self._run(partial(self._host.task_started, number, pid))

    def task_exited(self, number: int, wait_status: int) -> None:
        """The task with that number ended with `wait_status` (as `waitpid` gives it)."""
        self._run(partial(self._host.task_exited, number, wait_status))
        self._server.task_exited(self._proc(number))
        self._tasks.pop(number, None)

    def task_output(self, number: int, stream: int, data: Buffer) -> None:
        """Task `number` printed `data` on stream 1 or 2; nothing: the stream has ended.

        Every end is to be told; what is printed, between `Carrier.listen(True)` and `listen(False)`.
        """
        self._run(partial(self._host.task_output, number, _CHANNELS[stream], data))

    def shell_lost(self, shell: int, reason: str) -> None:
        """Peer `shell` is gone and will not come back."""
        self._run(partial(self._host.shell_lost, shell, reason))

    def time_limit(self, ends_at: float | None) -> None:
        """The job's time is now up at `ends_at`, as `Carrier.now` counts; None: never."""
        self._host.time_limit(ends_at)

    def tick(self) -> None:
        """A deadline has passed."""
        self._deadline = None
        if self._outlets is not None and self._outlets.deadline is not None:
            self._outlets.pump(self._carrier.now())
        self._run(self._host.tick)

    def close(self) -> None:
        """Deregister, stop the server and remove its directories. Safe to call twice."""
        if self._closed:
            return
        self._carrier.set_deadline(None)
        self._drain()
        self._run(self._host.close)
        self._closed = True
        self._server.close()

    def trace_parts(self) -> list[bytes]:
        """Return what was recorded of this shell's time: nothing, but by `tracing.TracedDriver`."""
        return []

    def send_trace(self) -> None:
        """Send that to the first shell."""

    # -- inside --------------------------------------------------------------------------------

    def _from_library(self, upcall: Upcall) -> None:
        """Hand an upcall over to the carrier's thread: called on libpmix's progress thread."""
        self._carrier.post(partial(self._upcall, upcall))

    def _upcall(self, upcall: Upcall) -> None:
        if isinstance(upcall, Spawn):
            from fluxpmix.shell.spawning import with_hostfiles

            try:
                upcall = with_hostfiles(upcall)
            except OSError as error:
                self._carrier.log(Level.WARNING, f"PMIx_Spawn by {upcall.proc}: {error.filename}: {error.strerror}")
                self._server.reply(upcall.id, Status.ERR_NOT_FOUND, None)
                return
        if isinstance(upcall, Group | Connect) and find(upcall.directives, attributes.TIMEOUT):
            self._warn_of_timer(upcall)
        self._run(partial(self._host.upcall, upcall))

    def _warn_of_timer(self, upcall: Group | Connect) -> None:
        """Say, once, that libpmix will not survive its own timer where several of its clients have set it.

        It arms the timer anew for each of them while it runs: once it is due libpmix's thread turns in circles, even
        where all is long done. Nothing that a host is asked or answers comes before.
        """
        what = "group" if isinstance(upcall, Group) else "connect"
        sound = what == "group" and self._library.version >= (5, 0)
        if not (sound or self._warned) and len(self._server.ranks) > 1:
            self._warned = True
            version = ".".join(map(str, self._library.version))
            advice = "use libpmix 5.0 (-o libpmix=PATH), or" if what == "group" else "use"
            self._carrier.log(
                Level.WARNING,
                f"PMIX_TIMEOUT in a {what} of several processes on one node: libpmix {version} hangs when that time "
                f"is up; {advice} no PMIX_TIMEOUT there",
            )

    def _connection_lost(self, proc: Proc) -> None:
        self._carrier.post(partial(self._run, partial(self._host.connection_lost, proc)))

    def _modex_ready(self, token: int, status: int, data: bytes) -> None:
        self._run(partial(self._host.modex_ready, token, status, data))

    def _receive_setup(self, shell: int, packed: bytes) -> None:
        ready, self._ready = self._ready, None
        if shell != 0 or ready is None:
            self._carrier.log(Level.WARNING, f"dropped a set-up message that shell {shell} may not send")
            return
        self.setup_local_support(packed)
        ready()

    def _run(self, step: Callable[[float], list[Effect]]) -> None:
        """Let the host take one step and carry out what it wants."""
        if self._closed:
            return
        for effect in step(self._carrier.now()):
            self._perform(effect)
        deadline = self._host.deadline
        if self._outlets is not None and (pump := self._outlets.deadline) is not None:
            deadline = pump if deadline is None else min(pump, deadline)
        if deadline != self._deadline:
            self._deadline = deadline
            self._carrier.set_deadline(deadline)

    def _perform(self, effect: Effect) -> None:
        carrier = self._carrier
        try:
            if isinstance(effect, Send):
                carrier.send(effect.shell, effect.frame, effect.lateral)
            elif isinstance(effect, Reply):
                self._server.reply(effect.upcall, effect.status, effect.payload)
            elif isinstance(effect, Log):
                carrier.log(effect.level, effect.message)
            elif isinstance(effect, Output):
                self._show(effect)
            elif isinstance(effect, Notify):
                self._server.notify_event(effect.status, effect.source, effect.range, effect.infos)
            elif isinstance(effect, RequestModex):
                self._request_modex(effect.token, effect.proc)
            elif isinstance(effect, DefineSet):
                self._server.define_set(effect.name, effect.members)
            elif isinstance(effect, Measure):
                self._measure(effect)
            elif isinstance(effect, Signal):
                carrier.signal_tasks(effect.signum, effect.ranks)
            elif isinstance(effect, Deliver):
                self._deliver(effect)
            elif isinstance(effect, Listen):
                self._listen(effect)
            elif isinstance(effect, Feed):
                status = carrier.feed(effect.numbers, effect.data)
                self._run(partial(self._host.fed, effect.token, status))
            elif isinstance(effect, Seal):
                self._seal(effect)
            elif isinstance(effect, Unseal):
                self._unseal(effect)
            elif isinstance(effect, Extend):
                carrier.extend(effect.seconds, partial(self._extended, effect))
            elif isinstance(effect, Look):
                self._run(partial(self._host.looked, effect.number, _file_facts(effect.path)))
            elif isinstance(effect, Forget):
                self._server.forget(effect.nspace)
            elif isinstance(effect, Raise):
                carrier.raise_job(effect.message, effect.exit_code)
            elif isinstance(effect, JobEnded):
                carrier.job_ended(effect.first)
            elif isinstance(effect, Prepare | Register | Start | Drop):
                self._launch(effect)
        except (PmixError, ValueError) as error:  # a value that does not fit its type was a peer's
            carrier.log(Level.ERROR, f"libpmix refused {type(effect).__name__.lower()}: {error}")

    def _launch(self, effect: Prepare | Register | Start | Drop) -> None:
        """Do a step of a spawned job's launch, and tell the host later, after the other effects of this time."""
        from fluxpmix.shell import spawning

        launch, host = effect.launch, self._host
        if isinstance(effect, Drop):
            self._carrier.drop_tasks(launch, effect.started)
            if not effect.started:
                self._server.deregister(launch.job.nspace)
            return
        packed, status, why = spawning.step(effect, self._server, self._carrier, self._tasks)
        if isinstance(effect, Prepare):
            call = partial(host.prepared, launch.first, packed, status, why)
        else:
            call = partial(host.launched, launch.first, 1 if isinstance(effect, Register) else 2, status, why)
        self._carrier.post(partial(self._run, call))

    def _seal(self, effect: Seal) -> None:
        from fluxpmix.pmix import munge

        try:
            credential: bytes | None = munge.encode()
        except munge.MungeError as error:
            credential = effect.token
            if credential is None:
                self._carrier.log(Level.WARNING, str(error))
        status = Status.ERR_NOT_SUPPORTED if credential is None else Status.SUCCESS
        self._server.reply(effect.upcall, status, credential)

    def _unseal(self, effect: Unseal) -> None:
        from fluxpmix.host.credential import owner_infos
        from fluxpmix.pmix import munge

        try:
            self._server.reply(effect.upcall, Status.SUCCESS, owner_infos(*munge.decode(effect.credential)))
        except munge.MungeError as error:
            self._carrier.log(Level.NOTICE, str(error))
            self._server.reply(effect.upcall, Status.ERR_INVALID_CRED, None)

    def _extended(self, effect: Extend, status: int) -> None:
        if not self._closed:
            self._server.reply(effect.upcall, status, effect.infos)

    def _deliver(self, effect: Deliver) -> None:
        if self._outlets is None:
            self._outlets = self._server.outlets(self._carrier.log)
        self._outlets.deliver(effect.source, effect.channel, effect.data, self._carrier.now())

    def _listen(self, effect: Listen) -> None:
        if effect.size is not None or effect.oldest:
            if self._outlets is None:
                self._outlets = self._server.outlets(self._carrier.log)
            self._outlets.limit = effect.size or self._outlets.limit
            self._outlets.drop_oldest = effect.oldest
        self._carrier.listen(effect.on)

    def _drain(self) -> None:
        """Let tools read what has been printed: at the job's end, for a while."""
        if self._outlets is None:
            return
        from time import sleep

        until = self._carrier.now() + _LAST_WORDS
        while (now := self._carrier.now()) < until:
            self._outlets.pump(now)
            if not self._outlets.waiting:
                break
            sleep(_STEP)

    def _measure(self, effect: Measure) -> None:
        from fluxpmix.shell.memory import resident

        found = tuple((number, resident(pid)) for number, pid in effect.tasks)
        self._run(partial(self._host.measured, effect.token, resident(), found))

    def _show(self, effect: Output) -> None:
        if self._output is not None:
            self._output(effect.rank, effect.stream, effect.data)
        else:
            line = effect.data.decode("utf-8", "replace").rstrip("\n")
            self._carrier.log(Level.NOTICE, f"rank {effect.rank}: {line}")

    def _request_modex(self, token: int, proc: Proc) -> None:
        def done(status: int, data: bytes) -> None:
            self._carrier.post(partial(self._modex_ready, token, status, data))

        self._server.request_modex(proc, done)
