"""A task of which rank 0 raises events with every range, or many, or early; the others print which they heard of.

Each rank's line: the rank, then for each event its number, the rank of its source and the value that it carried.
"""

from __future__ import annotations

import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, Range

FIRST, LAST = -3000, -3999
heard: list[str] = []
came = threading.Condition()


def hear(status: int, source: Proc, infos: Infos) -> None:
    value = next((info.value for info in infos if info.key == "value"), None)
    with came:
        heard.append(f"{FIRST - status}:{source.rank}:{value}")
        came.notify_all()


def wait(count: int, status: int = LAST) -> None:
    """Wait until `count` events have come with this status."""
    deadline = time.monotonic() + 30
    with came:
        while sum(one.startswith(f"{FIRST - status}:") for one in heard) < count:
            assert came.wait(deadline - time.monotonic()), heard


def end(client: Client) -> None:
    """Print what came; events that were raised before the last one have come by then, or never will."""
    if client.proc.rank == 0:
        client.notify_event(LAST, Range.SESSION)
    wait(1)
    client.fence()
    text = " ".join(one for one in heard if not one.startswith(f"{FIRST - LAST}:"))
    sys.stdout.write(f"{client.proc.rank} {text}\n")
    sys.stdout.flush()


def ranges(client: Client) -> None:
    client.register_event_handler([FIRST - n for n in range(5)] + [LAST], hear)
    client.fence()
    if client.proc.rank == 0:
        some = DataArray(DataType.PROC, tuple(Proc(client.proc.nspace, rank) for rank in (1, 3)))
        for number, (range_, more) in enumerate(
            (
                (Range.SESSION, ()),
                (Range.NAMESPACE, ()),
                (Range.LOCAL, ()),
                (Range.CUSTOM, (Info(a.EVENT_CUSTOM_RANGE, some, DataType.DATA_ARRAY),)),
                (Range.PROC_LOCAL, ()),
            )
        ):
            value = Info("value", f"v{number}", DataType.STRING)
            client.notify_event(FIRST - number, range_, (value, *more))
    end(client)


def late(client: Client) -> None:
    """Raise an event before anybody has registered."""
    if client.proc.rank == 0:
        client.notify_event(FIRST, Range.SESSION, {"value": "early"})
    client.fence()
    client.register_event_handler([FIRST, LAST], hear)
    client.fence()
    end(client)


def many(client: Client) -> None:
    """All ranks raise many events at once, and each hears of each once."""
    me, count = client.proc.rank, 200
    size = client.get(a.JOB_SIZE, client.job)
    client.register_event_handler([FIRST, LAST], hear)
    client.fence()
    for number in range(count):
        client.notify_event(FIRST, Range.NAMESPACE, {"value": number})
    wait(size * count, FIRST)
    client.fence()
    for rank in range(size):
        mine = [int(one.rpartition(":")[2]) for one in heard if one.startswith(f"0:{rank}:")]
        assert mine == list(range(count)), (me, rank, mine)
    sys.stdout.write(f"{me} all in order\n")


with Client() as client:
    globals()[sys.argv[1]](client)
