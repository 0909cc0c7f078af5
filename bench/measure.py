"""What the benchmarks share: medians of runs that take turns with a peer, and tables."""

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

RECORD = "FLUXPMIX_BENCH_RECORD"  # names a file that has the tables, for `all.py`
HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent


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
def barrier_program() -> Iterator[Path]:
    """Compile `barrier.c` against the libpmix that fluxpmix finds."""
    from fluxpmix import load_library

    library = load_library().path
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "barrier"
        where = os.path.dirname(library)
        rpath = [f"-Wl,-rpath,{where}"] if where else []
        found = library if where else f"-l:{library}"
        subprocess.run(["cc", "-O1", "-o", program, HERE / "barrier.c", found, *rpath], check=True)
        yield program


def prterun(tasks: int) -> list[str]:
    """Return the wheel's prterun, ready to start `tasks` tasks here."""
    return [str(BIN / "prterun"), "-n", str(tasks), "--map-by", ":oversubscribe"]


def as_root() -> dict[str, str]:
    """Return an environment in which prterun runs as root too."""
    return os.environ | {"PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def table(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns under a title; the first row is the head. A column "to X" holds ratios to X."""
    if record := os.environ.get(RECORD):
        with open(record, "a", encoding="utf-8") as file:
            file.write(json.dumps({"title": title, "rows": [list(row) for row in rows]}) + "\n")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print(title)
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
