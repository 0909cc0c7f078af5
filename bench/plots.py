"""The drawings of `all.py`, as SVG that needs nothing else: the ratios to each peer, and fences by size.

They follow the reader's dark or light, as those of `flux-pmix sim` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log2, log10
from xml.sax.saxutils import escape

_STYLE = """
text { font: 12px system-ui, Helvetica, Arial, sans-serif; fill: #4a4a47; } .head { font-weight: 600; fill: #121211; }
.paper { fill: #fcfcfb; } path { fill: none; stroke: #a9a8a2; } .grid { stroke: #e4e3df; }
.good { fill: #2a6fd6; } .bad { fill: #c97a00; } .line { stroke-width: 2; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) {
text { fill: #c4c3bb; } .head { fill: #ffffff; } .paper { fill: #1a1a19; } path { stroke: #66655f; }
.grid { stroke: #33332f; } .good { fill: #5b9bf0; } .bad { fill: #eda52b; }
}
"""
_COLOURS = ("#2a6fd6", "#0b8a5c", "#c97a00", "#b0416b", "#7a4fd0", "#6b7280")
_NAMES, _BARS = 400, 380  # pixels for the names of the rows, and for the bars


def ratios(found: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    """Draw, for each peer, (figure, ours to its): bars to the left are in our favour, on a logarithmic axis."""
    every = [abs(log2(ratio)) for rows in found.values() for _, ratio in rows] or [1.0]
    most = max(1, ceil(max(every)))
    middle, unit = _NAMES + _BARS / 2, _BARS / 2 / most
    told = "Bars to the left: ours is the better. Of times and memory; of rates, the inverse."
    parts, y = [f'<text x="12" y="20">{told}</text>'], 20
    for peer, rows in found.items():
        y += 34
        parts.append(f'<text class="head" x="12" y="{y}">ours to {escape(peer)}</text>')
        step = ceil(most / 4)
        for power in range(-(most // step) * step, most + 1, step):
            x, label = middle + power * unit, f"{2**power}" if power >= 0 else f"1/{2**-power}"
            parts.append(f'<text x="{x:.0f}" y="{y}" text-anchor="middle">{label}</text>')
            parts.append(f'<path class="{"grid" if power else "axis"}" d="M{x:.1f} {y + 6}v{20 * len(rows) + 4}"/>')
        for name, ratio in rows:
            y += 20
            end = middle + log2(ratio) * unit
            side, left = ("good", end) if ratio <= 1 else ("bad", middle)
            parts.append(f'<text x="{_NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
            width = max(1.0, abs(end - middle))
            parts.append(
                f'<rect class="{side}" x="{left:.1f}" y="{y - 6}" width="{width:.1f}" height="12">'
                f"<title>{escape(name)}: {ratio:.2f} of {escape(peer)}</title></rect>"
            )
        y += 10
    return _page(_NAMES + _BARS + 24, y + 14, "The ratios of our figures to each peer's", parts)


def lines(found: Mapping[str, Sequence[tuple[int, float]]], title: str) -> str:
    """Draw milliseconds over bytes for each of those who are named; both axes are logarithmic."""
    left, top, width, height = 70, 56 + 18 * ceil(len(found) / 3), 620, 280
    points = [point for each in found.values() for point in each]
    sizes = sorted({size for size, _ in points})
    low, high = floor(min(log10(ms) for _, ms in points)), ceil(max(log10(ms) for _, ms in points))

    def at(size: float, ms: float) -> tuple[float, float]:
        across = (log2(size) - log2(sizes[0])) / max(1.0, log2(sizes[-1]) - log2(sizes[0]))
        return left + width * across, top + height * (1 - (log10(ms) - low) / max(1, high - low))

    parts = [f'<text class="head" x="{left}" y="24">{escape(title)}</text>']
    for power in range(low, high + 1):
        _, y = at(sizes[0], 10.0**power)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}h{width}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} ms</text>')
    for size in sizes:
        x, _ = at(size, 10.0**low)
        shown = f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" if size >= 1024 else f"{size} B"
        parts.append(f'<text x="{x:.1f}" y="{top + height + 20}" text-anchor="middle">{shown}</text>')
    parts.append(f'<path d="M{left} {top + height}h{width}"/>')
    for number, (name, measured) in enumerate(found.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        x, y = left + number % 3 * width / 3, 48 + 18 * (number // 3)
        parts.append(f'<path class="line" style="stroke:{colour}" d="M{x:.0f} {y - 4}h24"/>')
        parts.append(f'<text x="{x + 31:.0f}" y="{y}">{escape(name)}</text>')
        spots = [at(size, ms) for size, ms in sorted(measured)]
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
        parts.append(f'<path class="line" style="stroke:{colour}" d="M{way}"/>')
        for (x, y), (size, ms) in zip(spots, sorted(measured), strict=True):
            label = f"{escape(name)}: {size} bytes, {ms:.3g} ms"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{label}</title></circle>')
    return _page(left + width + 40, top + height + 36, title, parts)


def _page(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>'
    return "\n".join(
        [head, f"<style>{_STYLE}</style>", '<rect class="paper" width="100%" height="100%"/>', *parts, "</svg>", ""]
    )
