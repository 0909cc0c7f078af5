"""Slurm's own PMIx plugin: launch and fences, on a controller and eight nodes that are started here for it.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge. `bench/fence.py` and `bench/launch.py` measure the
same of ours; all nodes of either are this machine. Barriers are left out: Slurm answers a fence without data at once,
whether other nodes have come or not.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from measure import (
    HERE,
    SHELLS,
    SIZES,
    SLURM,
    SYSTEM,
    fence_figures,
    fences,
    figure,
    in_turns,
    program,
    rounds,
    table,
    wall,
    written,
)

sys.path.insert(0, str(HERE.parent / "tests" / "flux"))

from slurm_cluster import NODES, Slurm, Unavailable


def main() -> None:
    count = rounds(15, 5)
    try:
        slurm = Slurm()
    except Unavailable as error:
        raise SystemExit(f"no Slurm: {error}") from None
    with ExitStack() as stack:
        stack.callback(slurm.close)
        barrier, fence = (stack.enter_context(program(name, SYSTEM)) for name in ("barrier", "fence"))
        env = os.environ | slurm.environment()
        launch = in_turns(count, {SLURM: lambda: wall([*slurm.srun("-N1", "-n4"), barrier], env)})[SLURM]
        figure("launch of 4 ranks: init, barrier, finalize", SLURM, launch * 1e3, "ms")
        table(
            f"srun -N1 -n4 of init, barrier, finalize (median of {count})",
            [("", "median"), ("Slurm", f"{launch * 1e3:.0f} ms")],
        )
        rows = [("", *map(written, SIZES))]
        for shells in (each for each in SHELLS if each <= NODES):
            words = [*slurm.srun(f"-N{shells}", f"-n{shells}"), fence]
            found = {size: fences(words, size, max(5, count >> (size >> 19)), env) for size in SIZES}
            fence_figures(SLURM, shells, found)
            times = [f"{collecting:.2f} ms" for collecting, _ in found.values()]
            rows.append((f"{shells} nodes", *times))
        table(f"one rank on each node (median of {count})", rows)


main()
