"""A client that spawns jobs, or is one that was spawned: the first argument says what it does."""

from __future__ import annotations

import os
import signal
import sys
import time

from fluxpmix.pmix import attributes
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, PmixOutOfResource, Status, describe
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Envar, Info, Infos, Proc, Scope, find

HERE = (sys.executable, __file__)
SECONDS = 20


def say(text: object) -> None:
    """Print in one write: several processes share the output."""
    os.write(1, f"{text}\n".encode())


def app(*arguments: str, count: int = 1, **more: object) -> AppSpec:
    return AppSpec(sys.executable, (*HERE, *arguments), maxprocs=count, **more)  # type: ignore[arg-type]


def directives(words: list[str]) -> list[Info]:
    """Return KEY=VALUE words as directives."""
    pairs = [word.partition("=") for word in words]
    return [Info(key, int(value) if value.isdigit() else value == "true" or value) for key, _, value in pairs]


def everyone(nspace: str) -> Proc:
    return Proc(nspace, RANK_WILDCARD)


def parent_of(client: Client) -> Proc:
    return client.get(attributes.PARENT_ID, client.job)


# -- what spawned processes do ---------------------------------------------------------------------


def child_meet(client: Client) -> None:
    parent = parent_of(client)
    facts = [
        client.get(attributes.SPAWNED),
        client.get(attributes.JOB_SIZE, client.job),
        client.get(attributes.JOB_SIZE, everyone(parent.nspace)),
        client.get(attributes.GLOBAL_RANK),
        client.get(attributes.APPNUM),
    ]
    client.put(Scope.GLOBAL, "child", f"put by {client.proc.rank}")
    client.commit()
    client.connect([parent, client.job])
    say(f"child {client.proc.rank} of {parent.rank}: {facts} got {client.get('parent', parent)!r}")
    client.fence([parent, client.job])
    client.disconnect([parent, client.job])


def child_where(client: Client) -> None:
    say(f"{client.proc.rank} on node {client.get(attributes.NODEID)}")


def child_inner(client: Client) -> None:
    if client.proc.rank == 0:
        told: list[object] = []
        client.register_event_handler([Status.EVENT_JOB_END], lambda *event: told.append(event))

        def spawned() -> bool:  # once the other one has ended
            try:
                return bool(client.spawn([app("where")], [Info(attributes.NOTIFY_COMPLETION, True)]))
            except PmixOutOfResource:
                return False

        until(spawned)
        until(lambda: bool(told))
        try:
            client.spawn([app("where", count=2)])
        except PmixError as error:
            say(describe(error.status))


def child_said(client: Client) -> None:
    words = [os.environ.get(name, "-") for name in ("NEW", "LIST", "GONE", "SHARED")]
    say(f"{client.proc.rank} {os.path.basename(os.getcwd())} {' '.join(words)} {sys.argv[2:]}")


def child_sleep(client: Client) -> None:
    say("child sleeps")
    time.sleep(1000)


def child_warned(client: Client) -> None:
    told: list[object] = []

    def hear(_status: int, _source: Proc, infos: Infos) -> None:
        mine = find(infos, attributes.EVENT_AFFECTED_PROC) == everyone(client.proc.nspace)
        told.append(f"{mine} {find(infos, attributes.TIME_REMAINING)}")

    client.register_event_handler([Status.JCTRL_PREEMPT_ALERT], hear)
    until(lambda: bool(told))
    client.fence()  # all have heard: a second one would have come to some
    say(f"warned {told}")


def child_dies(client: Client) -> None:
    parent = parent_of(client)
    client.connect([parent, client.job])
    os.kill(os.getpid(), 9)


def child_nests(client: Client) -> None:
    depth = int(sys.argv[2])
    if depth:
        nspace = client.spawn([app("nests", str(depth - 1))])
        client.connect([client.proc, everyone(nspace)])
        client.disconnect([client.proc, everyone(nspace)])
    client.connect([parent_of(client), client.job])
    client.disconnect([parent_of(client), client.job])
    say(f"depth {depth} has global rank {client.get(attributes.GLOBAL_RANK)}")


# -- what spawns -----------------------------------------------------------------------------------


