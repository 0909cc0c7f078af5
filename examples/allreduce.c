/* An allreduce whose result every rank checks. Build: mpicc -o allreduce allreduce.c */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int rank, size, sum = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    int wrong = sum != size * (size - 1) / 2;
    if (wrong || rank == 0)
        printf("rank %d of %d: sum of ranks is %d%s\n", rank, size, sum, wrong ? ", WRONG" : "");
    MPI_Finalize();
    return wrong;
}
