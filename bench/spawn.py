"""How long a spawn of 4 processes takes, until they are connected to the one that asked, against the wheel's prterun.

Usage: python bench/spawn.py [ROUNDS]. A round is one job, which spawns once.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measure import BIN, OURS, PRTERUN, as_root, figure, in_turns, prterun, table
from measure import program as compiled
from measure import rounds as how_often


def taken(program: Path, *launcher: str) -> float:
    """Return the seconds that the spawn of a job took."""
    done = subprocess.run(
        [*launcher, str(program), "1"],
        env=as_root(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return min(map(float, done.stdout.split())) / 1e3


def main() -> None:
    """Measure and print the table."""
    rounds = how_often(15, 5)
    with compiled("spawn") as program:
        ours = str(BIN / "flux-pmix")
        launchers = {
            "prterun -n 1": prterun(1),
            "flux-pmix run -n 1": [ours, "run", "-n", "1"],
            "flux-pmix run -N2 -n 2, both spawn": [ours, "run", "-N2", "-n", "2"],
        }
        contestants: dict[str, Callable[[], float]] = {
            name: partial(taken, program, *words) for name, words in launchers.items()
        }
        medians = in_turns(rounds, contestants)
    peer = medians["prterun -n 1"]
    for who, name in ((OURS, "flux-pmix run -n 1"), (PRTERUN, "prterun -n 1")):
        figure("spawn of 4 processes, until they are connected", who, medians[name] * 1e3, "ms")
    table(
        f"spawn of 4 processes, to connected; median of {rounds}, in turns",
        [
            ("spawn of 4, to connected", "median", "to prterun"),
            *((name, f"{seconds * 1e3:.1f} ms", f"{seconds / peer:.2f}") for name, seconds in medians.items()),
        ],
    )


if __name__ == "__main__":
    main()
