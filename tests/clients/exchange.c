/* A plain PMIx client: puts its rank, fences, adds up everybody's. Needs no header of libpmix. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char nspace[256];
    uint32_t rank;
} proc_t;

typedef struct {
    uint16_t type;
    union {
        uint32_t uint32;
        bool flag;
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
int PMIx_Get(const proc_t *proc, const char *key, const info_t *info, size_t ninfo, value_t **value);

enum { TYPE_BOOL = 1, TYPE_UINT32 = 14, SCOPE_GLOBAL = 3 };
static const uint32_t WILDCARD = 0xFFFFFFFE;

static int fail(const char *call, int status)
{
    fprintf(stderr, "%s: %d\n", call, status);
    return 1;
}

int main(void)
{
    proc_t me, peer;
    value_t mine = {0}, *got;
    info_t collect;
    uint32_t size, sum = 0;
    int rc;

    if ((rc = PMIx_Init(&me, NULL, 0)) != 0)
        return fail("init", rc);
    peer = me;
    peer.rank = WILDCARD;
    if ((rc = PMIx_Get(&peer, "pmix.job.size", NULL, 0, &got)) != 0)
        return fail("get size", rc);
    size = got->data.uint32;

    mine.type = TYPE_UINT32;
    mine.data.uint32 = me.rank;
    if ((rc = PMIx_Put(SCOPE_GLOBAL, "number", &mine)) != 0 || (rc = PMIx_Commit()) != 0)
        return fail("put", rc);
    memset(&collect, 0, sizeof collect);
    strcpy(collect.key, "pmix.collect");
    collect.value.type = TYPE_BOOL;
    collect.value.data.flag = true;
    if ((rc = PMIx_Fence(&peer, 1, &collect, 1)) != 0)
        return fail("fence", rc);
    for (peer.rank = 0; peer.rank < size; ++peer.rank) {
        if ((rc = PMIx_Get(&peer, "number", NULL, 0, &got)) != 0)
            return fail("get", rc);
        sum += got->data.uint32;
    }
    printf("rank %u of %u sum %u\n", me.rank, size, sum);
    return PMIx_Finalize(NULL, 0) ? 1 : 0;
}
