"""Registered directories are cleaned, and nothing that a symbolic link in them points to. Standard 4.2, section 12.2.1.

libpmix removes by itself what processes have registered (PMIX_REGISTER_CLEANUP_DIR), when they end, where the host
serves job control; no upcall tells of it. With PMIX_CLEANUP_RECURSIVE it opens (4.2 to 6.1) whatever can be opened as a
directory, and so follows each link out of the directory that was registered, and empties what it finds there.

So `opendir` in its table of imported functions gives way to one that opens no link (as `gate.py` does it with
`accept`): a link is then removed as any file is, by 4.2 left where it is.
"""

from __future__ import annotations

import errno
import os

from fluxpmix.pmix.completions import report
from fluxpmix.pmix.gate import import_slot
from fluxpmix.pmix.library import LibraryError
from fluxpmix.pmix.spared import is_spared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.pmix.library import Library

_SYSTEM = (b"/dev/", b"/proc/")  # /dev/fd is a link, and libpmix looks there for what is open
_kept: list[Any] = []  # for ever: libpmix's thread may call it until the process ends


def keep_within(library: Library) -> None:
    """Have libpmix open no directory by a symbolic link; after PMIx_server_init."""
    ffi, real = library.ffi, library.lib.opendir
    try:
        slot = import_slot(library, b"opendir")
    except LibraryError:  # then it opens none
        return

    def open_directory(path: Any) -> Any:
        name = ffi.string(path)
        if is_spared(name) or (os.path.islink(name.rstrip(b"/")) and not name.startswith(_SYSTEM)):
            ffi.errno = errno.ENOTDIR
            return ffi.NULL
        return real(path)

    function = ffi.callback("void *(*)(const char *)", open_directory, onerror=report)
    _kept.append(function)
    slot[0] = ffi.cast("void *", function)