def meet(client: Client) -> None:
    client.put(Scope.GLOBAL, "parent", f"put by {client.proc.rank}")
    client.commit()
    if client.proc.rank == client.get(attributes.JOB_SIZE, client.job) - 1:
        count = int(sys.argv[2])
        nspace = client.spawn([app("meet", count=count)], directives(sys.argv[3:]))
        client.connect([client.proc, everyone(nspace)])
        assert client.get(attributes.JOB_SIZE, everyone(nspace)) == count
        client.fence([client.proc, everyone(nspace)])
        say([client.get("child", Proc(nspace, rank)) for rank in range(count)])
        client.disconnect([client.proc, everyone(nspace)])
    client.fence()


def where(client: Client) -> None:
    """Spawn with directives KEY=VALUE, in one process."""
    if client.proc.rank:
        return
    count, *words = sys.argv[2:]
    try:
        client.spawn([app("where", count=int(count))], directives(words))
    except PmixError as error:
        say(describe(error.status))


def inner(client: Client) -> None:
    """Spawn a job that spawns in its own resources; wait for its end."""
    told: list[object] = []
    client.register_event_handler([Status.EVENT_JOB_END], lambda *event: told.append(event))
    client.spawn([app("inner", count=2)], [Info(attributes.NOTIFY_COMPLETION, True), *directives(sys.argv[2:])])
    until(lambda: bool(told))


def said(client: Client) -> None:
    changes = (
        Info(attributes.SET_ENVAR, Envar("NEW", "set")),
        Info(attributes.APPEND_ENVAR, Envar("LIST", "b", ",")),
        Info(attributes.UNSET_ENVAR, "GONE"),
    )
    first = app("said", "one", count=2, env=("SHARED=first",), directives=changes, cwd="/tmp")
    client.spawn([first, app("said", "two")], [Info(attributes.APPEND_ENVAR, Envar("LIST", "c", ","))])


def errors(client: Client) -> None:
    def attempt(what: str, spec: AppSpec, *infos: Info) -> None:
        try:
            say(f"{what}: {client.spawn([spec], infos)}")
        except PmixError as error:
            say(f"{what}: {describe(error.status)}")

    attempt("no such command", AppSpec("no-such-command"))
    attempt("no file", AppSpec("/no/such/command"))
    attempt("not executable", AppSpec("/etc/passwd"))
    attempt("no directory", app("where", cwd="/no/such/directory"))
    attempt("nobody", app("where", count=0))
    attempt("less than nobody", app("where", count=-1))
    attempt("contradiction", app("where"), Info(attributes.MAPBY, "ppr:1:node"), Info(attributes.PPR, "2:node"))
    attempt("too many", app("where", count=9), Info(attributes.PPR, "2:node"))
    attempt("no room", app("where", count=64), Info(attributes.NO_OVERSUBSCRIBE, True))
    attempt("strange mapping", app("where"), Info(attributes.MAPBY, "moon"))
    attempt("strange host", app("where"), Info(attributes.HOST, "nowhere"))
    attempt("host file", app("where"), Info(attributes.HOSTFILE, "/no/such/file"))
    attempt("preload", app("where"), Info(attributes.PRELOAD_BIN, True))
    attempt("required", app("where"), Info("example.unknown", True, required=True))


def leave(client: Client) -> None:
    """Spawn what would run for ever, and end."""
    client.spawn([app("sleep", count=2)], directives(sys.argv[2:]))


def wait(client: Client) -> None:
    leave(client)
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.05)


def hear(client: Client) -> None:
    """Be told of the death of a child that is connected."""
    told: list[str] = []
    client.register_event_handler(
        [Status.ERR_PROC_ABORTED_BY_SIG], lambda status, _source, _infos: told.append(describe(status))
    )
    nspace = client.spawn([app("dies")], directives(sys.argv[2:]))
    client.connect([client.proc, everyone(nspace)])
    until(lambda: bool(told))
    say(told[0])


def completion(client: Client) -> None:
    told: list[object] = []
    client.register_event_handler([Status.EVENT_JOB_END], lambda _status, source, _infos: told.append(source.nspace))
    nspace = client.spawn(
        [app("where", count=2)], [Info(attributes.NOTIFY_COMPLETION, True), *directives(sys.argv[2:])]
    )
    until(lambda: bool(told))
    say(f"{nspace == told[0]} {len(told)}")


def limited(client: Client) -> None:
    """Spawn what would run for ever, for a second."""
    told: list[object] = []
    client.register_event_handler(
        [Status.EVENT_JOB_END], lambda _status, _source, infos: told.append(find(infos, attributes.JOB_TERM_STATUS))
    )
    limit = Info(attributes.JOB_TIMEOUT, 1, required=True)
    client.spawn([app("sleep", count=2)], [limit, Info(attributes.NOTIFY_COMPLETION, True), *directives(sys.argv[2:])])
    until(lambda: bool(told))
    say(describe(told[0]))  # type: ignore[arg-type]


