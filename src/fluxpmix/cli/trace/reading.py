"""Reads a trace that `shell/tracing.py` wrote, and finds in it what people ask: fences, steps, requests.

Times are in milliseconds from the first event on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from statistics import median

from fluxpmix.job import idset
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LAUNCHER = -1
_LAUNCH, _FIRST_RANK = 0, 10  # lanes, as shell/tracing.py numbers them


class NotATrace(Exception):
    """The file holds something else; the text says what is wrong."""


class Span(Record):
    """Something that took its time: in a lane of a shell, or a request of it, which has no lane of its own."""

    shell: int
    lane: int
    name: str
    begin: float
    end: float
    facts: Mapping[str, Any] = {}

    @property
    def time(self) -> float:
        """How long it took."""
        return self.end - self.begin


class Trace(Record):
    """What one file says."""

    facts: Mapping[str, str]  # the job's
    names: Mapping[int, str]  # of the shells, the launcher (-1) among them
    lanes: Mapping[tuple[int, int], str]
    spans: tuple[Span, ...]
    requests: tuple[Span, ...]
    messages: tuple[tuple[int, float, int, str], ...]  # shell, when, bytes, to or from whom
    dropped: int = 0  # events that were too many to keep


class Fence(Record):
    """One fence over all shells that had a part in it."""

    procs: str
    number: int  # of those over the same processes
    collect: bool
    came: Mapping[int, float]  # by shell: when the last of its ranks had entered
    end: float
    bytes: int  # from all shells
    result: int  # to each

    @property
    def last(self) -> int:
        """The shell that the others waited for."""
        return max(self.came, key=lambda shell: self.came[shell])

    @property
    def waiting(self) -> float:
        """From the first shell's coming to the last one's."""
        return max(self.came.values()) - min(self.came.values())

    @property
    def exchange(self) -> float:
        """From the last shell's coming until every shell had the result."""
        return self.end - max(self.came.values())


