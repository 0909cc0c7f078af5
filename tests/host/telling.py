"""A network of hosts whose events a test can look at."""

from __future__ import annotations

from collections.abc import Sequence

from simulator import NSPACE, Network

from fluxpmix.host.effects import Effect, Notify
from fluxpmix.pmix.types import Info, Proc, Range
from fluxpmix.pmix.upcalls import NotifyEvent

MINE = -3000


class Told(Network):
    """Hosts that tell their processes of events."""

    def __init__(self, counts: Sequence[int], fanout: int = 4) -> None:
        super().__init__(counts, fanout)
        self.told: list[tuple[int, Notify]] = []

    def perform(self, shell: int, effects: list[Effect]) -> None:
        super().perform(shell, effects)
        self.told += [(shell, effect) for effect in effects if isinstance(effect, Notify)]

    def notify(self, rank: int, range_: Range = Range.SESSION, *infos: Info, status: int = MINE) -> int:
        shell = self.job.taskmap.node_of(rank)
        return self.upcall(shell, lambda id_: NotifyEvent(id_, status, Proc(NSPACE, rank), range_, infos))

    def shells(self, status: int = MINE) -> list[int]:
        return sorted(shell for shell, event in self.told if event.status == status)
