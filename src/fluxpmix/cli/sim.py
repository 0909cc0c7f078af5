"""`flux-pmix sim`: how long a start-up takes over thousands of shells, on a network that is not there.

Runs the real hosts (`fluxpmix.sim`), prints a row for each simulation and draws them over the shells or the
bytes. Whatever cannot be done is said before the first one starts. Exit code 1 where a shell was handed a wrong
byte.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from fluxpmix.cli import sim_values
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, count, help_page, parse
from fluxpmix.pmix.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fluxpmix.sim.run import Result, Setup, Tell

USAGE = "flux-pmix sim [OPTIONS...]"
PURPOSE = "Simulate the exchange of a start-up over many shells: the real hosts on a network that is not there."
TAIL = (
    "N and BYTES take lists and ranges: 64,1024 or 2..65536x4 (times 4 each, and the last). Every result is\n"
    "checked. networks, with what they cost:\n"
)
_WHAT, _NETWORK, _OUTPUT = "What", "Network", "Output"
OPTIONS = (
    Option(("-n", "--shells"), "N", "shells, one a node (default 1024)", _WHAT, sim_values.counts),
    Option(("-b", "--bytes"), "BYTES", "from each shell (default 4096); K, M, G are 1024s", _WHAT, sim_values.sizes),
    Option(("--movement",), "NAMES", "tree, bruck, dmodex, barrier (default tree,bruck,dmodex)", _WHAT),
    Option(("--fanout",), "K", "of the shells' tree (default 16, in flux the brokers')", _WHAT, sim_values.fanout),
    Option(("--peers",), "K", "dmodex: peers that each gets the blob of (default 6)", _WHAT, count),
    Option(("--fences",), "K", "fences in a row; the time is one's, bytes are all's (default 1)", _WHAT, count),
    Option(("--skew",), "TIME", "enter at random within this time, e.g. 2ms (default 0)", _WHAT, sim_values.seconds),
    Option(("--seed",), "S", "of what is random (default 0)", _WHAT, sim_values.seed),
    Option(("--real",), None, "move real bytes, not stand-ins that count as them", _WHAT),
    Option(("--network",), "NAMES", "one or more of those below (default direct)", _NETWORK),
    Option(("--loss",), "P", "probability that a wire loses a message, 0 to 0.9", _NETWORK, sim_values.probability),
    Option(("--overlay",), "K", "flux: fan-out of the brokers' tree", _NETWORK, sim_values.fanout),
    Option(("--latency",), "TIME", "of a wire", _NETWORK, sim_values.seconds),
    Option(("--bandwidth",), "BYTES", "a second of a node's wire, e.g. 12.5G (decimal)", _NETWORK, sim_values.rate),
    Option(("--message-cost",), "TIME", "of a shell for each message", _NETWORK, sim_values.seconds),
    Option(("--plot",), "FILE.svg", "draw time, and bytes through the busiest shell", _OUTPUT),
    Option(("-h", "--help"), None, None),
)
_HINTS = {
    "--nodes": "there is one shell on a node; use --shells",
    "-N": "there is one shell on a node; use --shells",
    "--size": "use --bytes",
    "--algorithm": "use --movement",
}
_CHANGES = {"latency": "latency", "bandwidth": "bandwidth", "message-cost": "message"}


def main(arguments: Sequence[str]) -> int:
    """Simulate, print and draw; return the exit code."""
    parsed = parse(OPTIONS, arguments, _HINTS)
    if "help" in parsed.values:
        print(help_page(USAGE, PURPOSE, OPTIONS, TAIL + _networks()))
        return 0
    if parsed.rest:
        raise UsageError(f"sim takes no argument, {parsed.rest[0]!r} was given: --help lists the options")
    setups = _setups(parsed.values)
    plot = parsed.values.get("plot")
    if plot is not None:
        _check_plot(plot, setups)
    _check_memory(setups)
    results = _simulate(setups)
    if plot is not None:
        from fluxpmix.sim import plot as drawing

        with open(plot, "w", encoding="utf-8") as file:
            file.write(drawing.draw(results))
    return 0


# -- before any work -----------------------------------------------------------------------------------


def _setups(values: Mapping[str, Any]) -> list[Setup]:
    """Return the simulations that a command line asks for."""
    from fluxpmix.sim.network import NETWORKS
    from fluxpmix.sim.run import MOVEMENTS, Setup

    networks = [
        _changed(NETWORKS[name], values)
        for name in sim_values.names("--network", values.get("network", "direct"), NETWORKS)
    ]
    if "overlay" in values and not any(network.overlay for network in networks):
        raise UsageError("--overlay: no network here has brokers; use it with --network flux")
    movements = sim_values.names("--movement", values.get("movement", "tree,bruck,dmodex"), MOVEMENTS)
    real = "real" in values
    given = {key: values[key] for key in ("loss", "seed", "fences", "peers", "skew") if key in values}
    return [
        Setup(shells, size, movement, network, values.get("fanout", network.overlay or 16), real=real, **given)
        for shells in values.get("shells", (1024,))
        for size in values.get("bytes", (4096,))
        for network in networks
        for movement in movements
    ]


def _changed(network: Any, values: Mapping[str, Any]) -> Any:
    changes = {field: values[key] for key, field in _CHANGES.items() if key in values}
    if network.overlay and "overlay" in values:
        changes["overlay"] = values["overlay"]
    return replace(network, **changes) if changes else network


def _check_plot(path: str, setups: Sequence[Setup]) -> None:
    if not path.endswith(".svg"):
        raise UsageError(f"--plot {path!r}: a file's name that ends in .svg is expected")
    if len({setup.shells for setup in setups}) < 2 and len({setup.size for setup in setups}) < 2:
        raise UsageError("--plot draws over shells or bytes: give one of them a range, e.g. --shells 2..4096x4")
    existed = os.path.exists(path)
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise CommandError(f"--plot {path}: {error.strerror}") from None
    if not existed:
        os.unlink(path)


def _check_memory(setups: Sequence[Setup]) -> None:
    from fluxpmix.sim.run import memory

    available = sim_values.available_memory()
    worst = max(setups, key=memory)
    wanted = memory(worst)
    if wanted > available:
        what = f"{worst.shells} shells with {worst.size} bytes each, {worst.movement}"
        remedy = "fewer shells or bytes, or leave --real out" if worst.real else "fewer shells"
        raise CommandError(
            f"{what}: that takes about {sim_values.amount(wanted)} of memory and "
            f"{sim_values.amount(available)} are free; ask for {remedy}"
        )


# -- the work ------------------------------------------------------------------------------------------


def _simulate(setups: Sequence[Setup]) -> list[Result]:
    from time import perf_counter

    from fluxpmix.sim.run import WrongResult, simulate

    print(_ROW.format(*_HEAD))
    sys.stdout.flush()
    results: list[Result] = []
    for number, setup in enumerate(setups, 1):
        told = _Progress(f"{number}/{len(setups)} {setup.movement} {setup.shells} shells")
        started = perf_counter()
        try:
            result = simulate(setup, told.tell if told.wanted else None)
        except WrongResult as error:
            raise CommandError(f"{setup.movement}, {setup.shells} shells, seed {setup.seed}: {error}") from None
        finally:
            told.clear()
        print(_ROW.format(*_cells(result, perf_counter() - started)))
        sys.stdout.flush()
        results.append(result)
        _collect()
    handed_out = sum(result.results for result in results)
    memory = sim_values.amount(sim_values.most_memory())
    print(f"checked: {handed_out} results, all right (with {memory} of memory at most)")
    return results


_HEAD = ("network", "movement", "shells", "bytes", "time", "busiest shell", "broker", "messages", "took")
_ROW = "{:<8} {:<8} {:>7} {:>9} {:>10} {:>13} {:>10} {:>9} {:>8}"


def _cells(result: Result, took: float) -> tuple[str, ...]:
    setup = result.setup
    return (
        setup.network.name,
        setup.movement,
        str(setup.shells),
        "-" if setup.movement == "barrier" else sim_values.amount(setup.size),
        sim_values.duration(result.time),
        sim_values.amount(result.busiest_shell),
        "-" if result.busiest_broker is None else sim_values.amount(result.busiest_broker),
        str(result.messages),
        sim_values.duration(took),
    )


def _collect() -> None:
    """Free what a simulation leaves: its hosts hold each other, and the command runs without the collector."""
    import gc

    gc.collect()


class _Progress:
    """A line on the terminal that says how far a long simulation is."""

    def __init__(self, what: str) -> None:
        from time import monotonic

        self._what = what
        self._clock: Callable[[], float] = monotonic
        self._next = monotonic() + 1.0
        self._shown = False
        self.wanted = sys.stderr is not None and sys.stderr.isatty()
        self.tell: Tell = self._tell

    def _tell(self, messages: int, expected: int) -> None:
        now = self._clock()
        if now < self._next:
            return
        self._next = now + 0.2
        self._shown = True
        part = min(99, 100 * messages // max(1, expected))
        sys.stderr.write(f"\r{self._what}: {part:2d} %, {messages} messages\x1b[K")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _networks() -> str:
    from fluxpmix.sim.network import PRESETS

    return "\n".join(f"  {preset.name:<9} {preset.about}" for preset in PRESETS)
