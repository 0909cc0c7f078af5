"""Fences across shells: time of a collecting fence by bytes from each rank, of a barrier, and a shell's memory.

`python bench/fence.py [shells [rounds]]`. Goals: 8 shells, 64 KiB from each, under 10 ms; a shell under 45 MB.
The memory is a shell's resident set at the end, with what libpmix keeps of the blobs.
"""

from __future__ import annotations

import subprocess
import sys

from measure import BIN, HERE, table

SIZES = (0, 64, 4096, 65536, 1048576)


def run(shells: int, rounds: int, size: int) -> list[float]:
    """Return the median and the least time of a fence (ms), and the first shell's resident memory (MiB)."""
    words = [
        BIN / "flux-pmix",
        "run",
        f"-N{shells}",
        f"-n{shells}",
        sys.executable,
        HERE / "fence_client.py",
        rounds,
        size,
    ]
    done = subprocess.run(list(map(str, words)), check=True, stdout=subprocess.PIPE, text=True)
    return [float(value) for value in done.stdout.split()]


def main() -> None:
    shells = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    rows = [("from each rank", "median", "least", "a shell's memory")]
    for size in SIZES:
        median, least, memory = run(shells, rounds, size)
        rows.append((f"{size} B" if size else "barrier", f"{median:.2f} ms", f"{least:.2f} ms", f"{memory:.1f} MiB"))
    table(f"{shells} shells, one rank each ({rounds} rounds)", rows)


main()
