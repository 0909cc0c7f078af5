"""What must hold of collectives on a network that reorders, delays, repeats and loses messages."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Network, procs

from fluxpmix.host import frames
from fluxpmix.host.collective import EXCHANGES
from fluxpmix.pmix.status import Status

ENDS = {0, *map(int, (Status.ERR_TIMEOUT, Status.ERR_PROC_TERM_WO_SYNC, Status.ERR_LOST_CONNECTION))}


@settings(deadline=None, max_examples=150)
@given(
    shells=st.integers(1, 64),
    fanout=st.integers(1, 32),
    exchange=st.sampled_from(EXCHANGES),
    rounds=st.integers(1, 4),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_any_order_of_messages_gives_the_same_bytes(
    shells: int, fanout: int, exchange: str, rounds: int, seed: random.Random
) -> None:
    network = Network([1] * shells, fanout, exchange=exchange)
    subset = tuple(sorted(seed.sample(range(shells), seed.randint(1, shells))))
    sets = [(procs(), tuple(range(shells))), (procs(*subset), subset)]
    # Each shell enters its fences in its own order of sets, each set's own generations in turn.
    todo = {
        shell: [which for which, (_, members) in enumerate(sets) if shell in members for _ in range(rounds)]
        for shell in range(shells)
    }
    for each in todo.values():
        seed.shuffle(each)
    entered: dict[tuple[int, int], int] = {}
    expected: dict[int, bytes] = {}
    while any(todo.values()) or network.queues:
        ready = [shell for shell, left in todo.items() if left]
        if ready and (not network.queues or seed.random() < 0.5):
            shell = seed.choice(ready)
            which = todo[shell].pop()
            generation = entered.get((shell, which), 0)
            entered[shell, which] = generation + 1
            id_ = network.fence(shell, sets[which][0], b"%d.%d.%d;" % (which, generation, shell))
            expected[id_] = b"".join(b"%d.%d.%d;" % (which, generation, each) for each in sets[which][1])
        else:
            network.deliver(seed.choice(sorted(network.queues)))
    assert {id_: network.replies[id_] for id_ in expected} == {id_: (0, e) for id_, e in expected.items()}
    assert network.idle
    assert [log.message for log in network.logs] == []


@settings(deadline=None, max_examples=400)
@given(
    shells=st.integers(2, 24),
    fanout=st.integers(1, 8),
    exchange=st.sampled_from(EXCHANGES),
    troubles=st.lists(st.sampled_from(["lose message", "repeat message", "die", "lose shell"]), max_size=4),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_whatever_goes_wrong_nobody_hangs_and_no_data_is_wrong(
    shells: int, fanout: int, exchange: str, troubles: list[str], seed: random.Random
) -> None:
    network = Network([2] * shells, fanout, exchange=exchange)
    for rank in range(2 * shells):
        network.connect(rank)
    whole = b"".join(b"%d;" % shell for shell in range(shells))
    ids: list[tuple[int, int]] = []
    waiting = list(range(shells))
    seed.shuffle(waiting)
    dead: set[int] = set()
    while waiting or network.queues or troubles:
        action = seed.choice(["enter", "deliver", "trouble"])
        if action == "enter" and waiting:
            shell = waiting.pop()
            if shell not in network.lost and shell not in dead:
                ids.append((shell, network.fence(shell, data=b"%d;" % shell, timeout=10)))
        elif action == "deliver" and network.queues:
            network.deliver(seed.choice(sorted(network.queues)))
        elif action == "trouble" and troubles:
            trouble(network, troubles.pop(), seed, dead)
        elif not troubles and not waiting and not network.queues:
            break
    network.pass_time(60)
    for shell, id_ in ids:
        if shell in network.lost:
            continue
        status, data = network.replies[id_]
        assert status in ENDS
        assert status != 0 or data == whole
    assert network.idle


def trouble(network: Network, kind: str, seed: random.Random, dead: set[int]) -> None:
    """Do one of the things that can go wrong."""
    if kind == "lose message" and network.queues:
        pair = seed.choice(sorted(network.queues))
        network.queues[pair].popleft()
        if not network.queues[pair]:
            del network.queues[pair]
    elif kind == "repeat message" and network.queues:
        queue = network.queues[seed.choice(sorted(network.queues))]
        queue.append(queue[-1])
    elif kind == "die":
        shell = seed.randrange(len(network.hosts))
        if shell not in network.lost:
            dead.add(shell)
            network.exit(2 * shell + seed.randint(0, 1))
    elif kind == "lose shell" and len(network.lost) < len(network.hosts) - 1:
        network.lose(seed.choice([s for s in range(len(network.hosts)) if s not in network.lost]))


@settings(deadline=None, max_examples=200)
@given(frame=st.binary(max_size=200), source=st.integers(-2, 9))
def test_garbage_is_counted_and_disturbs_nothing(frame: bytes, source: int) -> None:
    network = Network([1] * 4)
    ids = [network.fence(shell, data=b"x") for shell in (0, 1)]
    network.perform(1, network.hosts[1].receive(source, frame, 0.0))
    assert network.hosts[1].counters["malformed"] == 1
    ids += [network.fence(shell, data=b"x") for shell in (2, 3)]
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(0, b"xxxx")] * 4


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    flip=st.integers(0, 10_000),
    exchange=st.sampled_from(EXCHANGES),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_a_damaged_frame_never_raises(data: st.DataObject, flip: int, exchange: str, seed: random.Random) -> None:
    network = Network([1] * 5, fanout=1, exchange=exchange)
    for shell in range(5):
        network.fence(shell, data=b"abc", timeout=3)
    pair = seed.choice(sorted(network.queues))
    damaged = bytearray(network.queues[pair][0])
    damaged[flip % len(damaged)] ^= data.draw(st.integers(1, 255))
    network.perform(pair[1], network.hosts[pair[1]].receive(pair[0], bytes(damaged), 0.0))


@given(
    blocks=st.dictionaries(st.integers(0, 63), st.binary(max_size=50)),
    generation=st.integers(0, 2**32 - 1),
    status=st.integers(-500, 0),
    tag=st.sampled_from(list(frames.Tag)),
)
def test_a_frame_comes_back_as_it_was(blocks: dict[int, bytes], generation: int, status: int, tag: frames.Tag) -> None:
    message = frames.Message(tag, 1, generation, bytes(range(16)), status, tuple(sorted(blocks.items())))
    assert frames.decode(b"".join(frames.encode(message)), 64) == message


def test_each_tag_has_a_number_of_its_own() -> None:
    assert len(frames.Tag) == len(frames.Tag.__members__)
