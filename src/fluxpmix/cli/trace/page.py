"""Draws a trace as one page of HTML that needs nothing else: the tables, and a timeline by shell and rank.

The script on the page paints what is in view; the wheel and two fingers zoom, dragging moves, pointing tells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from fluxpmix.cli.trace import reading
from fluxpmix.cli.trace.reading import Span, Table, Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MOST = 200_000  # events that are drawn
_ROUNDED = 0.001  # ms by which what follows may seem to overlap
_LAUNCH, _REQUESTS = 0, 1
_KINDS = {"launch": 0, "rank": 1, "fence": 2, "request": 3}


def draw(trace: Trace) -> str:
    """Return the page."""
    lanes, events = _timeline(trace)
    data = json.dumps({"lanes": lanes, "events": events[:_MOST]}, separators=(",", ":")).replace("</", "<\\/")
    job = trace.facts.get("job", "?")
    told = f"{len(trace.names)} processes that launch and serve, {len(events)} events"
    if len(events) > _MOST or trace.dropped:
        told += f"; {max(0, len(events) - _MOST) + trace.dropped} are not shown"
    shown = [reading.start_up(trace), reading.fence_table(trace, 1000), reading.request_table(trace)]
    return _PAGE.format(job=escape(job), told=escape(told), tables="\n".join(map(_table, shown)), data=data)


def _timeline(trace: Trace) -> tuple[list[str], list[list[Any]]]:
    """Return the names of the rows, "" for those that go on, and the events: row, begin, end, kind, name, facts."""
    lanes: list[str] = []
    events: list[list[Any]] = []
    for shell in sorted(trace.names):
        own = [span for span in trace.spans if span.shell == shell]
        asked = [span for span in trace.requests if span.shell == shell]
        numbers = sorted({span.lane for span in own} - {_REQUESTS})
        for lane in numbers:
            title = trace.lanes.get((shell, lane), str(lane))
            name = trace.names[shell] if lane == _LAUNCH else f"  {title}"
            kind = "launch" if lane == _LAUNCH else "rank"
            _place([span for span in own if span.lane == lane], name, kind, lanes, events)
        _place(asked, "  requests", "request", lanes, events)
    return lanes, events


def _place(spans: Sequence[Span], name: str, kind: str, lanes: list[str], events: list[list[Any]]) -> None:
    """Put spans into rows in which nothing overlaps."""
    first, ends = len(lanes), [0.0]
    for span in spans:
        row = next((at for at, end in enumerate(ends) if end <= span.begin + _ROUNDED), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = span.end
        shown = "fence" if span.name == "Fence" else kind
        facts = ", ".join(f"{key} {value}" for key, value in span.facts.items())
        events.append([first + row, round(span.begin, 4), round(span.end, 4), _KINDS[shown], span.name, facts])
    if spans:
        lanes.extend([name, *[""] * (len(ends) - 1)])


def _table(table: Table) -> str:
    title, head, rows = table
    if not rows:
        return f"<h2>{escape(title)}</h2><p>none</p>"
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><table><thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>flux-pmix trace: job {job}</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ --paper:#fff; --text:#222; --dim:#666; --line:#ddd; --stripe:#f6f6f4;
  --k0:#2a6fd6; --k1:#0b8a5c; --k2:#c97a00; --k3:#7a4fd0; }}
@media (prefers-color-scheme: dark) {{ :root {{ --paper:#1a1a1c; --text:#ddd; --dim:#999; --line:#3a3a3e;
  --stripe:#222225; --k0:#5b9bf0; --k1:#2fbf88; --k2:#eda52b; --k3:#a585f0; }} }}
body {{ background:var(--paper); color:var(--text); font:14px/1.45 system-ui,sans-serif; margin:20px; }}
h1 {{ font-size:20px; margin:0; }} h2 {{ font-size:16px; margin:26px 0 6px; }}
p {{ color:var(--dim); margin:2px 0 10px; }}
.key i {{ display:inline-block; width:12px; height:12px; border-radius:2px; margin:0 5px 0 14px; }}
#view {{ position:relative; border:1px solid var(--line); overflow:hidden auto; max-height:70vh; touch-action:pan-y; }}
canvas {{ display:block; cursor:grab; }}
#tip {{ position:fixed; pointer-events:none; background:var(--paper); border:1px solid var(--dim); padding:4px 8px;
  max-width:420px; display:none; font-size:13px; overflow-wrap:anywhere; }}
table {{ border-collapse:collapse; font-variant-numeric:tabular-nums; }}
th, td {{ text-align:left; padding:3px 12px 3px 6px; border-bottom:1px solid var(--line); }}
tbody tr:nth-child(odd) {{ background:var(--stripe); }}
</style></head><body>
<h1>Job {job}</h1><p>{told}. The wheel zooms, dragging moves, a double click shows all.</p>
<p class="key"><i style="background:var(--k0)"></i>launch<i style="background:var(--k1)"></i>task
<i style="background:var(--k2)"></i>fence<i style="background:var(--k3)"></i>other request</p>
<div id="view"><canvas id="timeline"></canvas></div><div id="tip"></div>
{tables}
<script id="data" type="application/json">{data}</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("timeline"), tip = document.getElementById("tip");
const view = document.getElementById("view"), pen = canvas.getContext("2d");
const ROW = 20, LEFT = 130, TOP = 24;
const end = data.events.reduce((most, event) => Math.max(most, event[2]), 1);
let from = 0, to = end, width = 0, painted = 0;
function colour(name) {{ return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }}
function at(time) {{ return LEFT + (time - from) / (to - from) * (width - LEFT - 8); }}
function time(x) {{ return from + (x - LEFT) / (width - LEFT - 8) * (to - from); }}
function paint() {{
  const scale = window.devicePixelRatio || 1, height = TOP + data.lanes.length * ROW + 6;
  width = view.clientWidth;
  canvas.width = width * scale; canvas.height = height * scale;
  canvas.style.width = width + "px"; canvas.style.height = height + "px";
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.font = "12px system-ui, sans-serif"; pen.textBaseline = "middle";
  const text = colour("--text"), dim = colour("--dim"), line = colour("--line");
  const kinds = [0, 1, 2, 3].map(kind => colour("--k" + kind));
  pen.fillStyle = colour("--stripe");
  data.lanes.forEach((name, row) => {{ if (row % 2) pen.fillRect(0, TOP + row * ROW, width, ROW); }});
  let step = Math.pow(10, Math.floor(Math.log10((to - from) / 6)));
  while ((to - from) / step > 10) step *= (to - from) / step > 20 ? 5 : 2;
  pen.strokeStyle = line; pen.fillStyle = dim;
  for (let mark = Math.ceil(from / step) * step; mark <= to; mark += step) {{
    pen.beginPath(); pen.moveTo(at(mark), TOP - 4); pen.lineTo(at(mark), height); pen.stroke();
    const label = +mark.toPrecision(10) + " ms";
    if (at(mark) + 3 + pen.measureText(label).width <= width) pen.fillText(label, at(mark) + 3, TOP / 2);
  }}
  painted = 0;
  pen.save(); pen.beginPath(); pen.rect(LEFT, TOP, width - LEFT, height); pen.clip();
  for (const [row, begin, stop, kind, name] of data.events) {{
    if (stop < from || begin > to) continue;
    const x = at(begin), wide = Math.max(at(stop) - x, 1), y = TOP + row * ROW + 2;
    pen.fillStyle = kinds[kind]; pen.fillRect(x, y, wide, ROW - 4); painted += 1;
    const left = Math.max(x, LEFT) + 4;
    if (wide > 20 && left + pen.measureText(name).width + 4 <= Math.min(x + wide, width)) {{
      pen.fillStyle = colour("--paper"); pen.fillText(name, left, y + ROW / 2 - 2);
    }}
  }}
  pen.restore();
  data.lanes.forEach((name, row) => {{
    pen.fillStyle = name.startsWith(" ") ? dim : text;
    pen.fillText(name.trimStart(), name.startsWith(" ") ? 16 : 4, TOP + row * ROW + ROW / 2, LEFT - 12);
  }});
}}
function show(start, stop) {{
  const least = 0.001, length = Math.min(Math.max(stop - start, least), end * 1.02);
  from = Math.min(Math.max(start, 0), Math.max(end * 1.02 - length, 0)); to = from + length; paint();
}}
canvas.addEventListener("wheel", event => {{
  if (event.shiftKey) return;
  event.preventDefault();
  const still = time(event.offsetX), by = Math.exp(event.deltaY / 400);
  show(still - (still - from) * by, still + (to - still) * by);
}}, {{passive: false}});
let held = null;
canvas.addEventListener("pointerdown", event => {{ held = [event.clientX, from, to]; }});
window.addEventListener("pointerup", () => {{ held = null; }});
canvas.addEventListener("dblclick", () => show(0, end * 1.02));
canvas.addEventListener("pointermove", event => {{
  if (held) {{
    const by = (held[0] - event.clientX) / (width - LEFT - 8) * (held[2] - held[1]);
    show(held[1] + by, held[2] + by);
  }}
  const row = Math.floor((event.offsetY - TOP) / ROW), near = (to - from) / (width - LEFT) * 2;
  const now = time(event.offsetX);
  const found = data.events.find(one => one[0] === row && one[1] - near <= now && now <= one[2] + near);
  tip.style.display = found && !held ? "block" : "none";
  if (found) {{
    const [, begin, stop, , name, facts] = found;
    tip.textContent = `${{name}}: ${{(stop - begin).toFixed(3)}} ms, at ${{begin.toFixed(3)}} ms` +
      (facts ? ` (${{facts}})` : "");
    tip.style.left = Math.min(event.clientX + 12, window.innerWidth - 440) + "px";
    tip.style.top = event.clientY + 14 + "px";
  }}
}});
canvas.addEventListener("pointerleave", () => {{ tip.style.display = "none"; }});
window.addEventListener("resize", paint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
show(0, end * 1.02);
document.body.dataset.painted = painted;
</script></body></html>
"""
