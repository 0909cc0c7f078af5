"""A PMIx tool: a process that no PMIx server started, and that looks into a job or steers it.

`flux-pmix ps`, `output` and `attach` are tools; so may be any Python program: a debugger, a monitor. A `Tool`
asks what a client asks (`requests.py`), of the server that it is connected to. Standard 4.2, chapter 18
("Tools and Debuggers").
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from fluxpmix.pmix import attributes, decoding
from fluxpmix.pmix.completions import completions
from fluxpmix.pmix.library import parse_version, scrub_environment
from fluxpmix.pmix.light import contextmanager
from fluxpmix.pmix.requests import Requests
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import DataType, Directives, Info, Proc, Range
from fluxpmix.pmix.values import infos

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library
    from fluxpmix.pmix.types import Rows

_FORMAT = "PMIX_MCA_bfrops"


class Tool(Requests):
    """This process as a PMIx tool: connects on construction, `finalize` or `with` ends it.

    Which server: the first of `uri` (what a server's rendezvous file holds in its first line), `file` (such a
    file), `pid` (the server's process) and `nspace` (the server's own namespace) that is given; the last two
    are looked for below `directory` (default: PMIX_SYSTEM_TMPDIR, TMPDIR, /tmp), and so is, where none is given,
    the only server there that serves sessions. `security` is how this process proves who it is; servers take
    one way, ours "native" unless they were told to take munge. `directives` are further ones of PMIx_tool_init.
    Whose client this process was is forgotten. Raises `PmixError` (`PmixUnreachable` where no server answers),
    `LibraryError`. Standard 4.2, section 18.6 (PMIx_tool_init).
    """

    def __init__(
        self,
        library: Library | None = None,
        *,
        uri: str | None = None,
        file: str | None = None,
        pid: int | None = None,
        nspace: str | None = None,
        directory: str | None = None,
        security: str = "native",
        directives: Directives | None = None,
    ) -> None:
        if library is None:
            from fluxpmix.pmix.library import load

            library = load()
        self._library = library
        self._handlers = {}
        self._output_handlers: dict[int, Any] = {}
        self._process = os.getpid()
        self._finalized = True
        scrub_environment()
        told: list[Info | Rows] = [Info(attributes.IOF_LOCAL_OUTPUT, False)]
        if directory is not None:
            told += [Info(key, directory) for key in (attributes.SYSTEM_TMPDIR, attributes.SERVER_TMPDIR)]
        if uri is not None:
            told.append(Info(attributes.SERVER_URI, uri))
        elif file is not None:
            told.append(Info(attributes.TOOL_ATTACHMENT_FILE, file))
        elif pid is not None:
            told.append(Info(attributes.SERVER_PIDINFO, pid, DataType.PID))
        elif nspace is not None:
            told.append(Info(attributes.SERVER_NSPACE, nspace))
        told += _listed(directives)
        os.environ["PMIX_SECURITY_MODE"] = security
        who = library.ffi.new("pmix_proc_t *")
        with infos(library, told) as array, _format(library, file):
            check(library.lib.PMIx_tool_init(who, array.pointer, array.count), "PMIx_tool_init")
        self._finalized = False
        self.proc = decoding.proc(library.ffi, who)

    @property
    def library(self) -> Library:
        """The libpmix that this tool uses."""
        return self._library

    def finalize(self) -> None:
        """Leave the server. Safe to call twice; does nothing in a forked child.

        Raises `PmixError`. Standard 4.2, section 18.6 (PMIx_tool_finalize).
        """
        if self._finalized or self._process != os.getpid():
            return
        self._finalized = True
        check(self._begin("PMIx_tool_finalize").lib.PMIx_tool_finalize(), "PMIx_tool_finalize")
        completions(self._library).progress_thread = None

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, *_: object) -> None:
        self.finalize()

    @property
    def servers(self) -> tuple[Proc, ...]:
        """The servers that this tool is connected to. Standard 4.2, section 18.6 (PMIx_tool_get_servers)."""
        library = self._begin("PMIx_tool_get_servers")
        ffi, lib = library.ffi, library.lib
        procs, count = ffi.new("pmix_proc_t **"), ffi.new("size_t *")
        try:
            check(lib.PMIx_tool_get_servers(procs, count), "PMIx_tool_get_servers")
            return tuple(decoding.proc(ffi, procs[0] + i) for i in range(count[0]))
        finally:
            lib.free(procs[0])

    def release(self, procs: Iterable[Proc]) -> None:
        """Let processes go on that wait for a debugger where they were told to (PMIX_DEBUG_STOP_IN_INIT, _IN_APP).

        Raises `PmixError`. Standard 4.2, section 18.4 (debugger release).
        """
        from fluxpmix.pmix.status import Status
        from fluxpmix.pmix.types import DataArray

        self.notify_event(
            Status.DEBUGGER_RELEASE,
            Range.CUSTOM,
            [
                Info(attributes.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, tuple(procs))),
                Info(attributes.EVENT_NON_DEFAULT, True),
            ],
        )


@contextmanager
def _format(library: Library, file: str | None) -> Iterator[None]:
    """Have libpmix pack data as servers of 4.2 and 5.x can read it, unless the user has chosen or the server is newer.

    A process that a server has started is told which formats it reads. A tool is not, and 6.x takes its newest:
    servers of 4.2 and 5.x end the connection there, if they do not crash. A rendezvous file says the version.
    """
    if library.version < (6, 0) or _FORMAT in os.environ or _served_by(file) >= library.version[:2]:
        yield
        return
    os.environ[_FORMAT] = "v41"
    try:
        yield
    finally:
        del os.environ[_FORMAT]


def _served_by(file: str | None) -> tuple[int, ...]:
    """Return the version of the server that wrote this file, (0,) where that is not known."""
    if file is None:
        return (0,)
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            _uri, version = next(lines), next(lines)
        return parse_version(version)
    except (OSError, StopIteration, ValueError):
        return (0,)


def _listed(directives: Directives | None) -> list[Any]:
    if directives is None:
        return []
    return [Info(key, value) for key, value in directives.items()] if hasattr(directives, "items") else list(directives)
