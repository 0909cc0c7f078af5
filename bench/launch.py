"""Enter to prompt: 4 ranks that do PMIx_Init, one barrier and PMIx_Finalize, against the wheel's prterun.

Run it with the Python of an environment where fluxpmix[mpi] is installed: `python bench/launch.py [rounds]`.
Goals: the command at most 2.5 times prterun, `fluxpmix.run` in a running program faster than prterun.
"""

from __future__ import annotations

import sys
import time

from measure import BIN, as_root, barrier_program, in_turns, prterun, table, wall

import fluxpmix

TASKS = 4


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    with barrier_program() as program:

        def inside() -> float:
            started = time.perf_counter()
            assert fluxpmix.run([str(program)], ntasks=TASKS) == 0
            return time.perf_counter() - started

        env = as_root()
        found = in_turns(
            rounds,
            {
                "prterun": lambda: wall([*prterun(TASKS), program], env),
                "flux-pmix run": lambda: wall([BIN / "flux-pmix", "run", "-n", str(TASKS), program]),
                "flux-pmix run -N4": lambda: wall([BIN / "flux-pmix", "run", "-N4", "-n", str(TASKS), program]),
                "fluxpmix.run()": inside,
                "python -c pass": lambda: wall([sys.executable, "-c", "pass"]),
            },
        )
    peer = found["prterun"]
    rows = [("", "median", "to prterun")]
    rows += [(name, f"{seconds * 1e3:.1f} ms", f"{seconds / peer:.2f}") for name, seconds in found.items()]
    table(f"{TASKS} ranks: init, barrier, finalize ({rounds} rounds in turns)", rows)


main()
