"""A task that makes and ends groups: which of it says its argument. Prints what came of it, a line each."""

from __future__ import annotations

import os
import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, Scope


def say(client: Client, *what: object) -> None:
    sys.stdout.write(" ".join(map(str, (client.proc.rank, *what))) + "\n")
    sys.stdout.flush()


def ranks(client: Client, *which: int) -> list[Proc]:
    return [Proc(client.proc.nspace, rank) for rank in which]


def context(found: Infos) -> int | None:
    return next((info.value for info in found if info.key == a.GROUP_CONTEXT_ID), None)


def whole(client: Client) -> None:
    """All make a group, read what each of them gave, end it, and make it again, three times over."""
    size = client.get(a.JOB_SIZE, client.job)
    seen = set()
    for turn in range(3):
        client.put(Scope.GLOBAL, f"late-{turn}", client.proc.rank * 10 + turn)
        client.commit()
        given = DataArray(DataType.INFO, (Info("given", client.proc.rank + 100 * turn, DataType.UINT32),))
        found = client.group_construct(
            "all", ranks(client, *range(size)), {a.GROUP_ASSIGN_CONTEXT_ID: True, a.GROUP_INFO: given}
        )
        seen.add(context(found))
        put = [client.get(f"late-{turn}", Proc(client.proc.nspace, rank)) for rank in range(size)]
        assert put == [rank * 10 + turn for rank in range(size)], put
        client.group_destruct("all")
    say(client, len(seen), *sorted(seen))


def overlapping(client: Client) -> None:
    """Groups of some, of few, of one: at the same time, and with and without a context."""
    me, size = client.proc.rank, client.get(a.JOB_SIZE, client.job)
    even = list(range(0, size, 2))
    mine = []
    if me in even:
        mine.append(context(client.group_construct("even", ranks(client, *even), {a.GROUP_ASSIGN_CONTEXT_ID: True})))
    mine.append(context(client.group_construct("all", ranks(client, *range(size)), {a.GROUP_ASSIGN_CONTEXT_ID: True})))
    mine.append(context(client.group_construct(f"self-{me}", [client.proc], {a.GROUP_ASSIGN_CONTEXT_ID: True})))
    client.group_construct(f"local-{me}", [client.proc])
    client.group_destruct(f"local-{me}")
    if me in even:
        client.group_destruct("even")
    client.group_destruct("all")
    client.group_destruct(f"self-{me}")
    say(client, *mine)


def threads(client: Client) -> None:
    """Many groups of the same processes at once, each rank in another order."""
    size = client.get(a.JOB_SIZE, client.job)
    found: dict[str, int | None] = {}

    def make(name: str) -> None:
        found[name] = context(
            client.group_construct(name, ranks(client, *range(size)), {a.GROUP_ASSIGN_CONTEXT_ID: True})
        )
        client.group_destruct(name)

    names = [f"g{number}" for number in range(8)]
    names = names[client.proc.rank :] + names[: client.proc.rank]
    workers = [threading.Thread(target=make, args=(name,)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say(client, *sorted(f"{name}={found[name]}" for name in names))


def local(client: Client) -> None:
    """Groups within one node, again and again."""
    me = client.proc.rank
    pair = ranks(client, me - me % 2, me - me % 2 + 1)
    for _ in range(20):
        client.group_construct(f"pair-{me // 2}", pair)
        client.group_destruct(f"pair-{me // 2}")
    client.fence()
    say(client, "done")


def late(client: Client) -> None:
    """The last rank never comes."""
    size = client.get(a.JOB_SIZE, client.job)
    if client.proc.rank == 0:
        started = time.monotonic()
        try:
            client.group_construct("late", ranks(client, 0, size - 1), {a.TIMEOUT: 1})
        except PmixError as error:
            say(client, describe(error.status), 0.5 < time.monotonic() - started < 3)
    client.fence()


def limited(client: Client) -> None:
    """A time limit that is not needed, and does no harm once it is over."""
    size = client.get(a.JOB_SIZE, client.job)
    client.group_construct("limited", ranks(client, *range(size)), {a.TIMEOUT: 1, a.GROUP_ASSIGN_CONTEXT_ID: True})
    time.sleep(1.5)
    client.fence()
    say(client, "went on")
    client.group_destruct("limited", {a.TIMEOUT: 1})
    time.sleep(1.5)
    client.fence()
    say(client, "and on")


def bad(client: Client) -> None:
    """What is wrong is said."""
    if client.proc.rank == 0:
        for procs in ([], [Proc("elsewhere", 0), client.proc], [*ranks(client, 0, 1000)]):
            try:
                client.group_construct("bad", procs, {a.GROUP_ASSIGN_CONTEXT_ID: True})
            except PmixError as error:
                say(client, describe(error.status))
    client.fence()


def exists(client: Client) -> None:
    """A name that is in use."""
    size = client.get(a.JOB_SIZE, client.job)
    client.group_construct("twice", ranks(client, *range(size)), {a.GROUP_ASSIGN_CONTEXT_ID: True})
    try:
        client.group_construct("twice", ranks(client, *range(size)), {a.GROUP_ASSIGN_CONTEXT_ID: True})
    except PmixError as error:
        say(client, describe(error.status))
    client.fence()


def dies(client: Client) -> None:
    """The last rank dies before it comes."""
    size = client.get(a.JOB_SIZE, client.job)
    client.fence()
    if client.proc.rank == size - 1:
        os._exit(3)
    try:
        client.group_construct("dies", ranks(client, *range(size)))
        say(client, "made")
    except PmixError as error:
        say(client, describe(error.status))


def optional(client: Client) -> None:
    """The last rank dies before it comes, and nobody minds."""
    size = client.get(a.JOB_SIZE, client.job)
    client.fence()
    if client.proc.rank == size - 1:
        os._exit(3)
    found = client.group_construct(
        "dies", ranks(client, *range(size)), {a.GROUP_OPTIONAL: True, a.GROUP_ASSIGN_CONTEXT_ID: True}
    )
    members = next(info.value for info in found if info.key == a.GROUP_MEMBERSHIP)
    say(client, *(proc.rank for proc in members.items))


def told(client: Client) -> None:
    """The last rank dies in the group: the others hear of it."""
    size = client.get(a.JOB_SIZE, client.job)
    came = threading.Event()

    def hear(status: int, source: Proc, infos: Infos) -> None:
        group = next((info.value for info in infos if info.key == a.GROUP_ID), None)
        say(client, describe(status), source.rank, group)
        came.set()

    client.register_event_handler([int(Status.GROUP_MEMBER_FAILED)], hear)
    client.group_construct("told", ranks(client, *range(size)), {a.GROUP_NOTIFY_TERMINATION: True})
    if client.proc.rank == size - 1:
        os._exit(3)
    came.wait(20)


with Client() as client:
    globals()[sys.argv[1]](client)
