"""The job's own directory, 0700, below TMPDIR: sockets, and all that libpmix and the tasks put there.

Made and removed by the launcher; by the job shells where the launcher is gone.
"""

from __future__ import annotations

import os

from fluxpmix.pmix.light import suppress
from fluxpmix.shell.local.request import LaunchError


def make(jobid: str, shells: int) -> str:
    """Make the directory and one in it for each shell; return its path. Raises `LaunchError`."""
    parent = os.environ.get("TMPDIR") or "/tmp"
    path = os.path.join(os.path.abspath(parent), f"flux-pmix-{os.geteuid()}-{jobid}")
    try:
        os.mkdir(path, 0o700)
        for shell in range(shells):
            os.mkdir(of_shell(path, shell), 0o700)
    except OSError as error:
        remove(path)
        raise LaunchError(
            f"cannot make the job's directory in {parent!r}: {error.strerror}; set TMPDIR to a directory "
            "that you can write"
        ) from None
    return path


def of_shell(path: str, shell: int) -> str:
    """Return the directory of one shell: its server's, and FLUX_JOB_TMPDIR of its tasks."""
    return f"{path}/{shell}"


def remove(path: str) -> None:
    """Remove the directory with all that is in it; what is gone already is no error."""
    with suppress(OSError):
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    remove(entry.path)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)
        os.rmdir(path)
