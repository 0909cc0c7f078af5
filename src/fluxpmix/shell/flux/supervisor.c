/* A process in front of each task, where a job's tasks may be restarted (-o pmix.restarts): flux-shell starts it, and
 * it starts the program, again where the plugin says so. To flux-shell it is the task: it ends as the program did.
 *
 * It is what flux-shell has forked for the task, and never becomes another program: at task.exec it forks in turn, and
 * the child goes on to where flux-shell makes it the program, with the directory, streams, limits and binding that it
 * has. Only one with a checkpoint to go on from is made the program here, as it has a variable more than Flux knows of;
 * the others are those that the kernel shows of the first. No Python runs here: its lock is another thread's of a
 * process that is no more.
 *
 * It talks to the plugin (`supervised.py`) over a socket: it says which process the program is, and how that has
 * ended, and then waits to be told whether to start it again or to go. If the plugin is gone, it goes. What signals
 * flux-shell sends to the task it passes on to the program's process group. The program dies with it, and its group.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/* One message, each way; `supervised.py` has the same. */
struct word {
    int32_t kind;
    int32_t value;
    char text[504];
};
enum { RUNS = 1 /* process */, ENDED = 2 /* wait status; text: whether flux-shell's signal has ended it */ };
enum { SIGNAL = 3 /* number */, AGAIN = 4 /* text: the checkpoint */, GO = 5 };

extern char **environ;

static struct sockaddr_un plugin_address;
static socklen_t plugin_address_size;

static void tell(int *link, int kind, int value, const char *text)
{
    struct word word = {kind, value, ""};

    snprintf(word.text, sizeof word.text, "%s", text);
    if (*link >= 0 && send(*link, &word, sizeof word, MSG_NOSIGNAL) != sizeof word) {
        close(*link);
        *link = -1;
    }
}

/* Whether a process that has ended, and is not waited for, never came to be the program. */
static bool never_ran(pid_t pid)
{
    enum { FORKED_AND_NO_MORE = 0x40 }; /* PF_FORKNOEXEC, of the flags in proc(5) */
    char path[64], text[1024], *rest;
    unsigned flags = 0;
    ssize_t size;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return false;
    size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return false;
    text[size] = 0;
    rest = strrchr(text, ')');
    return rest && sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && flags & FORKED_AND_NO_MORE;
}

static int the_guard = -1;
static void guard_group(int, int);

/* End as the program did. */
static void go(int status)
{
    guard_group(the_guard, 0);
    if (WIFSIGNALED(status)) {
        struct rlimit none = {0, 0};
        sigset_t all;

        setrlimit(RLIMIT_CORE, &none); /* the program has left one */
        signal(WTERMSIG(status), SIG_DFL);
        sigfillset(&all);
        raise(WTERMSIG(status));
        sigprocmask(SIG_UNBLOCK, &all, NULL);
        _exit(128 + WTERMSIG(status));
    }
    _exit(WEXITSTATUS(status));
}

/* Let go of what flux-shell waits for to know that the program runs. The numbers stay taken: the next child uses them. */
static void let_go(int keep, int too)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    while (null >= 0 && directory && (entry = readdir(directory))) {
        int fd = atoi(entry->d_name);

        if (fd > 2 && fd != null && fd != keep && fd != too && fd != dirfd(directory) && fcntl(fd, F_GETFD) & FD_CLOEXEC)
            dup3(null, fd, O_CLOEXEC);
    }
    if (directory)
        closedir(directory);
}

static void pass_on(pid_t program, int signum)
{
    /* Its own group it has once flux-shell's part of it has made one. */
    if (program > 0 && kill(-program, signum) < 0)
        kill(program, signum);
}

/* Return the variables of a process, each ended by a null, and their size with that; null: they cannot be read. */
static char *variables_of(pid_t pid, size_t *size)
{
    char path[64], *text = NULL, *more;
    size_t room = 0;
    ssize_t count = -1;
    int fd;

    *size = 0;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return NULL;
    while (count != 0 && (more = realloc(text, (room = room * 2 + 65536) + 1))) {
        text = more;
        while (*size < room && (count = read(fd, text + *size, room - *size)) > 0)
            *size += count;
        if (count < 0)
            break;
    }
    close(fd);
    if (text)
        text[*size] = 0;
    return count == 0 ? text : NULL;
}

