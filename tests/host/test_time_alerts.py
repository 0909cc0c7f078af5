"""What must hold of the alert before a job's time is up: each shell tells its own once, before the end that counts."""

from __future__ import annotations

import pytest
from simulator import NSPACE
from telling import Told

from fluxpmix.host.effects import Notify
from fluxpmix.host.host import Host
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Proc, find, is_true

ALERT = int(Status.JCTRL_PREEMPT_ALERT)
LEAD = 60.0


class Limited(Told):
    """Three shells of a job whose time is limited; when each alert came."""

    def __init__(self, limit: float | None, lead: float = LEAD) -> None:
        super().__init__([2, 1, 1])
        self.hosts = [Host(self.job, shell, fanout=4, alert=lead) for shell in range(3)]
        self.limit(limit)

    def limit(self, ends_at: float | None) -> None:
        for host in self.hosts:
            host.time_limit(ends_at, self.now)

    def alerts(self, until: float) -> list[float]:
        """Let time pass and return when alerts came: to all shells at once."""
        moments = []
        while self.now < until:
            before = len(self.told)
            self.pass_time(0.5)
            if len(self.told) > before:
                assert len(self.told) - before == len(self.hosts)
                moments.append(self.now)
        return moments


@pytest.mark.parametrize(
    ("limit", "lead", "when"),
    [
        (600, 60.0, [540]),
        (61, 60.0, [1]),
        (60, 60.0, [30]),
        (10, 60.0, [5]),
        (600, 0.5, [599.5]),
        (600, 0.0, []),
        (None, 60.0, []),
    ],
)
def test_it_comes_once_so_long_before_the_end_or_in_the_middle_of_a_short_time(
    limit: float | None, lead: float, when: list[float]
) -> None:
    told = Limited(limit, lead)
    assert told.alerts(700) == when
    assert sorted(told.shells(ALERT)) == [0, 1, 2] * len(when)
    assert told.sent == 0, "every shell knows by itself"


def test_it_says_who_has_how_long_and_is_for_those_who_asked() -> None:
    told = Limited(600)
    told.pass_time(540)
    for shell, event in told.told:
        assert isinstance(event, Notify) and event.source == Proc(f"{NSPACE}.shell", shell)
        infos = event.infos
        assert is_true(infos, a.EVENT_TERMINATE_JOB) and is_true(infos, a.EVENT_NON_DEFAULT)
        assert find(infos, a.EVENT_ACTION_TIMEOUT) == find(infos, a.TIME_REMAINING) == 60
        assert find(infos, a.EVENT_AFFECTED_PROC) == Proc(NSPACE, RANK_WILDCARD)
        assert find(infos, a.EVENT_TEXT_MESSAGE) == "the job's time is up in 60 s"
        assert is_true(infos, a.EVENT_DO_NOT_CACHE), "it may be of a limit that is no more"


def test_a_longer_limit_before_the_alert_moves_it() -> None:
    told = Limited(600)
    told.pass_time(500)
    told.limit(1200)
    assert told.alerts(1300) == [1140]


def test_a_longer_limit_after_the_alert_has_one_of_its_own() -> None:
    told = Limited(600)
    assert told.alerts(550) == [540]
    told.limit(1200)
    assert told.alerts(1300) == [1140]


def test_a_little_more_time_is_alerted_of_in_its_middle() -> None:
    told = Limited(600)
    assert told.alerts(590) == [540]
    told.limit(610)
    assert told.alerts(700) == [600]


def test_the_same_limit_as_another_clock_tells_it_is_no_news() -> None:
    told = Limited(600)
    assert told.alerts(550) == [540]
    told.limit(600.3)
    assert told.alerts(700) == []


def test_a_limit_that_is_taken_back_is_not_told_of() -> None:
    told = Limited(600)
    told.limit(None)
    assert told.alerts(700) == []


def test_a_limit_that_comes_while_the_job_runs_is_told_of() -> None:
    told = Limited(None)
    told.pass_time(100)
    told.limit(300)
    assert told.alerts(400) == [240]
