/* A stage for pmix.so: as much of flux-shell's plugin API as one shell of one job needs, in a small program.
 *
 * The tests compile it where there is no Flux. It loads the plugin as flux-shell does (its names resolve from
 * this program, bound lazily, in a scope of its own), walks it through a job's life, and runs the tasks:
 *
 *   stage PLUGIN PMI NTASKS TMPDIR TOPOLOGY COMMAND...
 *
 * What the plugin logs or raises goes to stderr, as `log LEVEL text` and `raise CODE text`. Exit code: the
 * highest of the tasks', or 99 where the plugin fails the job. One shell: it has no peers, and messages are
 * not carried.
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef int (*handler_f)(void *plugin, const char *topic, void *args, void *data);
typedef void (*watcher_f)(void *reactor, void *watcher, int events, void *data);

enum { MOST = 64, FAILED = 99 };

static struct {
    char *topic;
    handler_f call;
    void *data;
} handlers[MOST];
static int nhandlers;

typedef struct {
    int active, fd;
    double when;
    watcher_f call;
    void *data;
} watcher_t;
static watcher_t *watchers[MOST];
static int nwatchers;

typedef struct {
    int rank, pid, status, exited;
    char *env[256];
    int nenv;
} task_t;
static task_t tasks[MOST];
static task_t *current;
static int ntasks, next_task, holds, raised;
static const char *pmi, *tmpdir, *topology, *command;

static char *print(const char *format, ...)
{
    char *text;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

/* -- plugins -- */

int flux_plugin_set_name(void *plugin, const char *name)
{
    (void)plugin;
    return strcmp(name, "pmix") ? -1 : 0;
}

int flux_plugin_add_handler(void *plugin, const char *topic, handler_f call, void *data)
{
    (void)plugin;
    handlers[nhandlers].topic = strdup(topic);
    handlers[nhandlers].call = call;
    handlers[nhandlers++].data = data;
    return 0;
}

int flux_plugin_arg_get(void *args, int flags, char **text)
{
    (void)args, (void)flags, (void)text;
    return -1;
}

/* -- the shell -- */

void *flux_plugin_get_shell(void *plugin)
{
    return plugin;
}

void *flux_shell_get_flux(void *shell)
{
    return shell;
}

int flux_shell_getopt(void *shell, const char *name, char **text)
{
    const char *found = NULL;
    char variable[64];

    (void)shell;
    if (!strcmp(name, "pmi"))
        found = pmi;
    else {
        snprintf(variable, sizeof variable, "STAGE_OPTION_%s", name);
        found = getenv(variable);
    }
    if (!found)
        return 0;
    *text = strdup(found);
    return 1;
}

const char *flux_shell_getenv(void *shell, const char *name)
{
    (void)shell;
    return strcmp(name, "FLUX_JOB_TMPDIR") ? NULL : tmpdir;
}

int flux_shell_get_info(void *shell, char **text)
{
    (void)shell;
    *text = print("{\"jobid\":8724152320,\"rank\":0,\"size\":1,\"ntasks\":%d,\"service\":\"%d-shell-fEHvZYK\","
                  "\"jobspec\":{\"version\":1,\"tasks\":[{\"command\":[\"%s\"],\"slot\":\"task\","
                  "\"count\":{\"per_slot\":1}}],\"attributes\":{\"system\":{\"cwd\":\"/tmp\"}}},"
                  "\"R\":{\"version\":1,\"execution\":{\"R_lite\":[{\"rank\":\"0\",\"children\":{\"core\":\"0-3\"}}],"
                  "\"starttime\":1.5,\"expiration\":0.0,\"nodelist\":[\"stage\"]}},\"options\":{}}",
                  ntasks, (int)getuid(), command);
    return 0;
}

int flux_shell_get_jobspec_info(void *shell, char **text)
{
    (void)shell;
    *text = print("{\"version\":1,\"ntasks\":%d,\"nslots\":%d,\"cores_per_slot\":1,\"nnodes\":1}", ntasks, ntasks);
    return 0;
}

int flux_shell_get_hwloc_xml(void *shell, const char **text)
{
    (void)shell;
    *text = topology;
    return 0;
}

