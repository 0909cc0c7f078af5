/* The least that a PMIx program does: init, one barrier, finalize. Needs no header of libpmix. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char nspace[256];
    uint32_t rank;
} proc_t;

int PMIx_Init(proc_t *proc, void *info, size_t ninfo);
int PMIx_Fence(const proc_t *procs, size_t nprocs, const void *info, size_t ninfo);
int PMIx_Finalize(const void *info, size_t ninfo);

int main(void)
{
    proc_t me;

    return PMIx_Init(&me, NULL, 0) || PMIx_Fence(NULL, 0, NULL, 0) || PMIx_Finalize(NULL, 0);
}
