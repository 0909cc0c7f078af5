/* A tool of the plain kind: finds a server by its rendezvous file, asks for the processes, pulls their output until
 * the server has gone, and writes what it got: rank, channel, data. Declared by hand, for libpmix from 4.2 on: its
 * headers are not everywhere. Usage: tool FILE NAMESPACE [TEXT], which it pushes to all standard inputs first, or
 * tool FILE NAMESPACE -p [KEY | KEY=VALUE]..., where libpmix prints what comes, as these attributes say. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { char nspace[256]; uint32_t rank; } proc_t;
typedef unsigned char bool_t;
typedef struct { char *bytes; size_t size; } bytes_t;
typedef struct { uint16_t type; size_t size; void *array; } array_t;
typedef struct { uint16_t type; union { char *string; array_t *array; char raw[24]; } data; } value_t;
typedef struct { char key[512]; uint32_t flags; value_t value; } info_t;
typedef struct { char **keys; info_t *qualifiers; size_t nqual; } query_t;
typedef void (*done_t)(int, info_t *, size_t, void *, void *, void *);
typedef void (*output_t)(size_t, uint16_t, proc_t *, bytes_t *, info_t *, size_t);
typedef void (*event_t)(size_t, int, const proc_t *, info_t *, size_t, info_t *, size_t, done_t, void *);

enum { BOOL = 1, STRING = 3, STDOUT = 2, STDERR = 4, LOST_CONNECTION = -61, COMPLETE = -332 };
static const uint32_t WILDCARD = UINT32_MAX - 1;

int PMIx_tool_init(proc_t *, info_t *, size_t);
int PMIx_tool_finalize(void);
const char *PMIx_Error_string(int);
int PMIx_Info_load(info_t *, const char *, const void *, uint16_t);
int PMIx_Query_info(query_t *, size_t, info_t **, size_t *);
int PMIx_Register_event_handler(int *, size_t, info_t *, size_t, event_t, void *, void *);
int PMIx_IOF_pull(const proc_t *, size_t, const info_t *, size_t, uint16_t, output_t, void *, void *);
int PMIx_IOF_push(const proc_t *, size_t, bytes_t *, const info_t *, size_t, void *, void *);

static volatile int over;

static void came(size_t ref, uint16_t channel, proc_t *source, bytes_t *data, info_t info[], size_t ninfo)
{
    (void)ref, (void)info, (void)ninfo;
    for (char *line = data ? data->bytes : NULL, *end = line ? line + data->size : NULL; line < end;) {
        char *next = memchr(line, '\n', end - line);

        next = next ? next + 1 : end;
        printf("%u %u %.*s", (unsigned)source->rank, (unsigned)channel, (int)(next - line), line);
        line = next;
    }
    fflush(stdout);
}

static void pushed(int status, void *data)
{
    (void)data;
    printf("push %s\n", PMIx_Error_string(status));
    fflush(stdout);
}

static void lost(size_t id, int status, const proc_t *source, info_t info[], size_t ninfo, info_t results[],
                 size_t nresults, done_t done, void *data)
{
    (void)id, (void)status, (void)source, (void)info, (void)ninfo, (void)results, (void)nresults;
    over = 1;
    if (done)
        done(COMPLETE, NULL, 0, NULL, NULL, data);
}

int main(int argc, char **argv)
{
    char *keys[] = {"pmix.qry.ptable", NULL};
    info_t where[16], qualifier, *results = NULL;
    query_t query = {keys, &qualifier, 1};
    proc_t me, job;
    size_t count = 0, nwhere = 1;
    int prints = argc > 3 && strcmp(argv[3], "-p") == 0;
    bool_t yes = 1;
    int status, code = LOST_CONNECTION;

    if (argc < 3)
        return 2;
    memset(where, 0, sizeof where);
    memset(&qualifier, 0, sizeof qualifier);
    memset(&job, 0, sizeof job);
    PMIx_Info_load(&where[0], "pmix.tool.attach", argv[1], STRING);
    for (char **word = argv + 4; prints && *word && nwhere < 16; word++, nwhere++) {
        char *value = strchr(*word, '=');

        if (value)
            *value++ = 0;
        PMIx_Info_load(&where[nwhere], *word, value ? (void *)value : (void *)&yes, value ? STRING : BOOL);
    }
    PMIx_Info_load(&qualifier, "pmix.nspace", argv[2], STRING);
    strncpy(job.nspace, argv[2], sizeof job.nspace - 1);
    job.rank = WILDCARD;
    if ((status = PMIx_tool_init(&me, where, nwhere)) != 0) {
        printf("init: %s\n", PMIx_Error_string(status));
        return 1;
    }
    status = PMIx_Query_info(&query, 1, &results, &count);
    printf("processes %zu\n", status == 0 && count ? results[0].value.data.array->size : 0);
    PMIx_Register_event_handler(&code, 1, NULL, 0, lost, NULL, NULL);
    status = PMIx_IOF_pull(&job, 1, NULL, 0, STDOUT | STDERR, prints ? NULL : came, NULL, NULL);
    printf("pull %s\n", status >= 0 ? "done" : PMIx_Error_string(status));
    fflush(stdout);
    if (argc > 3 && !prints) {
        bytes_t text = {argv[3], strlen(argv[3])}, end = {NULL, 0};

        /* Without a function to call back libpmix (4.2, 5.0) waits for ever. */
        PMIx_IOF_push(&job, 1, &text, NULL, 0, (void *)pushed, NULL);
        PMIx_IOF_push(&job, 1, &end, NULL, 0, (void *)pushed, NULL);
    }
    while (!over)
        usleep(10000);
    PMIx_tool_finalize();
    return 0;
}
