"""What `host.py` tells every capability, and what each may leave out.

`host.py` holds one of each that has been needed, hands it what `capabilities.py` says is its own, and tells it of
deaths, lost shells, the time and the end. A bare `rank`
in `host/` is a process's number, which counts on over the jobs of the host (`directory.py`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fluxpmix.host.directory import Member
    from fluxpmix.host.effects import Effect
    from fluxpmix.host.frames import Message
    from fluxpmix.pmix.types import Infos, Proc


class Alarm:
    """The earliest of many moments, at no cost however many there are: perhaps too early, never too late."""

    __slots__ = ("when",)

    def __init__(self) -> None:
        self.when: float | None = None

    def set(self, moment: float | None) -> None:
        """Ring then at the latest."""
        if moment is not None and (self.when is None or moment < self.when):
            self.when = moment

    def rings(self, now: float) -> bool:
        """Whether it is time. If so, all moments that are still ahead must be set again."""
        if self.when is None or self.when > now:
            return False
        self.when = None
        return True


class Capability:
    """Nothing under way, nobody to tell."""

    @property
    def counters(self) -> Mapping[str, int]:
        """How often what happened here."""
        return {}

    @property
    def idle(self) -> bool:
        """Whether nothing is under way here."""
        return True

    @property
    def deadline(self) -> float | None:
        """When `tick` wants to be called."""
        return None

    def upcall(self, upcall: Any, now: float, out: list[Effect]) -> None:
        """Take a request of this shell's libpmix, one of those that it serves."""
        raise NotImplementedError

    def receive(self, source: int, message: Message, now: float, out: list[Effect]) -> str | None:
        """Take a frame of peer `source`, one of those that it takes. Returns what is wrong with it, if something is."""
        raise NotImplementedError

    def on_event(self, status: int, source: Proc, infos: Infos) -> None:
        """Take an event of any process, one of those that it hears."""
        raise NotImplementedError

    def added(self, member: Member, now: float, out: list[Effect]) -> None:
        """A spawned job is known from now on: it has processes that are still to be started."""

    def removed(self, member: Member) -> None:
        """It came to nothing: none of its processes runs, or will."""

    def started(self, rank: int, pid: int) -> None:
        """Task `rank` of this shell runs."""

    def connected(self, rank: int) -> None:
        """Process `rank` of this shell called PMIx_Init."""

    def finalized(self, rank: int, now: float, out: list[Effect]) -> None:
        """Process `rank` of this shell called PMIx_Finalize."""

    def silent(self, rank: int, channel: int, out: list[Effect]) -> None:
        """An output stream of task `rank` of this shell is at its end."""

    def exited(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        """Task `rank` of this shell is gone."""

    def replaced(self, rank: int, wait_status: int, now: float, out: list[Effect]) -> None:
        """Task `rank` of this shell is gone, which is no failure: it is to be started again (`restart.py`)."""
        self.exited(rank, wait_status, now, out)

    def revived(self, rank: int, out: list[Effect]) -> None:
        """Task `rank`, of any shell, is about to be started again: what was heard of its end is of the past."""

    def shell_lost(self, shell: int, now: float, out: list[Effect]) -> None:
        """Peer `shell` is gone for good."""

    def tick(self, now: float, out: list[Effect]) -> None:
        """Let deadlines that have passed take effect."""

    def abandon(self, status: int, out: list[Effect]) -> None:
        """Answer all that is open: the job is over."""
