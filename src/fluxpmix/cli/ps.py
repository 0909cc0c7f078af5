"""`flux-pmix ps [JOB]`: the processes of a running job, from its PMIx server: rank, host, pid, state, program."""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.cli import servers
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse
from fluxpmix.job.duration import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.structures import ProcInfo
    from fluxpmix.pmix.tool import Tool

OPTIONS = (
    Option(("-w", "--watch"), None, "show it again and again, until the job ends"),
    Option(("--interval",), "FSD", "with --watch: how often (default 1s)", convert=seconds),
    Option(("-a", "--all"), None, "list the jobs that run here, not the processes of one"),
    Option(("-h", "--help"), None, "show this page"),
)
USAGE = "flux-pmix ps [OPTIONS...] [JOB]"
PURPOSE = """\
Show the processes of a running job and of those that it has spawned, or of JOB.1 alone, the first of these.
JOB may be left out where only one runs here."""
# `pmix_proc_state_t`: what people call it. Above 50 are the ways to fail.
_STATES = {0: "unknown", 1: "prepared", 2: "launching", 3: "restarting", 4: "terminating", 5: "running", 6: "connected"}
_ENDS = {20: "ended", 50: "failed", 51: "killed", 52: "aborted", 54: "signalled", 55: "no finalize", 62: "failed"}


def main(arguments: Sequence[str]) -> int:
    """Show the table and return the exit code. Raises CommandError."""
    parsed = parse(OPTIONS, arguments)
    if "help" in parsed.values:
        print(help_page(USAGE, PURPOSE, OPTIONS))
        return 0
    if len(parsed.rest) > 1:
        raise UsageError(f"ps takes one job, {' '.join(parsed.rest)!r} was given")
    if "all" in parsed.values:
        _list_jobs()
        return 0
    server, nspace = servers.find_namespace(parsed.rest[0] if parsed.rest else None)
    tool = servers.connect(server)
    from fluxpmix.pmix.status import PmixError, PmixUnreachable

    try:
        if "watch" in parsed.values:
            _watch(tool, server.job, nspace, parsed.values.get("interval", 1.0))
        else:
            print("\n".join(table(nspace, _rows(tool, server.job, nspace))), flush=True)
    except PmixUnreachable:
        raise CommandError(f"job {server.job} has ended") from None
    except PmixError as error:
        raise CommandError(f"ps {nspace}: {error}") from None
    finally:
        tool.finalize()
    return 0


def processes(tool: Tool, job: str) -> list[ProcInfo]:
    """Return the process table of a job, by rank. Raises `PmixError`."""
    from fluxpmix.pmix import attributes as a
    from fluxpmix.pmix.types import Info, QueryItem, find

    answer = tool.query([QueryItem((a.QUERY_PROC_TABLE,), (Info(a.NSPACE, job),))])
    return sorted(find(answer, a.QUERY_PROC_TABLE).items, key=lambda row: row.proc.rank)


def spawned(tool: Tool, job: str) -> list[str]:
    """Return the namespaces of the jobs that a job has spawned, and they, in that order. Raises `PmixError`."""
    from fluxpmix.pmix import attributes as a
    from fluxpmix.pmix.types import QueryItem, find

    names = str(find(tool.query([QueryItem((a.QUERY_NAMESPACES,))]), a.QUERY_NAMESPACES, "")).split(",")
    ordinals = [name[len(job) + 1 :] for name in names if name.startswith(f"{job}.")]
    return [f"{job}.{ordinal}" for ordinal in sorted(map(int, filter(str.isdigit, ordinals)))]


def _rows(tool: Tool, job: str, nspace: str) -> list[tuple[str, ProcInfo]]:
    """Return the processes of a namespace by name; those of the whole job with those that it has spawned."""
    found = []
    for each in (nspace, *(spawned(tool, job) if nspace == job else ())):
        prefix = each[len(job) + 1 :]
        found += [(f"{prefix}.{row.proc.rank}" if prefix else str(row.proc.rank), row) for row in processes(tool, each)]
    return found


def table(job: str, named: Sequence[tuple[str, ProcInfo]]) -> list[str]:
    """Return the lines of the table, with a line on the whole job above."""
    rows = [row for _, row in named]
    hosts = {row.hostname for row in rows}
    running = sum(row.state < 20 for row in rows)
    lines = [f"job {job}: {len(rows)} process(es) on {len(hosts)} node(s), {running} running"]
    width = max([4, *(len(row.hostname or "") for row in rows)])
    lines.append(f"{'RANK':>6} {'HOST':<{width}} {'PID':>8} {'STATE':<12} PROGRAM")
    for name, row in named:
        pid = str(row.pid) if row.pid else "-"
        lines.append(f"{name:>6} {row.hostname or '-':<{width}} {pid:>8} {_state(row):<12} {row.executable or '-'}")
    return lines


def _state(row: ProcInfo) -> str:
    if row.state < 20:
        return _STATES.get(row.state, str(row.state))
    end = _ENDS.get(row.state, "failed")
    return f"{end} ({row.exit_code})" if row.exit_code else end


def _watch(tool: Tool, job: str, nspace: str, interval: float) -> None:
    """Show the table anew, on a terminal in place, until the job is gone."""
    import sys
    import time

    from fluxpmix.pmix.status import PmixError

    screen = sys.stdout.isatty()
    while True:
        try:
            lines = table(nspace, _rows(tool, job, nspace))
        except PmixError:
            print(f"job {job} has ended", flush=True)
            return
        print(("\x1b[H\x1b[J" if screen else "") + "\n".join(lines), flush=True)
        time.sleep(max(interval, 0.05))


def _list_jobs() -> None:
    jobs: dict[str, list[str]] = {}
    for each in servers.found():
        jobs.setdefault(each.job, []).append(each.host)
    print(f"{'JOB':<20} NODES HERE")
    for job, hosts in sorted(jobs.items()):
        print(f"{job:<20} {','.join(sorted(hosts))}")
