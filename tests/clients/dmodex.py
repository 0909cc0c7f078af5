"""A task that puts, commits and fences without collection, then gets what others put: in what order says its argument.

Prints a line for each get: its rank, the key, whose it is, and the value or the status.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from fluxpmix.pmix import attributes
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import RANK_WILDCARD, Proc, Scope

SAID = Path(os.environ["SAID"])


def say(what: str) -> None:
    (SAID / what).touch()


def hear(what: str) -> None:
    deadline = time.monotonic() + 60
    while not (SAID / what).exists():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def get(client: Client, key: str, rank: int, nspace: str = "", **more: object) -> None:
    directives = {getattr(attributes, name): value for name, value in more.items()}
    try:
        value = client.get(key, Proc(nspace or client.proc.nspace, rank), directives)
    except PmixError as error:
        value = describe(error.status)
    sys.stdout.write(f"{client.proc.rank} {key} {rank} {value}\n")
    sys.stdout.flush()


def everybody(client: Client) -> None:
    """All get what all have put, once all have: 4.2 gives up on a process of its own node that has not yet."""
    me, size = client.proc.rank, client.get(attributes.JOB_SIZE, client.job)
    for turn in range(2):
        client.put(Scope.GLOBAL, f"turn-{turn}", f"{turn}.{me}")
        client.commit()
        client.fence()
        for rank in range(size):
            get(client, f"turn-{turn}", rank)
        client.fence()


def early(client: Client) -> None:
    """Rank 0 asks before the first commit, and for a key of the second after the first."""
    if client.proc.rank == 0:
        say("asking")
        get(client, "first", 1)
        say("first")
        get(client, "second", 1)
        say("second")
    else:
        hear("asking")
        client.put(Scope.REMOTE, "first", "1")
        client.commit()
        hear("first")
        client.put(Scope.REMOTE, "second", "2")
        client.commit()
        hear("second")


def never(client: Client) -> None:
    """Rank 0 asks for what will never be there; at last for what only the end of rank 1 decides."""
    if client.proc.rank == 0:
        get(client, "unknown", 1, TIMEOUT=1)
        get(client, "unknown", 1, IMMEDIATE=True)
        get(client, "unknown", 1, OPTIONAL=True)
        get(client, "unknown", 99)
        get(client, "unknown", 0, nspace="no.such.job")
        get(client, "unknown", RANK_WILDCARD)
        get(client, "pmix.unheard.of", 1)
        say("asking")
        get(client, "unknown", 1)
    else:
        client.put(Scope.GLOBAL, "known", 1)
        client.commit()
        hear("asking")


def dies(client: Client) -> None:
    """Rank 1 is killed while rank 0 waits for it."""
    if client.proc.rank == 0:
        say("asking")
        get(client, "unknown", 1)
    else:
        hear("asking")
        os._exit(3)


with Client() as client:
    globals()[sys.argv[1]](client)
