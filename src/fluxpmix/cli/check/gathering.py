"""Bringing what the ranks have to say to rank 0, by PMIx itself, and making the report's rows of it."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence

from fluxpmix.cli.check.deaths import Deaths, in_time
from fluxpmix.cli.check.records import Answer, Report, Row, Tried, Verdict, decode, encode
from fluxpmix.cli.check.trying import Family
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.types import Proc, Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.client import Client

_DIRECTORIES = ("PMIX_TMPDIR", "PMIX_NSDIR", "PMIX_PROCDIR", "PMIX_WDIR")
_PATIENCE = 2  # seconds for one rank's report


def gather(
    client: Client, own: Report, size: int, seconds: float, turn: str, deaths: Deaths, behind: float | None = None
) -> tuple[list[Report], list[str]]:
    """Return the reports that came to this rank, all in rank 0, and complaints about those that did not.

    By a collecting fence; where the ranks cannot meet any more rank 0 asks each for its own, which may come
    `behind` seconds later than rank 0's. Who is gone has put it, or never will.
    """
    key = f"fluxpmix.check.report.{turn}"

    def exchange() -> None:
        client.put(Scope.GLOBAL, key, encode(own))
        client.commit()
        if behind is None and size > 1:
            client.fence(collect=True)

    complaints = []
    verdict, error = in_time(exchange, 3 * seconds, deaths)
    if verdict is not Verdict.RIGHT:
        complaints.append(f"rank {own.rank}: the ranks' reports could not be exchanged: {error}")
    apart = behind is not None or verdict is not Verdict.RIGHT
    deadline = time.monotonic() + (2 * seconds + (behind or 2 * seconds) if apart else 0)
    if own.rank:
        if apart:
            _stay(client, f"{key}.taken", deadline + 5 * seconds, deaths)  # until rank 0 has come, or never will
        return [own], complaints
    found: dict[int, Report] = {own.rank: own}
    while True:
        _fetch(client, key, [rank for rank in range(size) if rank not in found], found)
        if found.keys() | deaths.gone >= set(range(size)) or time.monotonic() > deadline:
            break
    if apart:
        in_time(lambda: _tell(client, f"{key}.taken"), seconds)
    if missing := [rank for rank in range(size) if rank not in found]:
        from fluxpmix.job import idset

        complaints.append(f"no report came from rank(s) {idset.encode(missing)}")
    return [found[rank] for rank in sorted(found)], complaints


def _fetch(client: Client, key: str, ranks: Sequence[int], found: dict[int, Report]) -> None:
    """Add the reports that these ranks have put; stops at one that does not even get a refusal."""

    def get(rank: int) -> None:
        try:
            found[rank] = decode(client.get(key, Proc(client.proc.nspace, rank), {a.TIMEOUT: _PATIENCE}))
        except (PmixError, ValueError, TypeError):
            return

    for rank in ranks:
        verdict, _ = in_time(lambda rank=rank: get(rank), 2 * _PATIENCE)  # type: ignore[misc]
        if verdict is Verdict.UNANSWERED:
            return


def _tell(client: Client, key: str) -> None:
    client.put(Scope.GLOBAL, key, True)
    client.commit()


def _stay(client: Client, key: str, deadline: float, deaths: Deaths) -> None:
    """Be there while rank 0 comes for this rank's report: some launchers end the job with the first to leave."""
    first = Proc(client.proc.nspace, 0)
    while time.monotonic() < deadline and first.rank not in deaths.gone:
        started = time.monotonic()
        verdict, _ = in_time(lambda: str(client.get(key, first, {a.TIMEOUT: _PATIENCE})), 2 * _PATIENCE)
        if verdict is Verdict.RIGHT:
            return
        threading.Event().wait(max(0.0, started + _PATIENCE - time.monotonic()))


def own_facts(answers: Sequence[Answer]) -> dict[str, object]:
    """Return what this rank's kernel says: of the rank, and of the directories in its answers."""
    from fluxpmix.job import idset

    cpus = os.sched_getaffinity(0)
    online = os.cpu_count() or len(cpus)
    named = {answer.value for answer in answers if answer.name in _DIRECTORIES and isinstance(answer.value, str)}
    return {
        "host": os.uname().nodename,
        "cpus": idset.encode(cpus),
        "bound": len(cpus) < online,
        "uid": os.geteuid(),
        "directories": {path: _look_at(path) for path in named},
    }


def _look_at(path: str) -> tuple[int, int] | None:
    """Return mode and owner of a directory, None where there is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (stat.S_IMODE(found.st_mode), found.st_uid) if stat.S_ISDIR(found.st_mode) else None


def job_size(client: Client) -> tuple[int, str]:
    """Return how many ranks there are, and a complaint where the launcher says nothing that can be."""
    try:
        size = client.get(a.JOB_SIZE, client.job)
    except (PmixError, ValueError) as error:
        return 1, f"the launcher does not tell PMIX_JOB_SIZE ({error}): each rank looks for itself alone"
    if not isinstance(size, int) or not client.proc.rank < size <= 1 << 20:
        return 1, f"PMIX_JOB_SIZE cannot be {size!r:.60}: each rank looks for itself alone"
    return size, ""


def rows(reports: Sequence[Report], families: Sequence[Family], section: str) -> Iterator[Row]:
    """Yield a row for each operation that was tried: the worst that became of it in any rank."""
    # Where one is told that it is not supported, others find that nothing comes.
    order = (Verdict.UNANSWERED, Verdict.MISSING, Verdict.WRONG, Verdict.RIGHT)
    for operation in (each for family in families for each in family.operations):
        found = [(each, report.rank) for report in reports for each in report.tried if each.name == operation.name]
        if found:
            worst, rank = min(found, key=lambda one: order.index(one[0].verdict))
            yield Row(section, operation.name, operation.need, worst.verdict, "", worst.detail, _note(found, rank))


def _note(found: list[tuple[Tried, int]], rank: int) -> str:
    if any(each.verdict is not Verdict.RIGHT for each, _ in found):
        return f"rank {rank}"
    return f"{max(each.seconds for each, _ in found) * 1e3:.0f} ms"
