"""What a job's time goes into: a `Driver` that writes down what it is asked and does, for `flux-pmix trace`.

A carrier makes a `TracedDriver` where a trace was asked for, and the plain `Driver` elsewhere: without a trace
nothing of this is even imported. Events are Chrome's (ui.perfetto.dev and chrome://tracing read them): a process
is a shell, a thread a lane of it. Their times are the first shell's: the others ask it for the time a few times
and believe the quickest answer. `write` makes the file of all shells' parts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from struct import Struct
from time import monotonic

from fluxpmix.host.effects import Buffer, Effect, Reply, RequestModex, Send
from fluxpmix.job import idset
from fluxpmix.pmix import attributes
from fluxpmix.pmix.light import contextmanager
from fluxpmix.pmix.types import is_true
from fluxpmix.pmix.upcalls import ClientConnected, ClientFinalized, Fence
from fluxpmix.shell.base import Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.upcalls import Upcall

MAGIC = b"fluxpmix trace 1\n"  # starts frames that are between traces; a host's never starts so
_CLOCK = Struct("!dd")  # the asker's time, and the first shell's (0: a question)
_QUESTIONS = 8
_MOST = 500_000  # events that a shell keeps
LAUNCH, REQUESTS, MESSAGES, FIRST_RANK = 0, 1, 2, 10  # lanes; each task has one of its own
LAUNCHER = -1  # in place of a shell's rank


class Recorder:
    """The events of one process of a job. Times are seconds, as `monotonic` counts."""

    def __init__(self, shell: int, name: str) -> None:
        self._shell = shell
        self._events: list[tuple[Any, ...]] = []
        self._lanes = {LAUNCH: "launch"}
        self._name = name
        self._dropped = 0
        self.offset = 0.0  # of the first shell's clock to ours

    def lane(self, number: int, name: str) -> None:
        """Name a lane."""
        self._lanes[number] = name

    def span(self, name: str, lane: int, begin: float, end: float, **facts: Any) -> None:
        """Something took its time, and nothing else in its lane did meanwhile but parts of it."""
        self._add("X", name, lane, begin, {"dur": round((end - begin) * 1e6, 1)}, facts)

    def overlapping(self, name: str, number: int, begin: float, end: float, **facts: Any) -> None:
        """Something took its time, and others like it may have at the same time; `number` tells them apart."""
        more = {"cat": "request", "id": f"{self._shell}.{number}"}
        self._add("b", name, REQUESTS, begin, more, facts)
        self._add("e", name, REQUESTS, end, more, {})

    def moment(self, name: str, lane: int, at: float, **facts: Any) -> None:
        """Something happened."""
        self._add("i", name, lane, at, {"s": "t"}, facts)

    @contextmanager
    def step(self, name: str, **facts: Any) -> Iterator[None]:
        """Note a step of the launch."""
        begin = monotonic()
        yield
        self.span(name, LAUNCH, begin, monotonic(), **facts)

    def dump(self) -> bytes:
        """Return the events in JSON, one a line, with commas between."""
        lines = [self._meta("process_name", LAUNCH, self._name)]
        lines += [self._meta("thread_name", lane, name) for lane, name in sorted(self._lanes.items())]
        for phase, name, lane, at, more, facts in self._events:
            event = {"ph": phase, "name": name, "pid": self._shell, "tid": lane}
            event |= {"ts": round((at + self.offset) * 1e6, 1), **more}
            lines.append(event | {"args": facts} if facts else event)
        if self._dropped:
            lines.append(self._meta("dropped_events", LAUNCH, str(self._dropped)))
        return ",\n".join(json.dumps(line, separators=(",", ":")) for line in lines).encode()

    def _meta(self, kind: str, lane: int, name: str) -> dict[str, Any]:
        return {"ph": "M", "name": kind, "pid": self._shell, "tid": lane, "args": {"name": name}}

    def _add(self, phase: str, name: str, lane: int, at: float, more: Mapping[str, Any], facts: Any) -> None:
        if len(self._events) < _MOST:
            self._events.append((phase, name, lane, at, more, facts))
        else:
            self._dropped += 1


class TracedDriver(Driver):
    """A driver that records. What it recorded is in `trace_parts`, on the first shell with what others sent."""

    _quick = ()  # so that all is recorded on one thread

    def __init__(self, *args: Any, since: float | None = None, **options: Any) -> None:
        """`since` is when this shell's start-up began (`monotonic`)."""
        super().__init__(*args, **options)
        carrier, job = self._carrier, self._job
        self._rank = carrier.rank
        host = job.nodes[self._rank].hostname
        self._trace = Recorder(self._rank, f"shell {self._rank} ({host})")
        self._trace.lane(REQUESTS, "requests")
        self._trace.lane(MESSAGES, "messages")
        self._asked: dict[int, tuple[Upcall, float, float]] = {}  # open upcalls: came when, were heard when
        self._came: dict[int, float] = {}
        self._began: dict[int, float] = {}  # by a task's number: when the phase began that it is in
        self._fetching: dict[int, float] = {}
        self._questions = 0
        self._quickest = float("inf")
        self._others: list[bytes] = []
        if since is not None:
            self._trace.span("start of the shell", LAUNCH, since, monotonic())

    def trace_parts(self) -> list[bytes]:
        """As `Driver.trace_parts`: each as `Recorder.dump` makes it."""
        return [self._trace.dump(), *self._others]

    def send_trace(self) -> None:
        """As `Driver.send_trace`: the first shell writes it."""
        if self._rank:
            self._carrier.send(0, (MAGIC, self._trace.dump()))

    # -- the launch --------------------------------------------------------------------------------

    def open(self) -> None:
        """As `Driver.open`."""
        self.open_server()
        self._register(self._server.register)

    def open_server(self) -> None:
        """As `Driver.open_server`."""
        with self._trace.step("PMIx server init"):
            super().open_server()

    def open_job(self, credential: str) -> None:
        """As `Driver.open_job`."""
        self._register(lambda: super(TracedDriver, self).open_job(credential))

    def _register(self, register: Callable[[], None]) -> None:
        self._server.watch(self._trace.step)
        with self._trace.step("registration", tasks=len(self._server.ranks)):
            register()

    def setup_application(self) -> bytes:
        """As `Driver.setup_application`."""
        with self._trace.step("setup_application"):
            return super().setup_application()

    def setup_local_support(self, packed: bytes) -> None:
        """As `Driver.setup_local_support`."""
        with self._trace.step("setup_local_support", bytes=len(packed)):
            super().setup_local_support(packed)

    def task_environment(self, number: int) -> Mapping[str, str]:
        """As `Driver.task_environment`: the beginning of a task's start."""
        proc = self._proc(number)
        name = f"rank {proc.rank}" if proc.nspace == self._job.nspace else str(proc)
        self._trace.lane(FIRST_RANK + number, name)
        self._began[number] = monotonic()
        return super().task_environment(number)

    def task_started(self, number: int, pid: int) -> None:
        """As `Driver.task_started`."""
        began, now = self._began.get(number), monotonic()
        if began is not None:
            self._trace.span(f"start task {number}", LAUNCH, began, now, pid=pid)
        self._began[number] = now
        super().task_started(number, pid)

    def task_exited(self, number: int, wait_status: int) -> None:
        """As `Driver.task_exited`."""
        self._phase(number, "end", wait_status=wait_status)
        self._began.pop(number, None)
        super().task_exited(number, wait_status)

    def close(self) -> None:
        """As `Driver.close`."""
        if not self._closed:
            with self._trace.step("close"):
                super().close()

    def _phase(self, number: int, name: str, **facts: Any) -> None:
        """A task has ended a phase of its life."""
        now = monotonic()
        if number in self._began:
            self._trace.span(name, FIRST_RANK + number, self._began[number], now, **facts)
            self._began[number] = now

    # -- requests and messages ---------------------------------------------------------------------

    def _from_library(self, upcall: Upcall) -> None:
        self._came[upcall.id] = monotonic()
        super()._from_library(upcall)

    def _upcall(self, upcall: Upcall) -> None:
        now = monotonic()
        self._asked[upcall.id] = upcall, self._came.pop(upcall.id, now), now
        if self._rank and not self._questions:
            self._ask_the_time()  # now that the loop runs, and an answer is heard at once
        if isinstance(upcall, ClientConnected | ClientFinalized) and upcall.proc.nspace == self._job.nspace:
            connected = isinstance(upcall, ClientConnected)
            self._phase(upcall.proc.rank, "start to PMIx_Init" if connected else "PMIx_Init to PMIx_Finalize")
        super()._upcall(upcall)

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            size = sum(len(part) for part in effect.frame)
            self._trace.moment(f"to shell {effect.shell}", MESSAGES, monotonic(), bytes=size)
        elif isinstance(effect, RequestModex):
            self._fetching[effect.token] = monotonic()
        super()._perform(effect)
        if isinstance(effect, Reply) and effect.upcall in self._asked:
            upcall, came, heard = self._asked.pop(effect.upcall)
            facts = {"status": int(effect.status), "queued": round((heard - came) * 1e6, 1)}
            facts |= _facts(upcall, effect.payload)
            self._trace.overlapping(type(upcall).__name__, upcall.id, came, monotonic(), **facts)

    def receive(self, shell: int, frame: Buffer) -> None:
        """As `Driver.receive`, and takes what traces say to each other."""
        if frame[: len(MAGIC)] == MAGIC:
            self._hear(shell, bytes(frame[len(MAGIC) :]))
            return
        self._trace.moment(f"from shell {shell}", MESSAGES, monotonic(), bytes=len(frame))
        super().receive(shell, frame)

    def _modex_ready(self, token: int, status: int, data: bytes) -> None:
        began = self._fetching.pop(token, None)
        if began is not None:
            facts = {"status": status, "bytes": len(data)}
            self._trace.overlapping("modex for another shell", -token - 1, began, monotonic(), **facts)
        super()._modex_ready(token, status, data)

    # -- the time ----------------------------------------------------------------------------------

    def _ask_the_time(self) -> None:
        self._questions += 1
        self._carrier.send(0, (MAGIC, _CLOCK.pack(monotonic(), 0.0)))

    def _hear(self, shell: int, body: bytes) -> None:
        now = monotonic()
        if len(body) != _CLOCK.size:
            self._others.append(body)
            return
        asked, told = _CLOCK.unpack(body)
        if not told:
            self._carrier.send(shell, (MAGIC, _CLOCK.pack(asked, now)))
            return
        if now - asked < self._quickest:
            self._quickest = now - asked
            self._trace.offset = told - (asked + now) / 2
        if self._questions < _QUESTIONS:
            self._ask_the_time()


