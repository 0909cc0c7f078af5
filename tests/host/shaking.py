"""What a network does to messages between two steps of a test: passes them on, late, twice, or not at all."""

from __future__ import annotations

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
