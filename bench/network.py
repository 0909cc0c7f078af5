"""What a shell's processor does for a message and for a byte: the figures behind `flux-pmix sim --network direct`.

`python bench/network.py [rounds]`. Two processes, each a real `Host` on the local launcher's event loop, fence
with each other over one connection: for each fence a process sends one message and receives one. Half of
what its processor does for that is a message's share; what it does more for larger ones, the bytes'.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from measure import rounds, table

from fluxpmix.host.effects import Buffer, Effect, Reply, Send
from fluxpmix.host.host import Host
from fluxpmix.job.model import App, Job, Node, Session
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.pmix import attributes
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Proc
from fluxpmix.pmix.upcalls import Fence
from fluxpmix.shell.local.reactor import Reactor
from fluxpmix.shell.stream import Stream

SIZES = (64, 4096, 65536, 1 << 20, 16 << 20)
JOB = Job("j", "j", Session(1, 2), (Node(0, "a"), Node(1, "b")), (App(0, ("p",), "/", 2),), TaskMap([(0, 2, 1, 1)]), "")


class Shell:
    """One of the two: fences `rounds` times and stops."""

    def __init__(self, me: int, sock: socket.socket, size: int, rounds: int) -> None:
        self.reactor = Reactor()
        self.host = Host(JOB, me, exchange="bruck")
        self.stream = Stream(self.reactor, sock, self.arrived, lambda _: self.reactor.stop())
        self.me, self.left = me, rounds
        self.upcall = Fence(0, (Proc("j", RANK_WILDCARD),), (Info(attributes.COLLECT_DATA, True),), os.urandom(size))

    def run(self) -> float:
        """Return the seconds of its processor that a fence took."""
        rounds, started = self.left, time.process_time()
        self.perform(self.host.upcall(self.upcall, 0.0))
        self.reactor.run()
        return (time.process_time() - started) / rounds

    def arrived(self, message: Buffer) -> None:
        self.perform(self.host.receive(1 - self.me, message, 0.0))

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.stream.send(effect.frame)
            elif isinstance(effect, Reply):
                self.left -= 1
                if not self.left:
                    self.stop_when_all_is_sent()
                    return
                self.perform(self.host.upcall(self.upcall, 0.0))

    def stop_when_all_is_sent(self) -> None:
        self.stream.on_drained = self.reactor.stop
        if not self.stream.queued:
            self.reactor.stop()


def pair(kind: str) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets: `unix`, or `tcp` over the loopback interface."""
    if kind == "unix":
        return socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(listener.getsockname())
    two, _ = listener.accept()
    listener.close()
    for sock in (one, two):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, two


def measure(kind: str, size: int, rounds: int) -> tuple[float, float]:
    """Return the seconds of a fence, and those of one end's processor."""
    one, two = pair(kind)
    child = os.fork()
    if not child:
        one.close()
        Shell(1, two, size, rounds).run()
        os._exit(0)
    two.close()
    started = time.perf_counter()
    busy = Shell(0, one, size, rounds).run()
    taken = (time.perf_counter() - started) / rounds
    os.waitpid(child, 0)
    return taken, busy


def main() -> None:
    most = rounds(4000, 400)
    for kind in ("unix", "tcp"):
        found = {size: measure(kind, size, max(20, min(most, (1 << 30) // size // 2))) for size in SIZES}
        rows = [("bytes", "a fence", "of the processor")]
        rows += [(str(size), f"{taken * 1e6:.0f} us", f"{busy * 1e6:.0f} us") for size, (taken, busy) in found.items()]
        table(f"{kind}: two shells, one message each way", rows)
        message = found[SIZES[0]][1] / 2
        byte = (found[SIZES[-1]][1] - found[SIZES[0]][1]) / 2 / SIZES[-1]
        print(f"  a message {message * 1e6:.0f} us, a byte {byte * 1e9:.2f} ns\n")


main()