const void *flux_shell_get_taskmap(void *shell)
{
    return shell;
}

char *taskmap_encode(const void *map, int flags)
{
    (void)map;
    return flags == 1 ? print("{\"version\":1,\"map\":[[0,1,%d,1]]}", ntasks) : NULL;
}

int flux_shell_add_completion_ref(void *shell, const char *format, ...)
{
    (void)shell, (void)format;
    return ++holds;
}

int flux_shell_remove_completion_ref(void *shell, const char *format, ...)
{
    (void)shell, (void)format;
    return --holds;
}

struct match {
    int types;
    uint32_t tag;
    const char *topic;
};

void *flux_msg_handler_create(void *handle, struct match match, void *call, void *data)
{
    (void)match, (void)call, (void)data;
    return handle;
}

void flux_msg_handler_allow_rolemask(void *handler, uint32_t roles)
{
    (void)handler, (void)roles;
}

void flux_msg_handler_start(void *handler)
{
    (void)handler;
}

int flux_aux_set(void *handle, const char *name, void *value, void (*destroy)(void *))
{
    (void)handle, (void)name, (void)value, (void)destroy;
    return 0;
}

static void say(const char *what, int number, const char *format, va_list arguments)
{
    char text[4096];

    vsnprintf(text, sizeof text, format, arguments);
    fprintf(stderr, "%s %d %s\n", what, number, text);
}

void flux_shell_log(const char *component, int level, const char *file, int line, const char *format, ...)
{
    va_list arguments;

    (void)component, (void)file, (void)line;
    va_start(arguments, format);
    say("log", level, format, arguments);
    va_end(arguments);
}

void flux_shell_killall(void *shell, int signum)
{
    (void)shell;
    for (int i = 0; i < ntasks; ++i)
        if (tasks[i].pid && !tasks[i].exited)
            kill(tasks[i].pid, signum);
}

void flux_shell_raise_exit_status(int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say("raise", WEXITSTATUS(status), format, arguments);
    va_end(arguments);
    raised = 1;
    flux_shell_killall(NULL, SIGTERM);
}

void flux_shell_raise(const char *type, int severity, const char *format, ...)
{
    va_list arguments;

    (void)type, (void)severity;
    va_start(arguments, format);
    say("raise", 0, format, arguments);
    va_end(arguments);
    raised = 1;
    flux_shell_killall(NULL, SIGTERM);
}

/* -- tasks -- */

void *flux_shell_current_task(void *shell)
{
    (void)shell;
    return current;
}

void *flux_shell_task_next(void *shell)
{
    (void)shell;
    return next_task < ntasks ? &tasks[next_task++] : NULL;
}

void *flux_shell_task_first(void *shell)
{
    next_task = 0;
    return flux_shell_task_next(shell);
}

int flux_shell_task_get_info(task_t *task, char **text)
{
    if (task->exited)
        *text = print("{\"localid\":%d,\"rank\":%d,\"state\":\"Exited\",\"pid\":%d,\"wait_status\":%d}", task->rank,
                      task->rank, task->pid, task->status);
    else if (task->pid)
        *text = print("{\"localid\":%d,\"rank\":%d,\"state\":\"Running\",\"pid\":%d}", task->rank, task->rank, task->pid);
    else
        *text = print("{\"localid\":%d,\"rank\":%d,\"state\":\"Init\"}", task->rank, task->rank);
    return 0;
}

void *flux_shell_task_cmd(void *task)
{
    return task;
}

void *flux_shell_task_subprocess(void *task)
{
    return task;
}

int flux_cmd_setenvf(task_t *task, int overwrite, const char *name, const char *format, ...)
{
    char value[8192];
    va_list arguments;

    (void)overwrite;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    task->env[task->nenv++] = print("%s=%s", name, value);
    return 0;
}

void *flux_subprocess_kill(task_t *task, int signum)
{
    if (task->pid && !task->exited)
        kill(task->pid, signum);
    return task;
}

/* -- the reactor -- */

void *flux_get_reactor(void *handle)
{
    return handle;
}

const char *flux_attr_get(void *handle, const char *name)
{
    (void)handle;
    return strcmp(name, "instance-level") ? NULL : "0";
}

