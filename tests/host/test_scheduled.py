"""What must hold of queries that only a scheduler can answer."""

from __future__ import annotations

from typing import Any

import pytest
from simulator import NSPACE, make_job

from fluxpmix.host.effects import Enquire, Reply, Send
from fluxpmix.host.host import Host
from fluxpmix.host.supported import SUPPORTED, WITH_A_SCHEDULER
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc, QueryItem
from fluxpmix.pmix.upcalls import Query

SERVER = Proc(f"{NSPACE}.shell", 0)


def asked(host: Host, *keys: str, id_: int = 1, qualifiers: tuple[Info, ...] = ()) -> list[Any]:
    return host.upcall(Query(id_, SERVER, (QueryItem(keys, qualifiers),)), 0.0)


def reply(effects: list[Any]) -> tuple[int, dict[str, Any]]:
    (one,) = effects
    assert isinstance(one, Reply)
    return one.status, {info.key: info.value for info in one.payload or ()}


@pytest.fixture
def host() -> Host:
    return Host(make_job([1, 1]), 0, scheduler=True)


def test_the_scheduler_is_asked_what_the_qualifiers_name(host: Host) -> None:
    queue = (Info(a.ALLOC_QUEUE, "debug"),)
    (of_one,) = asked(host, a.QUERY_QUEUE_STATUS, qualifiers=queue)
    (of_own,) = asked(host, a.QUERY_QUEUE_STATUS, id_=2)
    (of_all,) = asked(host, a.QUERY_QUEUE_LIST, id_=3, qualifiers=queue)
    (of_job,) = asked(host, a.QUERY_ALLOC_STATUS, id_=4, qualifiers=(Info(a.ALLOC_REQ_ID, "f123"),))
    questions = [(one.key, one.subject) for one in (of_one, of_own, of_all, of_job) if isinstance(one, Enquire)]
    assert questions == [
        (a.QUERY_QUEUE_STATUS, "debug"),
        (a.QUERY_QUEUE_STATUS, ""),
        (a.QUERY_QUEUE_LIST, ""),
        (a.QUERY_ALLOC_STATUS, "f123"),
    ]
    assert reply(host.outcomes.enquired(of_own.token, "enabled,started", 0.0)) == (
        0,
        {a.QUERY_QUEUE_STATUS: "enabled,started"},
    )
    assert reply(host.outcomes.enquired(of_job.token, None, 0.0)) == (int(Status.ERR_NOT_FOUND), {})
    assert reply(host.outcomes.enquired(of_one.token, "disabled,stopped", 0.0))[1] == {
        a.QUERY_QUEUE_STATUS: "disabled,stopped"
    }
    assert not host.idle
    assert reply(host.outcomes.enquired(of_all.token, "batch,debug", 0.0))[1] == {a.QUERY_QUEUE_LIST: "batch,debug"}
    assert host.idle


def test_what_the_scheduler_and_other_shells_know_is_one_answer(host: Host) -> None:
    to_shell, to_scheduler = asked(host, a.QUERY_PROC_TABLE, a.QUERY_QUEUE_LIST, a.JOB_SIZE)
    assert isinstance(to_shell, Send) and isinstance(to_scheduler, Enquire)
    assert host.outcomes.enquired(to_scheduler.token, "batch", 0.0) == []
    (ended,) = [one for one in host.shell_lost(1, "gone", 0.0) if isinstance(one, Reply)]
    status, found = reply([ended])
    assert status == Status.ERR_PARTIAL_SUCCESS
    assert found.keys() == {a.QUERY_PROC_TABLE, a.QUERY_QUEUE_LIST, a.JOB_SIZE}


def test_a_scheduler_that_does_not_answer_in_time_knows_nothing(host: Host) -> None:
    (question,) = asked(host, a.QUERY_QUEUE_LIST, qualifiers=(Info(a.TIMEOUT, 2),))
    assert host.deadline == 2.0 and host.tick(1.0) == []
    assert reply(host.tick(2.0)) == (int(Status.ERR_NOT_FOUND), {})
    assert host.outcomes.enquired(question.token, "too late", 3.0) == [] and host.idle


def test_without_a_scheduler_nothing_is_known_and_nothing_promised() -> None:
    host = Host(make_job([1, 1]), 0)
    for key in (a.QUERY_QUEUE_LIST, a.QUERY_QUEUE_STATUS, a.QUERY_ALLOC_STATUS):
        assert reply(asked(host, key)) == (int(Status.ERR_NOT_FOUND), {})
        assert key not in SUPPORTED["PMIx_Query_info"] and key in WITH_A_SCHEDULER["PMIx_Query_info"]
        assert key not in reply(asked(host, a.QUERY_SUPPORTED_KEYS))[1][a.QUERY_SUPPORTED_KEYS]
    with_one = Host(make_job([1, 1]), 0, scheduler=True)
    assert a.QUERY_QUEUE_LIST in reply(asked(with_one, a.QUERY_SUPPORTED_KEYS))[1][a.QUERY_SUPPORTED_KEYS]
