"""The files that tasks' output goes to by name, while it comes: held open, but not more than a few at a time.

Used by `showing.py`. What cannot be written (the disk is full, a directory has been removed) is said once, and fails
the job, as it does with `--output`: who looks at the exit code then knows that the files are not complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import ENOENT

_OPEN = 64  # descriptors that are held; a spawned job may have thousands of tasks, a file for each stream


class OutputFiles:
    """The files of one shell. `failed(message)` is called once: with the first that cannot be written."""

    def __init__(self, failed: Callable[[str], None], most: int = _OPEN) -> None:
        self._failed = failed
        self._most = most
        self._open: dict[str, int] = {}  # by path, the one that was not written for longest first
        self._known: set[str] = set()  # that there are: one of these is not made a second time
        self._broken = False

    def append(self, path: str, data: bytes) -> None:
        """Add to a file, with the directories that it needs; nothing once one could not be written."""
        if self._broken:
            return
        try:
            fd = self._descriptor(path)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if not os.fstat(fd).st_nlink:
                raise FileNotFoundError(ENOENT, "it was removed while output went there")
        except OSError as error:
            self._broken = True
            self._failed(f"cannot write to {path}: {error.strerror}; the rest of the output is lost")

    def close(self) -> None:
        """Close what is open."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def _descriptor(self, path: str) -> int:
        fd = self._open.pop(path, None)
        if fd is None:
            fd = self._opened(path)
            if len(self._open) >= self._most:
                os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = fd
        return fd

    def _opened(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        if path in self._known:
            return os.open(path, flags)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, flags | os.O_CREAT, 0o666)
        self._known.add(path)
        return fd
