"""`flux-pmix output [JOB]`: follow what a running job's processes print, any rank's, from beside the job.

A tool that pulls output (PMIx_IOF_pull) until the job ends or all streams have. If it is slow, nothing but itself
is: beyond 16 MiB it misses lines, and is told how many bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from fluxpmix.cli import servers
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.tool import Tool


def _ranks(text: str) -> tuple[int, ...]:
    from fluxpmix.job import idset

    found = idset.parse(text)
    if not found:
        raise ValueError("ranks are expected, e.g. 0-3,7")
    return found


OPTIONS = (
    Option(("-r", "--ranks"), "IDSET", "of these ranks only, e.g. 0-3,7", convert=_ranks),
    Option(("-l", "--label-io"), None, "put the rank before each line"),
    Option(("--stdout",), None, "standard output only"),
    Option(("--stderr",), None, "standard error only"),
    Option(("-h", "--help"), None, "show this page"),
)
USAGE = "flux-pmix output [OPTIONS...] [JOB]"
PURPOSE = """\
Follow what the processes of a running job print; JOB may be left out where only one runs here.
JOB.1 are those of the first job that it has spawned."""


def main(arguments: Sequence[str]) -> int:
    """Follow the output to its end and return the exit code. Raises CommandError."""
    parsed = parse(OPTIONS, arguments)
    if "help" in parsed.values:
        print(help_page(USAGE, PURPOSE, OPTIONS))
        return 0
    if len(parsed.rest) > 1:
        raise UsageError(f"output takes one job, {' '.join(parsed.rest)!r} was given")
    from fluxpmix.pmix.status import PmixError
    from fluxpmix.pmix.types import RANK_WILDCARD, IofChannel

    options = parsed.values
    channels = IofChannel.NONE
    if "stdout" in options or "stderr" not in options:
        channels |= IofChannel.STDOUT
    if "stderr" in options or "stdout" not in options:
        channels |= IofChannel.STDERR
    server, nspace = servers.find_namespace(parsed.rest[0] if parsed.rest else None)
    tool = servers.connect(server)
    try:
        _follow(
            tool,
            nspace,
            nspace[len(server.job) + 1 :],
            options.get("ranks", (RANK_WILDCARD,)),
            channels,
            "label-io" in options,
        )
    except PmixError as error:
        raise CommandError(f"output {nspace}: {error}") from None
    finally:
        tool.finalize()
    return 0


def _follow(tool: Tool, job: str, ordinal: str, ranks: Sequence[int], channels: int, label: bool) -> None:
    """Print what comes until the job is gone, or all that was asked for is at its end.

    `job` is a namespace, `ordinal` the number of a spawned one, with which its tasks' names begin.
    """
    from _thread import allocate_lock

    from fluxpmix.cli.ps import processes
    from fluxpmix.pmix.status import Status
    from fluxpmix.pmix.types import RANK_WILDCARD, Infos, IofChannel, Proc
    from fluxpmix.shell.local.output import labelled

    table = processes(tool, job)
    size, job = len(table), table[0].proc.nspace  # that of JOB.1 is a Flux job's id, where it is one
    if ranks[-1] != RANK_WILDCARD and ranks[-1] >= size:
        raise CommandError(f"output {job}: there is no rank {ranks[-1]} among {size}")
    wanted = range(size) if ranks[0] == RANK_WILDCARD else ranks
    open_ = {(rank, channel) for rank in wanted for channel in IofChannel if channel & channels}
    prefix = f"{ordinal}." if ordinal else ""
    over = allocate_lock()
    over.acquire()
    broken: list[OSError] = []

    def end() -> None:
        if over.locked():
            over.release()

    def came(channel: IofChannel, source: Proc, data: bytes, _infos: Infos) -> None:
        # On libpmix's thread: while this waits for whoever reads our output, nothing is taken from the server.
        if not data:
            open_.discard((source.rank, channel))
            if not open_:
                end()
            return
        text = labelled(f"{prefix}{source.rank}: ".encode(), data) if label else data
        try:
            _write(2 if channel & IofChannel.STDERR else 1, text)
        except OSError as error:
            broken.append(error)
            end()

    tool.register_event_handler([Status.ERR_LOST_CONNECTION], lambda *_: end())
    tool.iof_pull([Proc(job, rank) for rank in ranks], IofChannel(channels), came)
    over.acquire()
    if broken:
        raise BrokenPipeError if isinstance(broken[0], BrokenPipeError) else broken[0]


def _write(fd: int, data: bytes) -> None:
    import os

    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
