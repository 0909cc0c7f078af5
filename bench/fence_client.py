"""A task of `fence.py`: times collecting fences of BYTES from each rank (0: barriers); rank 0 prints what it took.

The same key is put again for each fence: libpmix collects all that a process ever committed, not what is new.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from fluxpmix import Client, Scope


def main() -> None:
    rounds, size = map(int, sys.argv[1:])
    with Client() as client:
        taken = []
        for _ in range(rounds + 2):
            client.put(Scope.GLOBAL, "blob", os.urandom(size or 1))
            client.commit()
            client.fence()
            started = time.perf_counter()
            client.fence(collect=bool(size))
            taken.append(time.perf_counter() - started)
        if client.proc.rank == 0:
            with open(f"/proc/{os.getppid()}/status") as status:
                memory = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))
            print(statistics.median(taken[2:]) * 1e3, min(taken) * 1e3, memory)
        client.fence()


main()
