"""What a process does to itself that Python has no call for.

Called by the carrier on one machine (`shell/local`), which must outlive and outreach its tasks.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from fluxpmix.pmix.light import suppress

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


def close_descriptors(keep: Collection[int]) -> None:
    """Close what a forked process has inherited, but its standard streams and `keep`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with suppress(OSError):
                os.close(int(name))
