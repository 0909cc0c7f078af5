"""The options of `flux-pmix run`: `flux run`'s own names and meanings, and the command lines they make.

`read` turns arguments into `RunOptions`: values checked one by one, nothing yet asked of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fluxpmix.cli import geometry
from fluxpmix.cli.errors import UsageError
from fluxpmix.cli.options import Given, Option, Parsed, count, help_page, parse
from fluxpmix.job import duration, template
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


USAGE = "flux-pmix run [OPTIONS...] COMMAND [ARGS...] [: [-n N] [--env RULE] [--cwd DIR] COMMAND...]"
PURPOSE = "Run a parallel job on this machine, each of its processes a PMIx client; as flux run does in Flux."
TAIL = (
    "Applications of one job stand between ':'; after '--' all is the command's. An exit status of 2 is an\n"
    "error in the options, 1 a job that cannot start, 126/127 a command that cannot; else it is the tasks'."
)
DEFAULT_SIGNAL_TIME = 60.0  # seconds before the time limit


def _template(text: str) -> str:
    if not text:
        raise ValueError("a file's name is expected")
    template.parse(text)
    return text


def _signal(text: str) -> tuple[int, float]:
    """Convert `[SIG][@TIME]`: a signal's name or number, and seconds before the time limit."""
    name, at, time = text.partition("@")
    if not text or (at and not time):
        raise ValueError("[SIG][@TIME] is expected, e.g. USR1@30s")
    import signal

    before = duration.seconds(time) if at else DEFAULT_SIGNAL_TIME
    if before == float("inf"):
        raise ValueError("a signal comes a finite time before the time limit, e.g. USR1@30s")
    if not name:
        return int(signal.SIGUSR1), before
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    number = int(name) if name.isascii() and name.isdigit() else getattr(signal, full, None)
    if isinstance(number, int) and number in signal.valid_signals() and not full.startswith("SIG_"):
        return int(number), before
    raise ValueError(f"no signal is called {name!r}; kill -l lists them, e.g. USR1 or 10")


def _prefixed(prefix: str) -> Callable[[str], str]:
    """Spell `--env-remove` and `--env-file` as the `--env` rules that they are."""
    return lambda text: prefix + text


