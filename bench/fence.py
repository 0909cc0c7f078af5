"""Collecting fences and barriers over emulated nodes, and a job shell's memory; on one node beside prterun's.

Run it with the Python of an environment where fluxpmix[mpi] is installed: `python bench/fence.py [rounds]`. The
processes are those of `fence.c`, one on each shell. Memory is that of the process that hosts them, after collecting
fences of 4 KiB. The whole exchange is on one machine: its processors serve all shells and clients at once.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence

from measure import (
    BIN,
    HERE,
    OURS,
    PRTERUN,
    SHELLS,
    SIZES,
    as_root,
    fence_figures,
    fences,
    figure,
    prterun,
    rounds,
    table,
    written,
)
from measure import program as compiled

RANKS = 4  # on one node
TURNS = 3


def memory(command: Sequence[object]) -> float:
    """Return the resident memory (MiB) of what hosts the first rank of `fence_client.py`."""
    words = [*map(str, command), sys.executable, str(HERE / "fence_client.py"), "5", "4096"]
    done = subprocess.run(words, env=as_root(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return float(done.stdout.split()[2])


def ours(shells: int, ranks: int) -> list[object]:
    return [BIN / "flux-pmix", "run", f"-N{shells}", f"-n{ranks}"]


def main() -> None:
    count = rounds(20, 6)
    head = ("", "barrier", *map(written, SIZES), "a shell's memory")
    with compiled("fence") as program:
        rows = [head]
        for shells in SHELLS:
            found = {
                size: fences([*ours(shells, shells), program], size, max(5, count >> (size >> 19))) for size in SIZES
            }
            fence_figures(OURS, shells, found)
            used = memory(ours(shells, shells))
            figure(f"memory of a job shell, {shells} shells", OURS, used, "MiB")
            times = [f"{collecting:.2f} ms" for collecting, _ in found.values()]
            rows.append((f"{shells} shells", f"{found[SIZES[0]][1]:.2f} ms", *times, f"{used:.1f} MiB"))
        table(f"one rank on each shell (median of {count})", rows)

        rows = [head]
        both = {OURS: ours(1, RANKS), PRTERUN: prterun(RANKS)}
        runs: dict[str, dict[int, list[tuple[float, float]]]] = {who: {size: [] for size in SIZES} for who in both}
        for _ in range(TURNS):
            for size in SIZES:
                for who, command in both.items():
                    runs[who][size].append(fences([*command, program], size, count, as_root()))
        for who, command in both.items():
            found = {}
            for size, measured in runs[who].items():
                collecting, barrier = (statistics.median(column) for column in zip(*measured, strict=True))
                found[size] = collecting, barrier
            for size, (collecting, _) in found.items():
                figure(f"fence of {written(size)} from each of {RANKS} ranks, one node", who, collecting, "ms")
            figure(f"barrier of {RANKS} ranks, one node", who, found[SIZES[0]][1], "ms")
            used = memory(command)
            figure(f"memory of the server of {RANKS} ranks, one node", who, used, "MiB")
            times = [f"{collecting:.2f} ms" for collecting, _ in found.values()]
            rows.append((who, f"{found[SIZES[0]][1]:.2f} ms", *times, f"{used:.1f} MiB"))
        table(f"{RANKS} ranks on one node (median of {TURNS} times {count}, in turns)", rows)


main()
