/* Starts the Python in a plugin of ours, whichever program loads it.
 *
 * `embedding.py` puts this file behind the settings of a build and in front of `plugin.c` or `upmi.c`, which
 * say in refuse() how a failure is told. Python is started here and not by cffi, whose way takes the first
 * python3 on PATH for home, heeds PYTHON* variables, and answers "success" where the start fails.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static char package_parent[PATH_MAX];
static bool site_needed = true; /* Python's site module, which looks for packages: 2 ms */

static int cffi_start_python(void);

/* Tell what is wrong, and return -1. */
static int refuse(const char *format, ...);

/* Cut the last `count` components off a path. */
static bool climb(char *path, int count)
{
    char *slash;

    for (; count; --count) {
        if (!(slash = strrchr(path, '/')))
            return false;
        *slash = '\0';
    }
    return *path != '\0';
}

/* The directory that holds the package: this file's, where it lies in the package, else what was built in. */
static void find_package(void)
{
    static const char tail[] = "/fluxpmix/shell/flux/" FLUXPMIX_FILE;
    char path[PATH_MAX];
    Dl_info here;
    size_t length;

    snprintf(package_parent, sizeof package_parent, "%s", FLUXPMIX_PACKAGE_PARENT);
    if (!dladdr((void *)find_package, &here) || !here.dli_fname || !realpath(here.dli_fname, path))
        return;
    length = strlen(path);
    if (length > sizeof tail - 1 && !strcmp(path + length - (sizeof tail - 1), tail)) {
        path[length - (sizeof tail - 1)] = '\0';
        memcpy(package_parent, path, sizeof path);
    }
}

/* Whether a virtual environment has its own packages only. */
static bool stands_alone(const char *settings)
{
    FILE *file = fopen(settings, "re");
    char line[PATH_MAX + 64], value[16];
    bool alone = false;

    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, " include-system-site-packages = %15s", value) == 1)
            alone = strcasecmp(value, "false") == 0;
    if (file)
        fclose(file);
    return alone;
}

/* Whether what cannot be done without lies beside the package. */
static bool has_backend(void)
{
    char backend[PATH_MAX + 128];

    snprintf(backend, sizeof backend, "%s/_cffi_backend%s", package_parent, FLUXPMIX_SUFFIX);
    return access(backend, R_OK) == 0;
}

/* The interpreter: that of the virtual environment round the package (it may have moved since it was
 * built, or the plugin comes from a cache), else the one that built the plugin. */
static const char *find_python(void)
{
    static char python[PATH_MAX];
    char root[PATH_MAX], settings[PATH_MAX + 16];

    memcpy(root, package_parent, sizeof root); /* ROOT/lib/python3.N/site-packages */
    if (climb(root, 3)) {
        snprintf(settings, sizeof settings, "%s/pyvenv.cfg", root);
        if (access(settings, R_OK) == 0
            && snprintf(python, sizeof python, "%s/bin/python3", root) < (int)sizeof python
            && access(python, X_OK) == 0) {
            site_needed = !(stands_alone(settings) && has_backend());
            return python;
        }
    }
    if (access(FLUXPMIX_PYTHON, X_OK) == 0)
        return FLUXPMIX_PYTHON;
    return access(FLUXPMIX_BASE_PYTHON, X_OK) == 0 ? FLUXPMIX_BASE_PYTHON : NULL;
}

/* flux-shell loads plugins for themselves alone; Python's own modules look for libpython among all. */
static void promote_libpython(void)
{
    Dl_info python;

    if (dladdr((void *)Py_IsInitialized, &python) && python.dli_fname)
        dlopen(python.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

static int initialize_python(void)
{
    PyPreConfig before;
    PyConfig config;
    PyStatus status;
    const char *python = find_python();

    if (!python)
        return refuse("pmix: the Python that this plugin was built for is gone: %s; run flux-pmix build-plugins",
                      FLUXPMIX_PYTHON);
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* job ids and paths are UTF-8, whatever the locale */
    status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return refuse("pmix: Python does not start: %s", status.err_msg ? status.err_msg : "no reason given");
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    config.user_site_directory = 1; /* where cffi may be; a virtual environment has none */
    config.site_import = site_needed; /* else all packages are where the package is: extend_path() */
    status = PyConfig_SetBytesString(&config, &config.executable, python);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status))
        return refuse("pmix: Python at %s does not start: %s", python,
                      status.err_msg ? status.err_msg : "no reason given");
    PyEval_SaveThread();
    return 0;
}

/* Have the plugin's own package found, before another one that is installed, and after Python's own. */
static void extend_path(void)
{
    PyObject *path = PySys_GetObject("path"), *parent = PyUnicode_DecodeFSDefault(package_parent);
    Py_ssize_t at = 0;
    const char *entry;

    if (path && parent) {
        for (; at < PyList_Size(path); ++at)
            if ((entry = PyUnicode_AsUTF8(PyList_GetItem(path, at))) && strstr(entry, "-packages"))
                break;
        PyList_Insert(path, at, parent);
    }
    PyErr_Clear();
    Py_XDECREF(parent);
}

/* Import what all else rests on, so that its absence is told in a line. */
static int import_backend(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *module;
    int result = -1;

    extend_path();
    module = PyImport_ImportModule("_cffi_backend");
    if (module) {
        Py_DECREF(module);
        result = 0;
    } else {
        PyObject *kind, *value, *trace, *text;

        PyErr_Fetch(&kind, &value, &trace);
        text = value ? PyObject_Str(value) : NULL;
        refuse("pmix: Python at %s: %s; install cffi there: pip install cffi", find_python(),
               text && PyUnicode_AsUTF8(text) ? PyUnicode_AsUTF8(text) : "cffi is missing");
        PyErr_Clear();
        Py_XDECREF(text);
        Py_XDECREF(kind);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    }
    PyGILState_Release(state);
    return result;
}

static int start_python(void)
{
    find_package();
    promote_libpython();
    if (!Py_IsInitialized() && initialize_python() < 0)
        return -1;
    if (import_backend() < 0)
        return -1;
    return cffi_start_python() < 0 ? refuse("pmix: the Python part does not start") : 0;
}
