"""What comes of what a host asks of its carrier: each goes to the capability that has asked.

`shell/performing.py` carries effects out, and says here what came of those that have an outcome: a step of a launch,
a file looked at, libpmix's own answer. `host.py` is the rest of the host.
"""

from __future__ import annotations

from fluxpmix.host import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fluxpmix.host.effects import Effect
    from fluxpmix.host.host import Host
    from fluxpmix.host.submission import Arrival
    from fluxpmix.pmix.types import Infos, Proc


class Outcomes:
    """Every method takes the time, and returns effects, as those of `Host` do."""

    def __init__(self, host: Host, begin: Callable[[float], list[Effect]]) -> None:
        """`begin(now)` returns the list of a new step's effects."""
        self._get = host.get
        self._begin = begin

    def prepared(self, first: int, packed: bytes, status: int, why: str, now: float) -> list[Effect]:
        """What a `Prepare` asked for is there; `status` and `why` say how that went."""
        out = self._begin(now)
        self._get(capabilities.spawns).deciding.prepared(first, packed, status, why, now, out)
        return out

    def launched(self, first: int, step: int, status: int, why: str, now: float) -> list[Effect]:
        """A `Register` (step 1) or `Start` (step 2) of the job with that first number is done, or failed."""
        out = self._begin(now)
        self._get(capabilities.spawns).done(first, step, status, why, now, out)
        return out

    def joined(self, ticket: int, arrival: Arrival, now: float) -> list[Effect]:
        """The shells of the job that was submitted under `ticket` are up."""
        out = self._begin(now)
        self._get(capabilities.spawns).deciding.joined(ticket, arrival, now, out)
        return out

    def came(self, ticket: int, arrival: Arrival, apps: tuple[tuple[Any, ...], ...], now: float) -> list[Effect]:
        """The shells of a job that somebody has started by hand are up, and ask to join."""
        out = self._begin(now)
        self._get(capabilities.spawns).deciding.came(ticket, arrival, apps, now, out)
        return out

    def withdrawn(self, ticket: int, status: int, why: str, now: float) -> list[Effect]:
        """The job that was submitted under `ticket` will not be there."""
        out = self._begin(now)
        self._get(capabilities.spawns).deciding.withdrawn(ticket, status, why, now, out)
        return out

    def told(self, source: Proc, infos: Infos, now: float) -> list[Effect]:
        """Take an event that was asked for by `Hear`: a process has taken its checkpoint."""
        out = self._begin(now)
        self._get(capabilities.checkpoints).completed(source, infos, now, out)
        return out

    def restarted(self, number: int, status: int, why: str, now: float) -> list[Effect]:
        """A `Restart` is done, or failed."""
        out = self._begin(now)
        self._get(capabilities.restarts).restarted(number, status, why, now, out)
        return out

    def looked(self, number: int, found: tuple[int, int, int] | None, now: float) -> list[Effect]:
        """Take what came of a `Look`: size and times (ns) of last access and change; None: there is no such file."""
        out = self._begin(now)
        self._get(capabilities.monitors).looked(number, found, out)
        return out

    def heard(self, number: int, size: int | None, now: float) -> list[Effect]:
        """Take what came of a `Heed`: the bytes that came from a process; None: nobody can tell."""
        out = self._begin(now)
        self._get(capabilities.monitors).heard(number, size, out)
        return out

    def fed(self, token: tuple[int, int], status: int, now: float) -> list[Effect]:
        """Take what came of a `Feed`."""
        out = self._begin(now)
        self._get(capabilities.forwarding).fed(token, status, now, out)
        return out

    def modex_ready(self, token: int, status: int, data: bytes, now: float) -> list[Effect]:
        """Take libpmix's answer to a `RequestModex`."""
        out = self._begin(now)
        self._get(capabilities.direct_modexes).modex_ready(token, status, data, now, out)
        return out

    def measured(self, token: int, own: int, tasks: tuple[tuple[int, int], ...], now: float) -> list[Effect]:
        """Take what came of a `Measure`: the bytes that this shell has, and its tasks by number."""
        out = self._begin(now)
        self._get(capabilities.queries).measured(token, own, tasks, now, out)
        return out

    def enquired(self, token: int, text: str | None, now: float) -> list[Effect]:
        """Take what came of an `Enquire`; None: nobody knows."""
        out = self._begin(now)
        self._get(capabilities.queries).enquired(token, text, now, out)
        return out
