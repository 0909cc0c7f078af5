/* Sends one request to a service of a Flux instance, as whoever runs it: sender URI TOPIC NODEID [PAYLOAD].
 *
 * Prints the error that comes back, or `answered`. In C, so that another user needs no Python of ours for it.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct flux_handle_struct flux_t;
typedef struct flux_future flux_future_t;

flux_t *flux_open(const char *, int);
flux_future_t *flux_rpc_raw(flux_t *, const char *, const void *, size_t, uint32_t, int);
int flux_future_get(flux_future_t *, const void **);

int main(int argc, char **argv)
{
    const char *payload = argc > 4 ? argv[4] : "";
    flux_future_t *future;
    flux_t *handle;

    if (argc < 4 || !(handle = flux_open(argv[1], 0))) {
        fprintf(stderr, "cannot connect: %s\n", strerror(errno));
        return 1;
    }
    future = flux_rpc_raw(handle, argv[2], payload, strlen(payload), strtoul(argv[3], NULL, 10), 0);
    if (!future || flux_future_get(future, NULL) < 0)
        printf("%s\n", strerror(errno));
    else
        printf("answered\n");
    return 0;
}
