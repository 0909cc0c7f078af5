"""The glue between a host and whatever carries it.

`Driver` feeds a sans-IO `Host` with upcalls of a real PMIx server, frames of peer shells, task changes
and deadlines, and has its effects carried out (`performing.py`) with the hands of a `Carrier` (`carrier.py`).
All of `Driver` runs on the carrier's thread but what libpmix's thread calls (`_from_library`): that posts, or, where
the carrier lets it in (`Carrier.enter`), takes the carrier's place for a moment, which saves both threads a turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from fluxpmix.host.effects import Buffer, Effect, Level, Reply, Send
from fluxpmix.host.host import Host
from fluxpmix.host.sized import Appetite
from fluxpmix.host.supported import SUPPORTED, WITH_A_SCHEDULER
from fluxpmix.job import idset
from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import IofChannel, Proc, find
from fluxpmix.pmix.upcalls import Connect, DirectModex, Fence, Group, Lookup, Publish, Spawn, Unpublish
from fluxpmix.shell.performing import Performer
from fluxpmix.shell.server import JobServer, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.effects import Place
    from fluxpmix.host.submission import Arrival
    from fluxpmix.host.world import World
    from fluxpmix.job.model import Job
    from fluxpmix.pmix.library import Library
    from fluxpmix.pmix.upcalls import Upcall
    from fluxpmix.shell.carrier import Carrier, Enquiry
    from fluxpmix.shell.performing import Step

# Starts a frame that carries what setup_application gave shell 0; a host's frame never starts so.
SETUP_MAGIC = b"fluxpmix setup 1\n"
_ALERT = 60.0  # seconds, as the signal of `flux run --signal`
_HARMLESS = (Send, Reply)  # on libpmix's thread: they wait for nobody
_CHANNELS = {1: int(IofChannel.STDOUT), 2: int(IofChannel.STDERR)}


class Driver:
    """One shell's PMIx: a real server, the host that decides for it, and a carrier's hands.

    The life of it: `open()`, then `start(ready)` (or the two halves of it, `setup_application` and
    `setup_local_support`, where the carrier ships the result itself), `task_environment(rank)` and
    `task_started` for each task, events while they run, `close()`. `timeout` (seconds) ends what no
    PMIX_TIMEOUT does; `no_restarts` and `holds` are the host's.
    `ends_at` is when the job's time is up, as `Carrier.now` counts, `alert` how long before that
    processes hear of it (seconds; 0: never).
    `output(rank, stream, line)` shows what a task logs with its output; without it that goes to the log.
    `enquire(key, subject, done)` asks the scheduler, where there is one, what a query's key wants to know; `done(text)`
    (None: it does not know) is called on the carrier's thread.
    """

    # What needs no more than messages and an answer, and may be taken on libpmix's thread while the carrier's is idle.
    _quick: tuple[type[Upcall], ...] = (Publish, Lookup, Unpublish, Fence, DirectModex)

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
        enquire: Enquiry | None = None,
        place: Place | None = None,
        world: World | None = None,
        spawn_jobs: bool = False,
        no_restarts: str = "",
        holds: bool = False,
        alert: float | None = None,
    ) -> None:
        self._job = job
        self._carrier = carrier
        self._library = library
        self._warned = False
        self._host = Host(
            job if world is None else world.root,
            carrier.rank,
            fanout=fanout,
            exchange=exchange,
            appetite=appetite,
            default_timeout=timeout,
            oversubscribe=oversubscribe,
            sees_all_output=sees_all_output,
            stop=stop,
            scheduler=enquire is not None,
            owner=(os.geteuid(), os.getegid()),
            key=os.urandom(32),
            place=place,
            world=world,
            spawn_jobs=spawn_jobs,
            no_restarts=no_restarts,
            holds=holds,
            alert=_ALERT if alert is None else alert,
        )
        if ends_at is not None:
            self._host.time_limit(ends_at, carrier.now())
        self._world = world
        self._first = 0 if world is None else world.own.first  # the number of the job's rank 0
        supported = SUPPORTED if enquire is None else WITH_A_SCHEDULER
        self._server = JobServer(
            job, site, library, self._from_library, self._host.serves, supported, self._connection_lost
        )
        self._performer = Performer(self._host, self._server, carrier, self._run, self._modex_came, output, enquire)
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
        if self._world is not None:
            for launch in self._world.launches[:-1]:
                self._server.register_other(launch.job)
            self._server.register_other(self._world.root)
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
        return self._performer.tasks.get(number) or Proc(self._job.nspace, number - self._first)

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
            return [self._first + rank for rank in idset.parse(names)]
        member = self._host.directory.spawned(int(ordinal))
        return (member.first + int(rank),) if member is not None else ()

    def spawned(self) -> Iterator[int]:
        """Yield the numbers of the processes whose output is shown with the job's own: that were spawned from it."""
        # Of a job that joins others that is what runs on its own nodes.
        base = 0 if self._world is None else self._world.own.base
        for member in self._host.directory.members:
            if member.job.parent and member.first != self._first and min(member.occupied, default=0) >= base:
                yield from member.numbers

    def task_started(self, number: int, pid: int) -> None:
        """The task with that number runs as process `pid`."""
        self._run(partial(self._host.task_started, number, pid))

    def task_exited(self, number: int, wait_status: int) -> None:
        """The task with that number ended with `wait_status` (as `waitpid` gives it)."""
        # libpmix first: who hears of the end may fence at once, with processes by name, and libpmix would wait for it.
        self._server.task_exited(self._proc(number))
        self._run(partial(self._host.task_exited, number, wait_status))
        self._performer.tasks.pop(number, None)

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
        self._host.time_limit(ends_at, self._carrier.now())
        self._set_deadline()

    def tick(self) -> None:
        """A deadline has passed."""
        self._deadline = None
        self._performer.pump()
        self._run(self._host.tick)

    def close(self) -> None:
        """Deregister, stop the server and remove its directories. Safe to call twice."""
        if self._closed:
            return
        self._carrier.set_deadline(None)
        self._performer.drain()
        self._run(self._host.close)
        self._closed = True
        self._server.close()

    def trace_parts(self) -> list[bytes]:
        """Return what was recorded of this shell's time: nothing, but by `tracing.TracedDriver`."""
        return []

    def send_trace(self) -> None:
        """Send that to the first shell."""

    # -- inside --------------------------------------------------------------------------------

    def joined(self, ticket: int, arrival: Arrival) -> None:
        """The shells of a job that was submitted are up, and ask what they join."""
        self._run(partial(self._host.outcomes.joined, ticket, arrival))

    def came(self, ticket: int, arrival: Arrival, apps: tuple[tuple[Any, ...], ...]) -> None:
        """The shells of a job that somebody has started by hand are up, and ask to join."""
        self._run(partial(self._host.outcomes.came, ticket, arrival, apps))

    def withdrawn(self, ticket: int, status: int, why: str) -> None:
        """A job that was submitted does not come, or has ended before it was there; `status` is what to answer."""
        self._run(partial(self._host.outcomes.withdrawn, ticket, status, why))

    def all_started(self) -> None:
        """All tasks of this shell run: said of a job that joins others."""
        self._run(partial(self._host.outcomes.launched, self._first, 2, int(Status.SUCCESS), ""))

    def _from_library(self, upcall: Upcall) -> None:
        """Hand an upcall over to the carrier's thread: called on libpmix's progress thread."""
        step = partial(self._host.upcall, upcall)
        if not (isinstance(upcall, self._quick) and self._carrier.enter(partial(self._run_here, step))):
            self._carrier.post(partial(self._upcall, upcall))

    def _run_here(self, step: Step) -> None:
        """Let the host take one step on libpmix's thread; what may not be done there is left for the carrier's."""
        if self._closed:
            return
        for effect in step(self._carrier.now()):
            if isinstance(effect, _HARMLESS):
                self._performer.perform(effect)
            else:
                self._carrier.post(partial(self._performer.perform, effect))
        self._set_deadline()

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

    def _modex_came(self, token: int, status: int, data: bytes) -> None:
        """Take libpmix's answer to a `RequestModex`, on its thread."""
        step = partial(self._host.outcomes.modex_ready, token, status, data)
        if not (self._quick and self._carrier.enter(partial(self._run_here, step))):
            self._carrier.post(partial(self._modex_ready, token, status, data))

    def _modex_ready(self, token: int, status: int, data: bytes) -> None:
        self._run(partial(self._host.outcomes.modex_ready, token, status, data))

    def _receive_setup(self, shell: int, packed: bytes) -> None:
        ready, self._ready = self._ready, None
        if shell != 0 or ready is None:
            self._carrier.log(Level.WARNING, f"dropped a set-up message that shell {shell} may not send")
            return
        self.setup_local_support(packed)
        ready()

    def _run(self, step: Step) -> None:
        """Let the host take one step and carry out what it wants."""
        if self._closed:
            return
        for effect in step(self._carrier.now()):
            self._perform(effect)
        self._set_deadline()

    def _set_deadline(self) -> None:
        deadline = self._host.deadline
        if (pump := self._performer.deadline) is not None:
            deadline = pump if deadline is None else min(pump, deadline)
        if deadline != self._deadline:
            self._deadline = deadline
            self._carrier.set_deadline(deadline)

    def _perform(self, effect: Effect) -> None:
        self._performer.perform(effect)
