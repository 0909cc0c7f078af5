"""What the kernel does for a process and Python has no call for; reached through libpmix's own handle.

Called by the carrier on one machine (`shell/local`), which must outlive and outreach its tasks.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.pmix.library import Library

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper(library: Library) -> None:
    """Make orphans below this process its children, not init's, so that none gets away.

    Raises `OSError` where the kernel (before Linux 3.4) cannot.
    """
    if library.lib.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = library.ffi.errno
        raise OSError(code, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(code)}")
