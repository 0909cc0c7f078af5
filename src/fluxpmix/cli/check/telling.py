"""Events by range and kind: whom each reaches, and whom it does not. `operations.py` names these steps.

Rank 0 raises them, the narrowest first. By the time that the ranks have met again and the widest has come, what
went to the wrong ones is there as well. Standard 4.2, chapter 9.
"""

from __future__ import annotations

import itertools
import threading
import time

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import SOON, Step, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, Range, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxpmix.pmix.types import Directives

_codes = itertools.count(-3001, -1)  # outside PMIx's own: an application's; the same in all ranks


class Ear:
    """What one handler hears of one event."""

    def __init__(self, trial: Trial, code: int, codes: Sequence[int] | None, directives: Directives | None = None):
        self._trial = trial
        self._code = code
        self._came = threading.Condition()
        self.heard: list[Infos] = []
        self._reference = trial.client.register_event_handler(codes, self._hear, directives)

    def wait(self, what: str) -> None:
        """Wait until the event has come. Raises `Wrong`."""
        deadline = time.monotonic() + SOON
        with self._came:
            while not self.heard:
                if not self._came.wait(deadline - time.monotonic()) and not self.heard:
                    raise Wrong(f"{what} did not come to rank {self._trial.rank} in {SOON} s")

    def close(self, what: str, times: int | None) -> None:
        """Hear no more. Raises `Wrong` where the event has not come so often (None: that does not matter)."""
        self._trial.client.deregister_event_handler(self._reference)
        if times is not None and len(self.heard) != times:
            raise Wrong(f"{what} came {len(self.heard)} times to rank {self._trial.rank}, not {times}")

    def _hear(self, status: int, _source: Proc, infos: Infos) -> None:
        if status == self._code:
            with self._came:
                self.heard.append(infos)
                self._came.notify_all()


def _raise(trial: Trial, code: int, reach: Range, *infos: Info) -> None:
    if not trial.rank:
        trial.client.notify_event(code, reach, infos)


def ranged(reach: Range) -> tuple[Step, Step, Step]:
    """Return the steps that try one range."""
    code = next(_codes)
    what = f"an event of range {reach.name.lower()}"

    def listen(trial: Trial) -> None:
        trial.kept["ear"] = Ear(trial, code, [code])
        trial.kept["times"] = _times(trial, reach)

    def tell(trial: Trial) -> None:
        chosen = DataArray(DataType.PROC, tuple(map(trial.proc, _chosen(trial))))
        _raise(trial, code, reach, *([Info(a.EVENT_CUSTOM_RANGE, chosen)] if reach is Range.CUSTOM else ()))
        if trial.kept["times"]:
            trial.kept["ear"].wait(what)

    def judge(trial: Trial) -> str:
        trial.kept["ear"].close(what, trial.kept["times"])
        return f"{trial.size} ranks"

    return listen, tell, judge


def _chosen(trial: Trial) -> range:
    return range(1, trial.size, 2)


def _times(trial: Trial, reach: Range) -> int | None:
    """Say how often this rank is to hear an event of rank 0 with this range; None: the Standard does not tell."""
    if not trial.rank:
        return None if reach is Range.CUSTOM else 1
    if reach is Range.CUSTOM:
        return int(trial.rank in _chosen(trial))
    if reach is Range.LOCAL:
        hosts = [trial.client.get(a.HOSTNAME, proc, {a.OPTIONAL: True}) for proc in (trial.proc(0), trial.client.proc)]
        return int(hosts[0] == hosts[1])
    return int(reach is not Range.PROC_LOCAL)


def not_for_default() -> tuple[Step, Step, Step]:
    """Return the steps that try PMIX_EVENT_NON_DEFAULT: a default handler hears of an event only without it.

    In other processes than the one that raises it libpmix's default handlers (4.2 to 6.1) hear of nothing anyway.
    """
    quiet, loud = next(_codes), next(_codes)
    what = "an event with PMIX_EVENT_NON_DEFAULT"

    def listen(trial: Trial) -> None:
        trial.kept["quiet by default"] = Ear(trial, quiet, None)
        trial.kept["quiet"] = Ear(trial, quiet, [quiet])
        trial.kept["loud by default"] = Ear(trial, loud, None)

    def tell(trial: Trial) -> None:
        _raise(trial, quiet, Range.SESSION, Info(a.EVENT_NON_DEFAULT, True))
        _raise(trial, loud, Range.SESSION)
        trial.kept["quiet"].wait(what)
        if not trial.rank:
            trial.kept["loud by default"].wait("an event for default handlers")

    def judge(trial: Trial) -> None:
        trial.kept["loud by default"].close("an event for default handlers", None if trial.rank else 1)
        trial.kept["quiet"].close(what, 1)
        trial.kept["quiet by default"].close(f"{what}, to a default handler", 0)

    return listen, tell, judge


def late() -> tuple[Step, Step]:
    """Return the steps that register for an event after it has been raised: who comes late hears of it still."""
    code = next(_codes)

    def tell(trial: Trial) -> None:
        _raise(trial, code, Range.SESSION)

    def listen(trial: Trial) -> None:
        ear = Ear(trial, code, [code])
        what = "an event that was raised before it registered"
        ear.wait(what)
        ear.close(what, 1 if trial.client.library.version >= (5, 0) else None)  # 4.2 tells it twice

    return tell, listen


def affected() -> tuple[Step, Step, Step]:
    """Return the steps that register for what affects one process: an event that affects another is not for them."""
    code = next(_codes)
    what = "an event about the last rank"

    def listen(trial: Trial) -> None:
        last = trial.proc(trial.size - 1)
        trial.kept["last"] = Ear(trial, code, [code], {a.EVENT_AFFECTED_PROC: last})
        nobody = Proc(last.nspace, trial.size)
        trial.kept["nobody"] = Ear(trial, code, [code], {a.EVENT_AFFECTED_PROC: nobody})

    def tell(trial: Trial) -> None:
        last = trial.proc(trial.size - 1)
        _raise(trial, code, Range.SESSION, Info(a.EVENT_AFFECTED_PROC, last))
        trial.kept["last"].wait(what)
        if (named := find(trial.kept["last"].heard[0], a.EVENT_AFFECTED_PROC)) != last:
            raise Wrong(f"{what} names {named}")

    def judge(trial: Trial) -> None:
        trial.kept["nobody"].close(f"{what}, for who registered for another,", 0)
        trial.kept["last"].close(what, 1)

    return listen, tell, judge
