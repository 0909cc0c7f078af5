"""A dask-mpi program that gets two more workers while it works: they are spawned and join its scheduler.

Rank 0 is dask's scheduler, rank 1 goes on with this program, the others are workers. Usage: dask_grows DIRECTORY, a
place for dask's files.
"""

from __future__ import annotations

import asyncio
import sys
import time

from mpi4py import MPI

NAMES = ("more-0", "more-1")


def slowly(number: int) -> tuple[int, str]:
    from distributed import get_worker

    time.sleep(0.2)
    return number, get_worker().address


async def work(address: str, directory: str) -> None:
    """Be a worker until the scheduler ends it."""
    from distributed import Worker

    settings = {"nthreads": 1, "local_directory": directory, "dashboard": False}
    async with Worker(address, name=NAMES[MPI.COMM_WORLD.rank], **settings) as worker:
        await worker.finished()


def main(directory: str) -> None:
    from dask_mpi import initialize
    from distributed import Client

    initialize(nthreads=1, local_directory=directory, nanny=False, dashboard=False)
    with Client() as client:
        client.wait_for_workers(2)
        futures = client.map(slowly, range(20))
        more = MPI.COMM_SELF.Spawn(sys.executable, [__file__, directory, "worker"], maxprocs=2)
        more.bcast(client.scheduler.address, root=MPI.ROOT)
        client.wait_for_workers(4)
        found = client.gather(futures + client.map(slowly, range(20, 40)))
        total, workers = sum(number for number, _ in found), {worker for _, worker in found}
        print(f"done {total} with more than 2 workers: {len(workers) > 2}", flush=True)
        spawned = [address for address, each in client.scheduler_info()["workers"].items() if each["name"] in NAMES]
        client.retire_workers(spawned, close_workers=True)
        more.Disconnect()


if __name__ == "__main__":
    if sys.argv[2:] == ["worker"]:
        parent = MPI.Comm.Get_parent()
        asyncio.run(work(parent.bcast(None, root=0), sys.argv[1]))
        parent.Disconnect()
    else:
        main(sys.argv[1])
