"""`flux-pmix attach [JOB] [-- COMMAND...]`: a debugger, or any command, for each process of a running job.

Without a command it prints what to type: `gdb -p PID` for each rank. With one it runs it for each rank of this
machine, one after the other, with the tags {{rank}}, {{pid}}, {{host}} and {{program}} filled in. `--release` lets a
job go on that was started with `flux-pmix run --stop-in-init` or stopped itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fluxpmix.cli import servers
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse
from fluxpmix.cli.output import _ranks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.structures import ProcInfo

OPTIONS = (
    Option(("-r", "--ranks"), "IDSET", "these ranks only, e.g. 0-3,7", convert=_ranks),
    Option(("--release",), None, "let the processes go on that wait for a debugger (after COMMAND, if there is one)"),
    Option(("-h", "--help"), None, "show this page"),
)
USAGE = "flux-pmix attach [OPTIONS...] [JOB] [-- COMMAND...]"
PURPOSE = "Run a command for each process of a running job, or say how to attach gdb to it."
TAIL = "Tags in COMMAND: {{rank}}, {{pid}}, {{host}}, {{program}}; e.g. -- gdb -p {{pid}} -batch -ex bt"
_DEFAULT = ("gdb", "-p", "{{pid}}")
_RUNNING = 20  # `pmix_proc_state_t`: below this a process lives


def main(arguments: Sequence[str]) -> int:
    """Do it and return the exit code: the largest of the commands'. Raises CommandError."""
    words = list(arguments)
    command: list[str] = []
    if "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
        if not command:
            raise UsageError("attach: a command is missing after --")
    parsed = parse(OPTIONS, words)
    if "help" in parsed.values:
        print(help_page(USAGE, PURPOSE, OPTIONS, TAIL))
        return 0
    if len(parsed.rest) > 1:
        raise UsageError(f"attach takes one job, {' '.join(parsed.rest)!r} was given; a command goes after --")
    from fluxpmix.cli.ps import processes
    from fluxpmix.pmix.status import PmixError
    from fluxpmix.pmix.types import RANK_WILDCARD, Proc

    server = servers.find(parsed.rest[0] if parsed.rest else None)
    tool = servers.connect(server)
    try:
        rows = [row for row in processes(tool, server.job) if row.pid and row.state < _RUNNING]
        if ranks := parsed.values.get("ranks"):
            missing = set(ranks) - {row.proc.rank for row in rows}
            if missing:
                raise CommandError(f"attach {server.job}: rank {min(missing)} is not running")
            rows = [row for row in rows if row.proc.rank in ranks]
        code = 0
        if command or "release" not in parsed.values:
            code = _run(rows, command) if command else _print(rows)
        if "release" in parsed.values:
            tool.release([Proc(server.job, rank) for rank in ranks or (RANK_WILDCARD,)])
    except PmixError as error:
        raise CommandError(f"attach {server.job}: {error}") from None
    finally:
        tool.finalize()
    return code


def _print(rows: Sequence[ProcInfo]) -> int:
    from shlex import join

    for row in rows:
        where = "" if _is_here(row) else f" on {row.hostname}"
        print(f"{join(_filled(_DEFAULT, row)):<24} # rank {row.proc.rank}{where}: {row.executable}")
    return 0


def _run(rows: Sequence[ProcInfo], command: Sequence[str]) -> int:
    import subprocess

    code = 0
    for row in rows:
        if not _is_here(row):
            raise CommandError(f"rank {row.proc.rank} is on {row.hostname}: run this there")
        try:
            code = max(code, abs(subprocess.run(_filled(command, row), check=False).returncode))
        except OSError as error:
            raise CommandError(f"{command[0]}: {error.strerror}; name a command that is installed") from None
    return code


def _filled(command: Sequence[str], row: ProcInfo) -> list[str]:
    from fluxpmix.job import template

    values: Mapping[str, str] = {
        "rank": str(row.proc.rank),
        "pid": str(row.pid),
        "host": row.hostname or "",
        "program": row.executable or "",
    }
    return [template.fill_known(word, values) for word in command]


def _is_here(row: ProcInfo) -> bool:
    """Whether a process is on this machine: it has this number here and the program's name, or an emulated node's."""
    try:
        with open(f"/proc/{row.pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return False
    return (
        f"PMIX_RANK={row.proc.rank}".encode() in variables and f"PMIX_NAMESPACE={row.proc.nspace}".encode() in variables
    )
