/* Times PMIx_Fence: `fence SIZE ROUNDS`. Every rank puts SIZE bytes and commits; then a fence that collects them,
 * and, after the next commit, a barrier. Rank 0 prints the medians in milliseconds. Needs no header of libpmix. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    char nspace[256];
    uint32_t rank;
} proc_t;

typedef struct {
    uint16_t type;
    union {
        bool flag;
        struct {
            char *bytes;
            size_t size;
        } bo;
        void *room[3];
    } data;
} value_t;

typedef struct {
    char key[512];
    uint32_t flags;
    value_t value;
} info_t;

int PMIx_Init(proc_t *proc, info_t *info, size_t ninfo);
int PMIx_Finalize(const info_t *info, size_t ninfo);
int PMIx_Put(uint8_t scope, const char *key, value_t *value);
int PMIx_Commit(void);
int PMIx_Fence(const proc_t *procs, size_t nprocs, const info_t *info, size_t ninfo);

enum { TYPE_BOOL = 1, TYPE_BYTES = 27, SCOPE_GLOBAL = 3, MOST = 1000 };

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec * 1e-6;
}

static int compare(const void *one, const void *two)
{
    double a = *(const double *)one, b = *(const double *)two;

    return (a > b) - (a < b);
}

static double median(double *times, int count)
{
    qsort(times, count, sizeof *times, compare);
    return times[count / 2];
}

int main(int argc, char **argv)
{
    static double collecting[MOST], barrier[MOST];
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    int rounds = argc > 2 ? atoi(argv[2]) : 10;
    proc_t me;
    value_t value = {.type = TYPE_BYTES};
    info_t collect = {.key = "pmix.collect", .value = {.type = TYPE_BOOL, .data.flag = true}};

    if (rounds > MOST || PMIx_Init(&me, NULL, 0))
        return 1;
    value.data.bo.bytes = malloc(size);
    value.data.bo.size = size;
    for (size_t i = 0; i < size; ++i)
        value.data.bo.bytes[i] = (char)rand();
    for (int kind = 0; kind < 2; ++kind)
        for (int i = 0; i < rounds; ++i) {
            double start;

            value.data.bo.bytes[0] = (char)i;
            if (PMIx_Put(SCOPE_GLOBAL, "blob", &value) || PMIx_Commit() || PMIx_Fence(NULL, 0, NULL, 0))
                return 2; /* together: the barrier before is not timed */
            if (kind == 1 && (PMIx_Put(SCOPE_GLOBAL, "blob", &value) || PMIx_Commit()))
                return 3;
            usleep(50000); /* and what was committed is with the server */
            start = now();
            if (PMIx_Fence(NULL, 0, kind ? NULL : &collect, kind ? 0 : 1))
                return 4;
            (kind ? barrier : collecting)[i] = now() - start;
        }
    if (me.rank == 0)
        printf("%.3f %.3f\n", median(collecting, rounds), median(barrier, rounds));
    return PMIx_Finalize(NULL, 0) != 0;
}
