"""The program of the processes that the check spawns, to be looked at and steered by the one that spawned them.

    python -m fluxpmix.cli.check.companion PARENT RANK DIRECTORY WORD...

It connects with its parent, puts what it was told (`TOLD`) where the parent gets it, registers files in DIRECTORY for
removal, and does what signals tell it: at SIGURG it prints a line and puts that it has, at SIGWINCH it goes without a
word, at SIGTERM it publishes that it ends, and ends. The first two do no harm where they reach another process. Told to
take a checkpoint it says that it has; restarted, it publishes who it is now. What nobody ends ends by itself.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status
from fluxpmix.pmix.types import Persistence, Proc, Range, Scope

PARENT, TOLD, SIGNALLED = "check.parent", "check.told", "check.signalled"
VARIABLE = "FLUXPMIX_CHECK"
LINE = "flux-pmix check: this line came from a spawned process"
_LONGEST = 60.0  # seconds


def ends(proc: Proc) -> str:
    """Return what a companion publishes when it is told to end."""
    return f"check.ends.{proc.nspace}.{proc.rank}"


def again(proc: Proc) -> str:
    """Return what a companion publishes when it has been restarted: its process id and PMIX_REINCARNATION."""
    return f"check.again.{proc.nspace}.{proc.rank}"


def main(nspace: str, rank: str, directory: str, *words: str) -> None:
    """Be a companion."""
    came: queue.SimpleQueue[int] = queue.SimpleQueue()
    for signum in (signal.SIGURG, signal.SIGWINCH, signal.SIGTERM):
        signal.signal(signum, lambda signum, _frame: came.put(signum))
    client = Client()
    client.register_event_handler([Status.JCTRL_CHECKPOINT], functools.partial(_checkpoint, client))
    if not (incarnation := _incarnation(client)):
        _introduce(client, Proc(nspace, int(rank)), directory, words)
    else:
        _publish(client, again(client.proc), f"{os.getpid()} {incarnation}")
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
    _publish(client, ends(client.proc), True)
    client.finalize()


def _introduce(client: Client, parent: Proc, directory: str, words: tuple[str, ...]) -> None:
    """Connect with the parent, and put what this process was told."""
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


def _incarnation(client: Client) -> int:
    """Return how often this process has been restarted."""
    fresh = {a.GET_REFRESH_CACHE: True} if client.library.version >= (5, 0) else None
    try:
        return int(client.get(a.REINCARNATION, client.proc, fresh))
    except PmixError:  # a launcher that does not count
        return 0


def _checkpoint(client: Client, *_event: object) -> None:
    # Not from libpmix's own thread, in which handlers run.
    threading.Thread(target=client.notify_event, args=(Status.JCTRL_CHECKPOINT_COMPLETE, Range.SESSION)).start()


def _publish(client: Client, key: str, value: object) -> None:
    client.publish({key: value, a.RANGE: int(Range.SESSION), a.PERSISTENCE: int(Persistence.SESSION)})


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
