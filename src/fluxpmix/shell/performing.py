"""What a host wants done, done: its effects, carried out by the real server and the carrier's hands.

A `Performer` belongs to a `Driver` (`base.py`), which feeds the host and hands its effects over. What comes of an
effect goes back to the host as one more step of it, by `run`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from fluxpmix.host.effects import (
    DefineSet,
    Deliver,
    Drop,
    Effect,
    Enquire,
    Extend,
    Feed,
    Forget,
    Hear,
    Heed,
    JobEnded,
    Level,
    Listen,
    Log,
    Look,
    Measure,
    Notify,
    Output,
    Prepare,
    Raise,
    Recount,
    Register,
    Reply,
    RequestModex,
    Restart,
    Retire,
    Seal,
    Send,
    Signal,
    Start,
    Submit,
    Unseal,
    Welcome,
    Withdraw,
)
from fluxpmix.pmix.light import partial
from fluxpmix.pmix.status import PmixError, Status
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.host.host import Host
    from fluxpmix.pmix.types import Infos
    from fluxpmix.shell.carrier import Carrier, Enquiry, Submitter
    from fluxpmix.shell.outlets import Outlets
    from fluxpmix.shell.server import JobServer

    Step = Callable[[float], list[Effect]]

_LAST_WORDS = 2.0  # seconds that tools have at the job's end to read what has been printed
_STEP = 0.002


class Performer:
    """Carries out effects, on the carrier's thread.

    `run(step)` lets the host take one step more. `modex_ready(token, status, data)` takes, on libpmix's thread, what
    `RequestModex` asked for. `output(rank, stream, line)` shows what a task logs with its output; without it that
    goes to the log. `enquire` asks the scheduler, where there is one.
    """

    def __init__(
        self,
        host: Host,
        server: JobServer,
        carrier: Carrier,
        run: Callable[[Step], None],
        modex_ready: Callable[[int, int, bytes], None],
        output: Callable[[int, int, bytes], None] | None,
        enquire: Enquiry | None,
    ) -> None:
        self._host = host
        self._server = server
        self._carrier = carrier
        self._run = run
        self._modex_ready = modex_ready
        self._output = output
        self._enquire = enquire
        self._outlets: Outlets | None = None  # since somebody listens
        self.tasks: dict[int, Proc] = {}  # by number, of those that are not the job's own
        self._hands: dict[type, Callable[[Any], None]] = {
            Send: lambda effect: carrier.send(effect.shell, effect.frame, effect.lateral),
            Reply: lambda effect: server.reply(effect.upcall, effect.status, effect.payload),
            Log: lambda effect: carrier.log(effect.level, effect.message),
            Output: self._show,
            Notify: lambda effect: server.notify_event(effect.status, effect.source, effect.range, effect.infos),
            Hear: lambda effect: server.on_event(effect.status, self._told),
            RequestModex: self._request_modex,
            DefineSet: lambda effect: server.define_set(effect.name, effect.members),
            Measure: self._measure,
            Signal: lambda effect: carrier.signal_tasks(effect.signum, effect.ranks),
            Retire: lambda effect: carrier.retire_tasks(effect.numbers),
            # Later: libpmix has still to be told of the end, where that was only just now.
            Recount: lambda effect: carrier.post(partial(self._recount, effect)),
            Restart: lambda effect: carrier.post(partial(self._restart, effect)),
            Deliver: self._deliver,
            Listen: self._listen,
            Feed: self._feed,
            Seal: self._seal,
            Unseal: self._unseal,
            Extend: self._extend,
            Look: self._look,
            Heed: self._heed,
            Enquire: self._ask,
            Forget: lambda effect: server.forget(effect.nspace),
            Raise: lambda effect: carrier.raise_job(effect.message, effect.exit_code),
            JobEnded: lambda effect: carrier.job_ended(effect.first),
            Prepare: self._launch,
            Register: self._launch,
            Start: self._launch,
            Drop: self._drop,
            Submit: lambda effect: self._jobs.submit(effect),
            Withdraw: lambda effect: self._jobs.withdraw(effect),
            Welcome: lambda effect: self._jobs.welcome(effect),
        }

    def perform(self, effect: Effect) -> None:
        """Carry out one effect; what libpmix refuses of it is logged."""
        try:
            self._hands[type(effect)](effect)
        except (PmixError, ValueError) as error:  # a value that does not fit its type was a peer's
            self._carrier.log(Level.ERROR, f"libpmix refused {type(effect).__name__.lower()}: {error}")

    @property
    def deadline(self) -> float | None:
        """When `pump` is to be called, as `Carrier.now` counts: tools have not read all yet."""
        return None if self._outlets is None else self._outlets.deadline

    def pump(self) -> None:
        """Let tools read on, if that is due."""
        if self._outlets is not None and self._outlets.deadline is not None:
            self._outlets.pump(self._carrier.now())

    def drain(self) -> None:
        """Let tools read what has been printed: at the job's end, for a while."""
        if self._outlets is None:
            return
        from time import sleep

        before = -1
        until = self._carrier.now() + _LAST_WORDS
        while (now := self._carrier.now()) < until:
            self._outlets.pump(now)
            # What tools have taken besides, or libpmix has put around it, may make up for output that is still there.
            written, unsent = (0, 1) if self._outlets.waiting else self._server.tools_written()
            if not unsent and written == before:
                break
            before = written
            sleep(_STEP)
        self._outlets.end()

    # -- spawned jobs ------------------------------------------------------------------------------

    def _launch(self, effect: Prepare | Register | Start) -> None:
        """Do a step of a spawned job's launch, and tell the host later, after the other effects of this time."""
        from fluxpmix.shell import spawning

        launch, host = effect.launch, self._host
        packed, status, why = spawning.step(effect, self._server, self._carrier, self.tasks)
        if isinstance(effect, Prepare):
            call = partial(host.outcomes.prepared, launch.first, packed, status, why)
        else:
            call = partial(host.outcomes.launched, launch.first, 1 if isinstance(effect, Register) else 2, status, why)
        self._carrier.post(partial(self._run, call))

    @property
    def _jobs(self) -> Submitter:
        assert self._carrier.jobs is not None
        return self._carrier.jobs

    def _drop(self, effect: Drop) -> None:
        self._carrier.drop_tasks(effect.launch, effect.started)
        if not effect.started:
            self._server.deregister(effect.launch.job.nspace)

    def _told(self, _status: int, source: Proc, infos: Infos) -> None:
        """Take an event that the host wants to hear of, on libpmix's thread."""
        self._carrier.post(partial(self._run, partial(self._host.outcomes.told, source, infos)))

    def _recount(self, effect: Recount) -> None:
        try:
            self._server.recount(effect.proc, effect.count)
        except PmixError as error:
            self._carrier.log(Level.ERROR, f"libpmix refused the number of an incarnation: {error}")

    def _restart(self, effect: Restart) -> None:
        """Start a task again, and tell the host."""
        from fluxpmix.shell import spawning

        self.tasks[effect.number] = effect.proc
        status, why = spawning.again(effect, self._server, self._carrier)
        self._run(partial(self._host.outcomes.restarted, effect.number, status, why))

    # -- credentials and time ----------------------------------------------------------------------

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

    def _extend(self, effect: Extend) -> None:
        def done(status: int) -> None:
            self._run(lambda _now: [Reply(effect.upcall, status, effect.infos)])

        self._carrier.extend(effect.seconds, done)

    # -- what tasks print and read -----------------------------------------------------------------

    def _outlets_of(self) -> Outlets:
        if self._outlets is None:
            self._outlets = self._server.outlets(self._carrier.log)
        return self._outlets

    def _deliver(self, effect: Deliver) -> None:
        self._outlets_of().deliver(effect.source, effect.channel, effect.data, self._carrier.now())

    def _listen(self, effect: Listen) -> None:
        if effect.size is not None or effect.oldest:
            outlets = self._outlets_of()
            outlets.limit = effect.size or outlets.limit
            outlets.drop_oldest = effect.oldest
        elif effect.nobody and self._outlets is not None:
            self._outlets.forget()
        self._carrier.listen(effect.on)

    def _feed(self, effect: Feed) -> None:
        def done(status: int) -> None:
            self._run(partial(self._host.outcomes.fed, effect.token, status))

        self._carrier.feed(effect.numbers, effect.data, done)

    def _show(self, effect: Output) -> None:
        if self._output is not None:
            self._output(effect.rank, effect.stream, effect.data)
        else:
            line = effect.data.decode("utf-8", "replace").rstrip("\n")
            self._carrier.log(Level.NOTICE, f"rank {effect.rank}: {line}")

    # -- what the host wants to know ---------------------------------------------------------------

    def _measure(self, effect: Measure) -> None:
        from fluxpmix.shell.memory import resident

        found = tuple((number, resident(pid)) for number, pid in effect.tasks)
        self._run(partial(self._host.outcomes.measured, effect.token, resident(), found))

    def _heed(self, effect: Heed) -> None:
        self._run(partial(self._host.outcomes.heard, effect.number, self._server.heard_from(effect.proc)))

    def _ask(self, effect: Enquire) -> None:
        assert self._enquire is not None  # the host knows

        def told(text: str | None) -> None:
            self._run(partial(self._host.outcomes.enquired, effect.token, text))

        self._enquire(effect.key, effect.subject, told)

    def _look(self, effect: Look) -> None:
        self._run(partial(self._host.outcomes.looked, effect.number, _file_facts(effect.path)))

    def _request_modex(self, effect: RequestModex) -> None:
        self._server.request_modex(effect.proc, partial(self._modex_ready, effect.token))


def _file_facts(path: str) -> tuple[int, int, int] | None:
    """Return a file's size, and when it was last read and written (ns); None where it cannot be told."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_atime_ns, found.st_mtime_ns
