"""MPI programs that grow while they run, by mpi4py: the first argument says which."""

from __future__ import annotations

import os
import sys
import time

from mpi4py import MPI


def master() -> None:
    """Spawn workers, compute pi with them, and spawn again."""
    for turn in range(2):
        workers = MPI.COMM_SELF.Spawn(sys.executable, [__file__, "worker"], maxprocs=3)
        workers.bcast(1000 + turn, root=MPI.ROOT)
        total = workers.reduce(None, op=MPI.SUM, root=MPI.ROOT)
        workers.Disconnect()
        print(f"turn {turn}: {total:.3f}", flush=True)


def worker() -> None:
    parent = MPI.Comm.Get_parent()
    steps = parent.bcast(None, root=0)
    me, size = MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size
    part = sum(4 / (1 + ((i + 0.5) / steps) ** 2) for i in range(me, steps, size)) / steps
    parent.reduce(part, op=MPI.SUM, root=0)
    parent.Disconnect()


def multiple() -> None:
    """Spawn two commands as one job (MPI_Comm_spawn_multiple)."""
    arguments = [[__file__, "part", name] for name in ("first", "second")]
    parts = MPI.COMM_SELF.Spawn_multiple([sys.executable] * 2, arguments, [1, 2])
    print(parts.gather(None, root=MPI.ROOT), flush=True)
    parts.Disconnect()


def part() -> None:
    parent = MPI.Comm.Get_parent()
    parent.gather((sys.argv[2], MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size), root=0)
    parent.Disconnect()


def pool() -> None:
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(max_workers=2) as executor:
        print(sorted(executor.map(abs, range(-8, 0))), flush=True)


def slowly(number: int) -> tuple[int, str]:
    time.sleep(0.1)
    return number * number, os.environ["PMIX_NAMESPACE"]


def grows() -> None:
    """A pool works, and gets two more workers, and two more, while it does."""
    from mpi4py.futures import MPIPoolExecutor

    pools = [MPIPoolExecutor(max_workers=2)]
    futures = [pools[0].submit(slowly, number) for number in range(10)]
    for turn in (1, 2):
        futures[turn].result()
        pools.append(MPIPoolExecutor(max_workers=2))
        futures += [pools[-1].submit(slowly, 10 * turn + number) for number in range(10)]
    found = [future.result() for future in futures]
    for pool in pools:
        pool.shutdown()
    print(sum(square for square, _ in found), len({nspace for _, nspace in found}), flush=True)


def names() -> None:
    """Two spawned jobs find each other by a published name and talk, without their parent."""
    jobs = [MPI.COMM_SELF.Spawn(sys.executable, [__file__, role], maxprocs=1) for role in ("accepts", "connects")]
    print([job.recv(source=0) for job in jobs], flush=True)
    for job in jobs:
        job.Disconnect()


def accepts() -> None:
    parent = MPI.Comm.Get_parent()
    port = MPI.Open_port()
    MPI.Publish_name("fluxpmix-test", port)
    other = MPI.COMM_SELF.Accept(port)
    other.send("hello from the one that accepts", dest=0)
    parent.send(other.recv(source=0), dest=0)
    other.Disconnect()
    MPI.Unpublish_name("fluxpmix-test", port)
    MPI.Close_port(port)
    parent.Disconnect()


def connects() -> None:
    parent = MPI.Comm.Get_parent()
    while True:
        try:
            port = MPI.Lookup_name("fluxpmix-test")
            break
        except MPI.Exception:
            continue
    other = MPI.COMM_SELF.Connect(port)
    other.send("hello from the one that connects", dest=0)
    parent.send(other.recv(source=0), dest=0)
    other.Disconnect()
    parent.Disconnect()


if __name__ == "__main__":
    if MPI.Comm.Get_parent() != MPI.COMM_NULL or MPI.COMM_WORLD.rank == 0:
        globals()[sys.argv[1]]()