_SIZE, _IO, _TASKS, _JOB = "Size", "Input and output", "Tasks", "Job"
OPTIONS = (
    Option(("-n", "--ntasks"), "N", "tasks to start (default 1, or one for each node)", _SIZE, count),
    Option(("-N", "--nodes"), "N", "nodes to emulate, each with its own PMIx server", _SIZE, count),
    Option(("-c", "--cores-per-task"), "N", "cores for each task", _SIZE, count),
    Option(("-g", "--gpus-per-task"), "N", "GPUs for each task", _SIZE, count),
    Option(("-x", "--exclusive"), None, "with -N, whole nodes (they always are)", _SIZE),
    Option(("--cores",), "N", "cores in all; one task each unless said below", _SIZE, count),
    Option(("--tasks-per-node",), "N", "with -N or --cores", _SIZE, count),
    Option(("--tasks-per-core",), "N", "with -N or --cores", _SIZE, count),
    Option(("--gpus-per-node",), "N", "with -N", _SIZE, count),
    Option(("--taskmap",), "SCHEME", "block, cyclic[:N], manual:MAP or hostfile:FILE", _SIZE, geometry.scheme),
    Option(("-l", "--label-io"), None, "put the task's rank before each line", _IO),
    Option(("-u", "--unbuffered"), None, "pass output on at once, not by line", _IO),
    Option(("--output",), "FILE", "stdout to FILE; {{taskid}} in it: one for each task", _IO, _template),
    Option(("--error",), "FILE", "stderr to FILE (default: where --output goes)", _IO, _template),
    Option(("--input",), "FILE|RANKS", "stdin from FILE, or of this terminal to RANKS only", _IO, _template),
    Option(("--env",), "RULE", "VAR=VAL, PATTERN to keep, -PATTERN to remove, ^FILE", _TASKS, repeats=True),
    Option(("--env-remove",), "PATTERN", "remove variables", _TASKS, _prefixed("-"), repeats=True, dest="env"),
    Option(("--env-file",), "FILE", "read rules, one on a line", _TASKS, _prefixed("^"), repeats=True, dest="env"),
    Option(("--cwd",), "DIR", "directory of the tasks", _TASKS),
    Option(
        ("-t", "--time-limit"),
        "MIN|FSD",
        "end the job then: minutes, or 30s, 1.5h, 2d",
        _JOB,
        duration.time_limit,
    ),
    Option(("--signal",), "[SIG][@TIME]", "warn the tasks before that (default USR1@60s)", _JOB, _signal),
    Option(("--job-name",), "NAME", "what {{name}} says (default: the command)", _JOB),
    Option(("-o", "--setopt"), "OPT[=VAL]", "shell option; -o help lists them", _JOB, repeats=True),
    Option(("-v", "--verbose"), None, "say more on stderr; up to three times", _JOB),
    Option(("--trace",), "FILE", "write what the job's time went into; flux-pmix trace shows it", _JOB),
    Option(("--quiet",), None, "say nothing of the job's end but by the exit status", _JOB),
    Option(("--dry-run",), None, "print the job and what PMIx is told of it; run nothing", _JOB),
    Option(("--local",), None, "use this machine alone, even inside a Flux instance", _JOB),
    Option(("-h", "--help"), None, None),
)
_APP_KEYS = frozenset(("ntasks", "env", "cwd"))
_APP_OPTIONS = tuple(option for option in OPTIONS if option.key in _APP_KEYS)
_WHOLE_JOB = {
    name: "this belongs to the whole job; write it before the first command"
    for option in OPTIONS
    if option.key not in _APP_KEYS
    for name in option.names
}
_FLUX_ONLY = {
    **dict.fromkeys(
        (
            "-q",
            "--queue",
            "-B",
            "--bank",
            "--urgency",
            "--dependency",
            "--requires",
            "--begin-time",
            "--flags",
        ),
        "this asks Flux's scheduler, and here is none; leave it out",
    ),
    **dict.fromkeys(
        ("-S", "--setattr", "--wait-event", "--resources-shape", "--resources-json", "--list-plugins"),
        "this needs a Flux instance; leave it out",
    ),
    "--add-file": "there is nowhere to send a file to on one machine; name its path instead",
    "--rlimit": "tasks inherit the limits of this shell; set them with ulimit first",
}


class AppOptions(Record):
    """One application: what stands before a command, and the command."""

    command: tuple[str, ...]
    ntasks: int | None
    rules: tuple[str, ...]
    cwd: str | None


class RunOptions(Record):
    """A command line of `flux-pmix run`, read."""

    values: Mapping[str, Any]
    given: tuple[Given, ...]
    apps: tuple[AppOptions, ...]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of an option of the whole job."""
        return self.values.get(key, default)


def read(arguments: Sequence[str]) -> RunOptions:
    """Read a command line; no applications where help was asked for. Raises UsageError."""
    first = parse(OPTIONS, arguments, _FLUX_ONLY)
    if first.values.get("help") or "help" in first.values.get("setopt", ()):
        return RunOptions(first.values, first.given, ())
    command, rest = _command(first)
    apps = [_app(first, command)]
    while rest is not None:
        later = parse(_APP_OPTIONS, rest, _WHOLE_JOB | _FLUX_ONLY)
        command, rest = _command(later)
        apps.append(_app(later, command))
    return RunOptions(first.values, first.given, tuple(apps))


def _command(parsed: Parsed) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return a command, and what follows the ':' behind it, None where nothing does."""
    words = parsed.rest
    if parsed.dashes or ":" not in words:
        return words, None
    at = words.index(":")
    if at + 1 == len(words):
        raise UsageError(
            "no application follows the last ':'; write -- before a command that has ':' among its arguments"
        )
    return words[:at], words[at + 1 :]


def _app(parsed: Parsed, command: tuple[str, ...]) -> AppOptions:
    if not command or not command[0]:
        raise UsageError("a command is missing: flux-pmix run [OPTIONS] COMMAND; --help shows the options")
    values = parsed.values
    return AppOptions(command, values.get("ntasks"), tuple(values.get("env", ())), values.get("cwd"))


def help_text() -> str:
    """Return the help page."""
    return help_page(USAGE, PURPOSE, OPTIONS, TAIL)
