"""Builds our plugins, both called `pmix.so`: cffi's embedding mode round `python.c` and the plugin's own C part.

`SHELL` is flux-shell's, `UPMI` in `upmi` that of Flux's PMI clients. Run at installation (`setup.py`) and by
`flux-pmix build-plugins`. Needs a C compiler, Python's headers and a libpython to link with; no header and
no library of Flux, whose names resolve when it loads the plugin. What Python may call of Flux stands in the
plugin's `cdef`, and what Flux calls in Python at its end.
"""

from __future__ import annotations

import contextlib
import os
import sys

from fluxpmix.pmix.record import Record

NAME = "pmix.so"
UPMI_DIRECTORY = "upmi"  # below the shell plugin's: Flux loads every plugin of a PMI client's search path

_SHELL_CDEF = """
typedef ... flux_plugin_t;
typedef ... flux_plugin_arg_t;
typedef ... flux_shell_t;
typedef ... flux_shell_task_t;
typedef ... flux_t;
typedef ... flux_reactor_t;
typedef ... flux_watcher_t;
typedef ... flux_msg_t;
typedef ... flux_msg_handler_t;
typedef ... flux_future_t;

typedef int (*flux_plugin_f)(flux_plugin_t *, const char *, flux_plugin_arg_t *, void *);
typedef void (*flux_msg_handler_f)(flux_t *, flux_msg_handler_t *, const flux_msg_t *, void *);
typedef void (*flux_watcher_f)(flux_reactor_t *, flux_watcher_t *, int, void *);
typedef void (*flux_continuation_f)(flux_future_t *, void *);

int flux_plugin_add_handler(flux_plugin_t *, const char *, flux_plugin_f, void *);
int flux_plugin_arg_get(flux_plugin_arg_t *, int, char **);

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
void flux_shell_killall(flux_shell_t *, int);
flux_shell_task_t *flux_shell_current_task(flux_shell_t *);
flux_shell_task_t *flux_shell_task_first(flux_shell_t *);
flux_shell_task_t *flux_shell_task_next(flux_shell_t *);
int flux_shell_task_get_info(flux_shell_task_t *, char **);
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

void free(void *);

/* of plugin.c */
void say(int, const char *);
void end_job(int, const char *);
int write_output(const char *);
char *render(const char *);
int hold_shell(const char *);
int release_shell(const char *);
int set_task_variable(flux_shell_task_t *, const char *, const char *);
int kill_task(flux_shell_task_t *, int);
int serve_topic(flux_t *, const char *, flux_msg_handler_f, void *);
int feed_task(flux_shell_task_t *, const char *, size_t);
flux_msg_t *wait_for_request(flux_t *, const char *, double);
/* of supervisor.c */
int supervise_tasks(flux_plugin_t *, const char *, int);

extern "Python" {
    int fluxpmix_load(flux_plugin_t *);
    int fluxpmix_topic(flux_plugin_t *, const char *, flux_plugin_arg_t *, void *);
    void fluxpmix_request(flux_t *, flux_msg_handler_t *, const flux_msg_t *, void *);
    void fluxpmix_event(flux_t *, flux_msg_handler_t *, const flux_msg_t *, void *);
    void fluxpmix_answer(flux_future_t *, void *);
    void fluxpmix_streamed(flux_future_t *, void *);
    void fluxpmix_ready(flux_reactor_t *, flux_watcher_t *, int, void *);
}
"""

_UPMI_CDEF = """
typedef ... flux_plugin_arg_t;

int flux_plugin_arg_set(flux_plugin_arg_t *, int, const char *);
int flux_plugin_arg_get(flux_plugin_arg_t *, int, char **);

void free(void *);

/* of upmi.c */
const char *library_path(void);
void complain(const char *);

extern "Python" {
    int fluxpmix_upmi(const char *, flux_plugin_arg_t *);
}
"""

