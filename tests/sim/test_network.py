"""What must hold of the simulated network: it costs what its figures say."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.pmix.record import replace
from fluxpmix.sim.network import NETWORKS, PRESETS, Fabric, Network, next_hop

PLAIN = Network("plain", "", latency=1.0, bandwidth=10.0, message=0.25, byte=0.0)


def arrivals(network: Network, sends: list[tuple[int, int, int]], loss: float = 0.0, seed: int = 0) -> list[float]:
    """Send (source, target, size) all at once; return when each arrives, in the order of sending."""
    fabric = Fabric(network, 8, loss, Random(seed))
    for number, (source, target, size) in enumerate(sends):
        fabric.send(source, target, b"%d" % number, size, 0.0)
    found = [0.0] * len(sends)

    def arrived(target: int, source: int, data: bytes, now: float) -> None:
        assert sends[int(data)][:2] == (source, target)
        found[int(data)] = now

    fabric.run(arrived, lambda shell, now: None, lambda: True)
    assert sum(fabric.bytes) == 2 * sum(size for _, _, size in sends)
    return found


def test_a_message_costs_both_processors_the_latency_and_its_bytes_once() -> None:
    assert arrivals(PLAIN, [(0, 1, 20)]) == [0.25 + 1.0 + 2.0 + 0.25]


def test_messages_to_one_node_share_its_wire() -> None:
    assert arrivals(PLAIN, [(0, 2, 20), (1, 2, 20)]) == [3.5, 5.5]


def test_messages_from_one_node_share_its_wire() -> None:
    assert arrivals(PLAIN, [(0, 1, 20), (0, 2, 20)]) == [3.5, 5.5]


def test_messages_between_different_nodes_do_not_meet() -> None:
    assert arrivals(PLAIN, [(0, 1, 20), (2, 3, 20), (1, 0, 20)]) == [3.5, 3.5, 3.5]


@given(loss=st.floats(0.0, 0.6), seed=st.integers(0, 10**6), count=st.integers(1, 30))
def test_a_lossy_wire_delivers_everything_in_order(loss: float, seed: int, count: int) -> None:
    found = arrivals(PLAIN, [(0, 1, 5)] * count, loss, seed)
    assert found == sorted(found) and found[0] >= 2.0


def test_the_same_seed_loses_the_same_messages() -> None:
    one, two, other = (arrivals(PLAIN, [(0, 1, 5)] * 40, 0.3, seed) for seed in (1, 1, 2))
    assert one == two != other


@given(fanout=st.integers(1, 33), source=st.integers(0, 5000), target=st.integers(0, 5000))
def test_an_overlay_leads_every_message_along_the_tree(fanout: int, source: int, target: int) -> None:
    def line(node: int) -> list[int]:
        return [node] if not node else [node, *line((node - 1) // fanout)]

    if fanout == 1:
        source, target = source % 200, target % 200
    up, down = line(source), line(target)
    common = next(node for node in up if node in down)
    expected = [*up[: up.index(common)], *reversed(down[: down.index(common) + 1])]
    way = [source]
    while way[-1] != target:
        way.append(next_hop(way[-1], target, fanout))
    assert way == expected


def test_a_broker_on_the_way_counts_and_costs_what_passes() -> None:
    network = replace(PLAIN, overlay=2, hop=0.5, bandwidth=inf)
    # 3 and 4 are below 1: three brokers, two wires.
    assert arrivals(network, [(3, 4, 10)]) == [0.25 + 3 * 0.5 + 2 * 1.0 + 0.25]


@pytest.mark.parametrize(("size", "round_trip"), [(64, 328e-6), (1 << 20, 6.37e-3)])
def test_flux_costs_what_was_measured_of_it(size: int, round_trip: float) -> None:
    one_machine = replace(NETWORKS["flux"], latency=0.0, bandwidth=inf)
    assert arrivals(one_machine, [(0, 1, size)])[0] == pytest.approx(round_trip / 2, rel=0.02)


def test_presets_are_called_by_their_names() -> None:
    assert list(NETWORKS) == [preset.name for preset in PRESETS]
