"""What must hold of credentials over shells, and of requests for more time."""

from __future__ import annotations

import os

import pytest
from simulator import NSPACE, Network

from fluxpmix.host.credential import MUNGE, TOKEN
from fluxpmix.host.effects import Effect, Extend, Seal, Signal, Unseal
from fluxpmix.host.host import Host
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import DataType, Info, Proc
from fluxpmix.pmix.upcalls import Allocate, GetCredential, SessionControl, ValidateCredential

OWNER = (1234, 567)
VALID = (Info(a.USERID, 1234, DataType.UINT32), Info(a.GRPID, 567, DataType.UINT32))
INVALID = (int(Status.ERR_INVALID_CRED), None)


class Proving(Network):
    """Hosts, each with a key of its own."""

    def __init__(self, shells: int) -> None:
        super().__init__([1] * shells)
        self.hosts = [Host(self.job, shell, owner=OWNER, key=os.urandom(32)) for shell in range(shells)]
        self.effects: list[Effect] = []

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        self.effects += [effect for effect in effects if isinstance(effect, Seal | Unseal | Extend | Signal)]

    def make(self, shell: int, type_: str | None = TOKEN) -> int:
        infos = () if type_ is None else (Info(a.CRED_TYPE, type_),)
        return self.upcall(shell, lambda id_: GetCredential(id_, Proc(NSPACE, shell), infos))

    def token(self, shell: int) -> bytes:
        status, payload = self.replies[self.make(shell)]
        assert status == 0 and isinstance(payload, bytes)
        return payload

    def check(self, shell: int, credential: bytes) -> int:
        id_ = self.upcall(shell, lambda id_: ValidateCredential(id_, Proc(NSPACE, shell), credential, ()))
        self.run()
        return id_


@pytest.mark.parametrize("shell", [0, 1, 2])
def test_a_token_is_valid_on_every_shell_and_says_whose_it_is(shell: int) -> None:
    network = Proving(3)
    assert network.replies[network.check(shell, network.token(1))] == (0, VALID)
    assert network.idle


def test_two_tokens_differ_and_a_changed_one_is_not_valid() -> None:
    network = Proving(2)
    first, second = network.token(0), network.token(0)
    assert first != second
    for at in range(0, len(first), 7):
        forged = first[:at] + bytes([first[at] ^ 1]) + first[at + 1 :]
        for shell in (0, 1):
            assert network.replies[network.check(shell, forged)] == INVALID


@pytest.mark.parametrize("nonsense", [b"", b"x" * 100, b"fluxpmix credential 1\n" + bytes(64)])
def test_nonsense_is_not_valid(nonsense: bytes) -> None:
    network = Proving(2)
    assert network.replies[network.check(1, nonsense)] == INVALID


def test_a_token_of_a_lost_or_a_silent_shell_ends_in_an_error() -> None:
    network = Proving(3)
    lost, silent = network.token(1), network.token(2)
    network.lose(1)
    assert network.replies[network.check(0, lost)] == INVALID
    id_ = network.upcall(0, lambda id_: ValidateCredential(id_, Proc(NSPACE, 0), silent, ()))
    network.queues.clear()
    network.pass_time(60)
    assert network.replies[id_][0] == Status.ERR_TIMEOUT


def test_munge_is_asked_first_and_alone_where_it_is_wanted() -> None:
    network = Proving(1)
    network.make(0, None)
    network.make(0, MUNGE)
    first, second = network.effects
    assert isinstance(first, Seal) and first.token is not None
    assert isinstance(second, Seal) and second.token is None
    network.check(0, b"MUNGE:abc:")
    assert isinstance(network.effects[-1], Unseal)
    assert network.replies[network.make(0, "kerberos")][0] == Status.ERR_NOT_SUPPORTED


def allocate(network: Proving, directive: int, *infos: Info) -> int:
    return network.upcall(0, lambda id_: Allocate(id_, Proc(NSPACE, 0), directive, infos))


@pytest.mark.parametrize(("time", "seconds"), [("90", 90.0), ("1.5h", 5400.0), ("2m", 120.0), (60, 60.0)])
def test_more_time_is_asked_of_the_carrier(time: object, seconds: float) -> None:
    network = Proving(1)
    allocate(network, 2, Info(a.ALLOC_TIME, time), Info(a.ALLOC_REQ_ID, "mine"))
    (effect,) = network.effects
    assert isinstance(effect, Extend)
    assert (effect.seconds, effect.infos) == (seconds, (Info(a.ALLOC_REQ_ID, "mine"),))


@pytest.mark.parametrize(
    ("directive", "infos", "status"),
    [
        (1, (Info(a.ALLOC_NUM_NODES, 2),), Status.ERR_NOT_SUPPORTED),
        (2, (Info(a.ALLOC_TIME, "5m"), Info(a.ALLOC_NUM_NODES, 2)), Status.ERR_NOT_SUPPORTED),
        (2, (), Status.ERR_NOT_SUPPORTED),
        (2, (Info(a.ALLOC_TIME, "soon"),), Status.ERR_BAD_PARAM),
        (2, (Info(a.ALLOC_TIME, "-5"),), Status.ERR_BAD_PARAM),
        (3, (), Status.ERR_NOT_SUPPORTED),
        (77, (), Status.ERR_NOT_SUPPORTED),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_reason(directive: int, infos: tuple[Info, ...], status: Status) -> None:
    network = Proving(1)
    assert network.replies[allocate(network, directive, *infos)][0] == status
    assert len(network.logs) == 1


def control(network: Proving, session: int, *infos: Info) -> int:
    return network.upcall(0, lambda id_: SessionControl(id_, Proc(NSPACE, 0), session, infos))


@pytest.mark.parametrize(
    ("directive", "signum"),
    [(Info(a.SESSION_TERMINATE, True), 15), (Info(a.SESSION_PAUSE, True), 19), (Info(a.SESSION_SIGNAL, 10), 10)],
)
def test_a_session_is_all_jobs_that_are_known(directive: Info, signum: int) -> None:
    network = Proving(2)
    id_ = control(network, network.job.session.id, directive)
    network.run()
    assert network.replies[id_][0] == Status.SUCCESS
    assert [(effect.signum, effect.ranks) for effect in network.effects if isinstance(effect, Signal)] == [
        (signum, (0,)),
        (signum, (1,)),
    ]


@pytest.mark.parametrize(
    ("session", "infos", "status"),
    [
        (77, (Info(a.SESSION_TERMINATE, True),), Status.ERR_NOT_FOUND),
        (0xFFFFFFFF, (), Status.ERR_NOT_SUPPORTED),
        (0xFFFFFFFF, (Info(a.SESSION_PREEMPT, True),), Status.ERR_NOT_SUPPORTED),
        (0xFFFFFFFF, (Info(a.SESSION_PAUSE, True), Info(a.SESSION_RESUME, True)), Status.ERR_NOT_SUPPORTED),
        (0, (Info(a.SESSION_INSTANTIATE, True), Info(a.ALLOC_NUM_NODES, 1)), Status.ERR_NOT_SUPPORTED),
        (0, (Info(a.SESSION_INSTANTIATE, True),), Status.ERR_BAD_PARAM),
    ],
)
def test_what_cannot_be_done_of_a_session_is_refused_with_a_reason(
    session: int, infos: tuple[Info, ...], status: Status
) -> None:
    network = Proving(1)
    assert network.replies[control(network, session, *infos)][0] == status
    assert len(network.logs) == 1
