"""A task of which rank 0 controls the others: it ends rank 1, pauses, resumes and signals 2, and kills 3.

Rank 0 prints what came of each request. With the argument "all" it kills the whole job, itself included.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Proc

SAID = Path(os.environ["SAID"])


def say(name: str, text: str) -> None:
    (SAID / f".{name}").write_text(text)
    (SAID / f".{name}").rename(SAID / name)


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


client = Client()
me, nspace = client.proc.rank, client.proc.nspace


def control(rank: int, name: str = "", **directives: object) -> None:
    wanted = {getattr(a, key): value for key, value in directives.items()}
    try:
        found = client.job_control([Proc(name or nspace, rank)], wanted)
        text = " ".join(["done", *(str(info.value) for info in found)])
    except PmixError as error:
        text = describe(error.status)
    sys.stdout.write(f"{' '.join(directives)} {rank} {text}\n")
    sys.stdout.flush()


def terminated(*_: object) -> None:
    say("terminated", "")
    client.finalize()
    os._exit(0)


signal.signal(signal.SIGTERM, terminated)
signal.signal(signal.SIGUSR1, lambda *_: say("signalled", ""))
say(f"pid{me}", str(os.getpid()))
client.fence()
if me == 0 and sys.argv[1:] == ["all"]:
    client.job_control([], {a.JOB_CTRL_KILL: True})
    signal.pause()
elif me == 0:
    pids = [int((SAID / f"pid{rank}").read_text()) for rank in range(4)]
    control(1, JOB_CTRL_TERMINATE=True)
    until((SAID / "terminated").exists)
    control(2, JOB_CTRL_PAUSE=True, JOB_CTRL_ID="pausing")
    until(lambda: state(pids[2]) == "T")
    control(2, JOB_CTRL_SIGNAL=int(signal.SIGUSR1))
    control(2, JOB_CTRL_RESUME=True)
    until((SAID / "signalled").exists)
    control(3, JOB_CTRL_KILL=True)
    until(lambda: state(pids[3]) == "gone")
    control(3, JOB_CTRL_SIGNAL=int(signal.SIGUSR1))
    control(9, JOB_CTRL_KILL=True)
    control(0, name="no.such.job", JOB_CTRL_KILL=True)
    control(2, JOB_CTRL_SIGNAL=99)
    control(2, JOB_CTRL_RESTART="1")
    say("done", "")
else:
    until((SAID / "done").exists)
client.finalize()
