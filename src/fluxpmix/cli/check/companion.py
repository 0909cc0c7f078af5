"""The program of the processes that the check spawns, to be looked at and steered by the one that spawned them.

    python -m fluxpmix.cli.check.companion PARENT RANK DIRECTORY WORD...

It connects with its parent, puts what it was told (`TOLD`) where the parent gets it, registers files in DIRECTORY for
removal, and does what signals tell it: at SIGURG it prints a line and puts that it has, at SIGWINCH it goes without a
word, at SIGTERM it publishes that it ends, and ends. The first two do no harm where they reach another process. What
nobody ends ends by itself.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.types import Persistence, Proc, Range, Scope

PARENT, TOLD, SIGNALLED = "check.parent", "check.told", "check.signalled"
VARIABLE = "FLUXPMIX_CHECK"
LINE = "flux-pmix check: this line came from a spawned process"
_LONGEST = 60.0  # seconds


def ends(proc: Proc) -> str:
    """Return what a companion publishes when it is told to end."""
    return f"check.ends.{proc.nspace}.{proc.rank}"


def main(nspace: str, rank: str, directory: str, *words: str) -> None:
    """Be a companion."""
    came: queue.SimpleQueue[int] = queue.SimpleQueue()
    for signum in (signal.SIGURG, signal.SIGWINCH, signal.SIGTERM):
        signal.signal(signum, lambda signum, _frame: came.put(signum))
    parent = Proc(nspace, int(rank))
    client = Client()
    client.connect([parent, client.job])
    told = {
        "words": words,
        "variable": os.environ.get(VARIABLE),
        "directory": os.getcwd(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "parent": _get(client, PARENT, parent),
        "app": _get(client, a.APPNUM),
        "size": _get(client, a.JOB_SIZE, client.job),
        "spawned": _get(client, a.SPAWNED),
        "parent id": _get(client, a.PARENT_ID, client.job),
        "cleanup": _register(client, directory),
    }
    client.put(Scope.GLOBAL, TOLD, json.dumps(told))
    client.commit()
    times = 0
    try:
        while (order := came.get(timeout=_LONGEST)) != signal.SIGTERM:
            if order == signal.SIGWINCH:
                os._exit(0)
            times += 1
            os.write(2, f"{LINE}, rank {client.proc.rank}\n".encode())
            client.put(Scope.GLOBAL, f"{SIGNALLED}.{times}", True)
            client.commit()
    except queue.Empty:
        os._exit(1)
    client.publish({ends(client.proc): True, a.RANGE: int(Range.SESSION), a.PERSISTENCE: int(Persistence.SESSION)})
    client.finalize()


def _get(client: Client, key: str, proc: Proc | None = None) -> object:
    try:
        value = client.get(key, proc)
    except PmixError as error:
        return str(error)
    return [value.nspace, value.rank] if isinstance(value, Proc) else value


def _register(client: Client, directory: str) -> str:
    """Have a file and a directory removed at the end of this process; returns what is wrong."""
    try:
        client.job_control([client.proc], {a.REGISTER_CLEANUP: f"{directory}/file"})
        client.job_control([client.proc], {a.REGISTER_CLEANUP_DIR: f"{directory}/deep", a.CLEANUP_RECURSIVE: True})
    except PmixError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
