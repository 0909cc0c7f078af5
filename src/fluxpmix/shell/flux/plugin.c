/* The C part of pmix.so, a plugin of flux-shell: starts Python where a job wants PMIx, and hands over to it.
 * What runs in a task's own process is `supervisor.c`.
 *
 * `embedding.py` puts this file behind `python.c`, in front of what cffi generates, and compiles it all.
 * flux-shell calls flux_plugin_init() for every job; all that follows is Python (`plugin.py`). Nothing here
 * needs a header of Flux: names resolve from the flux-shell that loads the plugin. Prototypes:
 * flux_shell_*(3), flux_plugin_*(3) and the other manual pages.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct flux_plugin flux_plugin_t;
typedef struct flux_plugin_arg flux_plugin_arg_t;
typedef struct flux_shell flux_shell_t;
typedef struct shell_task flux_shell_task_t;
typedef struct flux_handle_struct flux_t;
typedef struct flux_reactor flux_reactor_t;
typedef struct flux_watcher flux_watcher_t;
typedef struct flux_msg flux_msg_t;
typedef struct flux_msg_handler flux_msg_handler_t;
typedef struct flux_future flux_future_t;
typedef struct flux_command flux_cmd_t;
typedef struct flux_subprocess flux_subprocess_t;
struct taskmap;

typedef int (*flux_plugin_f)(flux_plugin_t *, const char *, flux_plugin_arg_t *, void *);
typedef void (*flux_msg_handler_f)(flux_t *, flux_msg_handler_t *, const flux_msg_t *, void *);
typedef void (*flux_watcher_f)(flux_reactor_t *, flux_watcher_t *, int, void *);
typedef void (*flux_continuation_f)(flux_future_t *, void *);

int flux_plugin_set_name(flux_plugin_t *, const char *);
int flux_plugin_add_handler(flux_plugin_t *, const char *, flux_plugin_f, void *);
int flux_plugin_arg_get(flux_plugin_arg_t *, int, char **);
flux_plugin_arg_t *flux_plugin_arg_create(void);
int flux_plugin_arg_set(flux_plugin_arg_t *, int, const char *);
void flux_plugin_arg_destroy(flux_plugin_arg_t *);

flux_shell_t *flux_plugin_get_shell(flux_plugin_t *);
flux_t *flux_shell_get_flux(flux_shell_t *);
int flux_shell_getopt(flux_shell_t *, const char *, char **);
const char *flux_shell_getenv(flux_shell_t *, const char *);
int flux_shell_get_environ(flux_shell_t *, char **);
int flux_shell_add_event_handler(flux_shell_t *, const char *, flux_msg_handler_f, void *);
int flux_shell_get_info(flux_shell_t *, char **);
int flux_shell_get_jobspec_info(flux_shell_t *, char **);
int flux_shell_get_hwloc_xml(flux_shell_t *, const char **);
const struct taskmap *flux_shell_get_taskmap(flux_shell_t *);
int flux_shell_add_completion_ref(flux_shell_t *, const char *, ...);
int flux_shell_remove_completion_ref(flux_shell_t *, const char *, ...);
void flux_shell_killall(flux_shell_t *, int);
flux_shell_task_t *flux_shell_current_task(flux_shell_t *);
flux_shell_task_t *flux_shell_task_first(flux_shell_t *);
flux_shell_task_t *flux_shell_task_next(flux_shell_t *);
int flux_shell_plugstack_call(flux_shell_t *, const char *, flux_plugin_arg_t *);
int flux_shell_task_get_info(flux_shell_task_t *, char **);
flux_cmd_t *flux_shell_task_cmd(flux_shell_task_t *);
flux_subprocess_t *flux_shell_task_subprocess(flux_shell_task_t *);
void flux_shell_log(const char *, int, const char *, int, const char *, ...);
void flux_shell_raise(const char *, int, const char *, ...);
/* Since flux-core 0.85 or so; null in an older one. */
void flux_shell_raise_exit_status(int, const char *, ...) __attribute__((weak));

/* Since flux-core 0.55 or so. */
char *flux_shell_mustache_render(flux_shell_t *, const char *) __attribute__((weak));

