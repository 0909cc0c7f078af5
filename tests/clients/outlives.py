"""A job that spawns another (PMIX_SPAWN_CHILD_SEP) and ends; the other then tries all that PMIx has.

    outlives.py first DIRECTORY COUNT OPERATIONS KEY=VALUE ...   the first job, with directives for the spawn
    outlives.py stays DIRECTORY COUNT OPERATIONS KEY=VALUE ...   the same, but it has to be ended
    outlives.py survive DIRECTORY GO OPERATIONS ...              the other: it goes on once a file GO is there

Each process of the second prints what came of each operation. One of these, `again`, is to spawn a third, which goes on
with a file "again" and does the same operations up to there.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, Status, describe
from fluxpmix.pmix.types import RANK_WILDCARD, AppSpec, Info, Persistence, Proc, QueryItem, Range, Scope

HERE = (sys.executable, __file__)
SECONDS = 20
EVENT = -3001
ENDS = [Status.EVENT_PROC_TERMINATED, Status.ERR_PROC_ABORTED, Status.ERR_PROC_TERM_WO_SYNC, Status.EVENT_NODE_DOWN]
NODES = "pmix.alloc.nnodes"


def say(text: object) -> None:
    """Print in one write: several processes share the output."""
    os.write(1, f"{text}\n".encode())


def await_file(path: str) -> None:
    deadline = time.monotonic() + 3 * SECONDS
    while not os.path.exists(path):
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


class Survivor:
    """A process of the job that lives on."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.me = client.proc.rank
        self.job = client.job
        self.size = client.get(a.JOB_SIZE, client.job)
        self.last = self.size - 1
        self.came = threading.Event()
        self.told: list[str] = []  # of ends

    def before(self) -> None:
        """What is done while the first job is there."""
        client = self.client
        client.publish({f"by {self.named(self.me)}": f"value of {self.me}"})
        client.publish({f"stays {self.named(self.me)}": self.me, a.PERSISTENCE: int(Persistence.PROCESS)})
        client.register_event_handler([EVENT], lambda *_: self.came.set())
        parent = client.get(a.PARENT_ID, client.job)

        def ended(status: int, source: Proc, _infos: object) -> None:
            if source.nspace == parent.nspace or status == Status.EVENT_NODE_DOWN:
                self.told.append(describe(status))

        client.register_event_handler(ENDS, ended)
        if not self.me:
            client.job_control([Proc(self.job.nspace, 0)], {a.JOB_CTRL_DEFINE_PSET: f"old {self.job.nspace}"})
        client.put(Scope.GLOBAL, "early", self.me)
        client.commit()
        client.fence()

    def named(self, rank: int) -> str:
        return f"{self.job.nspace} {rank}"

    def parents_end(self) -> list[str]:
        """What was told of it: nothing that would be a failure."""
        deadline = time.monotonic() + SECONDS
        while not self.told and time.monotonic() < deadline:
            time.sleep(0.01)
        return sorted(set(self.told))

    def data(self) -> str:
        client, other = self.client, Proc(self.job.nspace, (self.me + 1) % self.size)
        early = client.get("early", other)
        client.put(Scope.GLOBAL, "late", f"of {self.me}")
        client.commit()
        client.fence(collect=True)
        return f"{early == other.rank} {client.get('late', other) == f'of {other.rank}'}"

    def modex(self) -> object:
        client, other = self.client, Proc(self.job.nspace, (self.me + 1) % self.size)
        client.put(Scope.GLOBAL, "direct", f"of {self.me}")
        client.commit()
        return client.get("direct", other, {a.TIMEOUT: SECONDS})

    def published(self) -> list[object]:
        """What the first job published, and this one before that ended."""
        keys = ["of the session", f"by {self.named((self.me + 1) % self.size)}", f"stays {self.named(self.last)}"]
        found = self.client.lookup(keys, {a.WAIT: 0, a.TIMEOUT: 5})
        return [one.value for one in found]

    def of_the_first(self) -> str:
        try:
            return f"{self.client.lookup(['of the first'])[0].value} is still there"
        except PmixError as error:
            return describe(error.status)

    def publish(self) -> object:
        """A lookup that waits, for what is published after it."""
        mine, other = (f"new {self.named(rank)}" for rank in (self.me, (self.me + 1) % self.size))
        if self.me:
            time.sleep(0.1)
        self.client.publish({mine: "published"})
        return self.client.lookup([other], {a.WAIT: 1, a.TIMEOUT: SECONDS})[0].value

    def event(self) -> bool:
        if not self.me:
            self.client.notify_event(EVENT, Range.NAMESPACE)
        return self.came.wait(SECONDS)

    def control(self) -> str:
        self.client.job_control([self.job], {a.JOB_CTRL_SIGNAL: 18})
        return "signalled"

    def sets(self) -> list[object]:
        name = f"new {self.job.nspace}"
        if not self.me:
            self.client.job_control([self.job], {a.JOB_CTRL_DEFINE_PSET: name})
        self.client.fence()
        found = self.client.query([QueryItem((a.QUERY_PSET_MEMBERSHIP,), (Info(a.PSET_NAME, name),))])
        names = self.client.query([QueryItem((a.QUERY_PSET_NAMES,))])[0].value
        return [len(found[0].value.items), f"old {self.job.nspace}" in str(names)]

    def query(self) -> list[object]:
        client, nspace = self.client, self.job.nspace
        names = str(client.query([QueryItem((a.QUERY_NAMESPACES,))])[0].value).split(",")
        rows = client.query([QueryItem((a.QUERY_PROC_TABLE,), (Info(a.NSPACE, nspace),))])[0].value.items
        return [nspace in names, len(rows)]

    def group(self) -> int:
        everybody = [Proc(self.job.nspace, rank) for rank in range(self.size)]
        found = self.client.group_construct("survivors", everybody, {a.GROUP_ASSIGN_CONTEXT_ID: True})
        self.client.group_destruct("survivors")
        return sum(info.key == a.GROUP_CONTEXT_ID for info in found)

    def log(self) -> str:
        self.client.log({a.LOG_STDERR: f"logged by {self.me}\n"})
        return "logged"

    def credential(self) -> bool:
        found = self.client.validate_credential(self.client.credential())
        return any(info.key == a.USERID and info.value == os.geteuid() for info in found)

    def spawn(self, *directives: Info) -> str:
        """Spawn one more, meet it, and hear of its end."""
        if self.me != self.last:
            return "not here"
        client = self.client
        ended = threading.Event()
        handler = client.register_event_handler([Status.EVENT_JOB_END], lambda *_: ended.set())
        nspace = client.spawn(
            [AppSpec(sys.executable, (*HERE, "meets"))], [Info(a.NOTIFY_COMPLETION, True), *directives]
        )
        child = Proc(nspace, RANK_WILDCARD)
        client.connect([client.proc, child])
        said = client.get("said", Proc(nspace, 0))
        client.disconnect([client.proc, child])
        heard = ended.wait(SECONDS)
        client.deregister_event_handler(handler)
        return f"{said}, {client.get(a.JOB_SIZE, child)}, {heard}"

    def spawn_job(self) -> str:
        return self.spawn(Info(NODES, 1))

    def allocation(self) -> str:
        """Have Flux hold a core, and give it back."""
        if self.me != self.last:
            return "not here"
        answer = self.client.allocate(1, [Info(a.ALLOC_NUM_CPUS, 1)])
        self.client.allocate(3, [info for info in answer if info.key == a.ALLOC_ID])
        return "held and given back"

    def again(self) -> str:
        """Spawn another that lives on."""
        if self.me != self.last:
            return "not here"
        directory, _, *operations = sys.argv[2:]
        spawn_survivors(self.client, directory, "again", 1, operations[: operations.index("again")], [Info(NODES, 1)])
        return "spawned"

    def fails(self) -> str:
        """Spawn what ends with an error, where there is room beside this job's own processes."""
        if self.me != self.last:
            return "not here"
        return "spawned" if self.client.spawn([AppSpec("sh", ("sh", "-c", "exit 7"))]) else "not spawned"

    def try_all(self, names: list[str]) -> None:
        for name in names:
            try:
                came: object = getattr(self, name)()
            except PmixError as error:
                came = describe(error.status)
            say(f"{self.me} {name}: {came}")


