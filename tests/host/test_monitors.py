"""What is watched: silent processes and still files raise one event on all shells, others none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from simulator import NSPACE
from telling import MINE, Told

from fluxpmix.host.effects import Effect, Heed, Look
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Info, Infos, Proc, find
from fluxpmix.pmix.upcalls import Monitor

ME = Proc(NSPACE, 0)
BEAT = Info(a.MONITOR_HEARTBEAT, True)
EVERY = Info(a.MONITOR_HEARTBEAT_TIME, 2)


class Watched(Told):
    """Two shells; process 0 sends, and its file grows, as a test says."""

    def __init__(self, size: int | None = 100) -> None:
        super().__init__([1, 1])
        self.size = size  # what process 0 has sent in all
        self.file: tuple[int, int, int] | None = (0, 0, 0)
        self.looks = 0

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        for effect in effects:
            if isinstance(effect, Heed):
                self.looks += 1
                assert effect.proc == ME and shell == 0
                self.perform(shell, self.hosts[shell].outcomes.heard(effect.number, self.size, self.now))
            elif isinstance(effect, Look):
                self.perform(shell, self.hosts[shell].outcomes.looked(effect.number, self.file, self.now))

    def monitor(self, what: Info, *directives: Info, error: int = MINE) -> tuple[int, Infos | None]:
        asked = self.upcall(0, lambda id_: Monitor(id_, ME, what, error, directives))
        status, infos = self.replies[asked]
        return status, infos

    def beat(self, times: int, every: float) -> None:
        for _ in range(times):
            assert self.size is not None
            self.size += 16
            self.pass_time(every)

    @property
    def alerts(self) -> int:
        """How often every shell has been told."""
        assert self.shells() == sorted([0, 1] * (len(self.shells()) // 2))
        return len(self.shells()) // 2


@pytest.mark.parametrize("drops", [0, 1, 3])
def test_silence_is_told_after_as_many_misses_as_are_spared_and_one_more(drops: int) -> None:
    told = Watched()
    answer = told.monitor(BEAT, EVERY, Info(a.MONITOR_HEARTBEAT_DROPS, drops), Info(a.MONITOR_ID, "mine"))
    assert answer == (0, (Info(a.MONITOR_ID, "mine"),))
    told.beat(20, every=1.5)
    assert told.alerts == 0
    told.pass_time(2.0 * (drops + 1) - 0.5)
    assert told.alerts == 0
    told.pass_time(3.0)
    assert told.alerts == 1
    ((_, event), _) = told.told
    assert find(event.infos, a.EVENT_AFFECTED_PROC) == ME and find(event.infos, a.MONITOR_ID) == "mine"


def test_silence_is_told_once_and_again_after_new_beats() -> None:
    told = Watched()
    told.monitor(BEAT, EVERY)
    told.pass_time(100)
    assert told.alerts == 1
    told.beat(5, every=1)
    told.pass_time(100)
    assert told.alerts == 2


@pytest.mark.parametrize("end", ["cancel", "finalize", "exit", "gone"])
def test_nobody_is_watched_who_does_not_want_it_or_is_gone(end: str) -> None:
    told = Watched()
    told.connect(0)
    told.monitor(BEAT, EVERY, Info(a.MONITOR_ID, "mine"))
    if end == "cancel":
        assert told.monitor(Info(a.MONITOR_CANCEL, "another"))[0] == Status.ERR_NOT_FOUND
        assert told.monitor(Info(a.MONITOR_CANCEL, "mine"))[0] == 0
    elif end == "finalize":
        told.finalize(0)
    elif end == "exit":
        told.finalize(0)
        told.exit(0, 0)
    else:
        told.size = None
    looks = told.looks
    told.pass_time(100)
    assert told.alerts == 0 and told.looks <= looks + 1
    assert told.hosts[0].deadline is None


def test_the_event_is_the_standards_where_none_is_named() -> None:
    told = Watched()
    told.monitor(BEAT, EVERY, error=0)
    told.pass_time(100)
    assert told.shells(int(Status.MONITOR_HEARTBEAT_ALERT)) == [0, 1]


@pytest.mark.parametrize(
    ("what", "directives", "status"),
    [
        (BEAT, [], Status.ERR_BAD_PARAM),
        (BEAT, [Info(a.MONITOR_HEARTBEAT_TIME, 0)], Status.ERR_BAD_PARAM),
        (BEAT, [Info(a.MONITOR_HEARTBEAT_TIME, "2")], Status.ERR_BAD_PARAM),
        (Info("pmix.monitor.unheard.of", True), [EVERY], Status.ERR_NOT_SUPPORTED),
        (Info(a.MONITOR_FILE, "/f"), [Info(a.MONITOR_FILE_CHECK_TIME, 1)], Status.ERR_BAD_PARAM),
        (Info(a.MONITOR_FILE, "/f"), [Info(a.MONITOR_FILE_SIZE, True)], Status.ERR_BAD_PARAM),
    ],
)
def test_what_cannot_be_watched_is_refused_with_a_reason(what: Info, directives: Sequence[Info], status: int) -> None:
    told = Watched()
    assert told.monitor(what, *directives)[0] == status
    assert any("is refused" in log.message for log in told.logs)
    assert told.hosts[0].deadline is None


def test_heartbeats_that_cannot_be_heard_are_refused() -> None:
    told = Watched(size=None)
    assert told.monitor(BEAT, EVERY)[0] == Status.ERR_NOT_SUPPORTED
    assert told.hosts[0].deadline is None


def test_a_file_is_watched_until_it_stands_still() -> None:
    told = Watched()
    told.file = None
    wanted = (Info(a.MONITOR_FILE_SIZE, True), Info(a.MONITOR_FILE_CHECK_TIME, 1), Info(a.MONITOR_FILE_DROPS, 2))
    assert told.monitor(Info(a.MONITOR_FILE, "/f"), *wanted)[0] == 0
    told.pass_time(10)
    for size in range(10):
        told.file = (size, 0, 0)
        told.pass_time(1)
    assert told.alerts == 0
    told.pass_time(10)
    assert told.alerts == 1
    assert told.hosts[0].deadline is None