char *taskmap_encode(const struct taskmap *, int);

flux_reactor_t *flux_get_reactor(flux_t *);
const char *flux_attr_get(flux_t *, const char *);
flux_watcher_t *flux_fd_watcher_create(flux_reactor_t *, int, int, flux_watcher_f, void *);
flux_watcher_t *flux_timer_watcher_create(flux_reactor_t *, double, double, flux_watcher_f, void *);
flux_watcher_t *flux_signal_watcher_create(flux_reactor_t *, int, flux_watcher_f, void *);
void flux_timer_watcher_reset(flux_watcher_t *, double, double);
void flux_watcher_start(flux_watcher_t *);
void flux_watcher_stop(flux_watcher_t *);
void flux_watcher_destroy(flux_watcher_t *);
flux_future_t *flux_rpc_raw(flux_t *, const char *, const void *, size_t, uint32_t, int);
int flux_future_then(flux_future_t *, double, flux_continuation_f, void *);
int flux_rpc_get_raw(flux_future_t *, const void **, size_t *);
flux_future_t *flux_job_submit(flux_t *, const char *, int, int);
const char *flux_future_error_string(flux_future_t *);
void flux_future_destroy(flux_future_t *);
void flux_future_reset(flux_future_t *);
int flux_request_decode_raw(const flux_msg_t *, const char **, const void **, size_t *);
int flux_respond_raw(flux_t *, const flux_msg_t *, const void *, int);
int flux_respond_error(flux_t *, const flux_msg_t *, int, const char *);
const flux_msg_t *flux_msg_incref(const flux_msg_t *);
void flux_msg_decref(const flux_msg_t *);
int flux_msg_authorize(const flux_msg_t *, uint32_t);
int flux_msg_get_string(const flux_msg_t *, const char **);
int flux_msg_get_userid(const flux_msg_t *, uint32_t *);
struct flux_match {
    int typemask;
    uint32_t matchtag;
    const char *topic_glob;
};
flux_msg_t *flux_recv(flux_t *, struct flux_match, int);
flux_msg_handler_t *flux_msg_handler_create(flux_t *, struct flux_match, flux_msg_handler_f, void *);
void flux_msg_handler_allow_rolemask(flux_msg_handler_t *, uint32_t);
void flux_msg_handler_start(flux_msg_handler_t *);
void flux_msg_handler_destroy(flux_msg_handler_t *);
int flux_aux_set(flux_t *, const char *, void *, void (*)(void *));
int flux_pollfd(flux_t *);
int flux_cmd_argc(const flux_cmd_t *);
const char *flux_cmd_arg(const flux_cmd_t *, int);
int flux_cmd_setenvf(flux_cmd_t *, int, const char *, const char *, ...);
flux_future_t *flux_subprocess_kill(flux_subprocess_t *, int);
int flux_subprocess_write(flux_subprocess_t *, const char *, const char *, size_t);
int flux_subprocess_close(flux_subprocess_t *, const char *);

enum { LEVEL_ERROR = 3 };
static flux_shell_t *the_shell;

/* ---- what Python calls; the variadic ones of Flux made plain ---- */

static void say(int level, const char *text)
{
    flux_shell_log("pmix", level, NULL, 0, "%s", text);
}

/* End the job: the exception's note is what flux run prints. */
static void end_job(int exit_code, const char *text)
{
    if (exit_code > 0 && flux_shell_raise_exit_status)
        flux_shell_raise_exit_status(exit_code << 8, "%s", text);
    else
        flux_shell_raise("exec", 0, "%s", text);
}

/* Add to a task's output, as flux-shell's own pty service does: {"stream","rank","data"}. */
static int write_output(const char *json)
{
    flux_plugin_arg_t *arguments = flux_plugin_arg_create();
    int result = -1;

    if (arguments && flux_plugin_arg_set(arguments, 0 /* in */, json) == 0)
        result = flux_shell_plugstack_call(the_shell, "shell.output", arguments);
    flux_plugin_arg_destroy(arguments);
    return result;
}

/* Fill in a template, as of an output file's name; to be freed. */
static char *render(const char *text)
{
    return flux_shell_mustache_render ? flux_shell_mustache_render(the_shell, text) : NULL;
}

