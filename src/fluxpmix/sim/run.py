"""A start-up of thousands of shells in one process: the real hosts, on a simulated network.

`simulate` answers what `flux-pmix sim` asks: when the last shell has what it needs, and who had to carry how
much for it. Each shell has one process that puts its blob and then, by the movement,

    tree, bruck   calls a collecting fence, which moves all blobs to all shells over the tree or among peers
    dmodex        calls a barrier, and gets the blobs of a few peers by direct modex
    barrier       calls a barrier

The processes enter at once, or some time apart (`skew`), and as often in a row as is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from fluxpmix.host.bruck import plan
from fluxpmix.host.directory import Directory
from fluxpmix.host.effects import Buffer, Effect, Log, Reply, RequestModex, Send
from fluxpmix.host.host import Host
from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix import attributes
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Proc
from fluxpmix.pmix.upcalls import DirectModex, Fence
from fluxpmix.sim.network import Fabric, Network
from fluxpmix.sim.payload import RealBytes, StandIns

MOVEMENTS = ("tree", "bruck", "dmodex", "barrier")
NSPACE = "sim"
# What `simulate` tells while it runs: messages sent by now, and about how many there will be.
Tell = Callable[[int, int], None]
_TELL_EVERY = 4096  # events
# Measured at 65,536 shells: resident bytes of a shell, and of each message that it keeps until the end.
_SHELL_BYTES, _MESSAGE_BYTES = 10_000, 500


class WrongResult(Exception):
    """A shell was handed something else than it must be, or nothing."""


class Setup(Record):
    """What to simulate. `size` is bytes of each shell's blob; `skew` and `timeout` are seconds."""

    shells: int
    size: int
    movement: str
    network: Network
    fanout: int = 16
    loss: float = 0.0
    seed: int = 0
    fences: int = 1
    peers: int = 6
    skew: float = 0.0
    real: bool = False


class Result(Record):
    """What came of it: seconds a fence, and bytes (sent and received) of all of them."""

    setup: Setup
    time: float
    messages: int
    lost: int
    total_bytes: int
    busiest_shell: int
    busiest_broker: int | None  # where there are brokers
    probes: int  # messages of shells that grew impatient
    results: int  # what processes were handed, and found right


def simulate(setup: Setup, tell: Tell | None = None) -> Result:
    """Run one simulation; raises `WrongResult` where any shell is handed a wrong byte."""
    return _Simulation(setup, tell).run()


def expected_messages(setup: Setup) -> int:
    """Return how many messages a simulation sends, if no shell grows impatient."""
    tree = 2 * (setup.shells - 1)
    if setup.movement == "bruck":
        return setup.fences * setup.shells * len(plan(setup.shells))
    gets = 2 * setup.shells * len(peers(setup.shells, setup.peers)) if setup.movement == "dmodex" else 0
    return setup.fences * (tree + gets)


def memory(setup: Setup) -> int:
    """Return about how many bytes of memory a simulation takes."""
    kept = expected_messages(setup) // setup.fences if setup.movement != "barrier" else 0
    taken = setup.shells * _SHELL_BYTES + kept * _MESSAGE_BYTES
    if setup.real:
        # Every shell's own copy of all, and what is under way to it; over the tree the result is shared.
        copies = {"tree": 4 + _depth(setup.shells, setup.fanout), "bruck": 2 * setup.shells}.get(setup.movement, 0)
        taken += copies * setup.shells * setup.size + kept * setup.size * (setup.movement == "dmodex")
    return taken


def peers(shells: int, wanted: int) -> tuple[int, ...]:
    """Return how far ahead in the ring of shells the peers of each stand: neighbours in a torus."""
    wanted = min(wanted, shells - 1)
    dimensions = (wanted + 1) // 2
    side = max(2, round(shells ** (1 / max(1, dimensions))))
    near = [sign * side**dimension % shells for dimension in range(dimensions) for sign in (1, -1)]
    offsets = dict.fromkeys([*(offset for offset in near if offset), *range(1, min(shells, 2 * wanted + 2))])
    return tuple(offsets)[:wanted]


def _depth(shells: int, fanout: int) -> int:
    depth = 0
    while shells > 1:
        shells = (shells - 1 + fanout - 1) // fanout
        depth += 1
    return depth


def _job(shells: int) -> Job:
    nodes = tuple([Node(node, f"n{node}") for node in range(shells)])
    app = App(0, ("program",), "/", shells)
    return Job(NSPACE, "sim", Session(1, shells), nodes, (app,), TaskMap([(0, shells, 1, 1)]), "")


