"""PMIX_CLEANUP_IGNORE: what is spared of the files and directories that processes have registered for removal.

libpmix (4.2 to 6.1) ends the server that is asked for that: pmix_server_job_ctrl links each path into a second list
while it walks along the first. So the key is given another name, as long as its own, before libpmix reads the request:
the function gives way, in libpmix's table of imported ones (as in `gate.py`), to one that does so and then calls it.
libpmix takes that name for a directive of the host's, and hands the request up, where `server.py` has `take` take it.

From then on libpmix's `unlink` and `opendir` do nothing to such a path. The paths are those of all who have asked
(Standard 4.2, section 12.2.1: comma-delimited), until their namespace is deregistered.
"""

from __future__ import annotations

import errno
import os

from fluxpmix.pmix import attributes
from fluxpmix.pmix.completions import report
from fluxpmix.pmix.gate import import_slot
from fluxpmix.pmix.library import LibraryError
from fluxpmix.pmix.types import Infos, Proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

RENAMED = "pmix.clnup.IGNORE"
_KEY, _NAME = attributes.CLEANUP_IGNORE.encode(), RENAMED.encode()
_CLEANUP = (
    *(attributes.REGISTER_CLEANUP, attributes.REGISTER_CLEANUP_DIR),
    *(attributes.CLEANUP_RECURSIVE, attributes.CLEANUP_LEAVE_TOPDIR),
)
_FUNCTION = "int (*)(void *, void *, void *, void *)"
_SUCCEEDED, _BAD_PARAM, _CONFLICTING = -157, -27, -51
_kept: list[Any] = []  # for ever: libpmix's thread may call it until the process ends
_spared: dict[str, set[bytes]] = {}  # by namespace: paths
_keeps = False  # whether `unlink` has given way


def guard(library: Library) -> None:
    """Keep requests of that kind from ending the server; after PMIx_server_init."""
    ffi, lib = library.ffi, library.lib
    try:
        slot = import_slot(library, b"pmix_server_job_ctrl")
        real, size = lib.pmix_server_job_ctrl, lib.pmix_buffer_t_class.size
    except (LibraryError, AttributeError):  # a libpmix that calls it in another way
        return

    def job_control(peer: Any, buffer: Any, function: Any, data: Any) -> int:
        _rename(ffi, buffer, size)
        status: int = real(peer, buffer, function, data)
        return status

    function = ffi.callback(_FUNCTION, job_control, error=_BAD_PARAM, onerror=report)
    _kept.append(function)
    slot[0] = ffi.cast("void *", function)


def is_spared(path: bytes) -> bool:
    """Whether somebody wants this file or directory to stay."""
    return bool(_spared) and any(os.path.normpath(path) in paths for paths in _spared.values())


def take(library: Library, who: Proc, directives: Infos) -> tuple[Infos, int | None]:
    """Take out of a request what is to be spared.

    Returns what is left for the host, and the answer where that is nothing: all else of a request to clean up is
    libpmix's own affair.
    """
    asked = [info for info in directives if info.key == RENAMED]
    if not asked:
        return directives, None
    rest = tuple(info for info in directives if info.key != RENAMED)
    if not all(isinstance(info.value, str) and info.value for info in asked):
        return rest, _BAD_PARAM
    paths = {path for info in asked for path in _paths(info.value)}
    if any(paths & _paths(info.value) for info in rest if info.key in _CLEANUP and isinstance(info.value, str)):
        return rest, _CONFLICTING
    _keep(library)
    _spared.setdefault(who.nspace, set()).update(paths)
    return rest, _SUCCEEDED if all(info.key in _CLEANUP for info in rest) else None


def forget(nspace: str) -> None:
    """All that a namespace has registered has been removed."""
    _spared.pop(nspace, None)


def _paths(value: str) -> set[bytes]:
    return {os.path.normpath(os.fsencode(path)) for path in value.split(",") if path}


def _rename(ffi: Any, buffer: Any, size: int) -> None:
    """Give the key its other name in what libpmix is about to read."""
    # A `pmix_buffer_t` ends so in every version: where it begins, where is written, where is read, its size, its use.
    base, _, unread, allocated, used = ffi.cast("uint64_t *", buffer)[size // 8 - 5 : size // 8]
    if not base <= unread <= base + used <= base + allocated:
        return
    message = ffi.buffer(ffi.cast("char *", unread), base + used - unread)
    text = bytes(message)
    at = text.find(_KEY + b"\0")
    while at >= 0:
        message[at : at + len(_KEY)] = _NAME
        at = text.find(_KEY + b"\0", at + 1)


def _keep(library: Library) -> None:
    """Have libpmix remove no such path; once."""
    global _keeps
    if _keeps:
        return
    _keeps = True
    ffi, real = library.ffi, library.lib.unlink
    slot = import_slot(library, b"unlink")

    def unlink(path: Any) -> int:
        if is_spared(ffi.string(path)):
            ffi.errno = errno.EPERM
            return -1
        status: int = real(path)
        return status

    function = ffi.callback("int (*)(const char *)", unlink, error=-1, onerror=report)
    _kept.append(function)
    slot[0] = ffi.cast("void *", function)
