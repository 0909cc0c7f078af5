/* An allreduce loop in the middle of which a rank is killed; the others shrink the communicator and finish.
 * Argument: the rank that is killed. Prints, at each survivor: rank, size after, sum. */
#include <mpi.h>
#include <mpi-ext.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int rank, size, victim = argc > 1 ? atoi(argv[1]) : 1;
    MPI_Comm comm;
    MPI_Init(&argc, &argv);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    long sum = 0, one = 1;
    for (int turn = 0; turn < 200; turn++) {
        if (rank == victim && turn == 100)
            raise(SIGKILL);
        int error = MPI_Allreduce(&one, &sum, 1, MPI_LONG, MPI_SUM, comm);
        int good = error == MPI_SUCCESS;
        if (!good)
            MPIX_Comm_revoke(comm);
        if (turn == 100 || !good) { /* all agree on whether it went well */
            MPI_Comm smaller;
            MPIX_Comm_shrink(comm, &smaller);
            MPI_Comm_free(&comm);
            comm = smaller;
            MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
            int flag = 1;
            MPIX_Comm_agree(comm, &flag);
            turn = 100;
            MPI_Allreduce(MPI_IN_PLACE, &turn, 1, MPI_INT, MPI_MAX, comm);
        }
    }
    MPI_Comm_size(comm, &size);
    printf("%d %d %ld\n", rank, size, sum);
    fflush(stdout);
    MPI_Comm_free(&comm);
    MPI_Finalize();
    return 0;
}