class _Simulation:
    """One run: hosts, their network, and what each shell's process still wants."""

    def __init__(self, setup: Setup, tell: Tell | None) -> None:
        self._setup = setup
        self._tell = tell
        self._expected = expected_messages(setup)
        job = _job(setup.shells)
        directory = Directory(job)
        exchange = "bruck" if setup.movement == "bruck" else "tree"
        self._hosts = [
            Host(job, shell, fanout=setup.fanout, exchange=exchange, directory=directory)
            for shell in range(setup.shells)
        ]
        self._seed = Random(setup.seed)
        self._fabric = Fabric(setup.network, setup.shells, setup.loss, self._seed)
        self._payload = RealBytes(setup.shells, setup.size) if setup.real else StandIns(setup.shells, setup.size)
        self._procs = (Proc(NSPACE, RANK_WILDCARD),)
        self._collects = setup.movement in ("tree", "bruck")
        self._infos = (Info(attributes.COLLECT_DATA, True),) if self._collects else ()
        self._offsets = peers(setup.shells, setup.peers) if setup.movement == "dmodex" else ()
        self._entered = bytearray(setup.shells)
        self._round = [0] * setup.shells
        self._wanted = [0] * setup.shells  # answers of direct modex that are awaited
        self._running = setup.shells
        self._ended = 0.0
        self._events = 0
        self._handed_out = 0

    def run(self) -> Result:
        setup, fabric = self._setup, self._fabric
        for shell in range(setup.shells):
            fabric.alarm(shell, self._seed.random() * setup.skew)
        fabric.run(self._arrived, self._alarm, self._going)
        if self._running:
            raise WrongResult(f"{self._running} of {setup.shells} shells wait for ever")
        return Result(
            setup,
            self._ended / setup.fences,
            fabric.messages,
            fabric.lost,
            int(sum(fabric.bytes)) // 2,
            int(max(fabric.bytes)),
            int(max(fabric.relayed)) if fabric.relayed else None,
            max(0, fabric.messages - self._expected),
            self._handed_out,
        )

    # -- what the network calls --------------------------------------------------------------------

    def _going(self) -> bool:
        self._events += 1
        if self._tell is not None and not self._events % _TELL_EVERY:
            self._tell(self._fabric.messages, self._expected)
        return self._running > 0

    def _arrived(self, shell: int, source: int, data: Buffer, now: float) -> None:
        self._perform(shell, self._hosts[shell].receive(source, data, now), now)

    def _alarm(self, shell: int, now: float) -> None:
        """Let a shell's process enter late, or a host that has waited for long act."""
        host = self._hosts[shell]
        if not self._entered[shell]:
            self._entered[shell] = 1
            self._enter(shell, now)
        elif host.deadline is not None and host.deadline <= now:
            self._perform(shell, host.tick(now), now)
        if host.deadline is not None:
            self._fabric.alarm(shell, max(now, host.deadline))

    # -- what the shells do ------------------------------------------------------------------------

    def _enter(self, shell: int, now: float) -> None:
        """Have a shell's process call its next fence."""
        fence = self._round[shell]
        blob = self._payload.blob(fence, shell) if self._collects else b""
        upcall = Fence(-1, self._procs, self._infos, blob)
        self._perform(shell, self._hosts[shell].upcall(upcall, now), now)

    def _perform(self, shell: int, effects: Sequence[Effect], now: float) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                data, size = self._payload.pack(effect.frame)
                self._fabric.send(shell, effect.shell, data, size, now)
            elif isinstance(effect, Reply):
                self._answered(shell, effect, now)
            elif isinstance(effect, RequestModex):
                blob = self._payload.blob(0, shell)  # put once, whatever follows
                self._perform(shell, self._hosts[shell].outcomes.modex_ready(effect.token, 0, blob, now), now)
            elif isinstance(effect, Log):
                raise WrongResult(f"shell {shell}: {effect.message}")

    def _answered(self, shell: int, reply: Reply, now: float) -> None:
        """Check what a shell's process is handed, and have it do what comes next."""
        fence = self._round[shell]
        self._handed_out += 1
        if reply.status:
            raise WrongResult(f"shell {shell}: status {reply.status}")
        if reply.upcall >= 0:
            if not self._payload.is_one(0, reply.upcall, reply.payload):
                raise WrongResult(f"shell {shell} was handed something else than the blob of {reply.upcall}")
            self._wanted[shell] -= 1
        elif self._collects:
            if not self._payload.is_whole(fence, reply.payload):
                raise WrongResult(f"shell {shell} was handed something else than the blobs of all")
        elif self._offsets:
            self._wanted[shell] = len(self._offsets)
            for offset in self._offsets:
                other = (shell + offset) % self._setup.shells
                upcall = DirectModex(other, Proc(NSPACE, other), ())
                self._perform(shell, self._hosts[shell].upcall(upcall, now), now)
            return
        if self._wanted[shell]:
            return
        self._round[shell] += 1
        if self._round[shell] < self._setup.fences:
            self._enter(shell, now)
        else:
            self._running -= 1
            self._ended = max(self._ended, now)
