"""A task of four of which rank 3 ends at once, and rank 0 then tells and controls processes that are not there.

Rank 0 prints what came of each request, ranks 1 and 2 which events they heard of: only what was for them.
"""

from __future__ import annotations

import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, Range, find

STRAY, LAST = -3000, -3001
client = Client()
me, nspace = client.proc.rank, client.proc.nspace
gone, over = threading.Event(), threading.Event()
heard: list[str] = []


def hear(status: int, _source: Proc, infos: Infos) -> None:
    if status == Status.EVENT_PROC_TERMINATED:
        if find(infos, a.EVENT_AFFECTED_PROC) == Proc(nspace, 3):
            gone.set()
        return
    heard.append(str(find(infos, "for")))
    if status == LAST:
        over.set()


def attempt(what: str, *words: object) -> None:
    sys.stdout.write(" ".join(map(str, (what, *words))) + "\n")
    sys.stdout.flush()


def outcome(function: object, *arguments: object) -> str:
    try:
        function(*arguments)  # type: ignore[operator]
    except PmixError as error:
        return describe(error.status)
    return "done"


def tell(whom: str, proc: Proc) -> None:
    custom = Info(a.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, (proc,)), DataType.DATA_ARRAY)
    attempt("tell", whom, outcome(client.notify_event, STRAY, Range.CUSTOM, [custom, Info("for", whom)]))


def control(whom: str, proc: Proc) -> None:
    attempt("kill", whom, outcome(client.job_control, [proc], {a.JOB_CTRL_KILL: True}))


client.register_event_handler([STRAY, LAST, Status.EVENT_PROC_TERMINATED], hear)
client.fence()
if me == 3:
    client.finalize()
    sys.exit(0)
if me == 0:
    assert gone.wait(30)
    strays = {"gone": Proc(nspace, 3), "no rank": Proc(nspace, 9), "no job": Proc("no.such.job", 0)}
    for name, proc in strays.items():
        tell(name, proc)
        control(name, proc)
    tell("one", Proc(nspace, 1))
    client.notify_event(LAST, Range.NAMESPACE, [Info("for", "all")])
assert over.wait(30)
client.fence([Proc(nspace, rank) for rank in range(3)])
if me:
    attempt(str(me), *sorted(heard))
client.finalize()
