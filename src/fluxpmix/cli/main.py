"""`flux-pmix`: finds the subcommand, and turns whatever goes wrong into one line and an exit code.

A subcommand is a module here with `main(arguments) -> exit code`, and a line in `COMMANDS`. It is imported
only when it is asked for. Nobody sees a traceback unless FLUXPMIX_DEBUG is set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fluxpmix.cli.errors import CommandError, UsageError, nearest

COMMANDS = {
    "run": ("fluxpmix.cli.run", "run a parallel job on this machine"),
    "ps": ("fluxpmix.cli.ps", "show the processes of a running job"),
    "output": ("fluxpmix.cli.output", "follow what the processes of a running job print"),
    "attach": ("fluxpmix.cli.attach", "run a debugger for each process of a running job, or say how"),
    "pmi": ("fluxpmix.cli.pmi", "do one PMIx operation in a job: barrier, exchange, get, info"),
    "check": ("fluxpmix.cli.check", "say how complete the PMIx of a launcher is"),
    "env": ("fluxpmix.cli.env", 'print what makes Flux find the plugin: eval "$(flux-pmix env)"'),
    "install": ("fluxpmix.cli.install", "link the plugin into a Flux installation"),
    "build-plugins": ("fluxpmix.cli.build_plugins", "build the plugin that flux-shell loads"),
    "sim": ("fluxpmix.cli.sim", "simulate a start-up over up to 65,536 shells"),
    "trace": ("fluxpmix.cli.trace", "show what a job's time went into"),
    "doctor": ("fluxpmix.cli.doctor", "say what was found here: Python, libpmix, Open MPI"),
}
INTERRUPTED = 130

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def entry() -> NoReturn:
    """Be the command `flux-pmix`: run this process's command line and end the process.

    Without the interpreter's own long good-bye, and without a search for garbage on the way there: both
    take longer than forking the tasks.
    """
    import gc
    import os

    gc.disable()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                code = code or 1
    os._exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return code
    except CommandError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _forget_stdout()  # whoever read our output has seen enough
        return 0
    except MemoryError:
        return _fail("out of memory: ask for fewer tasks", 1)
    except OSError as error:
        return _unexpected(error, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}; FLUXPMIX_DEBUG=1 shows where"
        return _unexpected(error, text)


def _dispatch(words: list[str]) -> int:
    if not words:
        raise UsageError("a command is missing: flux-pmix run COMMAND; flux-pmix help lists the commands")
    name, *rest = words
    if name in ("help", "-h", "--help"):
        if name == "help" and rest:
            return _dispatch([rest[0], "--help"])
        print(help_text())
        return 0
    if name in ("version", "-V", "--version"):
        print(f"flux-pmix {version()}")
        return 0
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        raise UsageError(f"unknown {what} {name}{nearest(name, COMMANDS) or '; flux-pmix help lists the commands'}")
    module = COMMANDS[name][0]
    __import__(module)  # importlib.import_module, without importing importlib
    return int(sys.modules[module].main(rest))


def help_text() -> str:
    """Return the help page of the whole command."""
    lines = ["usage: flux-pmix COMMAND [OPTIONS...]", "PMIx for Flux, in Python.", "", "Commands:"]
    lines += [f"  {name:<13} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join([*lines, "", "flux-pmix COMMAND --help shows the options of one; --version says which this is."])


def version() -> str:
    """Return the version of the distribution, or "unknown" in a bare source tree."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("fluxpmix")
    except PackageNotFoundError:
        return "unknown"


def _fail(message: str, code: int) -> int:
    line = " ".join(message.splitlines())
    print(f"flux-pmix: error: {line}", file=sys.stderr)
    return code


def _unexpected(error: BaseException, message: str) -> int:
    import os

    if os.environ.get("FLUXPMIX_DEBUG"):
        from traceback import print_exception

        print_exception(error)
    return _fail(message, 1)


def _forget_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit has nothing to complain of."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    entry()
