"""`flux-pmix check`: how complete is this launcher's PMIx? Run it as a job's program, under any launcher.

Every rank asks (`asking`) and tries (`trying`, `operations`), rank 0 collects by PMIx itself (`gathering`),
judges (`judging`), and writes one report for the whole job (`writing`, `report`, `page`). Exit code 0 only
where all that is required is right.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fluxpmix.cli.check.records import Report
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.client import Client

ABORTED = 3  # the status that --abort ends the job with
OPTIONS = (
    Option(("--json",), "FILE", "write the report as JSON, - for standard output"),
    Option(("--junit",), "FILE", "write it as JUnit XML"),
    Option(("--html",), "FILE", "write it as one self-contained page"),
    Option(("--title",), "TEXT", "what the report is called (default: the launcher, as far as it is known)"),
    Option(("--timeout",), "FSD", "how long each operation may take (default 10s)"),
    Option(("--no-operations",), None, "ask for attributes only"),
    Option(("--monitors",), None, "try monitors of heartbeats and files, too, which takes two seconds more"),
    Option(("--kill",), None, "have a spawned process killed, too: most launchers make that the job's exit code"),
    Option(("--abort",), None, f"at the end try PMIx_Abort too: the job ends with status {ABORTED}"),
    Option(("--compare",), "A.json", "print reports side by side: --compare A.json B.json ..."),
    Option(("-v", "--verbose"), None, "show what is right too"),
    Option(("-h", "--help"), None, "show this page"),
)
USAGE = "flux-pmix check [OPTIONS...]"
PURPOSE = "Say how complete the PMIx of a launcher is; run it as the program of a job of 2 ranks or more."
WAYS = "flux-pmix run -n 4 {0}, prterun -n 4 {0}, srun -n 4 --mpi=pmix {0}, flux run -n4 -o pmi=pmix {0}"


def main(arguments: Sequence[str]) -> int:
    """Run the check in this rank; rank 0 prints. Raises CommandError."""
    parsed = parse(OPTIONS, arguments)
    options = parsed.values
    if "help" in options:
        print(help_page(USAGE, PURPOSE, OPTIONS, f"Ways to run it: {WAYS.format('flux-pmix check')}."))
        return 0
    if "compare" in options:
        return _compare(options["compare"], *parsed.rest)
    if parsed.rest:
        raise UsageError(
            f"check takes no argument, {parsed.rest[0]!r} was given: flux-pmix check --help shows the options"
        )
    from fluxpmix.job import duration

    try:
        seconds = duration.seconds(options.get("timeout", "10s"))
    except ValueError as error:
        raise UsageError(f"--timeout {options['timeout']!r}: {error}") from None
    return _check(connect(), options, seconds)


def connect(command: str = "check") -> Client:
    """Connect to the server of the job that this process, a `flux-pmix COMMAND`, is part of. Raises CommandError."""
    from fluxpmix.pmix.client import Client
    from fluxpmix.pmix.status import PmixError

    if not any(name.startswith("PMIX_SERVER_URI") for name in os.environ):
        how = WAYS.format(f"flux-pmix {command}")
        raise UsageError(f"this process was not started by a PMIx launcher; run it as a job's program: {how}")
    try:
        return Client()
    except PmixError as error:
        raise CommandError(f"cannot connect to this launcher's PMIx server: {error}") from None


def _check(client: Client, options: Mapping[str, Any], seconds: float) -> int:
    from fluxpmix.cli.check import controlling
    from fluxpmix.cli.check.asking import ask_all
    from fluxpmix.cli.check.deaths import Deaths, in_time
    from fluxpmix.cli.check.gathering import gather, job_size, own_facts
    from fluxpmix.cli.check.operations import FAMILIES, stages
    from fluxpmix.cli.check.trying import Trier
    from fluxpmix.cli.check.writing import Writer

    controlling.heed()
    size, complaint = job_size(client)
    deaths = Deaths(client)
    answers = tuple(ask_all(client, size))
    trier = Trier(client, size, seconds, deaths)
    operations = "no-operations" not in options
    own = Report(client.proc.rank, own_facts(answers), answers, tuple(trier.try_all(FAMILIES)) if operations else ())
    reports, complaints = gather(client, own, size, seconds, "1", deaths, None if trier.meets else trier.behind)
    writer = Writer(options, client, size) if client.proc.rank == 0 else None
    if writer is not None:
        writer.begin(reports, [complaint, *complaints] if complaint else complaints)
    for turn, stage in enumerate(stages(options) if operations else (), 2):
        met = trier.meets
        own = Report(own.rank, {}, (), tuple(trier.try_all(stage)))
        reports, complaints = [own], []
        if met:
            behind = None if trier.meets else trier.behind
            reports, complaints = gather(client, own, size, seconds, str(turn), deaths, behind)
        if writer is not None:
            writer.add(stage, reports, complaints if trier.meets else ())  # else there is a row that says why
    trier.close()
    code = writer.end() if writer is not None else 0
    if "abort" in options and writer is not None:
        in_time(lambda: client.abort(ABORTED, "flux-pmix check --abort"), seconds)  # comes back, or the end does
        code = writer.survived(seconds)
    elif "abort" in options:
        import threading

        threading.Event().wait(2 * seconds)  # for the end
    _say_goodbye(client, stuck=trier.stuck)
    os._exit(code)  # a thread may hang in libpmix


def _compare(first: str, *others: str) -> int:
    from fluxpmix.cli.check import report

    if not others:
        raise UsageError("--compare wants two reports or more: flux-pmix check --compare A.json B.json")
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

    from fluxpmix.cli.check.deaths import in_time

    sys.stdout.flush()
    sys.stderr.flush()
    in_time(client.finalize, 2.0 if stuck else 10.0)