# Runs once, when Python has started. What goes wrong here must become a line: cffi would print a page.
_SHELL_INIT = """
from _fluxpmix_plugin import ffi, lib

@ffi.def_extern(error=-1)
def fluxpmix_load(plugin):
    import gc, sys, time
    since = time.monotonic()
    gc.disable()  # until the tasks start: all that is made until then stays
    try:
        from fluxpmix.shell.flux.plugin import load
        return load(ffi, lib, plugin, since)
    except BaseException as error:
        text = f"pmix: the plugin's Python part ({sys.executable}) fails: {type(error).__name__}: {error}"
        lib.end_job(1, " ".join(text.split()).encode()[:1000])
        return -1
"""

_UPMI_INIT = """
from _fluxpmix_upmi import ffi, lib

@ffi.def_extern(error=-1)
def fluxpmix_upmi(topic, arguments):
    import gc
    gc.disable()  # next to nothing is made, and the broker is not to wait for it
    try:
        from fluxpmix.shell.flux.upmi.plugin import answer
        return answer(ffi, lib, ffi.string(topic).decode(), arguments)
    except BaseException as error:
        import sys
        text = f"pmix: the plugin's Python part ({sys.executable}) fails: {type(error).__name__}: {error}"
        lib.complain(" ".join(text.split()).encode()[:1000])
        return -1
"""


class Kind(Record):
    """One of our plugins: cffi's module in it, its C parts, what both sides may call, what Python runs first."""

    module: str
    sources: tuple[str, ...]
    file: str  # below the package's directory for Flux
    cdef: str
    init: str


SHELL = Kind(
    module="_fluxpmix_plugin", sources=("plugin.c", "supervisor.c"), file=NAME, cdef=_SHELL_CDEF, init=_SHELL_INIT
)
UPMI = Kind(
    module="_fluxpmix_upmi",
    sources=(os.path.join(UPMI_DIRECTORY, "upmi.c"),),
    file=os.path.join(UPMI_DIRECTORY, NAME),
    cdef=_UPMI_CDEF,
    init=_UPMI_INIT,
)


class BuildError(Exception):
    """The plugin cannot be built; the text says what is missing and what to do."""


class Python(Record):
    """The interpreter that the plugin is to start, and how to link with it."""

    executable: str
    base: str
    include: str
    libdir: str
    library: str
    suffix: str  # of extension modules


def this_python() -> Python:
    """Return the Python that runs here. Raises `BuildError` where it cannot be embedded."""
    import sysconfig

    get = sysconfig.get_config_var
    version = get("LDVERSION") or "{}.{}".format(*sys.version_info[:2])
    include = sysconfig.get_path("include")
    if sys.implementation.name != "cpython":
        raise BuildError(f"{sys.executable} is no CPython: a Flux plugin needs one")
    if not get("Py_ENABLE_SHARED"):
        raise BuildError(
            f"{sys.executable} has no shared libpython (it was built without --enable-shared), and a plugin cannot "
            "start Python without one: use another Python, e.g. the system's, or conda's, or pyenv's with "
            "PYTHON_CONFIGURE_OPTS=--enable-shared"
        )
    if not os.path.exists(os.path.join(include, "Python.h")):
        raise BuildError(
            f"there is no {include}/Python.h: install Python's headers (e.g. python3-dev or python3-devel)"
        )
    base = getattr(sys, "_base_executable", sys.executable) or sys.executable
    return Python(
        executable=sys.executable,
        base=base,
        include=include,
        libdir=get("LIBDIR") or "",
        library=f"python{version}",
        suffix=get("EXT_SUFFIX") or ".so",
    )


