"""A task that waits for the alert before its job's time is up, and prints what it says.

`extend LEAD`: rank 0 first has the job run so much longer that the alert, which comes LEAD seconds before the end,
comes a second later. `mpi LEAD`: the same within an MPI program, whose library must not mind. `ready`: rank 0 says
that all listen.
"""

from __future__ import annotations

import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import RANK_WILDCARD, Info, Infos, Proc, QueryItem, Range, find, is_true

LAST = -3999
what, lead = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
if what == "mpi":
    from mpi4py import MPI

    WORLD = MPI.COMM_WORLD
    WORLD.allreduce(1)  # the first asks PMIx for addresses with Python's lock held, which handlers here need
client = Client()
me, nspace = client.proc.rank, client.proc.nspace
heard: list[str] = []
alerted, over = threading.Event(), threading.Event()


def hear(_status: int, source: Proc, infos: Infos) -> None:
    left = find(infos, a.TIME_REMAINING)
    facts = (
        find(infos, a.EVENT_AFFECTED_PROC) == Proc(nspace, RANK_WILDCARD),
        is_true(infos, a.EVENT_TERMINATE_JOB),
        left == find(infos, a.EVENT_ACTION_TIMEOUT),
        source.nspace.endswith(".shell"),
    )
    heard.append(f"{all(facts)} {left}")
    alerted.set()


def stray(status: int, _source: Proc, _infos: Infos) -> None:
    if status == Status.JCTRL_PREEMPT_ALERT:
        heard.append("a default handler")


client.register_event_handler([Status.JCTRL_PREEMPT_ALERT], hear)
client.register_event_handler([LAST], lambda *_: over.set())
client.register_event_handler(None, stray)
client.fence()
if what == "ready":
    if me == 0:
        print("ready", flush=True)
elif what != "wait":
    alerted.clear()
    heard.clear()  # of an alert before
    client.fence()
    if me == 0:
        (answer,) = client.query([QueryItem((a.TIME_REMAINING,))])
        client.allocate(2, [Info(a.ALLOC_TIME, str(lead + 3 - answer.value))])
assert alerted.wait(40), "no alert"
client.fence()
if me == 0:
    client.notify_event(LAST, Range.SESSION, {a.EVENT_NON_DEFAULT: True})  # or Open MPI would abort
assert over.wait(20)  # by then a second alert would have come
total = WORLD.allreduce(1) if what == "mpi" else ""
sys.stdout.write(f"{me} {' '.join(heard)} {total}".rstrip() + "\n")
sys.stdout.flush()
client.finalize()
