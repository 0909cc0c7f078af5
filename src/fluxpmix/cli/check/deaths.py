"""Ranks that end while the check is under way, as PMIx's events tell of them: nobody need wait for those.

`trying` and `gathering` wait for other ranks in `in_time`, and stop soon after one is known to be gone: what
a launcher ends on account of a death has come back by then, and what it does not would never come back. Where a
launcher does not tell of ends, the waits have their own. Standard 4.2, section 9.1.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fluxpmix.cli.check.records import Verdict
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixNotSupported, Status
from fluxpmix.pmix.types import Info, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.client import Client

GRACE = 1.0  # seconds that others have to come back after a death
_REGISTRATION = 2.0  # seconds that it may take
_STEP = 0.05
_ENDS = (
    Status.ERR_PROC_ABORTED,
    Status.ERR_PROC_ABORTED_BY_SIG,
    Status.ERR_PROC_KILLED_BY_CMD,
    Status.ERR_PROC_TERM_WO_SYNC,
    Status.ERR_EXIT_NONZERO_TERM,
    Status.EVENT_PROC_TERMINATED,
)


class Wrong(Exception):
    """An operation that came back with something else than it must."""


class Missing(Exception):
    """An operation that cannot be had here, for the reason given."""


class Deaths:
    """The ranks of this job that are known to be gone."""

    def __init__(self, client: Client) -> None:
        self._nspace = client.proc.nspace
        self._since: float | None = None
        self.gone: set[int] = set()
        in_time(lambda: str(client.register_event_handler(_ENDS, self._heard)), _REGISTRATION)

    @property
    def patience(self) -> float | None:
        """Seconds that it makes sense to wait for others from now on; None: nobody is known to be gone."""
        return None if self._since is None else self._since + GRACE - time.monotonic()

    def _heard(self, _status: int, source: Proc, infos: tuple[Info, ...]) -> None:
        named = [info.value for info in infos if info.key == a.EVENT_AFFECTED_PROC]
        proc = named[0] if named and isinstance(named[0], Proc) else source
        if proc.nspace == self._nspace:
            self.gone.add(proc.rank)
            self._since = time.monotonic()


def in_time(what: Callable[[], str | None], seconds: float, deaths: Deaths | None = None) -> tuple[Verdict, str]:
    """Do something in a thread of its own, and say what became of it, after `seconds` at the latest.

    With `deaths`, `GRACE` after a rank is gone.
    """
    result: list[tuple[Verdict, str]] = []
    done = threading.Event()

    def run() -> None:
        try:
            result.append((Verdict.RIGHT, what() or ""))
        except (PmixNotSupported, Missing) as error:
            result.append((Verdict.MISSING, str(error)))
        except (PmixError, Wrong) as error:
            result.append((Verdict.WRONG, str(error)))
        except Exception as error:  # whatever nonsense makes of us is a row of the report
            result.append((Verdict.WRONG, f"{type(error).__name__}: {error}"))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    started = time.monotonic()
    left: float = seconds
    while not done.wait(max(0.0, min(left, _STEP) if deaths is not None else left)):
        left = started + seconds - time.monotonic()
        if deaths is not None and deaths.patience is not None:
            left = min(left, max(deaths.patience, started + GRACE - time.monotonic()))
        if left <= 0:
            break
    if result:
        return result[0]
    waited = f"no answer in {time.monotonic() - started:.3g} s"
    gone = sorted(deaths.gone) if deaths is not None else []
    return Verdict.UNANSWERED, f"{waited}, and rank {gone[0]} is gone" if gone else f"no answer in {seconds:g} s"
