"""The report for people and programs: a table for a terminal, JSON, JUnit, and two reports side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fluxpmix.cli.check.records import Row, Summary, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCORED = (Verdict.RIGHT,)
UNSCORED = (Verdict.HIDDEN, Verdict.ABSENT)


def score(summary: Summary) -> str:
    """Return the line that sums it up."""
    parts = []
    for need in ("required", "optional", "conditional"):
        told = summary.count(need) - summary.count(need, *UNSCORED)
        if told:
            parts.append(f"{need} {summary.count(need, *SCORED)} of {told} right")
    hidden = sum(row.verdict is Verdict.HIDDEN for row in summary.rows)
    parts.append(f"{hidden} that libpmix hides from clients")
    return f"{'compliant' if summary.passed else 'NOT compliant'}: {', '.join(parts)}"


def text(summary: Summary, *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of the table; without `verbose`, right answers of a section are one line."""
    yield summary.title
    yield from body(summary.rows, verbose=verbose)
    yield from ending(summary)


def body(rows: Sequence[Row], *, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of each section."""
    for section, found in sections(rows):
        right = sum(row.verdict is Verdict.RIGHT for row in found)
        yield ""
        yield f"{section}: {right} right of {len(found)}"
        yield from lines(found, verbose=verbose)


def lines(rows: Sequence[Row], *, verbose: bool = False, width: int = 0) -> Iterator[str]:
    """Yield a line for each row, without `verbose` only for those that are not right. Names take `width` or more."""
    others = [row for row in rows if verbose or row.verdict is not Verdict.RIGHT]
    width = max((width, *(len(row.name) for row in others)))
    for row in others:
        yield f"  {row.verdict.value:<10} {row.need:<11} {row.name:<{width}}  {explanation(row)}".rstrip()


def ending(summary: Summary) -> Iterator[str]:
    """Yield the complaints and the score."""
    for complaint in summary.complaints:
        yield f"\n{complaint}"
    yield ""
    yield score(summary)


def explanation(row: Row) -> str:
    """Say in one line what was expected and found."""
    if row.verdict is Verdict.WRONG and row.expected:
        return f"expected {row.expected}, found {row.found}; {row.note}".rstrip("; ")
    return "; ".join(part for part in (row.found, row.note) if part)


def sections(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield each section with its rows, in order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.section, []).append(row)
    yield from found.items()


def to_json(summary: Summary) -> str:
    """Return the report as JSON, which `from_json` reads."""
    import json

    rows = [{name: _plain(getattr(row, name)) for name in type(row)._fields} for row in summary.rows]
    told = {"title": summary.title, "facts": dict(summary.facts), "score": score(summary), "passed": summary.passed}
    return json.dumps({**told, "complaints": summary.complaints, "rows": rows}, indent=1)


def from_json(text_: str) -> Summary:
    """Read a report that `to_json` wrote. Raises ValueError for anything else."""
    import json

    try:
        told = json.loads(text_)
        rows = tuple(Row(**{**row, "verdict": Verdict(row["verdict"])}) for row in told["rows"])
        return Summary(told["title"], told["facts"], rows, tuple(told["complaints"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a report of flux-pmix check --json: {error}") from None


def junit(summary: Summary) -> str:
    """Return the report as JUnit XML, a test case a row."""
    from xml.sax.saxutils import quoteattr

    failures = sum(row.fails for row in summary.rows) + len(summary.complaints)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f"<testsuite name={quoteattr(summary.title)} tests={quoteattr(str(len(summary.rows)))} "
        f"failures={quoteattr(str(failures))}>",
    ]
    for row in summary.rows:
        case = f"<testcase classname={quoteattr(row.section)} name={quoteattr(row.name)}"
        if row.fails:
            inside = f"<failure message={quoteattr(f'{row.verdict.value}: {explanation(row)}')}/>"
        elif row.verdict is Verdict.RIGHT:
            inside = ""
        else:
            inside = f"<skipped message={quoteattr(f'{row.verdict.value}: {explanation(row)}')}/>"
        lines.append(f"{case}>{inside}</testcase>")
    lines += [
        f'<testcase classname="job" name="report"><failure message={quoteattr(complaint)}/></testcase>'
        for complaint in summary.complaints
    ]
    return "\n".join([*lines, "</testsuite>", ""])


def compare(*summaries: Summary) -> Iterator[str]:
    """Yield reports side by side, a line for each attribute and operation, marked where they differ."""
    verdicts = [{(row.section, row.name): row for row in each.rows} for each in summaries]
    names = list(dict.fromkeys((row.section, row.name) for each in summaries for row in each.rows))
    width = max((len(name) for _, name in names), default=0)
    for number, each in enumerate(summaries):
        yield f"{'':<{width + 15}} {'':<{13 * number}}{each.title}"
    section = ""
    for key in names:
        if key[0] != section:
            section = key[0]
            yield f"{section}:"
        rows = [found.get(key) for found in verdicts]
        need = next(row.need for row in rows if row is not None)
        shown = [row.verdict.value if row is not None else "-" for row in rows]
        mark = " " if len(set(shown)) == 1 else "*"
        columns = " ".join(f"{each:<12}" for each in shown)
        yield f"{mark} {key[1]:<{width}} {need:<11}  {columns}".rstrip()
    yield ""
    for each in summaries:
        yield f"{each.title}: {score(each)}"


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Verdict) else value
