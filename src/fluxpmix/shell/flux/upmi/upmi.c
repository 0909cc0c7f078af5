/* The C part of upmi/pmix.so, a plugin of Flux's PMI clients: says whether a PMIx server is there, and only
 * then starts Python.
 *
 * `embedding.py` puts this file behind `python.c`, in front of what cffi generates, and compiles it all. A
 * broker or `flux pmi` loads it where its methods name pmix, and calls on_topic() for each step of its
 * bootstrap; all but the first are Python's (`plugin.py`). Nothing here needs a header of Flux.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>

typedef struct flux_plugin flux_plugin_t;
typedef struct flux_plugin_arg flux_plugin_arg_t;
typedef int (*flux_plugin_f)(flux_plugin_t *, const char *, flux_plugin_arg_t *, void *);

int flux_plugin_set_name(flux_plugin_t *, const char *);
int flux_plugin_add_handler(flux_plugin_t *, const char *, flux_plugin_f, void *);
int flux_plugin_arg_set(flux_plugin_arg_t *, int, const char *);
int flux_plugin_arg_get(flux_plugin_arg_t *, int, char **);
int flux_plugin_arg_unpack(flux_plugin_arg_t *, int, const char *, ...);

enum { ARGUMENTS_IN, ARGUMENTS_OUT };
static flux_plugin_arg_t *answer; /* of the topic that runs */
static char libpmix[PATH_MAX];    /* the one that was asked for: --method=pmix:PATH */

extern char **environ;

/* ---- what Python calls ---- */

static const char *library_path(void)
{
    return libpmix;
}

/* Say what is wrong, in UTF-8: the caller shows it in place of errno. */
static void complain(const char *text)
{
    char line[2200] = "{\"errmsg\":\"";
    size_t at = strlen(line);

    for (; *text && at < sizeof line - 8; ++text) {
        if (*text == '"' || *text == '\\')
            line[at++] = '\\';
        line[at++] = (unsigned char)*text < ' ' ? ' ' : *text;
    }
    strcpy(line + at, "\"}");
    flux_plugin_arg_set(answer, ARGUMENTS_OUT, line);
    errno = EINVAL; /* what is shown if that is no UTF-8 after all */
}

/* ---- the topics ---- */

static int refuse(const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    complain(text);
    return -1;
}

/* Whether a PMIx server has started this process: libpmix's versions each have their own variable. */
static bool has_server(void)
{
    char **each;

    for (each = environ; each && *each; ++each)
        if (!strncmp(*each, "PMIX_SERVER_URI", sizeof "PMIX_SERVER_URI" - 1))
            return getenv("PMIX_NAMESPACE") && getenv("PMIX_RANK");
    return false;
}

static int preinit(flux_plugin_arg_t *arguments)
{
    const char *path = NULL;

    if (!has_server())
        return refuse("no PMIx server has started this process: PMIX_SERVER_URI is not in the environment");
    flux_plugin_arg_unpack(arguments, ARGUMENTS_IN, "{s?s}", "path", &path);
    snprintf(libpmix, sizeof libpmix, "%s", path ? path : "");
    return 0;
}

static int fluxpmix_upmi(const char *, flux_plugin_arg_t *);

static int on_topic(flux_plugin_t *plugin, const char *topic, flux_plugin_arg_t *arguments, void *data)
{
    struct sigaction interrupt;
    sigset_t all, before;
    bool starts = !strcmp(topic, "upmi.initialize");
    int result;

    (void)plugin, (void)data;
    answer = arguments;
    if (!strcmp(topic, "upmi.preinit"))
        return preinit(arguments);
    /* Importing Python's signal module takes SIGINT, and libpmix's thread would take any signal. */
    sigaction(SIGINT, NULL, &interrupt);
    if (starts) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    result = starts && start_python() < 0 ? -1 : fluxpmix_upmi(topic, arguments);
    if (starts)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    sigaction(SIGINT, &interrupt, NULL);
    return result;
}

__attribute__((visibility("default"))) int flux_plugin_init(flux_plugin_t *plugin)
{
    if (flux_plugin_set_name(plugin, "pmix") < 0)
        return -1;
    return flux_plugin_add_handler(plugin, "upmi.*", on_topic, NULL);
}
