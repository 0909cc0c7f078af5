"""`flux-pmix check`: how complete is this launcher's PMIx? Run it as a job's program, under any launcher.

Every rank asks and tries (`asking`, `operations`), rank 0 collects by PMIx itself, judges (`judging`), and
prints one report for the whole job (`report`, `page`). Exit code 0 only where all that is required is right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from fluxpmix.cli.check.records import Report, Row, Summary, Tried, Verdict, decode, encode
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.client import Client

OPTIONS = (
    Option(("--json",), "FILE", "write the report as JSON, - for standard output"),
    Option(("--junit",), "FILE", "write it as JUnit XML"),
    Option(("--html",), "FILE", "write it as one self-contained page"),
    Option(("--title",), "TEXT", "what the report is called (default: the launcher, as far as it is known)"),
    Option(("--timeout",), "FSD", "how long each operation may take (default 10s)"),
    Option(("--no-operations",), None, "ask for attributes only"),
    Option(("--compare",), "A.json", "print two reports side by side: --compare A.json B.json"),
    Option(("-v", "--verbose"), None, "show what is right too"),
    Option(("-h", "--help"), None, "show this page"),
)
USAGE = "flux-pmix check [OPTIONS...]"
PURPOSE = "Say how complete the PMIx of a launcher is; run it as the program of a job of 2 ranks or more."
HOW = "flux-pmix run -n 4 flux-pmix check, prterun -n 4 flux-pmix check, flux run -n4 -o pmi=pmix flux-pmix check"
_REPORT = "fluxpmix.check.report"
_LAUNCHERS = (
    ("FLUX_JOB_ID", "Flux"),
    ("SLURM_JOB_ID", "Slurm"),
    ("PRTE_LAUNCHED", "prterun"),
    ("OMPI_COMM_WORLD_SIZE", "mpirun"),
    ("FLUX_TASK_RANK", "flux-pmix run"),
)


def main(arguments: Sequence[str]) -> int:
    """Run the check in this rank; rank 0 prints. Raises CommandError."""
    parsed = parse(OPTIONS, arguments)
    options = parsed.values
    if "help" in options:
        print(help_page(USAGE, PURPOSE, OPTIONS, f"Ways to run it: {HOW}."))
        return 0
    if "compare" in options:
        return _compare(options["compare"], *parsed.rest)
    if parsed.rest:
        raise UsageError(
            f"check takes no argument, {parsed.rest[0]!r} was given: flux-pmix check --help shows the options"
        )
    from fluxpmix.cli import duration

    try:
        seconds = duration.seconds(options.get("timeout", "10s"))
    except ValueError as error:
        raise UsageError(f"--timeout {options['timeout']!r}: {error}") from None
    client = connect()
    report, size = _look(client, seconds, operations="no-operations" not in options)
    reports, complaints = _collect(client, report, size, seconds)
    code = 0
    if client.proc.rank == 0:
        summary = _summarize(reports, complaints, options.get("title"), size, client)
        code = _write(summary, options)
    _say_goodbye(client, stuck=any(each.verdict is Verdict.UNANSWERED for each in report.tried))
    os._exit(code)  # a thread may hang in libpmix


def connect() -> Client:
    """Connect to the server of the job that this process is part of. Raises CommandError."""
    from fluxpmix.pmix.client import Client
    from fluxpmix.pmix.status import PmixError

    if not any(name.startswith("PMIX_SERVER_URI") for name in os.environ):
        raise UsageError(f"this process was not started by a PMIx launcher; run it as a job's program: {HOW}")
    try:
        return Client()
    except PmixError as error:
        raise CommandError(f"cannot connect to this launcher's PMIx server: {error}") from None


def _look(client: Client, seconds: float, *, operations: bool) -> tuple[Report, int]:
    from fluxpmix.cli.check.asking import ask_all
    from fluxpmix.pmix import attributes as a
    from fluxpmix.pmix.status import PmixError

    try:
        size = int(client.get(a.JOB_SIZE, client.job))
    except (PmixError, TypeError, ValueError):
        size = 1
    answers = tuple(ask_all(client))
    tried: tuple[Tried, ...] = ()
    if operations:
        from fluxpmix.cli.check.operations import try_all

        tried = tuple(try_all(client, size, seconds))
    return Report(client.proc.rank, _facts(), answers, tried), size


def _facts() -> dict[str, object]:
    from fluxpmix.job import idset

    cpus = os.sched_getaffinity(0)
    online = os.cpu_count() or len(cpus)
    return {"host": os.uname().nodename, "cpus": idset.encode(cpus), "bound": len(cpus) < online, "uid": os.geteuid()}


def _collect(client: Client, own: Report, size: int, seconds: float) -> tuple[list[Report], list[str]]:
    """Bring all reports to rank 0: by a collecting fence, or what can be had without one."""
    import threading

    from fluxpmix.pmix import attributes as a
    from fluxpmix.pmix.status import PmixError
    from fluxpmix.pmix.types import Proc, Scope

    def exchange() -> None:
        client.put(Scope.GLOBAL, _REPORT, encode(own))
        client.commit()
        client.fence(collect=True)

    complaints = []
    error = _in_time(exchange, 3 * seconds)
    if error:
        complaints.append(f"rank {own.rank}: the ranks' reports could not be exchanged: {error}")
    if own.rank:
        if error:
            # Rank 0 comes for this report by itself: be there. Some launchers end the job with the first to leave.
            threading.Event().wait(2 * seconds)
        return [own], complaints
    reports = [own]
    missing = []
    for rank in range(1, size):
        try:
            reports.append(decode(client.get(_REPORT, Proc(client.proc.nspace, rank), {a.TIMEOUT: 2})))
        except (PmixError, ValueError, TypeError):
            missing.append(rank)
    if missing:
        from fluxpmix.job import idset

        complaints.append(f"no report came from rank(s) {idset.encode(missing)}")
    return reports, complaints


def _in_time(what: Callable[[], None], seconds: float) -> str:
    import threading

    from fluxpmix.pmix.status import PmixError

    result: list[str] = []

    def run() -> None:
        try:
            what()
            result.append("")
        except PmixError as error:
            result.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else f"no answer in {seconds:g} s"


def _summarize(reports: list[Report], complaints: list[str], title: str | None, size: int, client: Client) -> Summary:
    from fluxpmix.cli.check.judging import Truth, judge

    launcher = next((name for variable, name in _LAUNCHERS if variable in os.environ), "an unknown launcher")
    facts = {
        "ranks": size,
        "nodes": Truth(reports).nodes,
        "client": f"libpmix {'.'.join(map(str, client.library.version))}",
    }
    rows = (*judge(reports), *_operation_rows(reports))
    return Summary(title or f"PMIx of {launcher}", facts, rows, tuple(complaints))


def _operation_rows(reports: list[Report]) -> Iterator[Row]:
    from fluxpmix.cli.check.operations import OPERATIONS

    order = (Verdict.UNANSWERED, Verdict.WRONG, Verdict.MISSING, Verdict.RIGHT)
    for operation in OPERATIONS:
        found = [(each, report.rank) for report in reports for each in report.tried if each.name == operation.name]
        if not found:
            continue
        worst, rank = min(found, key=lambda one: order.index(one[0].verdict))
        slowest = max(each.seconds for each, _ in found)
        note = f"rank {rank}" if worst.verdict is not Verdict.RIGHT else f"{slowest * 1e3:.0f} ms"
        yield Row("operations", operation.name, operation.need, worst.verdict, "", worst.detail, note)


def _write(summary: Summary, options: Mapping[str, Any]) -> int:
    from fluxpmix.cli.check import page, report

    formats = {"json": report.to_json, "junit": report.junit, "html": page.html}
    shown = False
    for name, render in formats.items():
        path = options.get(name)
        if path == "-":
            print(render(summary))
            shown = True
        elif path:
            try:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(render(summary))
            except OSError as error:
                raise CommandError(f"--{name} {path!r}: {error.strerror}; name a file that you can write") from None
    if not shown:
        for line in report.text(summary, verbose="verbose" in options):
            print(line)
    return 0 if summary.passed else 1


def _compare(first: str, *others: str) -> int:
    from fluxpmix.cli.check import report

    if len(others) != 1:
        raise UsageError("--compare wants two reports: flux-pmix check --compare A.json B.json")
    summaries = []
    for path in (first, *others):
        try:
            with open(path, encoding="utf-8") as file:
                summaries.append(report.from_json(file.read()))
        except OSError as error:
            raise CommandError(f"--compare {path!r}: {error.strerror}; flux-pmix check --json FILE makes one") from None
        except ValueError as error:
            raise CommandError(f"--compare {path!r}: {error}; flux-pmix check --json FILE makes one") from None
    for line in report.compare(*summaries):
        print(line)
    return 0


def _say_goodbye(client: Client, *, stuck: bool) -> None:
    """Finalize; where a call still hangs in libpmix, which may hold that up, not for long."""
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    _in_time(client.finalize, 2.0 if stuck else 10.0)
