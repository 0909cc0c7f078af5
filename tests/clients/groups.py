"""A task that makes and ends groups: which of it says its argument. Prints what came of it, a line each."""

from __future__ import annotations

import os
import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import DataArray, DataType, Info, Infos, Proc, QueryItem, Range, Scope, find


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
        cases = {"nobody": [], "out": ranks(client, 0, 1000), "l" * 600: ranks(client, 0)}
        if client.library.version < (6, 0):  # later ones wait until somebody registers that namespace
            cases["stranger"] = [Proc("elsewhere", 0), client.proc]
        for name, procs in cases.items():
            try:
                client.group_construct(name, procs, {a.GROUP_ASSIGN_CONTEXT_ID: True})
                say(client, name[:10], "made")
            except PmixError as error:
                say(client, "long" if len(name) > 511 else name, describe(error.status))
        if len(sys.argv) > 2:  # libpmix waits for the second call of one that is named twice
            try:
                client.group_construct("twice", ranks(client, 0, 0), {a.TIMEOUT: 1})
            except PmixError as error:
                say(client, "twice", describe(error.status))
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


def invited(client: Client) -> None:
    """Rank 0 invites all: they join, the group is known to all, and ends member by member."""
    asked, made = threading.Event(), threading.Event()
    leader: list[Proc] = []

    def hear(status: int, source: Proc, infos: Infos) -> None:
        group = find(infos, a.GROUP_ID)
        if status == Status.GROUP_INVITED and group == "team":
            leader.append(source)
            asked.set()
        elif status == Status.GROUP_CONSTRUCT_COMPLETE and group == "team":
            made.set()

    me, size = client.proc.rank, client.get(a.JOB_SIZE, client.job)
    client.register_event_handler([int(Status.GROUP_INVITED), int(Status.GROUP_CONSTRUCT_COMPLETE)], hear)
    client.fence()
    if me == 0:
        client.group_invite("team", ranks(client, *range(size)))
    else:
        assert asked.wait(20)
        client.group_join("team", leader[0])
    assert made.wait(20)
    client.fence()
    say(client, leader[0].rank if leader else "leads", asked_of_groups(client), members(client, "team"))
    client.fence()
    if me == size - 1:  # no libpmix hands PMIx_Group_leave to its host
        event = {a.GROUP_ID: "team", a.EVENT_NON_DEFAULT: True}
        client.notify_event(int(Status.GROUP_LEFT), Range.SESSION, event)
    client.fence()
    say(client, members(client, "team"))
    client.fence()


def led(client: Client, invites: bool = False) -> None:
    """Rank 0 leads and dies; rank 1 says that it leads now, and dies too: the others hear of all that, once each.

    The group is constructed, or only invited to, and nobody has joined.
    """
    me, size = client.proc.rank, client.get(a.JOB_SIZE, client.job)
    heard: list[tuple[int, int]] = []
    changed = threading.Condition()

    def hear(status: int, source: Proc, infos: Infos) -> None:
        with changed:
            if find(infos, a.GROUP_ID) == "led":
                heard.append((status, source.rank))
            changed.notify_all()

    def wait_for(status: Status, rank: int) -> None:
        with changed:
            assert changed.wait_for(lambda: (int(status), rank) in heard, 20), (status, rank, heard)

    codes = (Status.GROUP_LEADER_FAILED, Status.GROUP_LEADER_SELECTED, Status.GROUP_INVITED)
    client.register_event_handler([int(code) for code in codes], hear)
    client.fence()
    everybody = ranks(client, *range(size))
    if not invites:
        client.group_construct("led", everybody, {a.GROUP_LEADER: True} if me == 0 else {})
    elif me == 0:
        threading.Thread(target=client.group_invite, args=("led", everybody), daemon=True).start()
    if invites and me:
        wait_for(Status.GROUP_INVITED, 0)
    client.fence()
    if me == 0:
        os._exit(3)
    wait_for(Status.GROUP_LEADER_FAILED, 0)
    rest = ranks(client, *range(1, size))
    client.fence(rest)
    if me == 1:
        infos = [
            Info(a.GROUP_ID, "led"),
            Info(a.GROUP_LEADER, True),
            Info(a.EVENT_CUSTOM_RANGE, DataArray(DataType.PROC, tuple(rest))),
            Info(a.EVENT_NON_DEFAULT, True),
        ]
        client.notify_event(int(Status.GROUP_LEADER_SELECTED), Range.CUSTOM, infos)
    wait_for(Status.GROUP_LEADER_SELECTED, 1)
    client.fence(rest)
    if me == 1:
        os._exit(3)
    wait_for(Status.GROUP_LEADER_FAILED, 1)
    rest = rest[1:]
    client.fence(rest)
    say(client, *(f"{describe(status)} {rank}" for status, rank in heard if status != Status.GROUP_INVITED))
    client.fence(rest)


def led_invited(client: Client) -> None:
    """The same, of a group that rank 0 has invited all to."""
    led(client, invites=True)


