/* A PMIx client that spawns itself, N times 4 processes, and connects to them: prints the milliseconds of each time.
 * Declares what it uses of libpmix, whose layouts have not changed from 4.2 to 6.1. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { char nspace[256]; uint32_t rank; } proc_t;
typedef struct { char *cmd; char **argv; char **env; char *cwd; int maxprocs; void *info; size_t ninfo; } app_t;

int PMIx_Init(proc_t *, void *, size_t);
int PMIx_Finalize(void *, size_t);
int PMIx_Spawn(void *, size_t, const app_t *, size_t, char *);
int PMIx_Connect(const proc_t *, size_t, void *, size_t);

static double milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
}

int main(int argc, char **argv)
{
    proc_t me, both[2], all;
    int status = PMIx_Init(&me, NULL, 0);

    if (status)
        return fprintf(stderr, "PMIx_Init: %d\n", status), 1;
    all = me;
    all.rank = UINT32_MAX - 1;
    memset(both, 0, sizeof both);
    if (argc > 2) { /* told so, as prterun gives no PMIX_PARENT_ID */
        strncpy(both[0].nspace, argv[1], sizeof both[0].nspace - 1);
        both[0].rank = atoi(argv[2]);
        both[1] = all;
        if ((status = PMIx_Connect(both, 2, NULL, 0)))
            return fprintf(stderr, "connect: %d\n", status), 3;
    } else {
        for (int turn = 0; turn < atoi(argv[1]); turn++) {
            char rank[16], *words[] = {argv[0], me.nspace, rank, NULL};
            app_t app = {argv[0], words, NULL, NULL, 4, NULL, 0};
            double started = milliseconds();

            snprintf(rank, sizeof rank, "%u", me.rank);
            memset(&both[1], 0, sizeof both[1]);
            both[0] = me;
            both[1].rank = UINT32_MAX - 1;
            if ((status = PMIx_Spawn(NULL, 0, &app, 1, both[1].nspace)) ||
                (status = PMIx_Connect(both, 2, NULL, 0)))
                return fprintf(stderr, "spawn: %d\n", status), 4;
            printf("%.3f\n", milliseconds() - started);
            fflush(stdout);
        }
    }
    PMIx_Finalize(NULL, 0);
    return 0;
}
