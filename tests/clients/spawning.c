/* Spawns children by MPI and talks to them: as many as the first argument says, of one command or of two. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void spawn(char *self, int count, int commands, MPI_Comm *inter)
{
    int *codes = calloc(count, sizeof(int)), failed = 0;
    if (commands == 1) {
        MPI_Comm_spawn(self, MPI_ARGV_NULL, count, MPI_INFO_NULL, 0, MPI_COMM_WORLD, inter, codes);
    } else {
        char *programs[] = {self, self}, *one[] = {"first", NULL}, *two[] = {"second", NULL}, **arguments[] = {one, two};
        int counts[] = {1, count - 1};
        MPI_Info infos[] = {MPI_INFO_NULL, MPI_INFO_NULL};
        MPI_Comm_spawn_multiple(2, programs, arguments, counts, infos, 0, MPI_COMM_WORLD, inter, codes);
    }
    for (int i = 0; i < count; i++)
        failed += codes[i] != MPI_SUCCESS;
    if (failed)
        printf("%d of %d were not started\n", failed, count);
    free(codes);
}

int main(int argc, char **argv)
{
    MPI_Comm parent, inter, all;
    int rank, size, sum, *universe, known, *appnum, numbered;
    MPI_Init(&argc, &argv);
    MPI_Comm_get_parent(&parent);
    if (parent == MPI_COMM_NULL)
        spawn(argv[0], atoi(argv[1]), argc > 2 ? atoi(argv[2]) : 1, &inter);
    else
        inter = parent;
    MPI_Intercomm_merge(inter, parent != MPI_COMM_NULL, &all);
    MPI_Comm_rank(all, &rank);
    MPI_Comm_size(all, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, all);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_UNIVERSE_SIZE, &universe, &known);
    MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_APPNUM, &appnum, &numbered);
    printf("%s %d of %d: %d, app %d%s%s\n", parent == MPI_COMM_NULL ? "parent" : "child", rank, size, sum,
           numbered ? *appnum : -1, parent != MPI_COMM_NULL && argc > 1 ? " " : "",
           parent != MPI_COMM_NULL && argc > 1 ? argv[1] : "");
    if (!known || *universe < 1)
        printf("no universe\n");
    fflush(stdout);
    MPI_Comm_free(&all);
    MPI_Comm_disconnect(&inter);
    MPI_Finalize();
    return 0;
}
