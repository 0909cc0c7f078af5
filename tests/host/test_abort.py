"""What must hold of PMIx_Abort."""

from __future__ import annotations

import pytest
from simulator import NSPACE, Network

from fluxpmix.host.abort import exit_code
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Proc
from fluxpmix.pmix.upcalls import Abort


def abort(network: Network, *targets: Proc, status: int = 7, message: str = "no more") -> int:
    return network.upcall(0, lambda id_: Abort(id_, Proc(NSPACE, 0), status, message, targets))


@pytest.mark.parametrize("targets", [(), (Proc(NSPACE, RANK_WILDCARD),), (Proc(NSPACE, 0), Proc(NSPACE, 1))])
def test_abort_ends_the_job_with_status_and_message(targets: tuple[Proc, ...]) -> None:
    network = Network([1, 1])
    id_ = abort(network, *targets)
    (raised,) = network.raised
    assert raised.exit_code == 7
    assert "rank 0" in raised.message and "no more" in raised.message
    assert network.replies[id_][0] == 0


@pytest.mark.parametrize(
    ("target", "status"),
    [(Proc(NSPACE, 1), Status.ERR_PARAM_VALUE_NOT_SUPPORTED), (Proc("other", 0), Status.ERR_NOT_FOUND)],
)
def test_what_cannot_be_aborted_alone_is_refused(target: Proc, status: Status) -> None:
    network = Network([1, 1])
    assert network.replies[abort(network, target)][0] == int(status)
    assert not network.raised


@pytest.mark.parametrize(("status", "code"), [(1, 1), (255, 255), (0, 1), (-24, 1), (256, 1)])
def test_the_exit_code_is_the_status_where_a_process_could_exit_with_it(status: int, code: int) -> None:
    assert exit_code(status) == code
