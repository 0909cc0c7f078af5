"""What a simulated network costs: figures of a network, and the events of messages that cross it.

`run.py` sends and is handed what arrives. Everything that takes time is a station that serves one message
after the other: a shell's processor (so much for each message and for each byte), both directions of a node's
wire (bandwidth), and, where messages go over an overlay, the broker of each node on the way. A wire adds its
latency, and a message lost on it comes a retransmission later, with all that follow it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from fluxpmix.host.effects import Buffer
from fluxpmix.pmix.record import Record


class Network(Record):
    """The figures: seconds, bytes per second. `overlay` 0 is a wire between any two nodes."""

    name: str
    about: str
    latency: float  # of a wire
    bandwidth: float  # of a node's wire, each way
    message: float  # of a shell's processor, for each message that it sends or receives
    byte: float  # and for each byte of it
    overlay: int = 0  # the fan-out of the tree of brokers that messages follow
    hop: float = 0.0  # of a broker's processor, for each message that passes
    hop_byte: float = 0.0
    retransmission: float = 0.2  # after how long a lost message is sent again; twice as long each time


# What a shell does for a message and a byte of a link: `python bench/network.py`, over TCP. Over Flux: round trips
# between shells on two brokers of one machine took 328 us with 64 B and 6.37 ms with 1 MiB each way (flux-core 0.88,
# raw RPC from Python); half of one is the work of 2 shells and 2 brokers. Wires are as good as they are called.
PRESETS = (
    Network("direct", "a link between any two shells, 25 Gbit/s Ethernet", 10e-6, 3.1e9, 18e-6, 0.2e-9),
    Network(
        "flux",
        "over Flux's brokers, a tree of fan-out 32, the same wires",
        10e-6,
        3.1e9,
        *(30e-6, 0.72e-9, 32, 52e-6, 0.72e-9),
    ),
    Network("gigabit", "a link between any two shells, 1 Gbit/s Ethernet", 50e-6, 0.125e9, 18e-6, 0.2e-9),
    Network("wire", "nothing but latency and bandwidth: 1 us, 25 GB/s", 1e-6, 25e9, 0.0, 0.0),
)
NETWORKS = {preset.name: preset for preset in PRESETS}

# What to call: handed the target, the source, what arrives and when; and the shell whose alarm it is, and when.
Arrived = Callable[[int, int, Buffer, float], None]
Alarm = Callable[[int, float], None]

_FIRST, _WHOLE, _ALARM = range(3)  # the first byte is there, the last byte is, or a shell's alarm


class Fabric:
    """The stations of one simulation and the messages between them."""

    def __init__(self, network: Network, shells: int, loss: float, seed: Random) -> None:
        self._network = network
        self._loss = loss
        self._seed = seed
        self._events: list[tuple[float, int, int, int, tuple[int, int, int, Buffer] | None]] = []
        self._count = 0
        # When each station is free.
        self._processor = array("d", bytes(8 * shells))
        self._broker = array("d", bytes(8 * shells if network.overlay else 0))
        self._out = array("d", bytes(8 * shells))
        self._in = array("d", bytes(8 * shells))
        self._latest: dict[tuple[int, int], float] = {}  # arrivals by wire, kept in order where some are late
        self.messages = 0
        self.lost = 0
        self.bytes = array("d", bytes(8 * shells))  # sent and received, by shell
        self.relayed = array("d", bytes(8 * shells if network.overlay else 0))  # through each broker

    def send(self, source: int, target: int, data: Buffer, size: int, now: float) -> None:
        """Have `source` send what counts as `size` bytes."""
        network = self._network
        self.messages += 1
        self.bytes[source] += size
        done = max(now, self._processor[source]) + network.message + size * network.byte
        self._processor[source] = done
        message = (source, target, size, data)
        if network.overlay:
            self._push(done, _WHOLE, source, message)
        else:
            self._transmit(done, source, target, message)

    def alarm(self, shell: int, when: float) -> None:
        """Wake a shell."""
        self._push(when, _ALARM, shell, None)

    def run(self, arrived: Arrived, alarm: Alarm, going: Callable[[], bool]) -> None:
        """Let time pass while `going` and anything is under way."""
        network = self._network
        events, into = self._events, self._in
        while events and going():
            now, _, kind, node, message = heappop(events)
            if message is None:
                alarm(node, now)
            elif kind == _FIRST:
                into[node] = done = max(now, into[node]) + message[2] / network.bandwidth
                self._push(done, _WHOLE, node, message)
            elif network.overlay:
                self._relay(now, node, message, arrived)
            else:
                self._deliver(now, message, arrived)

    def _relay(self, now: float, node: int, message: tuple[int, int, int, Buffer], arrived: Arrived) -> None:
        """Let a broker pass a message on, to the next one or to its shell."""
        network = self._network
        _, target, size, _ = message
        done = max(now, self._broker[node]) + network.hop + size * network.hop_byte
        self._broker[node] = done
        self.relayed[node] += size
        if node == target:
            self._deliver(done, message, arrived)
        else:
            self._transmit(done, node, next_hop(node, target, network.overlay), message)

    def _transmit(self, now: float, node: int, following: int, message: tuple[int, int, int, Buffer]) -> None:
        network = self._network
        start = max(now, self._out[node])
        self._out[node] = start + message[2] / network.bandwidth
        first = start + network.latency
        if self._loss:
            pause = network.retransmission
            while self._seed.random() < self._loss:
                self.lost += 1
                first += pause
                pause *= 2
            wire = (node, following)
            first = self._latest[wire] = max(first, self._latest.get(wire, 0.0))
        self._push(first, _FIRST, following, message)

    def _deliver(self, now: float, message: tuple[int, int, int, Buffer], arrived: Arrived) -> None:
        source, target, size, data = message
        self.bytes[target] += size
        done = max(now, self._processor[target]) + self._network.message + size * self._network.byte
        self._processor[target] = done
        arrived(target, source, data, done)

    def _push(self, when: float, kind: int, node: int, message: tuple[int, int, int, Buffer] | None) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, kind, node, message))


def next_hop(node: int, target: int, fanout: int) -> int:
    """Return the broker after `node` on the way to `target`: brokers are numbered level by level."""
    below = target
    while below > node:
        above = (below - 1) // fanout
        if above == node:
            return below
        below = above
    return (node - 1) // fanout
