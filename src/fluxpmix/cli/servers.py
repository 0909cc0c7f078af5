"""Where the PMIx servers of this user's jobs on this machine are, and how a tool gets in: for `ps`, `output`, `attach`.

A server leaves rendezvous files (Standard 4.2, section 18.1) in its job's directory: below TMPDIR for
`flux-pmix run`, in the run directory of the Flux instance for `flux run`. Others' directories are not looked into.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fluxpmix.cli.errors import CommandError
from fluxpmix.pmix.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.tool import Tool

_FILE = ("pmix.", ".tool")  # of the session: pmix.HOST.tool
_LOOK, _GRACE = 0.5, 5.0  # seconds between looks at a server's process, and after its end
_SERVERS = ".shell."  # what our servers' names have between the job and the shell's rank


class ServerFile(Record):
    """A rendezvous file: the job that the server serves, its shell, its host, its process."""

    job: str
    shell: int
    host: str
    pid: int
    path: str


def find(job: str | None) -> ServerFile:
    """Return a server of a job; None: of the only one there is. Raises `CommandError`."""
    jobs: dict[str, list[ServerFile]] = {}
    for each in found():
        jobs.setdefault(each.job, []).append(each)
    if job is None:
        if not jobs:
            raise CommandError("no job of yours runs on this machine under fluxpmix; start one with flux-pmix run")
        if len(jobs) > 1:
            raise CommandError(f"{len(jobs)} jobs run here: name one of {', '.join(sorted(jobs))}")
        (files,) = jobs.values()
    else:
        files = next((each for name, each in jobs.items() if _same(name, job)), [])
        if not files:
            known = f"; these run: {', '.join(sorted(jobs))}" if jobs else ""
            raise CommandError(f"job {job} does not run on this machine under fluxpmix, or is not yours{known}")
    return min(files, key=lambda each: each.shell)


def find_namespace(job: str | None) -> tuple[ServerFile, str]:
    """Return a server of a job and the namespace that is meant: the job's, or for JOB.1 its first spawned job's.

    Raises `CommandError`.
    """
    name, _, ordinal = (job or "").rpartition(".")
    if name and ordinal.isascii() and ordinal.isdigit() and any(_same(each.job, name) for each in found()):
        server = find(name)
        return server, f"{server.job}.{ordinal}"
    server = find(job)
    return server, server.job


def connect(server: ServerFile) -> Tool:
    """Return a tool of a server. Raises `CommandError`.

    From then on this process ends some seconds after the server has: a tool that libpmix has wait for an answer
    just then would wait for ever.
    """
    from _thread import start_new_thread

    from fluxpmix.pmix.library import LibraryError
    from fluxpmix.pmix.status import PmixError
    from fluxpmix.pmix.tool import Tool

    start_new_thread(_end_after, (server,))
    try:
        return Tool(file=server.path)
    except LibraryError as error:
        raise CommandError(str(error)) from None
    except PmixError as error:
        raise CommandError(f"job {server.job}: its PMIx server does not answer ({error}); has it just ended?") from None


def _end_after(server: ServerFile) -> None:
    import sys
    from time import sleep

    while os.path.exists(f"/proc/{server.pid}"):
        sleep(_LOOK)
    sleep(_GRACE)
    sys.stderr.write(f"flux-pmix: job {server.job} has ended\n")
    sys.stderr.flush()
    os._exit(1)


def found() -> Iterator[ServerFile]:
    """Yield the servers of this user's jobs whose processes live."""
    seen = set()
    for directory in _directories():
        for path in sorted(_entries(directory)):
            name = os.path.basename(path)
            if name.startswith(_FILE[0]) and name.endswith(_FILE[1]):
                each = _read(path)
                if each is not None and (each.job, each.shell) not in seen:
                    seen.add((each.job, each.shell))
                    yield each


def _read(path: str) -> ServerFile | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            uri, _version, pid = file.read().split("\n")[:3]
        job, separator, shell = uri.partition(";")[0].rpartition(_SERVERS)
        if not separator or not os.path.exists(f"/proc/{int(pid)}"):
            return None
        return ServerFile(job, int(shell), os.path.basename(path)[len(_FILE[0]) : -len(_FILE[1])], int(pid), path)
    except (OSError, ValueError):
        return None


def _directories() -> Iterator[str]:
    """Yield the directories in which a server of ours may have left its file."""
    tmp = os.path.abspath(os.environ.get("TMPDIR") or "/tmp")
    ours = f"flux-pmix-{os.geteuid()}-"
    instances = [*_of_instance(), "/run/flux"]
    for path in _entries(tmp):
        name = os.path.basename(path)
        if name.startswith(ours):
            yield from _entries(path)
        elif name.startswith("flux-") and path not in instances:
            instances.append(path)
    for instance in instances:
        yield from (path for path in _entries(instance) if os.path.basename(path).startswith("jobtmp-"))


def _of_instance() -> list[str]:
    """Return the run directory of the Flux instance that this is in, by the socket in FLUX_URI."""
    kind, _, path = os.environ.get("FLUX_URI", "").partition("://")
    return [os.path.dirname(path)] if kind == "local" and path else []


def _entries(directory: str) -> list[str]:
    """Return what is in a directory that is ours or root's, nothing where it cannot be read."""
    try:
        if os.stat(directory).st_uid not in (os.geteuid(), 0) and directory != "/tmp":
            return []
        with os.scandir(directory) as entries:
            return [entry.path for entry in entries]
    except OSError:
        return []


def _same(name: str, wanted: str) -> bool:
    """Whether two texts are one job id: as it is, or F58 with either prefix and decimal."""
    return name == wanted or (_number(name) is not None and _number(name) == _number(wanted))


def _number(text: str) -> int | None:
    from fluxpmix.job import jobid

    try:
        return int(text) if text.isascii() and text.isdigit() else jobid.decode(text)
    except ValueError:
        return None
