"""The smallest real MPI program: every rank says hello, and the sum of the ranks must be right."""

from mpi4py import MPI

world = MPI.COMM_WORLD
total = world.allreduce(world.rank)
expected = world.size * (world.size - 1) // 2
print(f"hello from rank {world.rank} of {world.size} on {MPI.Get_processor_name()}: sum of ranks is {total}")
raise SystemExit(0 if total == expected else 1)