def missed(client: Client, leads: bool = False) -> None:
    """The last rank dies before it comes: the construction ends, and the others, or rank 0 if it leads, hear who."""
    size = client.get(a.JOB_SIZE, client.job)
    heard: list[object] = []
    came = threading.Event()

    def hear(_status: int, source: Proc, infos: Infos) -> None:
        heard.extend((source.rank, find(infos, a.GROUP_ID), find(infos, a.EVENT_AFFECTED_PROC).rank))
        came.set()

    client.register_event_handler([int(Status.GROUP_MEMBER_FAILED)], hear)
    client.fence()
    if client.proc.rank == size - 1:
        os._exit(3)
    leader = {a.GROUP_LEADER: True} if leads and not client.proc.rank else {}
    try:
        client.group_construct("missed", ranks(client, *range(size)), leader)
    except PmixError as error:
        came.wait(20)
        say(client, describe(error.status), *heard)


def awaited(client: Client) -> None:
    """Rank 0 invites, and the last one dies instead of joining: who invites hears of it."""
    me, last = client.proc.rank, client.get(a.JOB_SIZE, client.job) - 1
    came = threading.Event()

    def hear(status: int, source: Proc, infos: Infos) -> None:
        if status == Status.GROUP_MEMBER_FAILED and not came.is_set():  # at the end others can join no more, too
            say(client, describe(status), source.rank, find(infos, a.GROUP_ID))
        came.set()

    client.register_event_handler([int(Status.GROUP_INVITED if me else Status.GROUP_MEMBER_FAILED)], hear)
    client.fence()
    if me == 0:  # libpmix waits on: nobody waits for this thread
        group = ("awaited", ranks(client, *range(last + 1)))
        threading.Thread(target=client.group_invite, args=group, daemon=True).start()
    assert came.wait(20)
    if me == last:
        os._exit(3)
    client.fence(ranks(client, *range(last)))


def declined(client: Client) -> None:
    """Rank 0 invites the last one, which declines: there is no group."""
    asked = threading.Event()
    leader: list[Proc] = []

    def hear(status: int, source: Proc, infos: Infos) -> None:
        leader.append(source)
        asked.set()

    me, last = client.proc.rank, client.get(a.JOB_SIZE, client.job) - 1
    client.register_event_handler([int(Status.GROUP_INVITED)], hear)
    client.fence()
    # libpmix waits on for one that declines, and keeps the event to itself: nobody waits for this thread.
    inviting = threading.Thread(target=client.group_invite, args=("no", ranks(client, 0, last)), daemon=True)
    if me == 0:
        inviting.start()
    elif me == last:
        assert asked.wait(20)
        client.group_join("no", leader[0], accept=False)
    client.fence()
    say(client, asked_of_groups(client), inviting.is_alive())
    client.fence()


def asked_of_groups(client: Client) -> str:
    """The names of all groups, as a query has them."""
    found = client.query([QueryItem((a.QUERY_GROUP_NAMES,)), QueryItem((a.QUERY_NUM_GROUPS,))])
    names, number = (info.value for info in found)
    assert len(names.items) == number
    return ",".join(names.items) or "none"


def members(client: Client, group: str) -> list[int]:
    found = client.query([QueryItem((a.QUERY_GROUP_MEMBERSHIP,), (Info(a.GROUP_ID, group),))])
    return [proc.rank for proc in found[0].value.items]


def queried(client: Client) -> None:
    """Groups come and go, and all are told of those that there are, also by shells that have no member."""
    me, size = client.proc.rank, client.get(a.JOB_SIZE, client.job)
    client.fence()
    say(client, asked_of_groups(client))
    client.fence()
    if me < 2:
        client.group_construct("low", ranks(client, 0, 1), {a.GROUP_ASSIGN_CONTEXT_ID: True})
    client.group_construct("all", ranks(client, *range(size)), {a.GROUP_ASSIGN_CONTEXT_ID: True})
    say(client, asked_of_groups(client), members(client, "low"), members(client, "all"))
    client.fence()
    client.group_destruct("all")
    client.fence()
    say(client, asked_of_groups(client))
    client.fence()


def quiet(client: Client) -> None:
    """The last rank dies in a group that nobody wants to be told of."""
    size = client.get(a.JOB_SIZE, client.job)
    ended = threading.Event()

    def hear(status: int, source: Proc, infos: Infos) -> None:
        if status == Status.GROUP_MEMBER_FAILED:
            say(client, "told")
        else:
            ended.set()

    client.register_event_handler(
        [int(Status.GROUP_MEMBER_FAILED), int(Status.PROC_TERMINATED), int(Status.ERR_PROC_TERM_WO_SYNC)], hear
    )
    client.group_construct("quiet", ranks(client, *range(size)))
    if client.proc.rank == size - 1:
        os._exit(3)
    assert ended.wait(20)
    rest = ranks(client, *range(size - 1))
    client.fence(rest)  # what was to come has come
    say(client, members(client, "quiet"))
    client.fence(rest)


with Client() as client:
    globals()[sys.argv[1]](client)