def _facts(upcall: Upcall, payload: Any) -> dict[str, Any]:
    """Return what a reader wants to know of a request; never what was exchanged."""
    if isinstance(upcall, Fence):
        named = {proc.nspace: idset.encode(p.rank for p in upcall.procs if p.rank < 1 << 31) for proc in upcall.procs}
        procs = ",".join(f"{nspace}:{ranks or '*'}" for nspace, ranks in named.items())
        return {
            "procs": procs if len(procs) < 200 else f"{procs[:200]}...",
            "collect": is_true(upcall.directives, attributes.COLLECT_DATA),
            "bytes": len(upcall.data),
            "result": sum(len(part) for part in payload) if payload else 0,
        }
    facts: dict[str, Any] = {}
    proc = getattr(upcall, "proc", None)
    if proc is not None:
        facts["proc"] = str(proc)
    keys = getattr(upcall, "keys", None)
    if keys:
        facts["keys"] = len(keys)
    if isinstance(payload, (bytes, bytearray, memoryview)):
        facts["bytes"] = len(payload)
    return facts


# -- the file ------------------------------------------------------------------------------------------


def launcher_part(since: float | None, spent: float) -> bytes:
    """Return a launcher's part at the end of its job: `since` when that runs, after `spent` seconds of its own."""
    recorder = Recorder(LAUNCHER, "launcher")
    if since is not None:
        recorder.span("Python, imports, options", LAUNCH, since - spent, since)
        recorder.span("job", LAUNCH, since, monotonic())
    return recorder.dump()


def check_file(path: str) -> None:
    """See that a trace can be written. Raises `OSError`; leaves no file that was not there."""
    existed = os.path.lexists(path)
    with open(path, "ab"):
        pass
    if not existed:
        os.unlink(path)


def write(path: str, parts: Iterable[bytes], facts: Mapping[str, str]) -> None:
    """Write the trace of a job. Raises `OSError`."""
    with open(path, "wb") as file:
        file.write(b'{"displayTimeUnit":"ms","otherData":')
        file.write(json.dumps({"made by": "fluxpmix", **facts}).encode())
        file.write(b',"traceEvents":[\n')
        file.write(b",\n".join(part for part in parts if part))
        file.write(b"\n]}\n")
