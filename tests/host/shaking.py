"""What a network does to messages between two steps of a test: passes them on, late, twice, or not at all."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from simulator import Network


def shake(network: Network, data: st.DataObject, lossy: bool) -> None:
    """Deliver up to six messages, as hypothesis wants; they are lost only where `lossy`."""
    for _ in range(data.draw(st.integers(0, 6))):
        if not network.queues:
            break
        pair = data.draw(st.sampled_from(sorted(network.queues)))
        queue = network.queues[pair]
        fate = data.draw(st.sampled_from(["one", "again", "late", "lost"] if lossy else ["one", "again", "late"]))
        if fate == "late":
            queue.rotate(-1)
        elif fate == "lost":
            del network.queues[pair]
            continue
        elif fate == "again":
            queue.append(queue[0])
        network.deliver(pair)


def trouble(network: Network, kind: str, seed: random.Random, dead: set[int]) -> None:
    """Do one of the things that can go wrong, in jobs of two ranks a shell; `dead` has the ranks that have died."""
    if kind in ("lose message", "repeat message") and network.queues:
        pair = seed.choice(sorted(network.queues))
        queue = network.queues[pair]
        if kind == "repeat message":
            queue.append(queue[-1])
            return
        queue.popleft()
        if not queue:
            del network.queues[pair]
    elif kind == "die":
        rank = seed.randrange(network.job.size)
        if rank not in dead and rank // 2 not in network.lost:
            dead.add(rank)
            network.exit(rank)
    elif kind == "lose shell" and len(network.lost) < len(network.hosts) - 1:
        network.lose(seed.choice([n for n in range(len(network.hosts)) if n not in network.lost]))
