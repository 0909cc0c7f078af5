"""The report as one self-contained HTML page, readable on a phone: no script, no font, no image from elsewhere."""

from __future__ import annotations

from fluxpmix.cli.check.records import Row, Summary, Verdict
from fluxpmix.cli.check.report import explanation, score, sections

_COLOURS = {
    Verdict.RIGHT: "#1a7f37",
    Verdict.WRONG: "#b3261e",
    Verdict.MISSING: "#b3261e",
    Verdict.UNANSWERED: "#b3261e",
    Verdict.HIDDEN: "#6b6b6b",
    Verdict.ABSENT: "#6b6b6b",
}
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.score { padding: .6rem .9rem; border-radius: .5rem; color: #fff; font-weight: 600; }
.facts { color: #6b6b6b; }
table { border-collapse: collapse; width: 100%; } td { padding: .25rem .5rem .25rem 0; vertical-align: top; }
tr { border-top: 1px solid #8884; } td, h1, p { overflow-wrap: anywhere; } .need { color: #6b6b6b; }
.verdict { color: #fff; border-radius: .3rem; padding: 0 .4rem; white-space: nowrap; font-size: .85rem; }
@media (max-width: 40rem) { td { display: inline; padding: 0; } td:last-child { display: block; } }
@media (max-width: 40rem) { table, tbody, tr { display: block; } tr { padding: .4rem 0; } }
"""


def html(summary: Summary) -> str:
    """Return the page."""
    from html import escape

    colour = _COLOURS[Verdict.RIGHT if summary.passed else Verdict.WRONG]
    facts = " · ".join(f"{escape(str(name))} {escape(str(value))}" for name, value in summary.facts.items())
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{escape(summary.title)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(summary.title)}</h1><p class=facts>{facts}</p>",
        f'<p class=score style="background:{colour}">{escape(score(summary))}</p>',
    ]
    parts += [f"<p>{escape(complaint)}</p>" for complaint in summary.complaints]
    for section, rows in sections(summary.rows):
        right = sum(row.verdict is Verdict.RIGHT for row in rows)
        parts.append(f"<h2>{escape(section)}: {right} right of {len(rows)}</h2><table>")
        parts += [_line(row) for row in rows]
        parts.append("</table>")
    return "\n".join([*parts, "</html>", ""])


def _line(row: Row) -> str:
    from html import escape

    verdict = f'<span class=verdict style="background:{_COLOURS[row.verdict]}">{escape(row.verdict.value)}</span>'
    name = f"<code>{escape(row.name)}</code> <span class=need>{escape(row.need)}</span>"
    return f"<tr><td>{verdict}</td><td>{name}</td><td>{escape(explanation(row))}</td></tr>"
