"""Fences and direct modexes: data that processes put for each other. `operations.py` names these steps."""

from __future__ import annotations

from fluxpmix.cli.check.deaths import Wrong
from fluxpmix.cli.check.trying import SOON, Trial
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError, PmixNotFound, PmixTimeout, Status
from fluxpmix.pmix.types import Proc, Scope


def fence(trial: Trial) -> None:
    """Fence all."""
    trial.client.fence()


def _exchange(trial: Trial, turn: str, ranks: list[int]) -> None:
    """Put, fence with data, and get from a neighbour and the last of `ranks`."""
    client, me = trial.client, trial.rank
    client.put(Scope.GLOBAL, f"check.data.{turn}", f"{me} in turn {turn}")
    client.commit()
    client.fence([] if len(ranks) == trial.size else map(trial.proc, ranks), collect=True)
    for rank in {ranks[(ranks.index(me) + 1) % len(ranks)], ranks[-1]}:
        found = client.get(f"check.data.{turn}", trial.proc(rank))
        if found != f"{rank} in turn {turn}":
            raise Wrong(f"rank {rank} put '{rank} in turn {turn}', {found!r} came")


def fence_with_data(trial: Trial) -> None:
    """Put, fence with data, get."""
    for turn in range(2):  # twice: a host must tell one fence of the same processes from the next
        _exchange(trial, str(turn), list(range(trial.size)))


def every_other(trial: Trial) -> list[int]:
    """Return every other rank."""
    return list(range(0, trial.size, 2))


def fence_of_some(trial: Trial) -> str:
    """Fence every other rank."""
    if trial.rank in every_other(trial):
        trial.client.fence(map(trial.proc, every_other(trial)))
    return f"{len(every_other(trial))} of {trial.size} ranks"


def fence_of_some_with_data(trial: Trial) -> str:
    """Fence every other rank with data, and get it."""
    if trial.rank in every_other(trial):
        _exchange(trial, "some", every_other(trial))
    return f"{len(every_other(trial))} of {trial.size} ranks"


def fence_with_timeout(trial: Trial) -> str | None:
    """Have the first rank wait for the last, which never comes."""
    if trial.size < 2:
        return "needs 2 ranks"
    if trial.rank:
        return None  # the last rank never comes
    try:
        trial.client.fence([trial.proc(0), trial.proc(trial.size - 1)], {a.TIMEOUT: 1})
    except PmixError as error:
        if error.status == Status.ERR_TIMEOUT:
            return "ended after 1 s"
        raise
    raise Wrong("a fence ended without one of its participants")


def far(trial: Trial) -> Proc:
    return trial.proc((trial.rank + trial.size // 2) % trial.size)


def modex_put(trial: Trial) -> None:
    """Commit what others are to get without a fence."""
    trial.client.put(Scope.GLOBAL, "check.modex", trial.rank + 1)
    trial.client.commit()


def modex_present(trial: Trial) -> None:
    """Get it from a process that is on another node, where there is one."""
    other = far(trial)
    found = trial.client.get("check.modex", other, {a.TIMEOUT: SOON})
    if found != other.rank + 1:
        raise Wrong(f"rank {other.rank} put {other.rank + 1}, {found!r} came")


def modex_absent(trial: Trial) -> str | None:
    """Get what nobody puts: that has to end."""
    if trial.size > 1 and not trial.rank:
        return None  # has to wait for its fence already
    try:
        found = trial.client.get("check.nobody-put-this", far(trial), {a.TIMEOUT: 1})
    except (PmixNotFound, PmixTimeout) as error:
        return str(error)
    raise Wrong(f"{found!r} came, which nobody put")