static int hold_shell(const char *name)
{
    return flux_shell_add_completion_ref(the_shell, "%s", name);
}

static int release_shell(const char *name)
{
    return flux_shell_remove_completion_ref(the_shell, "%s", name);
}

static int set_task_variable(flux_shell_task_t *task, const char *name, const char *value)
{
    return flux_cmd_setenvf(flux_shell_task_cmd(task), 1, name, "%s", value);
}

static int kill_task(flux_shell_task_t *task, int signum)
{
    flux_subprocess_t *process = flux_shell_task_subprocess(task);
    flux_future_t *future = process ? flux_subprocess_kill(process, signum) : NULL;

    flux_future_destroy(future);
    return future ? 0 : -1;
}

static void destroy_handler(void *handler)
{
    flux_msg_handler_destroy(handler);
}

/* Answer requests of this topic, whoever's: flux_shell_service_register() would refuse those of others unheard. */
static int serve_topic(flux_t *handle, const char *topic, flux_msg_handler_f call, void *data)
{
    struct flux_match match = {1 /* requests */, 0, topic};
    flux_msg_handler_t *handler = flux_msg_handler_create(handle, match, call, data);

    if (!handler || flux_aux_set(handle, NULL, handler, destroy_handler) < 0) {
        flux_msg_handler_destroy(handler);
        return -1;
    }
    flux_msg_handler_allow_rolemask(handler, 2 /* any user */);
    flux_msg_handler_start(handler);
    return 0;
}

/* Write to a task's standard input; nothing: close it. */
static int feed_task(flux_shell_task_t *task, const char *data, size_t size)
{
    flux_subprocess_t *process = flux_shell_task_subprocess(task);

    if (!process)
        return -1;
    return size ? flux_subprocess_write(process, "stdin", data, size) : flux_subprocess_close(process, "stdin");
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

/* Wait for a request before there is a reactor. Null with errno ETIMEDOUT when none comes. */
static flux_msg_t *wait_for_request(flux_t *handle, const char *topic, double timeout)
{
    struct flux_match match = {1 /* requests */, 0, topic};
    double end = seconds() + timeout, left;
    flux_msg_t *message;

    while (!(message = flux_recv(handle, match, 4 /* do not block */))) {
        struct pollfd ready = {flux_pollfd(handle), POLLIN, 0};

        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return NULL;
        if ((left = end - seconds()) <= 0) {
            errno = ETIMEDOUT;
            return NULL;
        }
        if (poll(&ready, 1, left < 1 ? (int)(left * 1000) + 1 : 1000) < 0 && errno != EINTR)
            return NULL;
        /* Ready it is also with messages for others, which flux_recv() puts back: do not spin on those. */
        usleep(100);
    }
    return message;
}

/* ---- starting Python ---- */

static int refuse(const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    end_job(1, text);
    return -1;
}

/* Whether the shell option pmi, a list as JSON text, names pmix. */
static bool asked_for(flux_shell_t *shell)
{
    char *text = NULL, *rest, *word;
    bool found = false;

    if (flux_shell_getopt(shell, "pmi", &text) == 1 && text)
        for (word = strtok_r(text, "\", ", &rest); word && !found; word = strtok_r(NULL, "\", ", &rest))
            found = !strcmp(word, "pmix");
    free(text);
    return found;
}

static int fluxpmix_load(flux_plugin_t *);

__attribute__((visibility("default"))) int flux_plugin_init(flux_plugin_t *plugin)
{
    struct sigaction interrupt;
    int result;

    the_shell = flux_plugin_get_shell(plugin);
    flux_plugin_set_name(plugin, "pmix"); /* takes the place of a plugin of this name loaded before */
    if (!the_shell || !asked_for(the_shell))
        return 0;
    /* Importing Python's signal module takes SIGINT, which is flux-shell's: give it back. */
    sigaction(SIGINT, NULL, &interrupt);
    result = start_python();
    if (result == 0)
        result = fluxpmix_load(plugin);
    sigaction(SIGINT, &interrupt, NULL);
    return result;
}
