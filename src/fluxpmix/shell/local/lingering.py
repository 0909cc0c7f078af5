"""Tasks that stay when others are gone: those of jobs whose parent has ended, and the last ones of a job.

`launcher.py` loads this when there are such. A spawned job ends with its parent (Standard 4.2, section 11.2) and has
a while to do so by itself; then it is sent SIGTERM, and after as long again SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fluxpmix.pmix.light import partial, signal
from fluxpmix.shell.local import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.local.jobs import Running
    from fluxpmix.shell.local.reactor import Reactor
    from fluxpmix.shell.local.shells import Shells


class Lingering:
    """Ends jobs whose parent has ended. `there(job)` says whether there is still something to end of one."""

    def __init__(self, reactor: Reactor, shells: Shells, seconds: float, there: Callable[[Running], bool]) -> None:
        """`seconds` is how long they have, before each signal."""
        self._reactor = reactor
        self._shells = shells
        self._seconds = seconds
        self._there = there

    def end(self, children: Iterable[Running], signum: int = signal.SIGTERM) -> None:
        """Let them end by themselves, but not for ever."""
        for child in children:
            child.timer = self._reactor.call_later(self._seconds, partial(self._signal, child, signum))

    def _signal(self, child: Running, signum: int) -> None:
        if self._there(child):
            child.counts = False  # how they end is our doing
            self._shells.send(control.SIGNAL, int(signum), sorted(child.left))
            self.end((child,), signal.SIGKILL)


def outlived(how: str, seconds: float | None, left: str, many: bool) -> str:
    """Say why a job ends where one of its tasks has ended and others (`left`) have not, for as long as they had."""
    return f"{how} {seconds:g} s ago, but {left} still {'run' if many else 'runs'}; -o exit-timeout=none would wait"
