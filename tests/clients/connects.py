"""A task that connects and disconnects: which of it says its argument. Prints what came of it, a line each."""

from __future__ import annotations

import os
import sys
import threading

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import RANK_WILDCARD, Infos, Proc


def say(client: Client, *what: object) -> None:
    sys.stdout.write(" ".join(map(str, (client.proc.rank, *what))) + "\n")
    sys.stdout.flush()


def both(client: Client) -> None:
    """All connect, by name and by wildcard, and disconnect, again and again."""
    size = client.get(a.JOB_SIZE, client.job)
    names = [Proc(client.proc.nspace, rank) for rank in range(size)]
    for _ in range(3):
        client.connect([client.job])
        client.connect(names)
        client.disconnect(names)
        client.disconnect([Proc(client.proc.nspace, RANK_WILDCARD)])
    say(client, "done")


def late(client: Client) -> None:
    """The last rank never comes."""
    size = client.get(a.JOB_SIZE, client.job)
    if client.proc.rank == 0:
        try:
            client.connect([client.proc, Proc(client.proc.nspace, size - 1)], {a.TIMEOUT: 1})
        except PmixError as error:
            say(client, describe(error.status))
    client.fence()


def limited(client: Client) -> None:
    """All connect, twice, with more time than the job lasts."""
    for _ in range(2):
        client.connect([client.job], {a.TIMEOUT: 60})
        client.disconnect([client.job])
    say(client, "done")


def dies(client: Client) -> None:
    """The last rank dies before it comes."""
    size = client.get(a.JOB_SIZE, client.job)
    client.fence()
    if client.proc.rank == size - 1:
        os._exit(3)
    try:
        client.connect([client.job])
    except PmixError as error:
        say(client, describe(error.status))


def told(client: Client) -> None:
    """The last rank dies while it is connected: the others hear of it."""
    size = client.get(a.JOB_SIZE, client.job)
    came = threading.Event()

    def hear(status: int, source: Proc, infos: Infos) -> None:
        affected = next((info.value.rank for info in infos if info.key == a.EVENT_AFFECTED_PROC), None)
        say(client, describe(status), affected)
        came.set()

    client.register_event_handler([int(Status.ERR_PROC_TERM_WO_SYNC)], hear)
    client.connect([client.job])
    if client.proc.rank == size - 1:
        os._exit(3)
    came.wait(20)


with Client() as client:
    globals()[sys.argv[1]](client)
