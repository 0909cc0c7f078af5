"""What must hold of direct modex over shells: by examples, and on a network that does its worst."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import NSPACE, Network

from fluxpmix.host import frames
from fluxpmix.host.effects import Effect, RequestModex
from fluxpmix.host.frames import Message, Tag
from fluxpmix.host.modexdata import holds
from fluxpmix.pmix import attributes
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_UNDEF, RANK_WILDCARD, Info, Infos, Proc
from fluxpmix.pmix.upcalls import ClientFinalized, DirectModex

NOT_FOUND = int(Status.ERR_NOT_FOUND)
TIMEOUT = int(Status.ERR_TIMEOUT)
LOST = int(Status.ERR_LOST_CONNECTION)
DIED = int(Status.ERR_PROC_TERM_WO_SYNC)


def packed(*keys: str) -> bytes:
    """A blob as libpmix packs it: each key with the value 5."""
    return b"".join(b"\x02" + bytes((2 * (len(key) + 1),)) + key.encode() + b"\0\n\n" for key in keys)


class Modex(Network):
    """Hosts, each with a libpmix that answers for ranks that have committed."""

    def __init__(self, counts: Sequence[int], timeout: float | None = None) -> None:
        super().__init__(counts, timeout=timeout)
        self.committed: dict[int, tuple[str, ...]] = {}
        self.held: list[tuple[int, RequestModex]] = []  # what libpmix was asked: by whom
        self.questions = 0

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for effect in effects:
            if isinstance(effect, RequestModex):
                assert self.job.taskmap.node_of(effect.proc.rank) == shell, "libpmix knows its own processes only"
                self.questions += 1
                self.held.append((shell, effect))

    def run(self, choose: object = None) -> None:
        super().run()
        while self.answer():
            super().run()

    def answer(self) -> bool:
        """Have libpmix answer a question that it can answer."""
        for at, (shell, effect) in enumerate(self.held):
            if effect.proc.rank in self.committed:
                del self.held[at]
                if shell not in self.lost:
                    blob = packed(*self.committed[effect.proc.rank])
                    status = 0 if blob else int(Status.ERR_PROC_ENTRY_NOT_FOUND)
                    self.perform(shell, self.hosts[shell].outcomes.modex_ready(effect.token, status, blob, self.now))
                return True
        return False

    def commit(self, rank: int, *keys: str) -> None:
        self.committed[rank] = (*self.committed.get(rank, ()), *keys)
        self.run()

    def get(
        self,
        shell: int,
        rank: int,
        key: str | None = "k",
        timeout: int | None = None,
        nspace: str = NSPACE,
        extra: Infos = (),
    ) -> int:
        infos = [*extra]
        if key is not None:
            infos.append(Info(attributes.REQUIRED_KEY, key))
        if timeout is not None:
            infos.append(Info(attributes.TIMEOUT, timeout))
        return self.upcall(shell, lambda id_: DirectModex(id_, Proc(nspace, rank), tuple(infos)))


def test_a_get_fetches_what_the_rank_has_put_from_its_shell() -> None:
    network = Modex([1, 1, 1])
    network.commit(2, "j", "k")
    id_ = network.get(0, 2)
    network.run()
    assert network.replies[id_] == (0, packed("j", "k"))
    assert network.sent == 2
    assert network.idle


def test_a_get_before_the_commit_waits_for_it() -> None:
    network = Modex([1, 1])
    id_ = network.get(0, 1)
    network.run()
    assert not network.idle and id_ not in network.replies
    network.commit(1, "k")
    assert network.replies[id_] == (0, packed("k"))
    assert network.idle


def test_a_get_of_a_key_of_a_later_commit_waits_for_that() -> None:
    network = Modex([1, 1])
    network.commit(1, "first")
    id_ = network.get(0, 1)
    network.run()
    network.pass_time(60)
    assert id_ not in network.replies
    assert network.questions < 200, "libpmix is asked less and less often"
    network.committed[1] = ("first", "k")
    network.pass_time(1)
    assert network.replies[id_] == (0, packed("first", "k"))
    assert network.idle


def test_requests_for_one_rank_share_one_message_and_one_question() -> None:
    network = Modex([4, 1, 1])
    ids = [network.get(0, 4) for _ in range(4)]
    network.run()
    assert (network.sent, network.questions) == (1, 1)
    ids += [network.get(2, 4)]
    network.run()
    assert network.questions == 1
    network.commit(4, "k")
    assert [network.replies[id_] for id_ in ids] == [(0, packed("k"))] * 5
    assert network.sent == 4
    assert network.idle


def test_requests_for_other_keys_of_one_rank_are_answered_when_each_is_there() -> None:
    network = Modex([1, 1])
    first, second = network.get(0, 1, "a"), network.get(0, 1, "b")
    network.commit(1, "a")
    assert network.replies[first] == (0, packed("a")) and second not in network.replies
    network.commit(1, "b")
    network.pass_time(1)
    assert network.replies[second] == (0, packed("a", "b"))
    assert network.idle


def test_a_get_without_a_key_takes_what_there_is() -> None:
    network = Modex([1, 1])
    network.commit(1, "a")
    id_ = network.get(0, 1, None)
    network.run()
    assert network.replies[id_] == (0, packed("a"))


def test_a_rank_that_put_nothing_for_others_has_nothing() -> None:
    network = Modex([1, 1])
    network.commit(1)
    id_ = network.get(0, 1, None)
    network.run()
    assert network.replies[id_] == (NOT_FOUND, None)
    assert network.idle


def test_a_get_ends_at_its_timeout_on_both_shells() -> None:
    network = Modex([1, 1])
    early, late = network.get(0, 1, timeout=2), network.get(0, 1, timeout=5)
    network.run()
    network.pass_time(3)
    assert network.replies[early] == (TIMEOUT, None) and late not in network.replies
    network.pass_time(3)
    assert network.replies[late] == (TIMEOUT, None)
    assert network.idle
    network.commit(1, "k")
    assert network.answered == [early, late]


def test_gets_that_time_out_again_and_again_leave_one_question_with_libpmix() -> None:
    network = Modex([1, 1])
    for _ in range(10):
        network.get(0, 1, timeout=1)
        network.run()
        network.pass_time(2)
    assert network.questions == 1 and network.idle


def test_a_longer_wait_for_the_same_key_reaches_the_rank() -> None:
    network = Modex([1, 1])
    network.get(0, 1, timeout=1)
    network.run()
    id_ = network.get(0, 1)
    network.run()
    network.pass_time(10)
    network.commit(1, "k")
    assert network.replies[id_] == (0, packed("k"))


def test_the_death_of_the_rank_ends_the_wait() -> None:
    network = Modex([1, 1])
    network.connect(1)
    before = network.get(0, 1)
    network.run()
    network.exit(1)
    network.run()
    after = network.get(0, 1)
    network.run()
    assert network.replies[before] == network.replies[after] == (DIED, None)
    assert network.idle


def test_a_rank_that_finalizes_can_put_no_more() -> None:
    network = Modex([1, 1, 1])
    network.connect(1)
    network.commit(1, "a")
    ids = [network.get(0, 1, "b"), network.get(2, 1, "b")]
    network.run()
    network.finalize(1)
    network.run()
    assert [network.replies[id_] for id_ in ids] == [(NOT_FOUND, None)] * 2
    still = network.get(0, 1, "a")
    network.run()
    assert network.replies[still] == (0, packed("a"))
    network.exit(1, 0)
    gone = network.get(0, 1, "a")
    network.run()
    assert network.replies[gone] == (NOT_FOUND, None)
    assert network.idle


def test_a_rank_that_finalizes_without_a_commit_is_not_waited_for() -> None:
    network = Modex([1, 1])
    network.connect(1)
    before = network.get(0, 1)
    network.run()
    network.finalize(1)
    after = network.get(0, 1, "b")
    network.run()
    network.pass_time(2)
    assert network.replies[before] == network.replies[after] == (NOT_FOUND, None)
    assert network.idle


def test_a_rank_that_comes_back_may_put_again() -> None:
    network = Modex([1, 1])
    network.connect(1)
    network.finalize(1)
    network.connect(1)
    id_ = network.get(0, 1)
    network.run()
    network.pass_time(10)
    network.commit(1, "k")
    assert network.replies[id_] == (0, packed("k"))


def test_a_lost_shell_ends_the_wait_for_its_ranks_and_by_its_processes() -> None:
    network = Modex([1, 1, 1])
    for_lost, by_lost = network.get(0, 1), network.get(1, 2)
    network.run()
    network.lose(1)
    after = network.get(0, 1)
    assert network.replies[for_lost] == network.replies[after] == (LOST, None)
    assert by_lost not in network.replies
    assert network.idle


def test_a_get_of_a_rank_of_the_same_shell_sends_nothing() -> None:
    network = Modex([2, 1])
    id_ = network.get(0, 1)
    network.commit(1, "k")
    assert network.replies[id_] == (0, packed("k"))
    assert network.sent == 0 and network.idle


@pytest.mark.parametrize(
    ("rank", "key", "nspace"),
    [
        (1, "pmix.hname", NSPACE),
        (RANK_WILDCARD, "k", NSPACE),
        (RANK_WILDCARD, None, NSPACE),
        (RANK_UNDEF, "k", NSPACE),
        (2, "k", NSPACE),
        (0, "k", "another"),
        (RANK_WILDCARD, "k", "another"),
    ],
)
def test_what_cannot_be_had_is_not_found_at_once(rank: int, key: str | None, nspace: str) -> None:
    network = Modex([1, 1])
    assert network.replies[network.get(0, rank, key, nspace=nspace)] == (NOT_FOUND, None)
    assert network.sent == 0 and network.idle


def test_a_required_directive_that_is_unknown_is_refused() -> None:
    network = Modex([1, 1])
    id_ = network.get(0, 1, extra=(Info("pmix.unheard.of", True, required=True),))
    assert network.replies[id_][0] == int(Status.ERR_NOT_SUPPORTED)


def test_the_end_of_the_job_answers_all() -> None:
    network = Modex([1, 1])
    id_ = network.get(0, 1)
    network.run()
    for shell, host in enumerate(network.hosts):
        network.perform(shell, host.close(network.now))
    assert network.replies[id_] == (LOST, None)
    assert network.idle


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\0\0\0\1", b"\0\0\0\1\0\0\0\0", b"\0\0\0\1\0\0\0\0\0"),  # cut short
        *(b"\0\0\0\1\0\0\0\0\2\0k", b"\0\0\0\1\0\0\0\0\0\5k"),  # a key that is too long, or is not all there
        *(b"\0\0\0\0\0\0\0\0\0\1k", b"\0\0\0\7\0\0\0\0\0\1k", b"\xff\xff\xff\xfe\0\0\0\0\0\1k"),  # not its rank
    ],
)
def test_a_malformed_request_is_counted_and_dropped(body: bytes) -> None:
    network = Modex([1, 1])
    message = Message(Tag.ASK, 0, 1, frames.NO_DIGEST, 0, ((0, body),))
    network.perform(1, network.hosts[1].receive(0, b"".join(frames.encode(message)), 0.0))
    assert network.hosts[1].counters["malformed"] == 1
    assert network.sent == 0 and network.idle


@settings(deadline=None)
@given(st.lists(st.text("abk", min_size=1, max_size=300), max_size=5), st.text("abk", min_size=1, max_size=300))
def test_a_key_is_found_where_it_is_and_not_in_others(keys: list[str], key: str) -> None:
    blob = b""
    for each in keys:
        length = 2 * (len(each) + 1)
        coded = bytes((length,)) if length < 128 else bytes((length % 128 + 128, length // 128))
        blob += b"\x02" + coded + each.encode() + b"\0\x03" + coded + key.encode() + b"\0"
    assert holds(blob, key.encode()) == (key in keys)


@settings(deadline=None, max_examples=300)
@given(
    shells=st.integers(2, 8),
    gets=st.integers(1, 12),
    troubles=st.lists(st.sampled_from(["lose message", "repeat message", "die", "lose shell", "finalize"]), max_size=4),
    seed=st.integers(0, 2**32).map(random.Random),
)
def test_whatever_goes_wrong_nobody_hangs_and_no_data_is_wrong(
    shells: int, gets: int, troubles: list[str], seed: random.Random
) -> None:
    network = Modex([1] * shells)
    for rank in range(shells):
        network.connect(rank)
    asked: dict[int, tuple[int, int, str]] = {}
    todo = ["get"] * gets + ["commit"] * seed.randint(0, 2 * shells) + troubles
    seed.shuffle(todo)
    gone: set[int] = set()
    while todo or network.queues:
        action = seed.choice(["act", "deliver", "answer", "wait"])
        if action == "deliver" and network.queues:
            network.deliver(seed.choice(sorted(network.queues)))
        elif action == "answer":
            network.answer()
        elif action == "wait":
            network.now += seed.random()
        elif action == "act" and todo:
            act(network, todo.pop(), seed, asked, gone)
    network.pass_time(60)
    for id_, (shell, rank, key) in asked.items():
        if shell in network.lost:
            continue
        status, data = network.replies[id_]
        assert status in (0, TIMEOUT, DIED, NOT_FOUND, LOST)
        assert status != DIED or rank in gone
        if status == 0:
            assert key in network.committed[rank] and holds(data, key.encode())
    assert network.idle


def act(network: Modex, what: str, seed: random.Random, asked: dict[int, tuple[int, int, str]], gone: set[int]) -> None:
    shell = seed.randrange(len(network.hosts))
    if what == "get" and shell not in network.lost:
        rank, key = seed.randrange(len(network.hosts)), seed.choice("abc")
        asked[network.get(shell, rank, key, timeout=seed.randint(1, 10))] = (shell, rank, key)
    elif what == "commit" and shell not in gone:
        network.committed[shell] = (*network.committed.get(shell, ()), seed.choice("abc"))
    elif what in ("die", "finalize") and shell not in network.lost | gone:
        gone.add(shell)
        if what == "finalize":
            network.finalize(shell)
            gone.discard(shell)
        else:
            network.exit(shell)
    elif what == "lose shell" and len(network.lost) < len(network.hosts) - 1 and shell not in network.lost:
        network.lose(shell)
    elif what.endswith("message") and network.queues:
        pair = seed.choice(sorted(network.queues))
        if what == "repeat message":
            network.queues[pair].append(network.queues[pair][-1])
        else:
            network.queues[pair].popleft()
            if not network.queues[pair]:
                del network.queues[pair]


def test_a_stranger_of_the_same_rank_is_not_the_process() -> None:
    network = Modex([1, 1])
    network.connect(1)
    id_ = network.get(0, 1)
    network.run()
    network.upcall(1, lambda id_: ClientFinalized(id_, Proc("another", 1)))
    network.pass_time(10)
    network.commit(1, "k")
    assert network.replies[id_] == (0, packed("k"))