def directives(words: list[str]) -> list[Info]:
    """Return KEY=VALUE words as directives."""
    pairs = [word.partition("=") for word in words]
    return [Info(key, int(value) if value.isdigit() else value == "true" or value) for key, _, value in pairs]


def spawn_survivors(
    client: Client, directory: str, go: str, count: int, operations: list[str], more: list[Info]
) -> None:
    """Spawn them, and return once they have begun."""
    command = (*HERE, "survive", directory, go, *operations)
    separate = Info(a.SPAWN_CHILD_SEP, True)
    nspace = client.spawn([AppSpec(sys.executable, command, maxprocs=count)], [separate, *more])
    client.lookup([f"begun {nspace}"], {a.WAIT: 1, a.TIMEOUT: SECONDS})


def first(client: Client, directory: str, count: int, operations: list[str], words: list[str]) -> None:
    if client.proc.rank == 0:
        client.publish({"of the session": "kept", a.PERSISTENCE: int(Persistence.SESSION)})
        client.publish({"of the first": "its own", a.PERSISTENCE: int(Persistence.APPLICATION)})
        spawn_survivors(client, directory, "go", count, operations, directives(words))
    if sys.argv[1] == "stays":
        say("begun")
        time.sleep(1000)
    client.fence()


def survive(client: Client, directory: str, go: str, operations: list[str]) -> None:
    survivor = Survivor(client)
    survivor.before()
    if not survivor.me:
        client.publish({f"begun {client.proc.nspace}": True})
    await_file(os.path.join(directory, go))
    survivor.try_all(operations)
    client.fence()


def main() -> None:
    role, *words = sys.argv[1:]
    with Client() as client:
        if role in ("first", "stays"):
            directory, count, operations, *more = words
            first(client, directory, int(count), operations.split(","), more)
        elif role == "survive":
            survive(client, words[0], words[1], words[2:])
        else:
            client.put(Scope.GLOBAL, "said", "met")
            client.commit()
            parent = client.get(a.PARENT_ID, client.job)
            client.connect([parent, client.job])
            client.disconnect([parent, client.job])


main()
