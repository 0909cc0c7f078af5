"""Draws simulations as one SVG that needs nothing else: time, and bytes through the busiest shell.

`draw` is called by `cli/sim.py --plot`. Both axes are logarithmic. The colour of a line says its movement, its
dashes the network; it follows the reader's dark or light. Each point says its figures when pointed at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10

from fluxpmix.pmix.record import Record
from fluxpmix.sim.run import Result

_COLOURS = {"tree": "blue", "bruck": "green", "dmodex": "amber", "barrier": "violet"}
_DASHES = ("", "7 4", "2 4", "10 3 2 3")
_WIDTH, _HEIGHT = 440, 300  # of a panel
_LEFT, _TOP, _GAP, _BOTTOM = 70, 74, 80, 52
_LIGHT = {"blue": "#2a6fd6", "green": "#0b8a5c", "amber": "#c97a00", "violet": "#7a4fd0"}
_DARK = {"blue": "#5b9bf0", "green": "#2fbf88", "amber": "#eda52b", "violet": "#a585f0"}


class _Line(Record):
    """One series: what it is called, how it looks, and its results by x."""

    label: str
    colour: str
    dash: str
    points: tuple[tuple[int, Result], ...]


class _Scale(Record):
    """A logarithmic axis: whole powers of ten, or the values themselves, on `length` pixels from `start`."""

    low: float
    high: float
    start: float
    length: float

    def at(self, value: float) -> float:
        """Return where a value is."""
        return self.start + self.length * (log10(value) - self.low) / (self.high - self.low)


def _rules(colours: dict[str, str], paper: str, text: str, head: str, grid: str, axis: str) -> str:
    """Return the style rules of a light or dark drawing."""
    of_lines = [
        f".{name} path {{ stroke: {colour}; }} .{name} circle {{ fill: {colour}; }}" for name, colour in colours.items()
    ]
    return "\n".join(
        [
            f".paper {{ fill: {paper}; }} text {{ fill: {text}; }} .head {{ fill: {head}; }}",
            f".grid {{ stroke: {grid}; }} .axis {{ stroke: {axis}; }} circle {{ stroke: {paper}; }}",
            *of_lines,
        ]
    )


_STYLE = "\n".join(
    [
        "text { font: 12px system-ui, Helvetica, Arial, sans-serif; } .head { font-size: 14px; font-weight: 600; }",
        "path { fill: none; stroke-width: 1; } g path { stroke-width: 2; stroke-linejoin: round; }",
        "circle { stroke-width: 1.5; }",
        _rules(_LIGHT, "#fcfcfb", "#4a4a47", "#121211", "#e4e3df", "#a9a8a2"),
        "@media (prefers-color-scheme: dark) {",
        _rules(_DARK, "#1a1a19", "#c4c3bb", "#ffffff", "#33332f", "#66655f"),
        "}",
    ]
)


def draw(results: Sequence[Result]) -> str:
    """Return the text of an SVG file; results differ in their shells or in their bytes at least."""
    over_shells = len({result.setup.shells for result in results}) >= len({result.setup.size for result in results})
    lines = _lines(results, over_shells)
    columns = 2 * _WIDTH + _GAP
    beside = max(2, min(4, len({line.colour for line in lines})))  # movements, a row for each network
    rows = (len(lines) + beside - 1) // beside
    top = _TOP + 18 * (rows - 1)
    width, height = _LEFT + columns + 32, top + _HEIGHT + _BOTTOM
    what = "shells" if over_shells else "bytes from each shell"
    title = f"Time and bytes through the busiest shell over {what}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img"><title>{title}</title><style>{_STYLE}</style>'
        f'<rect class="paper" width="{width}" height="{height}"/>'
    ]
    for number, line in enumerate(lines):
        parts.append(_legend(line, _LEFT + number % beside * columns / 4, 20 + 18 * (number // beside)))
    panels = (
        ("Time", lambda result: result.time, _seconds),
        ("Bytes through the busiest shell", lambda result: float(max(1, result.busiest_shell)), _bytes),
    )
    for number, (head, value, written) in enumerate(panels):
        parts.append(_panel(lines, _LEFT + number * (_WIDTH + _GAP), top, head, what, value, written))
    return "\n".join([*parts, "</svg>", ""])


def _lines(results: Sequence[Result], over_shells: bool) -> list[_Line]:
    """Group results into lines, in the order in which they first come."""
    groups: dict[tuple[str, str, int], list[tuple[int, Result]]] = {}
    for result in results:
        setup = result.setup
        x, other = (setup.shells, setup.size) if over_shells else (setup.size, setup.shells)
        groups.setdefault((setup.network.name, setup.movement, other), []).append((x, result))
    networks = list(dict.fromkeys(network for network, _, _ in groups))
    others = list(dict.fromkeys(other for _, _, other in groups))
    found = []
    for (network, movement, other), points in groups.items():
        dash = _DASHES[(networks.index(network) + len(networks) * others.index(other)) % len(_DASHES)]
        unit = _bytes(other) if over_shells else f"{other} shells"
        label = f"{movement}, {network}" + (f", {unit}" if len(others) > 1 else "")
        found.append(_Line(label, _COLOURS.get(movement, "blue"), dash, tuple(sorted(points, key=lambda one: one[0]))))
    return found


def _legend(line: _Line, x: float, y: float) -> str:
    return (
        f'<g class="{line.colour}"><path d="M{x:.0f} {y}h26" stroke-dasharray="{line.dash}"/>'
        f'<circle cx="{x + 13:.0f}" cy="{y}" r="4"/></g><text x="{x + 33:.0f}" y="{y + 4}">{line.label}</text>'
    )


def _panel(
    lines: Sequence[_Line],
    left: float,
    top: float,
    head: str,
    what: str,
    value: Callable[[Result], float],
    written: Callable[[float], str],
) -> str:
    """Return one diagram."""
    places = sorted({x for line in lines for x, _ in line.points})
    values = [value(result) for line in lines for _, result in line.points]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    across = _Scale(log10(places[0]), log10(places[-1]), left, _WIDTH)
    up = _Scale(low, max(high, low + 1), top + _HEIGHT, -_HEIGHT)
    bottom = top + _HEIGHT
    parts = [f'<text class="head" x="{left:.0f}" y="{top - 16:.0f}">{head}</text>']
    for power in range(low, max(high, low + 1) + 1):
        y = up.at(10.0**power)
        parts.append(f'<path class="grid" d="M{left:.1f} {y:.1f}h{_WIDTH}"/>')
        parts.append(f'<text x="{left - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{written(10.0**power)}</text>')
    last = left + 2 * _WIDTH
    for place in reversed(places):
        x = across.at(place)
        parts.append(f'<path class="axis" d="M{x:.1f} {bottom:.1f}v5"/>')
        if last - x >= 48:
            parts.append(f'<text x="{x:.1f}" y="{bottom + 19:.1f}" text-anchor="middle">{_short(place, what)}</text>')
            last = x
    parts.append(f'<path class="axis" d="M{left:.1f} {bottom:.1f}h{_WIDTH}"/>')
    parts.append(f'<text x="{left + _WIDTH / 2:.0f}" y="{bottom + 40:.0f}" text-anchor="middle">{what}</text>')
    for line in lines:
        spots = [(across.at(x), up.at(value(result)), x, result) for x, result in line.points]
        steps = "L".join(f"{x:.1f} {y:.1f}" for x, y, _, _ in spots)
        parts.append(f'<g class="{line.colour}"><path d="M{steps}" stroke-dasharray="{line.dash}"/>')
        for x, y, place, result in spots:
            text = f"{line.label}: {place} {what}, {written(value(result))}"
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{text}</title></circle>')
        parts.append("</g>")
    return "\n".join(parts)


def _short(place: int, what: str) -> str:
    return f"{place:,}" if what == "shells" else _bytes(place)


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= factor * 0.9999:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _bytes(value: float) -> str:
    """Return bytes in decimal units where the axis goes in powers of ten, else in binary ones."""
    decimal = value == 10.0 ** round(log10(value))
    base, units = (1000, ("B", "kB", "MB", "GB", "TB")) if decimal else (1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    for unit in units:
        if value < base or unit == units[-1]:
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
        value /= base
    raise AssertionError
