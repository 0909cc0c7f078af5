"""A task of many, one of which is killed: the others say how they heard of it, and go on.

Prints for each survivor: the rank, the event's name, whom it is about, the exit code, whether it came in
100 ms, what became of a fence that needed the dead, and of one that did not.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import Infos, Proc, find

CODES = [
    Status.ERR_PROC_ABORTED_BY_SIG,
    Status.ERR_PROC_TERM_WO_SYNC,
    Status.ERR_EXIT_NONZERO_TERM,
    Status.EVENT_PROC_TERMINATED,
]
died = Path(os.environ["SAID"]) / "died"
heard: list[str] = []
came = threading.Event()


def hear(status: int, source: Proc, infos: Infos) -> None:
    late = time.monotonic() - float(died.read_text())
    affected = find(infos, a.EVENT_AFFECTED_PROC).rank
    heard.append(f"{describe(status)} {affected} {find(infos, a.EXIT_CODE)} {'soon' if late < 5 else late}")
    came.set()


how, victim = sys.argv[1], int(sys.argv[2])
client = Client()
me, size = client.proc.rank, client.get(a.JOB_SIZE, client.job)
client.register_event_handler(CODES, hear)
client.fence()
if me == victim:
    if how == "finalize":
        client.finalize()
    died.with_suffix(".new").write_text(str(time.monotonic()))
    died.with_suffix(".new").rename(died)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(int(how) if how.isdigit() else 0)
others = [Proc(client.proc.nspace, rank) for rank in range(size) if rank != victim]
assert came.wait(20), me
fences = []
for procs in [None, others] if how != "finalize" else [others]:
    try:
        client.fence(procs)
        fences.append("fenced")
    except PmixError as error:
        fences.append(describe(error.status))
sys.stdout.write(f"{me} {'; '.join(heard)} {' '.join(fences)}\n")
sys.stdout.flush()
client.finalize()
