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
_PTRACE_TRACEME, _PTRACE_DETACH, _SIGSTOP = 0, 17, 19


def become_subreaper() -> None:
    """Make orphans below this process its children, not init's, so that none gets away.

    Raises `OSError` where the kernel (before Linux 3.4) cannot.
    """
    from fluxpmix.pmix import _declarations

    ffi: Any = _declarations.ffi
    if ffi.dlopen(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ffi.errno
        raise OSError(code, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(code)}")


def be_traced() -> None:
    """In a forked child: stop at the first instruction of the program that it becomes, for its parent to see."""
    _ptrace(_PTRACE_TRACEME, 0)


def leave_stopped(pid: int) -> bool:
    """Wait until a child that `be_traced` runs its program, and let it be, stopped. False: it has ended instead.

    To be called on the thread that has forked it. Raises `OSError`.
    """
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        return False
    _ptrace(_PTRACE_DETACH, pid, _SIGSTOP)
    return True


def _ptrace(request: int, pid: int, data: int = 0) -> None:
    from fluxpmix.pmix import _declarations

    ffi: Any = _declarations.ffi
    if ffi.dlopen(None).ptrace(request, pid, ffi.NULL, ffi.cast("void *", data)) != 0:
        code = ffi.errno
        raise OSError(code, f"ptrace: {os.strerror(code)}")


def close_descriptors(keep: Collection[int]) -> None:
    """Close what a forked process has inherited, but its standard streams and `keep`."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in keep:
            with suppress(OSError):
                os.close(int(name))


def open_standard_streams() -> None:
    """Open what is closed of 0, 1 and 2, so that no file of ours takes the number of one."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
