"""MPI programs that need more of PMIx than a fence: which of them says the argument. Each prints a line a rank."""

from __future__ import annotations

import socket
import sys
import time

from mpi4py import MPI


def say(*what: object) -> None:
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


def sessions() -> None:
    """A communicator from a session's process set, without MPI_Init, three times by one tag."""
    session = MPI.Session.Init()
    group = session.Create_group("mpi://WORLD")
    for _ in range(3):
        comm = MPI.Intracomm.Create_from_group(group, "a tag")
        rank, total = comm.rank, comm.allreduce(comm.rank)
        comm.Free()
    group.Free()
    session.Finalize()
    say(rank, total)


def names() -> None:
    """Odd ranks find the even ones' port by its name, connect, sum with them, and part."""
    world = MPI.COMM_WORLD
    odd = world.rank % 2
    half = world.Split(odd, world.rank)
    port = ""
    if world.rank == 0:
        port = MPI.Open_port()
        MPI.Publish_name("even ones", port)
    world.barrier()
    if odd:
        port = MPI.Lookup_name("even ones") if half.rank == 0 else ""
        between = half.Connect(port)
    else:
        between = half.Accept(port)
    both = between.Merge(high=bool(odd))
    say(world.rank, between.remote_size, both.size, both.allreduce(world.rank))
    both.Free()
    between.Disconnect()
    world.barrier()
    if world.rank == 0:
        MPI.Unpublish_name("even ones", port)
        MPI.Close_port(port)
    world.barrier()


def join() -> None:
    """Ranks 0 and 1 join over a socket."""
    world = MPI.COMM_WORLD
    if world.rank == 0:
        with socket.create_server(("127.0.0.1", 0)) as server:
            world.send(server.getsockname()[1], 1)
            end, _ = server.accept()
    elif world.rank == 1:
        end = socket.create_connection(("127.0.0.1", world.recv(source=0)))
    if world.rank < 2:
        between = MPI.Comm.Join(end.fileno())
        both = between.Merge(high=bool(world.rank))
        say(world.rank, between.remote_size, both.allreduce(world.rank + 10))
        both.Free()
        between.Disconnect()
    world.barrier()


def jobs() -> None:
    """A spawned job finds this one's port by its name, and connects: not over what spawning gives it."""
    world = MPI.COMM_WORLD
    spawned = MPI.Comm.Get_parent()
    if spawned != MPI.COMM_NULL:
        between = world.Connect(MPI.Lookup_name("first job") if world.rank == 0 else "")
        role = "spawned"
    else:
        port = ""
        if world.rank == 0:
            port = MPI.Open_port()
            MPI.Publish_name("first job", port)
        world.barrier()
        spawned = world.Spawn(sys.executable, [__file__, "jobs"], maxprocs=2)
        between = world.Accept(port)
        role = "first"
    both = between.Merge(high=role == "spawned")
    say(role, world.rank, between.remote_size, both.rank, both.allreduce(both.rank))
    both.Free()
    between.Disconnect()
    spawned.Disconnect()
    if role == "first" and world.rank == 0:
        MPI.Unpublish_name("first job", port)
        MPI.Close_port(port)


def meets() -> None:
    """Two jobs that were started apart: the one called "server" publishes a port, the other connects to it."""
    world, serves = MPI.COMM_WORLD, sys.argv[2] == "server"
    port = ""
    if world.rank == 0:
        port = MPI.Open_port() if serves else _found("a meeting")
        if serves:
            MPI.Publish_name("a meeting", port)
    between = world.Accept(port) if serves else world.Connect(port)
    both = between.Merge(high=not serves)
    say(sys.argv[2], world.rank, between.remote_size, both.rank, both.allreduce(both.rank))
    both.Free()
    between.Disconnect()
    if serves and world.rank == 0:
        MPI.Unpublish_name("a meeting", port)
        MPI.Close_port(port)


def _found(name: str) -> str:
    """Look a name up until it is there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return MPI.Lookup_name(name)
        except MPI.Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def sums() -> None:
    """All send to all: what was not wired up by the fence is now."""
    world = MPI.COMM_WORLD
    found = world.alltoall([world.rank * 100 + rank for rank in range(world.size)])
    say(world.rank, *found)


globals()[sys.argv[1]]()