/* Become the program, with these variables and the name of the checkpoint. */
static void run_from(const char *checkpoint, char *variables, size_t size, bool group)
{
    static const char name[] = "FLUXPMIX_CHECKPOINT=";
    flux_cmd_t *command = flux_shell_task_cmd(flux_shell_current_task(the_shell));
    int count = flux_cmd_argc(command);
    char **words = calloc(count + 1, sizeof *words), **all, *one;
    size_t many = 0, added = sizeof name + strlen(checkpoint);

    for (one = variables; one < variables + size; one += strlen(one) + 1)
        many++;
    all = calloc(many + 2, sizeof *all);
    if (!words || !all || !(one = malloc(added)))
        _exit(1);
    snprintf(one, added, "%s%s", name, checkpoint);
    all[0] = one;
    for (many = 1, one = variables; one < variables + size; one += strlen(one) + 1)
        if (strncmp(one, name, sizeof name - 1))
            all[many++] = one;
    for (int index = 0; index < count; index++)
        words[index] = (char *)flux_cmd_arg(command, index);
    if (group)
        setpgid(0, 0);
    environ = all;
    execvp(words[0], words);
    fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Returns 0 in the child, which is to become the program. `ran` is closed when it has, or is gone. */
static pid_t start(int link, const sigset_t *mask, int *ran)
{
    pid_t me = getpid(), program;
    int ends[2] = {-1, -1};

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    program = fork();
    close(ends[program != 0]);
    if (program != 0) {
        *ran = ends[0];
        if (program > 0 && isatty(0) && tcgetpgrp(0) == getpgrp()) {
            setpgid(program, program);
            tcsetpgrp(0, program); /* SIGTTOU is blocked */
        }
        return program;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != me)
        _exit(1);
    close(link);
    sigprocmask(SIG_SETMASK, mask, NULL);
    return 0;
}

static void wait_until_it_ran(int ran)
{
    char nothing;

    while (read(ran, &nothing, 1) < 0 && errno == EINTR)
        ;
    close(ran);
}

/* A process that outlives this one where it is killed, and kills the program's group then: Flux's SIGKILL reaches only
 * the supervisor, and the program, which dies with that, may have children. It is told which group that is; 0: none. */
static int start_guard(int link)
{
    int ends[2], program = 0, group = 0;
    pid_t guard;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    if ((guard = fork()) != 0) {
        close(ends[0]);
        return ends[1];
    }
    setsid();
    close(ends[1]);
    close(link);
    for (int fd = 0; fd <= 2; fd++)
        dup2(ends[0], fd); /* whoever reads the task's output is not to wait for us */
    while (read(ends[0], &program, sizeof program) == sizeof program)
        group = program;
    if (group > 0)
        kill(-group, SIGKILL);
    _exit(0);
}

static void guard_group(int guard, int program)
{
    if (guard >= 0 && write(guard, &program, sizeof program) < 0)
        return; /* it was killed: so be it */
}

/* At task.exec, in the process that flux-shell has forked. Returns in the one that is to become the program. */
static int in_front_of_task(flux_plugin_t *plugin, const char *topic, flux_plugin_arg_t *arguments, void *data)
{
    int link = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), status = 0, signals, ran;
    bool first = true, flux_did = false;
    char *variables = NULL;
    size_t size_of_variables = 0;
    sigset_t all, mask;
    pid_t program;

    if (link < 0 || connect(link, (struct sockaddr *)&plugin_address, plugin_address_size) < 0)
        return 0; /* the plugin sees that there is none */
    if (data)
        setpgid(0, 0);
    signal(SIGCHLD, SIG_DFL);
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &mask);
    if ((program = start(link, &mask, &ran)) == 0)
        return 0;
    if (program > 0) {
        let_go(link, ran);
        wait_until_it_ran(ran);
        the_guard = start_guard(link);
        guard_group(the_guard, program);
        variables = variables_of(program, &size_of_variables);
    }
    signals = signalfd(-1, &all, SFD_CLOEXEC);
    if (program < 0 || signals < 0)
        _exit(1);
    tell(&link, RUNS, program, "");
    for (;;) {
        struct pollfd ready[2] = {{signals, POLLIN, 0}, {link, POLLIN, 0}};
        struct signalfd_siginfo came;
        struct word word;
        siginfo_t end;

        if (program == 0 && link < 0)
            go(status);
        if (poll(ready, 2, -1) < 0)
            continue;
        if (ready[0].revents && read(signals, &came, sizeof came) == sizeof came && came.ssi_signo != SIGCHLD) {
            flux_did = flux_did || came.ssi_signo != SIGCONT;
            if (program == 0)
                go(status);
            pass_on(program, came.ssi_signo);
        }
        end.si_pid = 0;
        if (program > 0 && waitid(P_PID, program, &end, WEXITED | WNOHANG | WNOWAIT) == 0 && end.si_pid == program) {
            bool failed = first && never_ran(program);

            waitpid(program, &status, 0);
            program = 0;
            guard_group(the_guard, 0);
            if (failed) /* flux-shell waits for that, and knows why */
                go(status);
            tell(&link, ENDED, status, flux_did ? "asked" : "");
        }
        if (link >= 0 && ready[1].revents) {
            ssize_t size = recv(link, &word, sizeof word, MSG_DONTWAIT);

            if (size < 0 && (errno == EAGAIN || errno == EINTR))
                continue;
            if (size != sizeof word) {
                close(link);
                link = -1;
            } else if (word.kind == SIGNAL) {
                pass_on(program, word.value);
            } else if (word.kind == GO && program == 0) {
                go(status);
            } else if (word.kind == AGAIN && program == 0) {
                word.text[sizeof word.text - 1] = 0;
                first = flux_did = false;
                if ((program = start(link, &mask, &ran)) == 0) {
                    if (*word.text && variables)
                        run_from(word.text, variables, size_of_variables, data != NULL);
                    return 0;
                }
                if (program < 0)
                    go(status);
                wait_until_it_ran(ran);
                guard_group(the_guard, program);
                tell(&link, RUNS, program, "");
            }
        }
    }
}

/* Have each task of this shell run below a process that tells the plugin, which listens at this name (bytes, of the
 * abstract namespace), of it; in a process group of its own, where tasks have one. */
static int supervise_tasks(flux_plugin_t *plugin, const char *name, int group)
{
    size_t size = strlen(name);

    if (size + 1 > sizeof plugin_address.sun_path)
        return -1;
    plugin_address.sun_family = AF_UNIX;
    memcpy(plugin_address.sun_path + 1, name, size);
    plugin_address_size = offsetof(struct sockaddr_un, sun_path) + 1 + size;
    return flux_plugin_add_handler(plugin, "task.exec", in_front_of_task, group ? &plugin_address : NULL);
}