static watcher_t *new_watcher(int fd, watcher_f call, void *data)
{
    watcher_t *watcher = calloc(1, sizeof *watcher);

    watcher->fd = fd;
    watcher->call = call;
    watcher->data = data;
    watchers[nwatchers++] = watcher;
    return watcher;
}

void *flux_fd_watcher_create(void *reactor, int fd, int events, watcher_f call, void *data)
{
    (void)reactor, (void)events;
    return new_watcher(fd, call, data);
}

void *flux_timer_watcher_create(void *reactor, double after, double repeat, watcher_f call, void *data)
{
    watcher_t *watcher = new_watcher(-1, call, data);

    (void)reactor, (void)repeat;
    watcher->when = now() + after;
    return watcher;
}

void flux_timer_watcher_reset(watcher_t *watcher, double after, double repeat)
{
    (void)repeat;
    watcher->when = now() + after;
}

void flux_watcher_start(watcher_t *watcher)
{
    watcher->active = 1;
}

void flux_watcher_stop(watcher_t *watcher)
{
    watcher->active = 0;
}

void flux_watcher_destroy(watcher_t *watcher)
{
    watcher->active = 0;
    watcher->fd = -1;
}

static void turn(void *shell)
{
    for (int i = 0; i < nwatchers; ++i) {
        watcher_t *watcher = watchers[i];
        struct pollfd ready = {watcher->fd, POLLIN, 0};

        if (!watcher->active)
            continue;
        if (watcher->fd < 0 && watcher->when <= now()) {
            watcher->active = 0;
            watcher->call(shell, watcher, 0, watcher->data);
        } else if (watcher->fd >= 0 && poll(&ready, 1, 0) > 0)
            watcher->call(shell, watcher, 1, watcher->data);
    }
    usleep(500);
}

/* -- the play -- */

static int topic(void *shell, const char *name)
{
    int failed = 0;

    for (int i = 0; i < nhandlers; ++i)
        if (!strcmp(handlers[i].topic, name) && handlers[i].call(shell, name, NULL, handlers[i].data) < 0)
            failed = 1;
    return failed;
}

static void start(task_t *task, char **argv)
{
    if ((task->pid = fork()) == 0) {
        for (int i = 0; i < task->nenv; ++i)
            putenv(task->env[i]);
        execvp(argv[0], argv);
        _exit(127);
    }
}

static int reap(void *shell)
{
    int left = 0;

    for (int i = 0; i < ntasks; ++i) {
        task_t *task = &tasks[i];

        if (!task->exited && waitpid(task->pid, &task->status, WNOHANG) == task->pid) {
            task->exited = 1;
            current = task;
            topic(shell, "task.exit");
        }
        left += !task->exited;
    }
    return left;
}

int main(int argc, char **argv)
{
    static char shell[1];
    int (*init)(void *), highest = 0;
    void *plugin;

    if (argc < 7)
        return 2;
    plugin = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL);
    if (!plugin || !(init = (int (*)(void *))dlsym(plugin, "flux_plugin_init"))) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    pmi = argv[2];
    ntasks = atoi(argv[3]);
    tmpdir = argv[4];
    topology = argv[5];
    command = argv[6];
    for (int i = 0; i < ntasks; ++i)
        tasks[i].rank = i;
    if (init(shell) < 0 || topic(shell, "shell.init") || topic(shell, "shell.post-init"))
        return FAILED;
    for (int i = 0; i < ntasks; ++i) {
        current = &tasks[i];
        if (topic(shell, "task.init"))
            return FAILED;
        start(&tasks[i], argv + 6);
        topic(shell, "task.fork");
    }
    if (topic(shell, "shell.start"))
        return FAILED;
    while (reap(shell))
        turn(shell);
    topic(shell, "shell.finish");
    while (holds)
        turn(shell);
    if (topic(shell, "shell.exit"))
        return FAILED;
    dlclose(plugin);
    for (int i = 0; i < ntasks; ++i) {
        int status = tasks[i].status, code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

        highest = code > highest ? code : highest;
    }
    return raised && !highest ? FAILED : highest;
}
