"""How fast tasks' output comes through `flux-pmix run -l`, in MB/s, beside prterun --tag-output: and is any line torn?

Usage: python bench/io.py [ROUNDS [MEGABYTES]]. Four tasks print lines of 100 bytes, as fast as they can.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import BIN, OURS, PRTERUN, QUICK, as_root, figure, prterun, table

TASKS = 4
TEXT = "x" * 99
LINE = re.compile(rb"(?:[^x\n]{0,60}" + TEXT.encode() + rb"(?:<[^\n]*)?|)\n")


def run(command: Sequence[str], megabytes: int, directory: Path) -> tuple[float, int, int]:
    """Return the seconds that the job took, the bytes that its tasks printed and came through, and the torn lines."""
    program = directory / "print"
    program.write_text(f"#!/bin/sh\nexec sh -c 'yes {TEXT} | head -c {megabytes * 1000000 // TASKS // 100 * 100}'\n")
    program.chmod(0o755)
    path = directory / "output"
    with path.open("wb") as out:
        started = time.perf_counter()
        done = subprocess.run(
            [*command, str(program)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            env=as_root(),
            timeout=300,
            check=False,
        )
        taken = time.perf_counter() - started
    whole = torn = 0
    with path.open("rb") as lines:
        for line in lines:
            if LINE.fullmatch(line):
                whole += line.endswith(TEXT.encode() + b"\n") or TEXT.encode() in line
            else:
                torn += 1
    path.unlink()
    assert done.returncode == 0, done
    return taken, whole * 100, torn


def main() -> None:
    """Measure in turns and print the table."""
    given = [int(word) for word in sys.argv[1:]]
    rounds, megabytes = (*given, *((1, 40) if QUICK else (3, 200))[len(given) :])
    contestants = {
        "flux-pmix run -l": [str(BIN / "flux-pmix"), "run", "-n", str(TASKS), "-l"],
        "flux-pmix run -N2 -l": [str(BIN / "flux-pmix"), "run", "-N2", "-n", str(TASKS), "-l"],
        "flux-pmix run": [str(BIN / "flux-pmix"), "run", "-n", str(TASKS)],
        "prterun --tag-output": [*prterun(TASKS), "--output", "tag"],
    }
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        for _ in range(rounds):
            for contestant, command in contestants.items():
                found[contestant].append(run(command, megabytes, Path(name)))
    rows = [("", "MB/s", "came through", "torn lines")]
    for contestant, results in found.items():
        speed = sorted(got / taken / 1e6 for taken, got, _ in results)[len(results) // 2]
        if contestant in ("flux-pmix run -l", "prterun --tag-output"):
            figure("labelled output of 4 tasks", OURS if "flux" in contestant else PRTERUN, speed, "MB/s")
        came = min(got for _, got, _ in results) / (megabytes * 1e6)
        rows.append((contestant, f"{speed:.0f}", f"{came:.1%}", str(sum(torn for *_, torn in results))))
    table(f"{megabytes} MB of output of {TASKS} tasks, median of {rounds}", rows)


if __name__ == "__main__":
    main()
