"""`flux-pmix run`: a job on this machine, from a command line to the launcher's `Request`.

`build` is the way: options (`run_options`), the machine, `geometry`, environments, `Job`, `Request`. The
launcher (`shell/local`) does the rest and returns the exit code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fluxpmix.cli import environment, geometry, setopt
from fluxpmix.cli.errors import CommandError, UsageError, warn
from fluxpmix.cli.run_options import AppOptions, RunOptions, help_text, read
from fluxpmix.job import jobid
from fluxpmix.job.model import App, Job, Node, ProcessSet, Session, check_set_name, new_credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.shell.local.request import Request

_FALLBACK_CWD = "/tmp"
_EPOCH = 1_577_836_800  # 2020-01-01: 40 bits of milliseconds from there last until 2054


def main(arguments: Sequence[str]) -> int:
    """Run one `flux-pmix run` and return its exit code. Raises CommandError."""
    options = read(arguments)
    if not options.apps:
        print(help_text() if options.get("help") else setopt.help_text())
        return 0
    wanted = _request(options)
    if options.get("dry-run"):
        from fluxpmix.cli.dryrun import show

        show(wanted)
        return 0
    return _launch(wanted)


def request(arguments: Sequence[str]) -> Request:
    """Return what a command line asks of the launcher. Raises CommandError."""
    options = read(arguments)
    if not options.apps or options.get("dry-run"):
        raise UsageError("this only shows something; leave --help and --dry-run out to run a job")
    return _request(options)


def _request(options: RunOptions) -> Request:
    settings = setopt.assign(options.get("setopt", ()))
    if os.environ.get("FLUX_URI") and not options.get("local"):
        from fluxpmix.cli.inside_flux import refusal

        raise refusal(options)
    return build(options, settings, machine(), os.environ)


def _launch(request: Request) -> int:
    from fluxpmix.pmix.library import LibraryError
    from fluxpmix.shell.local.launcher import run
    from fluxpmix.shell.local.request import LaunchError

    try:
        return run(request)
    except LaunchError as error:
        raise CommandError(str(error), error.exit_code) from None
    except (LibraryError, ValueError) as error:
        raise CommandError(str(error)) from None


def machine() -> geometry.Machine:
    """Return what there is here, of which this process may use it."""
    try:
        with open("/proc/sys/kernel/pid_max", encoding="ascii") as file:
            max_procs = int(file.read())
    except (OSError, ValueError):
        max_procs = 32768
    from fluxpmix.shell.local.machine import cores

    return geometry.Machine(os.uname().nodename, len(cores()), _gpus(), max_procs)


def _gpus() -> int:
    """Count the GPUs whose drivers show device files: NVIDIA's, else AMD's."""
    devices = os.listdir("/dev") if os.path.isdir("/dev") else []
    nvidia = sum(name.startswith("nvidia") and name[6:].isdigit() for name in devices)
    if nvidia or "kfd" not in devices or not os.path.isdir("/dev/dri"):
        return nvidia
    return sum(name.startswith("renderD") for name in os.listdir("/dev/dri"))


def build(
    options: RunOptions,
    settings: Mapping[str, Any],
    machine: geometry.Machine,
    inherited: Mapping[str, str],
) -> Request:
    """Return the request that a command line means on `machine`. Raises CommandError."""
    from fluxpmix.shell.local.request import Request

    laid_out = geometry.lay_out(_asked(options, settings), machine)
    job = _job(options, settings, laid_out, machine)
    environments = [environment.build(inherited, app.rules) for app in options.apps]
    first = job.apps[0].wdir
    return Request(
        job=job,
        environments=tuple(variables for variables, _ in environments),
        output=_output("--output", options.get("output"), first),
        error=_output("--error", options.get("error"), first),
        input=_input(options.get("input"), first, job.size),
        label_io=bool(options.get("label-io")),
        unbuffered=bool(options.get("unbuffered")),
        time_limit=options.get("time-limit"),
        environment_templates=tuple(names for _, names in environments),
        name=options.get("job-name") or os.path.basename(job.apps[0].argv[0]),
        append=settings.get("output.mode") == "append",
        oversubscribe=settings.get("oversubscribe", True),
        exit_timeout=settings.get("exit-timeout", 30.0),
        exit_on_error=settings.get("exit-on-error", False),
        cpu_affinity=settings.get("cpu-affinity", "off"),
        signal=_signal(options),
        verbose=max(options.get("verbose", 0), settings.get("verbose", 0)),
        quiet=bool(options.get("quiet")),
        libpmix=settings.get("libpmix"),
        process_group=not settings.get("nosetpgrp", False),
        security=settings.get("security", "native"),
        fanout=settings.get("pmix.fanout", 16),
        exchange=settings.get("pmix.exchange", "tree"),
        timeout=settings.get("pmix.timeout"),
        alert=settings.get("pmix.alert"),
        trace=_trace(options.get("trace")),
        stop=settings.get("pmix.stop"),
    )


def _trace(name: str | None) -> str | None:
    """Return the path of a trace, which can be written."""
    if name is None:
        return None
    from fluxpmix.shell.tracing import check_file

    try:
        path = os.path.abspath(name)
        check_file(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise CommandError(f"--trace {name!r}: {why}; name a file that can be written") from None
    return path


def _asked(options: RunOptions, settings: Mapping[str, Any]) -> geometry.Asked:
    scheme = options.get("taskmap", geometry.Scheme())
    if scheme.name == "hostfile":
        scheme = geometry.Scheme("hostfile", _read("--taskmap hostfile", scheme.value))
    return geometry.Asked(
        nodes=options.get("nodes"),
        ntasks=tuple(app.ntasks for app in options.apps),
        cores_per_task=options.get("cores-per-task"),
        gpus_per_task=options.get("gpus-per-task"),
        cores=options.get("cores"),
        tasks_per_node=options.get("tasks-per-node"),
        tasks_per_core=options.get("tasks-per-core"),
        gpus_per_node=options.get("gpus-per-node"),
        exclusive=bool(options.get("exclusive")),
        oversubscribe=settings.get("oversubscribe", True),
        scheme=scheme,
    )


def _job(
    options: RunOptions, settings: Mapping[str, Any], laid_out: geometry.Geometry, machine: geometry.Machine
) -> Job:
    number = _new_id()
    name = jobid.encode(number)
    slots = machine.cores // laid_out.cores_per_task
    nodes = tuple(
        Node(id_, host, slots=slots_, cores=machine.cores)
        for id_, (host, slots_) in enumerate(zip(laid_out.hosts, laid_out.slots, strict=True))
    )
    apps = tuple(
        App(index, app.command, _directory(app), size)
        for index, (app, size) in enumerate(zip(options.apps, laid_out.sizes, strict=True))
    )
    return Job(
        nspace=name,
        jobid=name,
        session=Session(number & 0xFFFFFFFF, max(slots, laid_out.taskmap.ntasks)),
        nodes=nodes,
        apps=apps,
        taskmap=laid_out.taskmap,
        credential=new_credential(),
        cores_per_task=laid_out.cores_per_task,
        model=settings.get("mpi"),
        psets=_process_sets(settings, laid_out.taskmap.ntasks),
    )


def _process_sets(settings: Mapping[str, Any], ntasks: int) -> tuple[ProcessSet, ...]:
    """Return the sets that the job names; each name and rank checked."""
    found = []
    for key, ranks in settings.items():
        if key.startswith(setopt.SET):
            name = key[len(setopt.SET) :]
            try:
                check_set_name(name)
            except ValueError as error:
                raise UsageError(f"-o {key}: {error}") from None
            if not ranks or ranks[-1] >= ntasks:
                raise UsageError(
                    f"-o {key}: there is no task {ranks[-1] if ranks else ''}, tasks are 0 to {ntasks - 1}"
                )
            found.append(ProcessSet(name, ranks))
    return tuple(found)


def _new_id() -> int:
    """Return a new 64-bit job id, made as Flux makes its own: the time, then what tells apart."""
    import time

    milliseconds = int((time.time() - _EPOCH) * 1000) & (2**40 - 1)
    return milliseconds << 24 | int.from_bytes(os.urandom(3), "big")


def _directory(app: AppOptions) -> str:
    """Return where an application runs; as in Flux, /tmp where the directory cannot be entered."""
    try:
        path = os.path.join(os.getcwd(), app.cwd) if app.cwd else os.getcwd()
        if not os.path.isabs(path) or not os.access(path, os.X_OK):
            os.stat(path)
            raise PermissionError(13, os.strerror(13))
        if not os.path.isdir(path):
            raise NotADirectoryError(20, os.strerror(20))
        return os.path.normpath(path)
    except OSError as error:
        shown = f"--cwd {app.cwd!r}" if app.cwd else "the current directory"
        warn(f"cannot enter {shown}: {error.strerror}; running in {_FALLBACK_CWD}")
        return _FALLBACK_CWD


def _output(option: str, name: str | None, wdir: str) -> str | None:
    """Return the path of an output file, its directory checked unless a template is in its name."""
    if name is None:
        return None
    path = os.path.join(wdir, name)
    directory = os.path.dirname(path)
    if "{{" not in directory:
        if not os.path.isdir(directory):
            raise CommandError(f"{option} {name!r}: there is no directory {directory!r}; make it first")
        if not os.access(directory, os.W_OK | os.X_OK) and not os.access(path, os.W_OK):
            raise CommandError(f"{option} {name!r}: {directory!r} is not writable; name a file elsewhere")
        if os.path.isdir(path):
            raise CommandError(f"{option} {name!r}: this is a directory; name a file in it")
    return path


def _input(text: str | None, wdir: str, ntasks: int) -> str | tuple[int, ...] | None:
    """Return the path of an input file, or the ranks that were given."""
    if text is None:
        return None
    from fluxpmix.job import idset

    try:
        ranks = idset.ranges(text)
    except ValueError:
        ranks = []
    if ranks:
        if ranks[-1][1] >= ntasks:
            raise CommandError(
                f"--input {text!r}: there is no task {ranks[-1][1]}, tasks are 0 to {ntasks - 1}; "
                f"a file of that name is ./{text}"
            )
        return idset.parse(text)
    path = os.path.join(wdir, text)
    if "{{" not in text and not os.access(path, os.R_OK):
        why = "permission denied" if os.path.exists(path) else "no such file"
        raise CommandError(f"--input {text!r}: {why}; name a file, or ranks as in --input=0-3")
    return path


def _signal(options: RunOptions) -> tuple[int, float] | None:
    signal: tuple[int, float] | None = options.get("signal")
    if signal and options.get("time-limit") is None:
        warn("--signal is sent before the time limit, and there is none: add -t")
        return None
    return signal


def _read(option: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise CommandError(f"{option} {path!r}: {error.strerror}; name a file of host names") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path!r}: this is no text; name a file of host names") from None
