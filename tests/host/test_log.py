"""What must hold of PMIx_Log."""

from __future__ import annotations

from typing import Any

import pytest
from simulator import NSPACE, Network

from fluxpmix.host.effects import Effect, Output
from fluxpmix.host.log import decorated
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Proc
from fluxpmix.pmix.upcalls import Log

REFUSED = (int(Status.ERR_NOT_SUPPORTED), None)
DONE = (0, None)


class Logged(Network):
    """A host that keeps what it shows."""

    def __init__(self) -> None:
        super().__init__([2])
        self.shown: list[tuple[int, int, bytes]] = []

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        self.shown += [(one.rank, one.stream, one.data) for one in effects if isinstance(one, Output)]

    def log(self, *data: Info, **directives: Any) -> tuple[int, Any]:
        how = tuple(Info(getattr(a, name), value) for name, value in directives.items())
        return self.replies[self.upcall(0, lambda id_: Log(id_, Proc(NSPACE, 1), data, how))]


def test_output_shows_as_if_the_process_had_printed_a_line() -> None:
    network = Logged()
    assert network.log(Info(a.LOG_STDOUT, "one"), Info(a.LOG_STDERR, "two\n"), LOG_SOURCE=Proc(NSPACE, 1)) == DONE
    assert network.shown == [(1, 1, b"one\n"), (1, 2, b"two\n")]
    assert network.logs == []


def test_once_means_the_first_channel_that_there_is() -> None:
    network = Logged()
    data = (Info(a.LOG_EMAIL, "x"), Info(a.LOG_STDERR, "one"), Info(a.LOG_STDOUT, "two"))
    assert network.log(*data, LOG_ONCE=True) == DONE
    assert network.shown == [(1, 2, b"one\n")]


def test_the_job_record_is_the_jobs_log() -> None:
    network = Logged()
    assert network.log(Info(a.LOG_JOB_RECORD, True), Info(a.LOG_MSG, b"some text"), LOG_TIMESTAMP=86400) == DONE
    assert [log.message for log in network.logs] == ["rank 1: 1970-01-02T00:00:00Z some text"]
    assert network.shown == []


def test_the_nodes_syslog_was_written_by_libpmix_already() -> None:
    network = Logged()
    assert network.log(Info(a.LOG_SYSLOG, "x")) == network.log(Info(a.LOG_LOCAL_SYSLOG, "x")) == DONE
    assert network.shown == network.logs == []


@pytest.mark.parametrize("key", [a.LOG_GLOBAL_SYSLOG, a.LOG_EMAIL, a.LOG_GLOBAL_DATASTORE, "pmix.unheard.of"])
def test_a_channel_that_there_is_not_is_refused_with_the_reason(key: str) -> None:
    network = Logged()
    assert network.log(Info(key, "x")) == REFUSED
    (log,) = network.logs
    assert key in log.message and "rank 1" in log.message and ": " in log.message


def test_one_required_channel_that_is_missing_fails_the_request() -> None:
    network = Logged()
    assert network.log(Info(a.LOG_STDOUT, "x"), Info(a.LOG_EMAIL, "x")) == DONE
    assert network.log(Info(a.LOG_STDOUT, "x"), Info(a.LOG_EMAIL, "x", required=True)) == REFUSED
    assert network.log(Info(a.LOG_STDOUT, 5)) == REFUSED
    assert network.log() == REFUSED


@pytest.mark.parametrize(
    ("directives", "line"),
    [
        ({}, "a <b>\n"),
        ({"LOG_TAG_OUTPUT": True}, "[stdout] a <b>\n"),
        ({"LOG_TIMESTAMP": 1}, "a <b>\n"),
        ({"LOG_TIMESTAMP": 1, "LOG_TIMESTAMP_OUTPUT": True}, "1970-01-01T00:00:01Z a <b>\n"),
        ({"LOG_TIMESTAMP_OUTPUT": True}, "a <b>\n"),
        ({"LOG_TIMESTAMP": 1 << 60, "LOG_TIMESTAMP_OUTPUT": True}, "a <b>\n"),
        ({"LOG_XML_OUTPUT": True}, "<stdout>a &lt;b&gt;</stdout>\n"),
    ],
)
def test_a_line_is_shown_as_its_directives_say(directives: dict[str, Any], line: str) -> None:
    how = tuple(Info(getattr(a, name), value) for name, value in directives.items())
    assert decorated("a <b>", "stdout", how) == line
