"""Two processes: one pulls what the other prints, and is stopped meanwhile. At last it says what it has heard.

Usage: lazy LINES WIDTH FILE: so many lines of so many bytes; the file is made when it has been told what it missed.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import Infos, IofChannel, Proc, Scope

LINES, WIDTH = map(int, sys.argv[1:3])
told = sys.argv[3]
heard: list[bytes] = []


def came(_channel: IofChannel, _source: Proc, data: bytes, _infos: Infos) -> None:
    heard.append(data)


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


with Client() as client:
    other = Proc(client.proc.nspace, 1 - client.proc.rank)
    client.put(Scope.GLOBAL, "pid", os.getpid())
    client.commit()
    client.fence([client.job], {a.COLLECT_DATA: True})
    if client.proc.rank == 0:
        client.iof_pull([other], IofChannel.STDOUT, came)
        client.fence()
        os.kill(os.getpid(), signal.SIGSTOP)
        while not any(b"were dropped" in piece for piece in heard):
            time.sleep(0.02)
        open(told, "w").close()
        while not any(b"last\n" in piece for piece in heard):
            time.sleep(0.02)
        text = b"".join(heard)
        missed = map(int, re.findall(rb"(\d+) bytes of rank 1's output were dropped", text))
        print("heard", text.count(b"z"), "missed", sum(missed), file=sys.stderr, flush=True)
    else:
        client.fence()
        puller = client.get("pid", other)
        while state(puller) != "T":
            time.sleep(0.02)
        line = b"z" * (WIDTH - 1) + b"\n"
        for _ in range(LINES):
            os.write(1, line)
        os.kill(puller, signal.SIGCONT)
        while not os.path.exists(told):
            time.sleep(0.02)
        os.write(1, b"last\n")
    client.fence()
