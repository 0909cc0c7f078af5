"""What the kernel does for a process and Python has no call for.

Called by the carrier on one machine (`shell/local`), which must outlive and outreach its tasks.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Make orphans below this process its children, not init's, so that none gets away.

    Raises `OSError` where the kernel (before Linux 3.4) cannot.
    """
    from fluxpmix.pmix import _declarations

    ffi: Any = _declarations.ffi
    if ffi.dlopen(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ffi.errno
        raise OSError(code, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(code)}")
