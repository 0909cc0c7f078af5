"""A job of eight of which six end, each in a way of its own; 0 and 4 listen, and print each event as often as it came.

Per line: the rank, the event, of whom (the source and the affected process agree), then the exit code, whether
PMIX_PROC_TERM_STATUS says the same as the event, whether default handlers heard of it, and the text.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status, describe
from fluxpmix.pmix.types import Infos, Proc, Range, find

LISTENERS = (0, 4)
LAST = -3999
ENDS = (
    *(Status.ERR_PROC_ABORTED_BY_SIG, Status.ERR_PROC_TERM_WO_SYNC, Status.ERR_EXIT_NONZERO_TERM),
    *(Status.EVENT_PROC_TERMINATED, Status.ERR_PROC_KILLED_BY_CMD, Status.ERR_PROC_ABORTED),
)
client = Client()
me, nspace = client.proc.rank, client.proc.nspace
heard: list[list[object]] = []
default: set[tuple[int, int]] = set()
came, over = threading.Condition(), threading.Event()


def hear(status: int, source: Proc, infos: Infos) -> None:
    who = find(infos, a.EVENT_AFFECTED_PROC)
    same = find(infos, a.PROC_TERM_STATUS) == status
    text = find(infos, a.EVENT_TEXT_MESSAGE)
    with came:
        heard.append([describe(status), who.rank if who == source else "?", find(infos, a.EXIT_CODE), same, text])
        came.notify_all()


def start(status: int, source: Proc, infos: Infos) -> None:
    if source == client.proc:  # a client of 4.2 shows once more what it had kept, as its own
        return
    with came:
        heard.append([describe(status), find(infos, a.NSPACE) == nspace == source.nspace])
        came.notify_all()


def by_default(status: int, source: Proc, _infos: Infos) -> None:
    default.add((status, source.rank))


if me in LISTENERS:
    client.register_event_handler(ENDS, hear)
    client.register_event_handler([Status.EVENT_JOB_START], start)
    client.register_event_handler([LAST], lambda *_: over.set())
    client.register_event_handler(None, by_default)
client.fence()
if me == 2:
    os.kill(os.getpid(), signal.SIGKILL)
elif me == 5:
    os.kill(os.getpid(), signal.SIGTERM)
elif me == 3:
    os._exit(7)
elif me in (6, 7):
    client.finalize()
    os._exit(5 if me == 6 else 0)
elif me == 1:
    time.sleep(60)
else:
    if me == 0:
        client.job_control([Proc(nspace, 1)], {a.JOB_CTRL_KILL: True})
    deadline = time.monotonic() + 30
    with came:
        while len(heard) < 7:
            assert came.wait(deadline - time.monotonic()), heard
    client.fence([Proc(nspace, rank) for rank in LISTENERS])
    if me == 0:
        client.notify_event(LAST, Range.SESSION)
    assert over.wait(20)
    shown = {describe(status): rank for status, rank in default}
    for name, *rest in heard:
        sys.stdout.write(" ".join(map(str, (me, name, *rest, "default" if name in shown else ""))).rstrip() + "\n")
    sys.stdout.flush()
    client.finalize()