def warned(client: Client) -> None:
    """Spawn two that run until they hear that their time is nearly up; who spawns them does not."""
    told: list[object] = []
    client.register_event_handler([Status.JCTRL_PREEMPT_ALERT], lambda *_: told.append("an alert of another job"))
    client.register_event_handler([Status.EVENT_JOB_END], lambda *_: told.append("end"))
    limit = Info(attributes.JOB_TIMEOUT, 12, required=True)
    client.spawn([app("warned", count=2)], [limit, Info(attributes.NOTIFY_COMPLETION, True), *directives(sys.argv[2:])])
    until(lambda: bool(told))
    say(f"{told}")


def events(client: Client) -> None:
    """Be told of all that happens to a job."""
    told: list[tuple[int, str]] = []
    codes = [Status.EVENT_JOB_START, Status.LAUNCH_COMPLETE, Status.EVENT_JOB_END]
    client.register_event_handler(codes, lambda status, source, _infos: told.append((status, source.nspace)))
    wanted = Info(attributes.NOTIFY_JOB_EVENTS, True, required=True)
    nspace = client.spawn([app("where")], [wanted, *directives(sys.argv[2:])])
    until(lambda: (Status.EVENT_JOB_END, nspace) in told)
    say([describe(status) for status, source in told if source == nspace])


def child_uneven(client: Client) -> None:
    if client.proc.rank == 0:
        sys.exit(3)
    time.sleep(1000)


def uneven(client: Client) -> None:
    """Spawn two, of which one fails, and wait for a long time."""
    client.spawn([app("uneven", count=2)])
    time.sleep(1000)


def allocation(client: Client) -> None:
    """Get a node, spawn there, and give it back."""
    if client.proc.rank:
        client.fence()
        return

    def attempt(count: int) -> str:
        try:
            return client.spawn([app("where", count=count)], [*there, Info(attributes.NOTIFY_COMPLETION, True)])
        except PmixError as error:
            return describe(error.status)

    told: list[str] = []
    client.register_event_handler([Status.EVENT_JOB_END], lambda _status, source, _infos: told.append(source.nspace))
    answer = client.allocate(1, [Info(attributes.ALLOC_NUM_NODES, 1), Info(attributes.ALLOC_REQ_ID, "mine")])
    there = [Info(attributes.ALLOC_ID, find(answer, attributes.ALLOC_ID))]
    say(f"{find(answer, attributes.ALLOC_REQ_ID)} is {there[0].value}")
    say(attempt(3))
    nspace = attempt(2)
    until(lambda: nspace in told)
    client.allocate(3, there)
    until(lambda: attempt(1) == "PMIX_ERR_NOT_FOUND")
    try:
        client.allocate(3, [Info(attributes.ALLOC_ID, "none")])
    except PmixError as error:
        say(describe(error.status))
    client.fence()


def child_signalled(client: Client) -> None:
    client.connect([parent_of(client), client.job])
    signal.sigtimedwait([signal.SIGUSR1], SECONDS)
    say("signalled")


def session(client: Client) -> None:
    """Signal all of the session: this job, and what it spawns."""
    if client.proc.rank == 0:
        nspace = client.spawn([app("signalled")], directives(sys.argv[2:]))
        client.connect([client.proc, everyone(nspace)])
        try:
            client.session_control(0xFFFFFFFF, [Info(attributes.SESSION_SIGNAL, int(signal.SIGUSR1))])
        except PmixError as error:
            say(describe(error.status))
            os._exit(0)
    client.fence()
    assert signal.sigtimedwait([signal.SIGUSR1], SECONDS)
    say("signalled")


def nests(client: Client) -> None:
    nspace = client.spawn([app("nests", sys.argv[2])])
    client.connect([client.proc, everyone(nspace)])
    client.disconnect([client.proc, everyone(nspace)])


def many(client: Client) -> None:
    """Spawn one job after the other, and one in each process at once."""
    for _ in range(int(sys.argv[2])):
        nspace = client.spawn([AppSpec("true", ("true",), maxprocs=2)])
        say(nspace.rpartition(".")[2])


def until(what: object) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def main() -> None:
    if sys.argv[1] in ("session", "signalled"):  # before libpmix has threads
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    with Client() as client:
        name = ("child_" if client.get(attributes.SPAWNED) else "") + sys.argv[1]
        globals()[name](client)


main()
