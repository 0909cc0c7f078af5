"""A task of `bench/events.py`: `fan N` counts N events of rank 0, `die N` dies while rank 0 takes the time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from fluxpmix import Client, Info, Proc, Range, Status
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.types import DataType, Infos, find

CODE = -3700  # of a user's own
OPEN = 64  # requests at a time


def fan(client: Client, count: int) -> None:
    """Rank 0 raises events; every other rank says when it has had all of them."""
    came, over = [0], threading.Event()

    def handler(*_: object) -> None:
        came[0] += 1
        if came[0] == count:
            over.set()

    if client.proc.rank:
        client.register_event_handler([CODE], handler)
    client.fence()
    if client.proc.rank == 0:
        started = time.monotonic()
        infos = [Info(a.EVENT_DO_NOT_CACHE, True)]
        # As a C program that does not wait for each. But libpmix looks through all requests that are open whenever an
        # answer comes: with thousands of them open that is all it does.
        room = threading.Semaphore(OPEN)
        for _ in range(count):
            room.acquire()
            client._notify(CODE, client.proc, Range.NAMESPACE, infos, lambda _status: room.release())
        for _ in range(OPEN):
            room.acquire()
        sent = time.monotonic()
        client.fence()
        print("fan", sent - started, time.monotonic() - started, flush=True)
    else:
        assert over.wait(120), f"{came[0]} of {count} came"
        client.fence()


def die(client: Client, size: int) -> None:
    """Each rank but 0 kills itself, one after the other; rank 0 prints how long it took to hear of it."""
    if client.proc.rank:
        key = f"die{client.proc.rank}"
        client.lookup([key], [Info(a.WAIT, 1, DataType.INT)])
        with open(os.path.join(os.environ["SAID"], str(client.proc.rank)), "w") as file:
            file.write(repr(time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)
    heard: dict[int, float] = {}
    news = threading.Semaphore(0)

    def handler(_status: int, _source: Proc, infos: Infos) -> None:
        heard.setdefault(find(infos, a.EVENT_AFFECTED_PROC).rank, time.monotonic())
        news.release()

    client.register_event_handler([Status.ERR_PROC_ABORTED_BY_SIG], handler)
    for rank in range(1, size):
        time.sleep(0.05)
        client.publish([Info(f"die{rank}", True)])
        assert news.acquire(timeout=60)
        with open(os.path.join(os.environ["SAID"], str(rank))) as file:
            print("died", heard[rank] - float(file.read()), flush=True)


with Client() as client:
    if sys.argv[1] == "fan":
        fan(client, int(sys.argv[2]))
    else:
        die(client, int(sys.argv[2]))