def package_parent() -> str:
    """Return the directory that holds the package."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.dirname(os.path.dirname(os.path.dirname(here)))


def mark(kind: Kind = SHELL) -> str:
    """Return the text that a plugin holds which was built from these sources, and no other does."""
    import hashlib

    return f"fluxpmix sources {hashlib.sha256((_body(kind) + kind.cdef + kind.init).encode()).hexdigest()}"


def is_current(path: str, kind: Kind = SHELL) -> bool:
    """Say whether the plugin at `path` was built from these sources. Raises OSError."""
    with open(path, "rb") as file:
        return mark(kind).encode() in file.read()


def _body(kind: Kind) -> str:
    here = os.path.dirname(os.path.abspath(__file__))
    body = ""
    for name in ("python.c", *kind.sources):
        with open(os.path.join(here, name), encoding="utf-8") as file:
            body += file.read()
    return body


def source(python: Python, kind: Kind = SHELL) -> str:
    """Return the C source in front of what cffi generates."""
    settings = {
        "FLUXPMIX_PYTHON": _quote(python.executable),
        "FLUXPMIX_BASE_PYTHON": _quote(python.base),
        "FLUXPMIX_PACKAGE_PARENT": _quote(package_parent()),
        "FLUXPMIX_FILE": _quote(kind.file),
        "FLUXPMIX_SUFFIX": _quote(python.suffix),
    }
    defines = "".join(f"#define {name} {value}\n" for name, value in settings.items())
    kept = f"__attribute__((used)) static const char fluxpmix_mark[] = {_quote(mark(kind))};\n"
    return defines + kept + _body(kind)


def build_all(directory: str, *, compiler: str | None = None) -> tuple[str, str]:
    """Build both plugins, flux-shell's in `directory`, and return their paths. Raises `BuildError`."""
    upmi = os.path.join(directory, UPMI_DIRECTORY)
    shell = build(directory, compiler=compiler)
    try:
        os.makedirs(upmi, exist_ok=True)
    except OSError as error:
        raise BuildError(f"cannot write {upmi}: {error.strerror}; choose a directory with --into DIR") from None
    return shell, build(upmi, compiler=compiler, kind=UPMI)


def build(directory: str, *, compiler: str | None = None, kind: Kind = SHELL) -> str:
    """Build a plugin in `directory` and return its path. Raises `BuildError`.

    `compiler` is a command (default: $CC, else the first of cc, gcc and clang that is there).
    """
    import subprocess
    import tempfile

    command = find_compiler(compiler)
    python = this_python()
    with tempfile.TemporaryDirectory() as scratch:
        generated = os.path.join(scratch, "pmix.c")
        _generate(generated, kind, source(python, kind))
        made = os.path.join(scratch, NAME)
        search = [f"-L{python.libdir}", f"-Wl,-rpath,{python.libdir}"] if python.libdir else []
        words = [
            *command,
            "-shared",
            "-fPIC",
            "-O2",
            "-fvisibility=hidden",
            f"-I{python.include}",
            generated,
            "-o",
            made,
        ]
        # Bound late: some names are not in every Flux. Never unloaded: Python's threads may outlive the shell's use.
        words += ["-Wl,-z,lazy", "-Wl,-z,nodelete", *search, f"-l{python.library}", "-ldl"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip())
            raise BuildError(f"{' '.join(command)} cannot build the plugin: {first}")
        target = os.path.join(directory, NAME)
        _install(made, target)
    return target


def find_compiler(compiler: str | None = None) -> list[str]:
    """Return the words that start the C compiler. Raises `BuildError` where there is none."""
    import shutil

    asked = (compiler or os.environ.get("CC") or "").split()
    command = asked or [found for found in map(shutil.which, ("cc", "gcc", "clang")) if found][:1]
    if not command or not shutil.which(command[0]):
        name = asked[0] if asked else "cc"
        raise BuildError(f"no C compiler: {name} is not there; install one (e.g. gcc), or name one in $CC")
    return command


def _generate(path: str, kind: Kind, preamble: str) -> None:
    try:
        import cffi
    except ImportError as error:
        raise BuildError(f"{sys.executable}: {error}; install cffi there: pip install cffi") from None
    builder = cffi.FFI()
    builder.embedding_api("")
    builder.cdef("struct taskmap;" + kind.cdef)
    builder.embedding_init_code(kind.init)
    builder.set_source(kind.module, preamble)
    with contextlib.redirect_stdout(None):  # it says what it writes
        builder.emit_c_code(path)


def _install(made: str, target: str) -> None:
    """Put the plugin in place in one step: a running shell may have the old one loaded."""
    import shutil

    fresh = f"{target}.{os.getpid()}"
    try:
        shutil.copy(made, fresh)
        os.replace(fresh, target)
    except OSError as error:
        raise BuildError(f"cannot write {target}: {error.strerror}; choose a directory with --into DIR") from None


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
