"""Trying operations one after the other, each with a deadline of its own, so that the report always ends.

All ranks try the same list (`operations`) in the same order. What does not come back is left behind in its
thread and reported; what comes after it is still tried. Of its kind two more get a second each, and the rest
none. Where ranks have to be at the same point they meet in a fence that belongs to no operation: a rank whose
operation failed still comes, so that one failure is not the next operation's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from fluxpmix.cli.check.deaths import Deaths, in_time
from fluxpmix.cli.check.records import Tried, Verdict
from fluxpmix.pmix.record import Record
from fluxpmix.pmix.types import Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from fluxpmix.pmix.client import Client

SOON = 3  # seconds, for what must come to an end by itself
AGAIN = 1.0  # seconds for what is of a kind that was not answered already
ENOUGH = 3  # unanswered of a kind, and the others are not tried
_SLACK = 5.0  # seconds that ranks may be apart anyhow


class Trial:
    """One operation in one rank.

    `kept` carries what one step leaves for the next, `shared` what one operation leaves for others.
    """

    def __init__(self, client: Client, size: int, shared: dict[str, Any]) -> None:
        self.client = client
        self.rank = client.proc.rank
        self.size = size
        self.kept: dict[str, Any] = {}
        self.shared = shared

    def proc(self, rank: int) -> Proc:
        """Return a process of this job."""
        return Proc(self.client.proc.nspace, rank)

    @property
    def directory(self) -> str:
        """Return a directory of this rank's for files, there until `clear`, or `Trier.close`."""
        if "directory" not in self.shared:
            import tempfile

            self.shared["directory"] = tempfile.mkdtemp(prefix="flux-pmix-check-")
        return str(self.shared["directory"])

    def clear(self) -> None:
        """Remove that directory: launchers may end the job in what comes next."""
        _clear(self.shared)

    @property
    def everybody(self) -> list[Proc]:
        """Return all processes of this job."""
        return [self.proc(rank) for rank in range(self.size)]


Step: TypeAlias = Callable[[Trial], "str | None"]


class Operation(Record):
    """One operation: whether the Standard requires hosts to serve it, and its steps, between which ranks meet.

    A step returns what there is to say of it, if anything. Those of one `kind` are served by the same part
    of a host.
    """

    name: str
    need: str
    kind: str
    steps: tuple[Step, ...]


class Family(Record):
    """Operations that go through their steps side by side, so that ranks meet once for all of them.

    `together` means that ranks meet before the first step: it needs all at once, or may take its time.
    """

    operations: tuple[Operation, ...]
    together: bool = False


class Trier:
    """Tries families of operations in this rank. `seconds` is how long each step may take."""

    def __init__(self, client: Client, size: int, seconds: float, deaths: Deaths) -> None:
        self._deaths = deaths
        self._client = client
        self._size = size
        self._seconds = seconds
        self._unanswered: dict[str, int] = {}  # how often, by kind
        self._since: set[str] = set()  # kinds tried since the ranks met
        self._lost = ""  # why the ranks cannot meet any more
        self._shared: dict[str, Any] = {}
        self.behind = 0.0  # how long other ranks may still wait for each other then

    def try_all(self, families: Sequence[Family]) -> Iterator[Tried]:
        """Yield what became of each operation."""
        for family in families:
            if family.together:
                self._meet()
            yield from self._try(family.operations)

    @property
    def meets(self) -> bool:
        """Whether the ranks can still meet, as far as this one knows."""
        return not self._lost

    @property
    def stuck(self) -> bool:
        """Whether something was left behind that may hold up the end."""
        return bool(self._unanswered or self._lost)

    def close(self) -> None:
        """Leave no file behind."""
        _clear(self._shared)

    # -- inside ----------------------------------------------------------------------------------

    def _try(self, operations: Sequence[Operation]) -> Iterator[Tried]:
        trials = [Trial(self._client, self._size, self._shared) for _ in operations]
        found = [(Verdict.RIGHT, "", 0.0)] * len(operations)
        for number in range(max(len(each.steps) for each in operations)):
            if number:
                self._meet()
            for at, operation in enumerate(operations):
                verdict, said, taken = found[at]
                if verdict is Verdict.RIGHT and number < len(operation.steps):
                    verdict, more, seconds = self._step(operation, number, trials[at])
                    found[at] = verdict, more or said, taken + seconds
        for operation, (verdict, said, taken) in zip(operations, found, strict=True):
            yield Tried(operation.name, verdict, said, taken)

    def _step(self, operation: Operation, number: int, trial: Trial) -> tuple[Verdict, str, float]:
        if self._lost:
            return Verdict.UNANSWERED, f"not tried: {self._lost}", 0.0
        before = self._unanswered.get(operation.kind, 0)
        if before == ENOUGH:
            return Verdict.UNANSWERED, f"not tried: {ENOUGH} of its kind were not answered", 0.0
        limit = min(AGAIN, self._seconds) if before else self._seconds
        self._since.add(operation.kind)
        started = time.monotonic()
        verdict, said = in_time(lambda: operation.steps[number](trial), limit, self._deaths)
        if verdict is Verdict.UNANSWERED:
            self._unanswered[operation.kind] = before + 1
        return verdict, said, time.monotonic() - started

    def _meet(self) -> None:
        if self._lost or self._size < 2:
            return
        # Another rank may have waited for what was not answered here or there, of each kind at most so long.
        limit = len(self._since) * (self._seconds + (ENOUGH - 1) * AGAIN) + _SLACK
        started = time.monotonic()
        verdict, said = in_time(self._client.fence, limit, self._deaths)
        self._since.clear()
        if verdict is not Verdict.RIGHT:
            self.behind = 2 * limit - (time.monotonic() - started)  # theirs, and what they tried before
            self._lost = f"the ranks can meet no more: {said}"


def _clear(shared: dict[str, Any]) -> None:
    if directory := shared.pop("directory", None):
        import shutil

        shutil.rmtree(directory, ignore_errors=True)
