"""A process that registers files and directories for removal, and ends: by finalizing, or with "die" by SIGKILL.

Usage: cleans DIRECTORY [die]. `tests/local/cleaning.py` says what is in it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Info

root = Path(sys.argv[1])
client = Client()


def register(*infos: Info) -> None:
    try:
        client.job_control([client.proc], infos)
    except PmixError as error:
        print(describe(error.status), flush=True)


recursive, leave = Info(a.CLEANUP_RECURSIVE, True), Info(a.CLEANUP_LEAVE_TOPDIR, True)
register(Info(a.REGISTER_CLEANUP, f"{root}/file"), Info(a.REGISTER_CLEANUP, f"{root}/other"))
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/plain"))
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/kept"), leave)
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/flat"))
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/deep"), recursive)
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/top"), recursive, leave)
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/link"), recursive)
register(Info(a.REGISTER_CLEANUP_DIR, f"{root}/never.was"), recursive)
client.fence()
if sys.argv[2:] == ["die"]:
    os.kill(os.getpid(), signal.SIGKILL)
client.finalize()
