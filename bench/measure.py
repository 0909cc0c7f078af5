"""What the benchmarks share: medians of runs that take turns with a peer, tables, and figures for the one table.

A benchmark prints its tables by `table`, and says by `figure` what is to be held against others in `all.py`'s table:
whoever measures the same thing gives it the same name.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RECORD = "FLUXPMIX_BENCH_RECORD"  # names a file that has the tables and figures, for `all.py`
QUICK = os.environ.get("FLUXPMIX_BENCH_QUICK") == "1"  # fewer rounds and sizes
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
MPIRUN = "/usr/bin/mpirun"  # Debian's
SYSTEM = "libpmix.so.2"  # its libpmix, which Slurm and the C flux-pmix are linked with too

# Who is measured: ours on the local launcher and under Flux, and the peers of each.
OURS, IN_FLUX = "flux-pmix run", "ours in Flux"
PRTERUN, PRUN, DEBIAN, SLURM, C_FLUX_PMIX = "prterun", "prte and prun", "Debian's mpirun", "Slurm", "C flux-pmix"
PEERS = {PRTERUN: OURS, PRUN: OURS, DEBIAN: OURS, SLURM: OURS, C_FLUX_PMIX: IN_FLUX}

SIZES = (64, 1 << 20) if QUICK else (64, 4096, 65536, 1 << 20)  # bytes of each rank in a fence
SHELLS = (2, 8) if QUICK else (2, 4, 8, 16)


def rounds(full: int, quick: int) -> int:
    """Return how often to measure: the first argument, or one of these."""
    return int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else quick if QUICK else full


def in_turns(rounds: int, contestants: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Measure each in turn, `rounds` times, and return the medians: noise hits all alike."""
    for measure in contestants.values():
        measure()  # warm: files cached, byte code compiled
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def wall(command: Sequence[str | Path], env: dict[str, str] | None = None) -> float:
    """Return the seconds that a command takes, from start to end."""
    started = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, env=env, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started


@contextmanager
def program(name: str, library: str | None = None) -> Iterator[Path]:
    """Compile a C client of this directory against a libpmix, by default the one that fluxpmix finds."""
    from fluxpmix import load_library

    library = library or load_library().path
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / name
        where = os.path.dirname(library)
        rpath = [f"-Wl,-rpath,{where}"] if where else []
        found = library if where else f"-l:{library}"
        subprocess.run(["cc", "-O1", "-o", made, HERE / f"{name}.c", found, *rpath], check=True)
        yield made


def fences(command: Sequence[object], size: int, count: int, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run `fence.c` by a command and return the medians (ms) of its collecting fence and of its barrier."""
    words = [*map(str, command), str(size), str(count)]
    done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert not done.returncode, f"{' '.join(words)}: {done.stderr[-300:]}"
    collecting, barrier = map(float, done.stdout.split())
    return collecting, barrier


def fence_figures(who: str, shells: int, found: dict[int, tuple[float, float]]) -> None:
    """Give the figures of `fences` over so many shells, by size."""
    for size, (collecting, _) in found.items():
        figure(f"fence of {written(size)} from each of {shells} shells", who, collecting, "ms")
    if who != SLURM:  # whose fence without data does not wait for other nodes
        figure(f"barrier of {shells} shells", who, found[min(found)][1], "ms")


def written(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" if size >= 1 << 10 else f"{size} B"


def mpirun(tasks: int) -> list[str]:
    """Return Debian's mpirun, ready to start `tasks` tasks here; nothing where it is not installed."""
    allowed = ["--allow-run-as-root"] if not os.geteuid() else []
    return [MPIRUN, *allowed, "--oversubscribe", "-n", str(tasks)] if os.path.exists(MPIRUN) else []


def prterun(tasks: int) -> list[str]:
    """Return the wheel's prterun, ready to start `tasks` tasks here."""
    return [str(BIN / "prterun"), "-n", str(tasks), "--map-by", ":oversubscribe"]


def as_root() -> dict[str, str]:
    """Return an environment in which prterun runs as root too."""
    return os.environ | {"PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def figure(name: str, who: str, value: float, unit: str) -> None:
    """Say what one of `PEERS`, or ours, takes (ms), has (MiB) or does (a second); for `all.py`."""
    _record({"figure": name, "who": who, "value": value, "unit": unit})


def _record(what: dict[str, object]) -> None:
    if record := os.environ.get(RECORD):
        with open(record, "a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")


def table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns under a title; the first row is the head. A column "to X" holds ratios to X."""
    _record({"title": title, "rows": [list(row) for row in rows]})
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(title)
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
