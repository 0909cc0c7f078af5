"""What a conformance check is made of: answers that ranks were given, operations they tried, rows of the report."""

from __future__ import annotations

from enum import Enum

from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Verdict(Enum):
    """What became of one attribute or operation."""

    RIGHT = "right"
    WRONG = "wrong"  # given, but not what it must be
    MISSING = "missing"  # not given, or answered with "not supported"
    UNANSWERED = "no answer"  # in the time that it had
    HIDDEN = "hidden"  # libpmix keeps it from its clients: nobody can tell
    ABSENT = "not needed"  # not given, and the Standard does not ask for it here


class Answer(Record):
    """One attribute that one rank asked for. `error` is empty where there is a value."""

    realm: str
    whose: str
    name: str
    type: str
    value: Any
    error: str = ""


class Tried(Record):
    """One operation that one rank tried. `seconds` is how long it took."""

    name: str
    verdict: Verdict
    detail: str
    seconds: float


class Report(Record):
    """All that one rank has to say."""

    rank: int
    facts: Mapping[str, Any]  # of its kernel: host, cpus, uid
    answers: tuple[Answer, ...]
    tried: tuple[Tried, ...]


class Row(Record):
    """A line of the report: one attribute of a realm, or one operation, over all ranks."""

    section: str
    name: str
    need: str  # required, conditional, optional
    verdict: Verdict
    expected: str = ""
    found: str = ""
    note: str = ""

    @property
    def fails(self) -> bool:
        """Whether a launcher of which this is true is not compliant."""
        return self.need == "required" and self.verdict in (Verdict.WRONG, Verdict.MISSING, Verdict.UNANSWERED)


class Summary(Record):
    """The whole report."""

    title: str
    facts: Mapping[str, Any]
    rows: tuple[Row, ...]
    complaints: tuple[str, ...] = ()  # ranks that did not report, and the like

    @property
    def passed(self) -> bool:
        """Whether all that is required is right, as far as clients can tell."""
        return not self.complaints and not any(row.fails for row in self.rows)

    def count(self, need: str, *verdicts: Verdict) -> int:
        """Return how many rows of a need have one of these verdicts (none given: any)."""
        return sum(row.need == need and (not verdicts or row.verdict in verdicts) for row in self.rows)


def encode(report: Report) -> bytes:
    """Return a rank's report as bytes, to travel by PMIx."""
    import json
    import zlib

    told = {
        "rank": report.rank,
        "facts": dict(report.facts),
        "answers": [[*answer._values()] for answer in report.answers],
        "tried": [[each.name, each.verdict.value, each.detail, each.seconds] for each in report.tried],
    }
    return zlib.compress(json.dumps(told).encode())


def decode(data: bytes) -> Report:
    """Return the report that `encode` wrote. Raises ValueError for anything else."""
    import json
    import zlib

    try:
        told = json.loads(zlib.decompress(data))
        return Report(
            told["rank"],
            told["facts"],
            tuple(Answer(*fields) for fields in told["answers"]),
            tuple(Tried(name, Verdict(verdict), detail, took) for name, verdict, detail, took in told["tried"]),
        )
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"not a report: {error}") from None
