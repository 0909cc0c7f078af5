"""What a shell that was killed could not remove: the next PMIx job's shell on that node does it.

Used by `plugin.py`. Flux removes a job's directory (FLUX_JOB_TMPDIR) when its shell exits; where the shell is killed
(SIGKILL, out of memory) the directory stays until the broker ends, and in /tmp for ever. A shell of
ours keeps a file in it locked while it lives, and the kernel lets go of the lock however it ends. So a
file that anybody can lock says that its shell is gone; then what we and libpmix made there is removed, and the
directory too where nothing of the user's is left in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fluxpmix.pmix.light import contextmanager, suppress

_LOCK = "fluxpmix.lock"
_DIRECTORIES = "jobtmp-"  # as flux-shell names them: jobtmp-RANK-JOBID
_OURS = ("topology.xml", "hwloc.sm", _LOCK)  # libpmix's own start with "pmix"


class Hold:
    """The lock in this shell's directory, and the search for those that nobody holds."""

    def __init__(self, directory: str) -> None:
        """Lock `directory`, which this shell alone uses. Raises OSError."""
        import fcntl

        self._path = os.path.join(directory, _LOCK)
        self._fd = os.open(self._path + ".new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks: nobody can lock it later, and it stays
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(self._path + ".new", self._path)  # seen only when it is locked

    def release(self) -> None:
        """Leave nothing of it: the shell ends as it should."""
        with suppress(OSError):
            os.unlink(self._path)
        os.close(self._fd)

    def sweep(self) -> list[str]:
        """Remove what shells that are gone have left beside this one's directory; returns whose directories."""
        parent = os.path.dirname(os.path.dirname(self._path))
        swept = []
        with suppress(OSError), os.scandir(parent) as entries:
            for entry in entries:
                if entry.name.startswith(_DIRECTORIES) and _is_mine(entry):
                    with suppress(OSError), _locked(os.path.join(entry.path, _LOCK)):
                        _remove(entry.path)
                        swept.append(entry.path)
        return swept


def _is_mine(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    return False


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the lock. Raises OSError where there is none, or a living shell has it."""
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _remove(directory: str) -> None:
    import shutil

    nspace = os.path.basename(directory).rpartition("-")[2].replace("ƒ", "f", 1)
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name == nspace or name.startswith("pmix"):
            shutil.rmtree(path, ignore_errors=True)
        if name in _OURS or name.startswith("pmix"):
            with suppress(OSError):
                os.unlink(path)
    with suppress(OSError):  # the user's own files stay, and so does their directory
        os.rmdir(directory)
