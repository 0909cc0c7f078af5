"""PMIx_Publish, PMIx_Lookup and PMIx_Unpublish, in each range and persistence. `operations.py` names these steps."""

from __future__ import annotations

import itertools

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import SOON, Step, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixNotFound
from fluxpmix.pmix.types import DataArray, DataType, Persistence, Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_numbers = itertools.count()  # of what is published, the same in all ranks


def _reached(trial: Trial, reach: Range) -> bool:
    """Say whether what rank 0 publishes with this range is this rank's to find."""
    if reach is Range.LOCAL:
        hosts = [trial.client.get(a.HOSTNAME, proc, {a.OPTIONAL: True}) for proc in (trial.proc(0), trial.client.proc)]
        return bool(hosts[0] == hosts[1])
    if reach is Range.RM:
        return False
    return trial.rank == 0 or reach is not Range.PROC_LOCAL


def publication(reach: Range, stays: Persistence) -> tuple[Step, Step, Step]:
    """Return the steps that publish in rank 0, look up in the first and last rank, and take it back."""
    name = f"check.{next(_numbers)}"

    def scope(trial: Trial) -> dict[str, Any]:
        found: dict[str, Any] = {a.RANGE: int(reach)}
        if reach is Range.CUSTOM:
            found[a.EVENT_CUSTOM_RANGE] = DataArray(DataType.PROC, tuple(trial.everybody))
        return found

    def look(trial: Trial) -> str:
        try:
            found = trial.client.lookup([name], scope(trial) | {a.TIMEOUT: SOON})
        except PmixNotFound:
            return "nothing"
        told = [(each.key, each.value, each.proc.rank) for each in found]
        return "it" if told == [(name, "published", 0)] else repr(told)

    def publish(trial: Trial) -> None:
        if not trial.rank:
            trial.client.publish({name: "published", a.PERSISTENCE: int(stays)} | scope(trial))

    def look_up(trial: Trial) -> None:
        once = stays is Persistence.FIRST_READ
        if trial.rank not in ((trial.size - 1,) if once else (0, trial.size - 1)):
            return
        expected = "it" if _reached(trial, reach) else "nothing"
        if (found := look(trial)) != expected:
            raise Wrong(f"rank {trial.rank} looks for what rank 0 published: expected {expected}, found {found}")
        if once and (found := look(trial)) != "nothing":
            raise Wrong(f"what is there for the first to read was found again: {found}")

    def unpublish(trial: Trial) -> None:
        if not trial.rank and stays is not Persistence.FIRST_READ:
            trial.client.unpublish([name], scope(trial))

    return publish, look_up, unpublish


def lookup_absent(trial: Trial) -> None:
    """Look up what nobody publishes."""
    try:
        found = trial.client.lookup(["check.nobody-published-this"], {a.TIMEOUT: SOON})
    except PmixNotFound:
        return
    raise Wrong(f"{found!r} came, which nobody published")


def lookup_waits(trial: Trial) -> None:
    """Look up in the first rank, with PMIX_WAIT, what the last publishes meanwhile."""
    if trial.rank == trial.size - 1:
        trial.client.publish({"check.late": "late"})
    if not trial.rank:
        found = trial.client.lookup(["check.late"], {a.WAIT: 1, a.TIMEOUT: 2 * SOON})
        if [each.value for each in found] != ["late"]:
            raise Wrong(f"{found!r} came")


def unpublish_late(trial: Trial) -> None:
    """Take that back."""
    if trial.rank == trial.size - 1:
        trial.client.unpublish(["check.late"])


def publish_to_take_back(trial: Trial) -> None:
    """Publish two keys and take one back."""
    if not trial.rank:
        trial.client.publish({"check.gone": "gone", "check.stays": "stays"})
        trial.client.unpublish(["check.gone"])


def look_for_what_was_taken_back(trial: Trial) -> None:
    """Find the one and not the other, in the last rank."""
    if trial.rank == trial.size - 1:
        trial.client.lookup(["check.stays"], {a.TIMEOUT: SOON})
        try:
            found = trial.client.lookup(["check.gone"], {a.TIMEOUT: SOON})
        except PmixNotFound:
            return
        raise Wrong(f"{found!r} came, which was unpublished")


def unpublish_all(trial: Trial) -> None:
    """Take back all that is left."""
    if not trial.rank:
        trial.client.unpublish()
