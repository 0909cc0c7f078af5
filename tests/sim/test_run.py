"""What must hold of a simulation: right results, the closed forms, and that it notices what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxpmix.host import bruck
from fluxpmix.host.host import Host
from fluxpmix.pmix.record import replace
from fluxpmix.sim import run
from fluxpmix.sim.network import NETWORKS
from fluxpmix.sim.run import MOVEMENTS, Setup, WrongResult, expected_messages, peers, simulate

WIRE = NETWORKS["wire"]
HEAD = 100  # bytes of a frame that are no blob, at most


@settings(deadline=None, max_examples=80)
@given(
    shells=st.integers(2, 90),
    size=st.integers(1, 3000),
    movement=st.sampled_from(MOVEMENTS),
    network=st.sampled_from(sorted(NETWORKS)),
    fanout=st.integers(2, 20),
    loss=st.sampled_from([0.0, 0.05]),
    fences=st.integers(1, 3),
    skew=st.sampled_from([0.0, 0.01]),
    seed=st.integers(0, 10**6),
)
def test_stand_ins_cost_what_real_bytes_do(
    shells: int,
    size: int,
    movement: str,
    network: str,
    fanout: int,
    loss: float,
    fences: int,
    skew: float,
    seed: int,
) -> None:
    setup = Setup(shells, size, movement, NETWORKS[network], fanout, loss, seed, fences, skew=skew)
    stood, real = simulate(setup), simulate(replace(setup, real=True))
    assert replace(stood, setup=real.setup) == real
    assert stood.messages == expected_messages(setup) + stood.probes
    assert stood.results >= shells * fences


@pytest.mark.parametrize("shells", [2, 8, 64, 256])
def test_peers_take_the_time_of_the_closed_form(shells: int) -> None:
    size = 1 << 20
    result = simulate(Setup(shells, size, "bruck", WIRE))
    rounds = shells.bit_length() - 1
    ideal = rounds * WIRE.latency + (shells - 1) * size / WIRE.bandwidth
    assert ideal <= result.time <= ideal + rounds * 2 * HEAD / WIRE.bandwidth
    assert (shells - 1) * size * 2 <= result.busiest_shell <= 2 * ((shells - 1) * size + rounds * 2 * HEAD)


def test_a_flat_trees_root_sends_all_to_everybody() -> None:
    size = 1 << 20
    result = simulate(Setup(9, size, "tree", WIRE, fanout=8))
    through = 8 * size + 8 * 9 * size
    assert through <= result.busiest_shell <= through + 16 * HEAD
    assert result.time == pytest.approx(2 * WIRE.latency + through / WIRE.bandwidth, rel=0.01)


@pytest.mark.parametrize("fanout", [2, 4, 32])
def test_a_tree_that_is_the_overlay_takes_one_hop_a_message(fanout: int) -> None:
    flux = replace(NETWORKS["flux"], overlay=fanout)
    result = simulate(Setup(100, 64, "barrier", flux, fanout=fanout))
    assert result.busiest_broker == result.busiest_shell


def test_a_barrier_carries_no_blob() -> None:
    assert simulate(Setup(64, 1 << 20, "barrier", WIRE)).total_bytes < 126 * HEAD


@given(shells=st.integers(2, 500), wanted=st.integers(1, 600))
def test_direct_modex_asks_as_many_different_peers_as_there_are(shells: int, wanted: int) -> None:
    found = peers(shells, wanted)
    assert len(set(found)) == len(found) == min(wanted, shells - 1)
    assert all(0 < offset < shells for offset in found)


def test_a_loss_costs_time_and_no_bytes_of_the_result() -> None:
    setup = Setup(64, 4096, "bruck", NETWORKS["direct"], seed=3)
    lossy = simulate(replace(setup, loss=0.05))
    assert lossy.lost > 0 and lossy.results == 64
    assert lossy.time > simulate(setup).time + NETWORKS["direct"].retransmission


def test_shells_that_wait_long_ask_and_the_result_is_right_all_the_same() -> None:
    late = simulate(Setup(16, 64, "tree", WIRE, fanout=2, skew=30.0, seed=1))
    assert late.probes > 0 and late.results == 16


def test_a_thousand_fences_in_a_row_stand() -> None:
    result = simulate(Setup(16, 64, "bruck", NETWORKS["direct"], fences=1000, skew=0.001))
    assert result.results == 16_000


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("movement", ["tree", "bruck"])
def test_a_host_that_hands_out_wrong_bytes_is_found(real: bool, movement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = bruck.Bruck._append if movement == "bruck" else Host.receive

    def swapped(self: bruck.Bruck, source: int, offset: int, message: object) -> None:
        right(self, source, offset, message)
        self._onwards.reverse()

    if movement == "bruck":
        monkeypatch.setattr(bruck.Bruck, "_append", swapped)
    else:
        monkeypatch.setattr(
            run.Host, "receive", lambda self, source, data, now: right(self, source, bytes(data[:-12]), now)
        )
    with pytest.raises(WrongResult):
        simulate(Setup(8, 40, movement, WIRE, real=real))


def test_shells_that_wait_for_ever_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.Host, "receive", lambda self, source, data, now: [])
    monkeypatch.setattr(run.Host, "deadline", None)
    with pytest.raises(WrongResult, match="8 of 8 shells wait for ever"):
        simulate(Setup(8, 40, "tree", WIRE))


def test_four_thousand_shells_are_told_of_on_the_way() -> None:
    told: list[tuple[int, int]] = []
    setup = Setup(4096, 64, "tree", NETWORKS["direct"])
    simulate(setup, lambda messages, expected: told.append((messages, expected)))
    assert told == sorted(told) and {expected for _, expected in told} == {expected_messages(setup)}
