"""Processes of which each registers its directory for removal, but for some of what is in it.

Usage: spares DIRECTORY: rank N has DIRECTORY/N. All print what they were told and do a fence, which needs the server.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import DataType, Info

client = Client()
me = client.proc.rank
root = Path(sys.argv[1]) / str(me)
told = []


def ask(*infos: Info) -> None:
    try:
        client.job_control([client.proc], infos)
        told.append("done")
    except PmixError as error:
        told.append(describe(error.status))


ask(Info(a.REGISTER_CLEANUP_DIR, f"{root}/one"), Info(a.CLEANUP_RECURSIVE, True))
# All by itself, several paths at once; with what it is an exception of; and what contradicts itself.
ask(Info(a.CLEANUP_IGNORE, f"{root}/one/kept,{root}/one//deep/"))
both = Info(a.REGISTER_CLEANUP_DIR, f"{root}/two"), Info(a.CLEANUP_IGNORE, f"{root}/two/kept")
ask(*both)
ask(Info(a.REGISTER_CLEANUP, f"{root}/three"), Info(a.CLEANUP_IGNORE, f"{root}/three"))
ask(Info(a.CLEANUP_IGNORE, True, DataType.BOOL))
client.fence()
sys.stdout.write(f"{me} {' '.join(told)}\n")
sys.stdout.flush()
client.finalize()
