/* The process sets that an MPI session knows, in a line. */
#include <mpi.h>
#include <stdio.h>

int main(void)
{
    MPI_Session session;
    char text[8192];
    int count, at;

    MPI_Session_init(MPI_INFO_NULL, MPI_ERRORS_ARE_FATAL, &session);
    MPI_Session_get_num_psets(session, MPI_INFO_NULL, &count);
    at = snprintf(text, sizeof text, "%d sets:", count);
    for (int number = 0; number < count; number++) {
        char name[512];
        int length = sizeof name;

        MPI_Session_get_nth_pset(session, MPI_INFO_NULL, number, &length, name);
        at += snprintf(text + at, sizeof text - at, " %s", name);
    }
    puts(text);
    MPI_Session_finalize(&session);
    return 0;
}
