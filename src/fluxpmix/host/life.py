"""What has become of a shell's tasks and peers, for a capability that is made when it has happened.

`host.py` keeps one, and has it told to each capability that it makes: as if it happened now, but for the order.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.host.capability import Capability
    from fluxpmix.host.directory import Directory
    from fluxpmix.host.effects import Effect


class Life:
    """Tasks are known by their numbers."""

    def __init__(self) -> None:
        self.pids: dict[int, int] = {}  # of tasks that were started
        self.connected: set[int] = set()  # called PMIx_Init
        self.finalized: set[int] = set()  # and PMIx_Finalize, since
        self.silent: list[tuple[int, int]] = []  # tasks and their channels that are at their end
        self.ended: dict[int, int] = {}  # the wait status of tasks that are gone
        self.lost: list[int] = []  # peers

    def forget(self, number: int) -> None:
        """A task is to be started again."""
        self.pids.pop(number, None)
        self.connected.discard(number)
        self.finalized.discard(number)
        self.silent = [one for one in self.silent if one[0] != number]
        self.ended.pop(number, None)

    def tell(self, late: Capability, directory: Directory, me: int, now: float, out: list[Effect]) -> None:
        """Let a capability of shell `me` catch up."""
        for member in directory.members[1:]:
            late.added(member, now, out)
        for number, pid in self.pids.items():
            if directory.is_on(number, me):  # or its job came to nothing
                late.started(number, pid)
        for number in self.connected:
            late.connected(number)
        for number in self.finalized:
            late.finalized(number, now, out)
        for number, channel in self.silent:
            late.silent(number, channel, out)
        for number, wait_status in self.ended.items():
            if directory.is_on(number, me):
                late.exited(number, wait_status, now, out)
        for shell in self.lost:
            late.shell_lost(shell, now, out)
