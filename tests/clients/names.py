"""A task that publishes, looks up and unpublishes: which of it says its argument. Prints what it found, a line each."""

from __future__ import annotations

import sys

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import DataArray, DataType, Info, Persistence, Proc, Range, Value

VALUES = {
    "number": 5,
    "text": "some text",
    "bytes": b"\0\1\2",
    "real": 1.5,
    "flag": True,
    "proc": Proc("n", 3),
    "numbers": DataArray(DataType.UINT32, (1, 2)),
    "infos": DataArray(DataType.INFO, (Info("a", 1, DataType.INT64), Info("b", "x", DataType.STRING))),
    "small": Value(DataType.UINT16, 7),
    "big": b"x" * 3_000_000,
}


def look(client: Client, *keys: str, **more: object) -> None:
    directives = {getattr(a, name): value for name, value in more.items()}
    try:
        found = " ".join(f"{one.key}={one.value}@{one.proc.rank}" for one in client.lookup(keys, directives))
    except PmixError as error:
        found = describe(error.status)
    say(client, found)


def say(client: Client, what: str) -> None:
    sys.stdout.write(f"{client.proc.rank} {what}\n")
    sys.stdout.flush()


def values(client: Client) -> None:
    """Rank 0 publishes a value of each type, all others find them as they were."""
    if client.proc.rank == 0:
        client.publish([Info(key, value) for key, value in VALUES.items()])
        client.fence()
    else:
        client.fence()
        found = {one.key: one.value for one in client.lookup(list(VALUES))}
        expected = VALUES | {"small": 7}
        say(client, ", ".join(key for key in expected if found.get(key) == expected[key]))
    client.fence()


def life(client: Client) -> None:
    """What is there, in range, once, and no more."""
    if client.proc.rank == 0:
        client.publish([Info("k", "v"), Info("once", 1), Info(a.PERSISTENCE, Persistence.FIRST_READ)])
        client.publish([Info("here", 1), Info(a.RANGE, Range.LOCAL)])
        try:
            client.publish([Info("k", "w"), Info("new", "w")])
        except PmixError as error:
            say(client, describe(error.status))
    client.fence()
    if client.proc.rank == 1:
        look(client, "k", "here", "new", "nothing")
        look(client, "k", "here")
        look(client, "nothing", WAIT=0, TIMEOUT=1)
        client.publish([Info("again", 1), Info("gone", 2)])
        client.unpublish(["gone"])
        look(client, "again", "gone")
        client.unpublish()
        look(client, "again")
    client.fence()
    if client.proc.rank == 0:
        look(client, "once")
    client.fence()


def wait(client: Client) -> None:
    """All but rank 0 wait for what all publish in turn, each after it has seen the one before it."""
    me, size = client.proc.rank, client.get(a.JOB_SIZE, client.job)
    if me:
        look(client, f"turn-{me - 1}", WAIT=0)
    client.publish([Info(f"turn-{me}", me)])
    look(client, *(f"turn-{rank}" for rank in range(size)), WAIT=0)
    client.fence()


def many(client: Client) -> None:
    """Everybody publishes much, and finds what everybody published."""
    me, size, count = client.proc.rank, client.get(a.JOB_SIZE, client.job), 500
    for number in range(count):
        client.publish([Info(f"{me}.{number}", number)])
    client.fence()
    found = client.lookup([f"{rank}.{number}" for rank in range(size) for number in range(count)])
    assert len(found) == size * count and all(one.key == f"{one.proc.rank}.{one.value}" for one in found)
    client.fence()
    client.unpublish()
    client.fence()
    look(client, *(f"{rank}.0" for rank in range(size)))
    client.fence()


with Client() as client:
    globals()[sys.argv[1]](client)