def read(path: str) -> Trace:
    """Read a file. Raises `OSError` and `NotATrace`."""
    with open(path, "rb") as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise NotATrace(f"it is no JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("traceEvents"), list):
        raise NotATrace("it has no trace events")
    facts = content.get("otherData")
    if not isinstance(facts, dict) or facts.get("made by") != "fluxpmix":
        raise NotATrace("another program made it")
    try:
        return _trace({str(key): str(value) for key, value in facts.items()}, content["traceEvents"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotATrace(f"an event makes no sense ({type(error).__name__}: {error})") from None


def _trace(facts: Mapping[str, str], events: Sequence[Mapping[str, Any]]) -> Trace:
    start = min((event["ts"] for event in events if "ts" in event), default=0.0)
    names: dict[int, str] = {}
    lanes: dict[tuple[int, int], str] = {}
    spans, requests, messages = [], [], []
    begun: dict[str, Mapping[str, Any]] = {}
    dropped = 0
    for event in events:
        shell, lane, name = int(event["pid"]), int(event["tid"]), str(event["name"])
        at = (event.get("ts", start) - start) / 1e3
        told = event.get("args", {})
        if name == "process_name":
            names[shell] = str(told["name"])
        elif name == "thread_name":
            lanes[shell, lane] = str(told["name"])
        elif name == "dropped_events":
            dropped += int(told["name"])
        elif event["ph"] == "X":
            spans.append(Span(shell, lane, name, at, at + event["dur"] / 1e3, told))
        elif event["ph"] == "b":
            begun[event["id"]] = event
        elif event["ph"] == "e" and (begin := begun.pop(event["id"], None)) is not None:
            requests.append(Span(shell, lane, name, (begin["ts"] - start) / 1e3, at, begin.get("args", {})))
        elif event["ph"] == "i":
            messages.append((shell, at, int(told.get("bytes", 0)), name))
    spans.sort(key=lambda span: (span.begin, -span.end))
    requests.sort(key=lambda span: span.begin)
    return Trace(facts, names, lanes, tuple(spans), tuple(requests), tuple(messages), dropped)


def fences(trace: Trace) -> list[Fence]:
    """Return the fences that crossed shells, in their order: a shell's n-th over some processes is the others' n-th."""
    counts: dict[tuple[int, str], int] = {}
    together: dict[tuple[str, int], list[Span]] = {}
    for span in trace.requests:
        if span.name == "Fence":
            procs = str(span.facts.get("procs", ""))
            number = counts[span.shell, procs] = counts.get((span.shell, procs), 0) + 1
            together.setdefault((procs, number), []).append(span)
    return [
        Fence(
            procs,
            number,
            any(span.facts.get("collect") for span in spans),
            {span.shell: span.begin for span in spans},
            max(span.end for span in spans),
            sum(int(span.facts.get("bytes", 0)) for span in spans),
            max(int(span.facts.get("result", 0)) for span in spans),
        )
        for (procs, number), spans in together.items()
    ]


def ranks(trace: Trace, shell: int) -> str:
    """Return the ranks of a shell, as "0-3,7"."""
    lanes = [lane for (who, lane), name in trace.lanes.items() if who == shell and name.startswith("rank ")]
    return idset.encode(lane - _FIRST_RANK for lane in lanes)


def steps(trace: Trace) -> list[tuple[str, list[Span]]]:
    """Return the steps of the launch in their order, each with those of all shells."""
    found: dict[str, list[Span]] = {}
    for span in trace.spans:
        if span.lane == _LAUNCH:
            found.setdefault("start task" if span.name.startswith("start task ") else span.name, []).append(span)
        elif span.name == "start to PMIx_Init":
            found.setdefault("a task until PMIx_Init", []).append(span)
    return list(found.items())


# -- as tables -----------------------------------------------------------------------------------------

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def start_up(trace: Trace) -> Table:
    """What the start-up spent."""
    rows: list[tuple[str, ...]] = []
    for name, spans in steps(trace):
        times = [span.time for span in spans]
        worst = max(spans, key=lambda span: span.time)
        where = trace.names.get(worst.shell, str(worst.shell))
        rows.append(
            (name, str(len(spans)), _ms(min(span.begin for span in spans)), _ms(median(times)), _ms(max(times)), where)
        )
    return "What the start-up spent", ("step", "times", "first at", "median", "longest", "where"), rows


def fence_table(trace: Trace, most: int | None = None) -> Table:
    """Each fence over several shells; the slowest `most` of them."""
    found = fences(trace)
    shown = set(map(id, sorted(found, key=lambda fence: -(fence.waiting + fence.exchange))[:most]))
    rows: list[tuple[str, ...]] = [
        (
            f"{fence.procs} #{fence.number}",
            "data" if fence.collect else "barrier",
            _ms(min(fence.came.values())),
            _ms(fence.waiting),
            _ms(fence.exchange),
            f"shell {fence.last}, rank {ranks(trace, fence.last)}",
            str(fence.bytes),
            str(fence.result),
        )
        for fence in found
        if id(fence) in shown
    ]
    what = f"The slowest {len(rows)} of {len(found)} fences" if len(rows) < len(found) else "Fences"
    head = ("over", "kind", "first came at", "waiting for the last", "exchange", "the last", "bytes in all", "to each")
    return what, head, rows


def request_table(trace: Trace) -> Table:
    """What libpmix asked, by kind."""
    found: dict[str, list[Span]] = {}
    for span in trace.requests:
        found.setdefault(span.name, []).append(span)
    rows: list[tuple[str, ...]] = [
        (
            name,
            str(len(spans)),
            _ms(median(span.time for span in spans)),
            _ms(max(span.time for span in spans)),
            _ms(max(float(span.facts.get("queued", 0)) for span in spans) / 1e3),
            str(sum(int(span.facts.get("bytes", 0)) for span in spans)),
        )
        for name, spans in sorted(found.items())
    ]
    return "Requests", ("request", "times", "median", "longest", "longest in the queue", "bytes"), rows


def tables(trace: Trace, most_fences: int) -> Iterable[str]:
    """Yield the lines of all tables."""
    chosen = [start_up(trace), request_table(trace)]
    if most_fences:
        chosen.insert(1, fence_table(trace, most_fences))
    for title, head, rows in chosen:
        yield title
        if not rows:
            yield "  none"
        else:
            widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
            for row in (head, *rows):
                yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield ""


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"
