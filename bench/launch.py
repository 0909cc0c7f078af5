"""Enter to prompt: 4 ranks that do PMIx_Init, one barrier and PMIx_Finalize, against prterun and Debian's mpirun.

Run it with the Python of an environment where fluxpmix[mpi] is installed: `python bench/launch.py [rounds]`.
Goals: the command at most 2.5 times prterun, `fluxpmix.run` in a running program faster than prterun.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from measure import BIN, DEBIAN, OURS, PRTERUN, SYSTEM, as_root, figure, in_turns, mpirun, prterun, table, wall
from measure import program as compiled
from measure import rounds as how_often

import fluxpmix

TASKS = 4


def main() -> None:
    rounds = how_often(25, 7)
    with ExitStack() as stack:
        program = stack.enter_context(compiled("barrier"))

        def inside() -> float:
            started = time.perf_counter()
            assert fluxpmix.run([str(program)], ntasks=TASKS) == 0
            return time.perf_counter() - started

        env = as_root()
        contestants = {
            PRTERUN: lambda: wall([*prterun(TASKS), program], env),
            OURS: lambda: wall([BIN / "flux-pmix", "run", "-n", str(TASKS), program]),
            "flux-pmix run -N4": lambda: wall([BIN / "flux-pmix", "run", "-N4", "-n", str(TASKS), program]),
            "fluxpmix.run()": inside,
            "python -c pass": lambda: wall([sys.executable, "-c", "pass"]),
        }
        if peer := mpirun(TASKS):
            theirs = stack.enter_context(compiled("barrier", SYSTEM))
            contestants[DEBIAN] = lambda: wall([*peer, theirs], env)
        found = in_turns(rounds, contestants)
    for who in (OURS, PRTERUN, DEBIAN):
        if who in found:
            figure("launch of 4 ranks: init, barrier, finalize", who, found[who] * 1e3, "ms")
            if who != OURS:
                figure("the same from inside a Python program", who, found[who] * 1e3, "ms")
    figure("the same from inside a Python program", OURS, found["fluxpmix.run()"] * 1e3, "ms")
    peer = found[PRTERUN]
    rows = [("", "median", "to prterun")]
    rows += [(name, f"{seconds * 1e3:.1f} ms", f"{seconds / peer:.2f}") for name, seconds in found.items()]
    table(f"{TASKS} ranks: init, barrier, finalize ({rounds} rounds in turns)", rows)


main()
