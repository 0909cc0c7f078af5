"""A task of `data.py`: what its first argument says, so many rounds; rank 0 prints what it took."""

from __future__ import annotations

import os
import statistics
import sys
import time

from fluxpmix import Client, Proc, Scope
from fluxpmix.pmix import attributes as a

BATCH = 100


def pairs(client: Client, size: int, rounds: int) -> str:
    """Publish a key and look it up: pairs a second, of all ranks."""
    client.fence()
    started = time.perf_counter()
    for turn in range(rounds):
        client.publish({f"{client.proc.rank}.{turn}": turn})
        client.lookup([f"{client.proc.rank}.{turn}"])
    client.fence()
    return f"{size * rounds / (time.perf_counter() - started):.0f}"


def batches(client: Client, size: int, rounds: int) -> str:
    """The same, a hundred keys in a call."""
    client.fence()
    started = time.perf_counter()
    for turn in range(rounds):
        keys = [f"{client.proc.rank}.{turn}.{number}" for number in range(BATCH)]
        client.publish(dict.fromkeys(keys, turn))
        client.lookup(keys)
    client.fence()
    return f"{size * rounds * BATCH / (time.perf_counter() - started):.0f}"


def groups(client: Client, size: int, rounds: int) -> str:
    """Make and end a group of all: constructs a second."""
    procs = [Proc(client.proc.nspace, rank) for rank in range(size)]
    client.fence()
    taken = 0.0
    for turn in range(rounds):
        client.fence()
        started = time.perf_counter()
        client.group_construct(f"g{turn}", procs, {a.GROUP_ASSIGN_CONTEXT_ID: True})
        taken += time.perf_counter() - started
        client.group_destruct(f"g{turn}")
    return f"{rounds / taken:.0f}"


def modex(client: Client, size: int, rounds: int) -> str:
    """Get 4 KiB of the last rank, which nobody here has got before: the median of a get (ms)."""
    client.put(Scope.GLOBAL, "blob", os.urandom(4096))
    client.commit()
    client.fence()
    taken = []
    if client.proc.rank == 0:
        for rank in range(1, min(size, rounds + 1)):
            started = time.perf_counter()
            assert len(client.get("blob", Proc(client.proc.nspace, rank))) == 4096
            taken.append(time.perf_counter() - started)
    client.fence()
    return f"{statistics.median(taken) * 1e3:.3f}" if taken else ""


def sparse(client: Client, size: int, rounds: int, collect: bool = False) -> str:
    """Wire up with two neighbours, by direct modex: seconds, from a fence to a fence."""
    me, nspace = client.proc.rank, client.proc.nspace
    client.fence()
    started = time.perf_counter()
    client.put(Scope.GLOBAL, "endpoint", os.urandom(1024))
    client.commit()
    client.fence(collect=collect)
    for rank in ((me - 1) % size, (me + 1) % size):
        assert len(client.get("endpoint", Proc(nspace, rank))) == 1024
    client.fence()
    return f"{time.perf_counter() - started:.4f}"


def collected(client: Client, size: int, rounds: int) -> str:
    """The same, by a collecting fence."""
    return sparse(client, size, rounds, collect=True)


def main() -> None:
    what, rounds = sys.argv[1], int(sys.argv[2])
    with Client() as client:
        found = globals()[what](client, client.get(a.JOB_SIZE, client.job), rounds)
        if client.proc.rank == 0:
            print(found, flush=True)
        client.fence()


main()
