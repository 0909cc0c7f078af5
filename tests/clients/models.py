"""Libraries of a process that declare their programming models to PMIx, and who hears of it.

Each rank declares a model by PMIx_Init, listens then, and declares another by a second PMIx_Init, as a second library
of the process does. At the end rank 0 declares one to all itself. With "mpi" Open MPI is one of the libraries.
"""

from __future__ import annotations

import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import Infos, Proc, Range, find

MODEL = (a.PROGRAMMING_MODEL, a.MODEL_LIBRARY_NAME, a.MODEL_LIBRARY_VERSION, a.THREADING_MODEL)
heard: list[str] = []
came = threading.Condition()


def hear(_status: int, source: Proc, infos: Infos) -> None:
    with came:
        heard.append(f"{source.rank}:{','.join(str(find(infos, key)) for key in MODEL)}")
        came.notify_all()


def stray(status: int, *_: object) -> None:
    if status == Status.MODEL_DECLARED:
        heard.append("a default handler")


def wait_for(text: str) -> None:
    deadline = time.monotonic() + 20
    with came:
        while not any(text in one for one in heard):
            assert came.wait(deadline - time.monotonic()), (text, heard)


if sys.argv[1:] == ["mpi"]:  # before all else: it does not start where PMIx is there
    from mpi4py import MPI

    MPI.COMM_WORLD.Barrier()
first = {a.PROGRAMMING_MODEL: "TASKS", a.MODEL_LIBRARY_NAME: "ours", a.MODEL_LIBRARY_VERSION: "1.2"}
client = Client(directives=first)
client.register_event_handler([Status.MODEL_DECLARED], hear)
client.register_event_handler(None, stray)
wait_for("TASKS")
if sys.argv[1:] == ["mpi"]:
    wait_for("MPI,")
second = Client(directives={a.PROGRAMMING_MODEL: "OPENMP", a.MODEL_LIBRARY_NAME: "gomp", a.THREADING_MODEL: "pthread"})
wait_for("OPENMP")
client.fence()
if client.proc.rank == 0:
    third = {a.PROGRAMMING_MODEL: "MPI", a.MODEL_LIBRARY_NAME: "all", a.EVENT_NON_DEFAULT: True}
    client.notify_event(Status.MODEL_DECLARED, Range.SESSION, third)
wait_for("0:MPI,all")
client.fence()
sys.stdout.write(f"{client.proc.rank} {' '.join(sorted(heard))}\n")
sys.stdout.flush()
second.finalize()
client.finalize()
